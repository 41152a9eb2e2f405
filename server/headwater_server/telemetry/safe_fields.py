"""The fields of a line of the log that come from a provider or a caller: shown only where they look like names.

A provider may quote the prompt wherever it answers with a text, and a caller may put anything where a name belongs. So
every text in a field must look like a name or an id: printable ASCII without spaces and quotation marks, and not long,
also where percent codes stand for others. Another text is replaced. Fields with texts of Headwater's own are named
here; a new field is checked without that.
"""

from __future__ import annotations

import re
from typing import Any

import structlog

from headwater_server.domain.secret_text import looks_like_name

HIDDEN = "(not shown)"
"""Stands for a text that does not look like a name."""

OWN = frozenset({"event", "level", "timestamp", "logger", "error", "task", "what", "why", "cure", "at", "host", "peer"})
"""Fields that Headwater writes itself. Beside them, `labels` are texts that the caller writes for the log."""
LABELS = "labels"
CODES = frozenset({"provider_code"})
"""Fields with a word that programs compare."""

_CODE = re.compile(r"[0-9]{1,6}|[A-Za-z_]+[0-9]{0,4}(?:[_.:/-](?:[A-Za-z]+[0-9]{0,4}|[0-9]{1,4}))*")
_LONGEST_CODE = 64
_MOST_DIGITS = 6
"""Digits of a code; a number of a card or a telephone has more."""


def hide_unsafe(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replaces the texts of a line that do not look like names; a processor of structlog."""
    for field, value in event.items():
        if field in CODES:
            event[field] = value if _is_code(str(value)) else HIDDEN
        elif type(value) not in (int, float, bool) and field not in OWN and field != LABELS:
            event[field] = _safe(value)
    return event


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return value if not value or looks_like_name(value) else HIDDEN
    if isinstance(value, dict):
        return {_safe(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item) for item in value]
    return value


def _is_code(text: str) -> bool:
    digits = sum(letter.isdigit() for letter in text)
    return len(text) <= _LONGEST_CODE and digits <= _MOST_DIGITS and _CODE.fullmatch(text) is not None
