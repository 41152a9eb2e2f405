"""The meaning of Google's errors: `google.rpc.Status` with details, which say more than the HTTP status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.errors import MAX_RETRY_AFTER_SECONDS, response_error, stream_error
from headwater_server.providers.wires.json import parse_json

_BY_REASON = {
    "API_KEY_INVALID": Reason.PROVIDER_AUTH_FAILED,
    "API_KEY_EXPIRED": Reason.PROVIDER_AUTH_FAILED,
    "API_KEY_SERVICE_BLOCKED": Reason.PROVIDER_AUTH_FAILED,
    "CONSUMER_SUSPENDED": Reason.PROVIDER_AUTH_FAILED,
    "BILLING_DISABLED": Reason.PROVIDER_QUOTA_EXHAUSTED,
}
"""By the reason of google.rpc.ErrorInfo: a bad key is a 400, as a bad request is."""

_TOO_LONG = re.compile(r"input token count.{0,100}exceeds the maximum", re.IGNORECASE)
"""A prompt beyond the context window has no code; this is Google's sentence."""

_WAITING_HELPS = (Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_UNAVAILABLE)


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
    """The error that an HTTP answer stands for."""
    error = response_error(status, headers, body)
    try:
        value = parse_json(body)
    except (ValueError, RecursionError):
        return error
    value = value[0] if isinstance(value, list) and value else value
    return _refined(error, value.get("error") if isinstance(value, dict) else None)


def error_of_stream(reported: Any) -> HeadwaterError:
    """The error that Google reports inside a 200 answer."""
    return _refined(stream_error(reported), reported)


def _refined(error: HeadwaterError, reported: Any) -> HeadwaterError:
    """The error, its meaning refined by Google's words and details."""
    if not isinstance(reported, dict):
        return error
    details = reported.get("details")
    details = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    named = next((word for detail in details if isinstance(word := detail.get("reason"), str)), "")
    status = reported.get("status")
    if code := named or (status if isinstance(status, str) else ""):
        error.metadata["provider_code"] = code[:100]
    if _TOO_LONG.search(error.message):
        error.reason = Reason.CONTEXT_WINDOW_EXCEEDED
    error.reason = _BY_REASON.get(named, error.reason)
    if error.reason in _WAITING_HELPS:
        delays = (_seconds(detail.get("retryDelay")) for detail in details)
        error.retry_after_seconds = next(
            (seconds for seconds in delays if seconds is not None), error.retry_after_seconds
        )
    elif error.reason is Reason.PROVIDER_QUOTA_EXHAUSTED:
        error.retry_after_seconds = None
    return error


def _seconds(delay: object) -> float | None:
    """A duration of Protocol Buffers in JSON, such as `34.07s`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", delay) if isinstance(delay, str) else None
    seconds = float(found[1]) if found else None
    return seconds if seconds is not None and seconds <= MAX_RETRY_AFTER_SECONDS else None
