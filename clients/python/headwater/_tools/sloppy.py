"""Reads arguments as models write them: right in meaning, and not always in form.

Some write `null`, an empty text or a JSON text of the object in place of the object; some write a list or an object
inside as JSON text, or null for an argument that has a default. Each is read as it is meant, but only where the
arguments as they stand are not valid: a text that holds JSON stays a text where a text is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_MOST_ENCODINGS = 3
_NOTHING = ("", "null", "none", "undefined")


def read_object(written: str) -> dict[str, Any] | None:
    """The object that a model meant with a text; None for one that is none."""
    for _ in range(_MOST_ENCODINGS):
        if _says_nothing(written):
            return {}
        try:
            value = json.loads(written)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, str):
            if value == []:
                return {}
            return value if isinstance(value, dict) else None
        written = value
    return None


def mend(values: dict[str, Any], path: Sequence[int | str]) -> bool:
    """Mend the value at the place of a mistake, or the nearest around it that can be mended; whether there was one.

    Args:
        values: the arguments; they are changed.
        path: where the mistake is, as pydantic names it.
    """
    places: list[tuple[Any, Any]] = []
    holder: Any = values
    key: Any
    for key in path:
        if (isinstance(holder, dict) and key in holder) or (isinstance(holder, list) and _is_index(holder, key)):
            places.append((holder, key))
            holder = holder[key]
    return any(_mend_value(holder, key) for holder, key in reversed(places))


def _says_nothing(written: str) -> bool:
    return written.strip().lower() in _NOTHING


def _is_index(values: list[Any], key: int | str) -> bool:
    return isinstance(key, int) and 0 <= key < len(values)


def _mend_value(holder: Any, key: int | str) -> bool:
    value = holder[key]
    if isinstance(holder, dict) and (value is None or (isinstance(value, str) and _says_nothing(value))):
        del holder[key]  # the default counts, if there is one; else the mistake stays one
        return True
    for _ in range(_MOST_ENCODINGS):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    if value is holder[key] or not isinstance(value, list | dict):
        return False
    holder[key] = value
    return True
