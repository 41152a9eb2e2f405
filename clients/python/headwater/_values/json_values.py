"""JSON, checked: the one place that turns Python values into JSON text and back.

`json_text` writes what `json.dumps` takes: tuples and enums too, for requests. `exact_json` writes what comes back as
the same value, for the results and the context of workflows: only `None`, `bool`, `int`, `float`, `str`, `list` and
`dict` themselves. Their subclasses are refused (an enum, a NumPy number, an OrderedDict, a named tuple): the next step
would get the plain value and behave differently.
"""

from __future__ import annotations

import json
import math
from typing import Any

from headwater._values.validation import invalid, text
from headwater.exceptions import ValidationError

MAX_BYTES = 1024 * 1024
"""Most bytes of a result, and of all changes of the context together."""
MAX_DEPTH = 100
_MAX_VALUES = MAX_BYTES // 2  # each has at least one character of JSON and a comma
_MAX_BITS = 14_000  # about 4,200 digits; Python itself reads no more than 4,300
_LONGEST_PATH = 300
_CURES = {
    tuple: "write a list",
    set: "write a sorted list",
    frozenset: "write a sorted list",
    bytes: "decode it to a str",
    bytearray: "decode it to a str",
}


class NotJsonError(Exception):
    """A value that cannot be sent; the message names where it is and the cure."""


def exact_json(path: str, value: Any) -> str:
    """The value as JSON text, keys in their order.

    Args:
        path: how the value is called in the error.
        value: the value to write.

    Raises:
        NotJsonError: it holds something that is not JSON, is nested too deep or is too large.
    """
    _Check().value(path, value, 1)
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    check_size(path, written, value)
    return written


def check_size(path: str, written: str, value: Any = None) -> None:
    """Raises NotJsonError for text over 1 MiB; of a dict as `value` it names the largest key."""
    size = len(written) if written.isascii() else len(written.encode())
    if size > MAX_BYTES:
        largest = ""
        if type(value) is dict:
            key = max(value, key=lambda key: len(json.dumps(value[key])))
            largest = f" (largest key: `{_cut(key)}`)"
        limit = f"more than {MAX_BYTES:,}; store it elsewhere and keep where it is"
        raise NotJsonError(f"{path}{largest} has {size:,} bytes as JSON, {limit}")


class _Check:
    """Walks through a value; it counts, so that a structure that shares its parts endlessly has an end too."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def value(self, path: str, value: Any, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise NotJsonError(f"{path} lies in more than {_MAX_VALUES:,} values; store them elsewhere")
        kind = type(value)
        if kind is str:
            check_text(path, value)
        elif kind is float:
            if not math.isfinite(value):
                raise NotJsonError(f"{path} is {value}, which JSON does not have; write None or a str")
        elif kind is int:
            if value.bit_length() > _MAX_BITS:
                raise NotJsonError(f"{path} is a number of more than 4,000 digits; write a str")
        elif kind is dict or kind is list:
            if depth > MAX_DEPTH:
                raise NotJsonError(f"{path} is nested more than {MAX_DEPTH} levels deep, or holds itself")
            self._items(path, value, depth)
        elif value is not None and kind is not bool:
            raise NotJsonError(f"{path} is {_describe(value)}")

    def _items(self, path: str, value: Any, depth: int) -> None:
        if type(value) is list:
            for index, item in enumerate(value):
                self.value(_cut(f"{path}[{index}]"), item, depth + 1)
            return
        for key, item in value.items():
            check_key(path, key)
            self.value(_cut(f"{path}[{quoted(key)}]"), item, depth + 1)


def check_key(path: str, key: Any) -> None:
    """Raises NotJsonError for a key that is not a str."""
    if type(key) is not str:
        raise NotJsonError(f"{path} has the key {_shown(key)}, {_a(type(key))}; write a str")
    check_text(f"{path}, a key of it,", key)


def check_text(path: str, value: str) -> None:
    """Raises NotJsonError for a str that is not text."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotJsonError(f"{path} has half of a surrogate pair at {error.start}; drop it") from None


def _describe(value: Any) -> str:
    kind = type(value)
    for base in (bool, int, float, str, list, dict):
        if isinstance(value, base):
            return f"{_a(kind)}, a subclass of {base.__name__}, and would come back as one; write {base.__name__}(...)"
    cure = next((cure for base, cure in _CURES.items() if isinstance(value, base)), "")
    if cure:
        return f"{_a(kind)}, which JSON does not have; {cure}"
    return f"{_a(kind)}, not a JSON value; write what it says, and keep live objects in a closure of the handler"


def _a(kind: type) -> str:
    return f"a value of type {kind.__name__}"


def quoted(key: str) -> str:
    """A key as JSON, cut for an error."""
    written = json.dumps(key, ensure_ascii=False)
    return written if len(written) <= 100 else f'{written[:100]}..."'


def _cut(path: str) -> str:
    """Not so long that the error would lose its end, which names the cure."""
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"


def _shown(key: Any) -> str:
    return repr(key)[:100] if isinstance(key, int | float | tuple | bytes | None) else "that is no text"


def checked_json(field: str, value: Any) -> str:
    """As `exact_json`, for an argument: a fault is a ValidationError of the field."""
    try:
        return exact_json(field, value)
    except NotJsonError as error:
        raise ValidationError(str(error), [(field, str(error))]) from None


def json_text(field: str, value: Any) -> str:
    """A JSON value as text, keys in the caller's order. Raises ValidationError."""
    try:
        return text(field, json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise
        raise invalid(field, f"must be a JSON value ({error})") from None


def json_object(written: str) -> dict[str, Any] | None:
    """The JSON object that a text holds; None for one that holds none. An empty text is an empty object."""
    try:
        value = json.loads(written or "{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
