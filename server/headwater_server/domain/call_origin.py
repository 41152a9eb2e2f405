"""The headers in which a caller names the origin of its call, for the providers that are asked because of it.

`traceparent` and `tracestate` are those of W3C Trace Context; `x-request-id` is the caller's name for its request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar

NAMES = ("traceparent", "tracestate", "x-request-id")
MAX_CHARACTERS = 512

origin: ContextVar[Mapping[str, str]] = ContextVar("origin", default={})  # noqa: B039  it is never changed
"""The headers of the call that this task serves, by name."""


def origin_of(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The headers in the metadata of a call that say where it comes from; one that no HTTP header can carry is left
    out.
    """
    return {
        name: value
        for name, value in metadata
        if name in NAMES and isinstance(value, str) and value.isascii() and value.isprintable()
        and len(value) <= MAX_CHARACTERS
    }  # fmt: skip
