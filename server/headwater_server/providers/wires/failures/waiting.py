"""How long a provider asks to wait, from the headers and the body of its refusal.

`retry-after-ms` and `retry-after` say it. Else the headers that say when a limit is reset do: of several limits those
count that are used up, and where none says how much of it is left, the one that is reset last. Google says it in the
body (RetryInfo); a router repeats the headers of the server behind it there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MAX_RETRY_AFTER_SECONDS = 366 * 86_400.0
"""A longer wait is taken for nonsense."""

_RESET = re.compile(r"(?:.+-)?rate-?limit-(?:.+-)?reset(?:-.+)?", re.IGNORECASE)
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_IN_WORDS = re.compile(r"retry after|try again (?:in|after)", re.IGNORECASE)
_SPAN = re.compile(
    r"\s*((?:\d+(?:\.\d+)?(?:h|ms|m|s))+(?!\w)|\d+(?:\.\d+)?(?=\s?(?:second|minute)))\s?(minute)?", re.IGNORECASE
)
_EPOCH = 1e9  # a number above is a point in time, one above a thousand of it in milliseconds
_LONGEST_NAME = 100
_KEYS = ("retry_after", "retryAfter", "retry_after_seconds", "retryDelay", "retry_delay")
_PLACES = ("error", "details", "metadata", "detail", "parameters")


def wait_seconds(headers: Mapping[str, str], value: Any, message: str = "", *, resets: bool = False) -> float | None:
    """Seconds to wait; None where the provider does not say, or nothing that makes sense.

    Args:
        headers: of the answer.
        value: its body, parsed.
        message: its words, which count last.
        resets: whether it is about a limit, so that the time counts when limits are reset.
    """
    seconds = _from_headers(headers, resets=resets)
    if seconds is None:
        seconds = _from_body(value, 0)
    if seconds is None:
        seconds = _from_words(message)
    return seconds if seconds is not None and 0 <= seconds <= MAX_RETRY_AFTER_SECONDS else None


def _from_words(message: str) -> float | None:
    found = _IN_WORDS.search(message)
    span = _SPAN.match(message, found.end()) if found else None
    if span is None:
        return None
    number = _number(span[1])
    return _duration(span[1]) if number is None else number * (60 if span[2] else 1)


def _from_headers(headers: Mapping[str, str], *, resets: bool) -> float | None:
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    now = _http_date(headers.get("date"))
    value = headers.get("retry-after") or ""
    for read in (_number, _duration):
        if (seconds := read(value)) is not None:
            return seconds
    if (then := _http_date(value)) is not None:
        return max(0.0, then - (time.time() if now is None else now))
    return _from_resets(headers, time.time() if now is None else now) if resets else None


def _from_resets(headers: Mapping[str, str], now: float) -> float | None:
    waits: list[float] = []
    used_up: list[float] = []
    for name, text in headers.items():
        if len(name) > _LONGEST_NAME or not _RESET.fullmatch(name) or (seconds := _reset(text.strip(), now)) is None:
            continue
        waits.append(seconds)
        remaining = headers.get(name.lower().replace("reset", "remaining"))
        if remaining is not None and (_number(remaining) or 0) <= 0:
            used_up.append(seconds)
    return max(used_up or waits, default=None)


def _reset(text: str, now: float) -> float | None:
    """The seconds until a reset that is given as a duration, seconds, a point in time, or a date."""
    if (number := _number(text)) is not None:
        then = number / 1000 if number >= _EPOCH * 1000 else number
        return max(0.0, then - now) if then >= _EPOCH else number
    if (seconds := _duration(text)) is not None:
        return seconds
    date = _iso_date(text) or _http_date(text)
    return None if date is None else max(0.0, date - now)


def _from_body(value: Any, depth: int) -> float | None:
    if depth > 4:
        return None
    if isinstance(value, list):
        return next((found for item in value[:10] if (found := _from_body(item, depth + 1)) is not None), None)
    if not isinstance(value, dict):
        return None
    for key in _KEYS:
        found = value.get(key)
        text = str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""
        for read in (_number, _duration):
            if (seconds := read(text)) is not None:
                return seconds
    headers = value.get("headers")
    if isinstance(headers, dict):
        lower = {str(name).lower(): str(each) for name, each in headers.items()}
        if (seconds := _from_headers(lower, resets=True)) is not None:
            return seconds
    return next((found for key in _PLACES if (found := _from_body(value.get(key), depth + 1)) is not None), None)


def _number(text: str | None) -> float | None:
    """A number of at least 0; None for NaN too."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value >= 0 else None


def _duration(text: str | None) -> float | None:
    """A duration such as `6m0s`, `12ms`, `1.5s`."""
    found = _DURATION.fullmatch(text or "")
    if not text or found is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _http_date(text: str | None) -> float | None:
    """An HTTP date in seconds since the epoch."""
    try:
        return _seconds(parsedate_to_datetime(text or ""))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _seconds(date: datetime) -> float:
    """Seconds since the epoch, of a date that names no zone as UTC, where HTTP has all of its dates."""
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _iso_date(text: str) -> float | None:
    """A date of RFC 3339 in seconds since the epoch."""
    try:
        return _seconds(datetime.fromisoformat(text)) if "T" in text else None
    except (ValueError, OverflowError):
        return None
