"""The errors with which a stream ends that its provider did not finish."""

from __future__ import annotations

from headwater_server.domain.errors import HeadwaterError, Reason

_NOT_CUTS = (
    Reason.STREAM_INTERRUPTED,
    Reason.STREAM_TIMEOUT,
    Reason.STREAM_CANCELLED,
    Reason.REPLY_TOO_LARGE,
    Reason.INTERNAL,
)
"""Reasons that say enough, also after the first chunk."""


def unexpected(error: Exception) -> HeadwaterError:
    """The error for the callers of a stream that a fault of Headwater has ended."""
    failure = HeadwaterError(Reason.INTERNAL, "Headwater failed while it read the provider's reply")
    failure.__cause__ = error
    return failure


def broken_off() -> HeadwaterError:
    """The error of a reply that ended without the provider's finish."""
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "the provider's reply broke off before its end")


def cut_after(chunks: int, error: HeadwaterError) -> HeadwaterError:
    """The error of a stream that failed after so many chunks: its caller does not have the whole reply."""
    if error.reason in _NOT_CUTS:
        return error
    return HeadwaterError(
        Reason.STREAM_INTERRUPTED,
        f"the reply was cut after {chunks} chunks: {error.message}",
        metadata={**error.metadata, "cause": error.reason},
    )
