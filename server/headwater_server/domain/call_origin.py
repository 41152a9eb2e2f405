"""The headers in which a caller names the origin of its call, for the providers that are asked because of it.

`traceparent` and `tracestate` are those of W3C Trace Context; `x-request-id` is the caller's name for its request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar

PARENT, STATE, REQUEST_ID = NAMES = ("traceparent", "tracestate", "x-request-id")
MAX_CHARACTERS = 512

_VERSION_0 = r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_LATER = rf"(?!00|ff)[0-9a-f]{{2}}{_VERSION_0[2:]}(?:-.*)?"
_TRACEPARENT = re.compile(f"{_VERSION_0}|{_LATER}")

origin: ContextVar[Mapping[str, str]] = ContextVar("origin", default={})  # noqa: B039  it is never changed
"""The headers of the call that this task serves, by name. Where there are traces, they name the span that it is in."""


def origin_of(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The headers in the metadata of a call that say where it comes from; one that no HTTP header can carry is left
    out, and so are both of the trace where `traceparent` names none.
    """
    found: dict[str, str] = {}
    for name, value in metadata:
        if name in NAMES and isinstance(value, str) and _fits(value):
            found[name] = value
    if (PARENT in found or STATE in found) and not is_traceparent(found.get(PARENT, "")):
        found = {REQUEST_ID: found[REQUEST_ID]} if REQUEST_ID in found else {}
    return found


def _fits(value: str) -> bool:
    return len(value) <= MAX_CHARACTERS and value.isascii() and value.isprintable()


def is_traceparent(text: str) -> bool:
    """Whether the text names a span by W3C Trace Context."""
    return _TRACEPARENT.fullmatch(text) is not None
