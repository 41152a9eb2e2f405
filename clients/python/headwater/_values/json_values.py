"""JSON, checked: the one place that turns Python values into JSON text and back.

Values that are not JSON themselves are converted by `plain`. A value that does not convert, is too large or is nested
too deep is refused, by the path to it.
"""

from __future__ import annotations

import json
import math
from typing import Any

from headwater._values.plain import NotPlainError, a_value_of, plain
from headwater._values.validation import invalid, text
from headwater.exceptions import ValidationError

MAX_BYTES = 1024 * 1024
"""Most bytes of a result, and of all changes of the context together."""
MAX_DEPTH = 100
_MAX_VALUES = MAX_BYTES // 2  # each has at least one character of JSON and a comma
_MAX_BITS = 14_000  # about 4,200 digits; Python itself reads no more than 4,300
_LONGEST_PATH = 300


class NotJsonError(Exception):
    """A value that cannot be sent; the message names where it is and the cure."""


def exact_json(path: str, value: Any, most: int = MAX_BYTES) -> str:
    """The value as JSON text, keys in their order.

    Args:
        path: how the value is called in the error.
        value: the value to write.
        most: bytes that the text may have.

    Raises:
        NotJsonError: it holds something that does not convert to JSON, is nested too deep or is too large.
    """
    plain_value = converted(path, value)
    written = json.dumps(plain_value, ensure_ascii=False, allow_nan=False)
    check_size(path, written, most, plain_value)
    return written


def converted(path: str, value: Any) -> Any:
    """A copy of the value of JSON values alone. Raises NotJsonError, as `exact_json`."""
    return _Walk().value(path, value, 1)


def check_size(path: str, written: str, most: int = MAX_BYTES, value: Any = None) -> None:
    """Raises NotJsonError for text over the limit; of a dict as `value` it names the largest key."""
    size = len(written) if written.isascii() else len(written.encode())
    if size > most:
        largest = ""
        if type(value) is dict:
            key = max(value, key=lambda key: len(json.dumps(value[key])))
            largest = f" (largest key: `{_cut(key)}`)"
        limit = f"more than {most:,}; store it elsewhere and keep where it is"
        raise NotJsonError(f"{path}{largest} has {size:,} bytes as JSON, {limit}")


class _Walk:
    """Walks through a value; it counts, so that a structure that shares its parts endlessly has an end too."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def value(self, path: str, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise NotJsonError(f"{path} lies in more than {_MAX_VALUES:,} values; store them elsewhere")
        kind = type(value)
        if depth > MAX_DEPTH and kind in (list, set, dict):
            raise NotJsonError(f"{path} is nested more than {MAX_DEPTH} levels deep, or holds itself")
        if value is None or kind is bool:
            return value
        if kind is str:
            check_text(path, value)
        elif kind is float:
            if not math.isfinite(value):
                raise NotJsonError(f"{path} is {value}, which JSON does not have; write None or a str")
        elif kind is int:
            if value.bit_length() > _MAX_BITS:
                raise NotJsonError(f"{path} is a number of more than 4,000 digits; write a str")
        elif kind is list:
            return [self.value(_cut(f"{path}[{index}]"), item, depth + 1) for index, item in enumerate(value)]
        elif kind is set:
            items = [self.value(f"an item of {path}", item, depth + 1) for item in value]
            return sorted(items, key=json.dumps)  # the same in all processes
        elif kind is dict:
            return self._object(path, value, depth)
        else:
            return self.value(path, _plain(path, value), depth)
        return value

    def _object(self, path: str, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for given, item in value.items():
            key = given if type(given) is str else _key(path, given)
            check_key(path, key)
            if key in result:
                raise NotJsonError(f"{path} has the key {quoted(key)} twice as JSON; give one of them another name")
            result[key] = self.value(_cut(f"{path}[{quoted(key)}]"), item, depth + 1)
        return result


def _plain(path: str, value: Any) -> Any:
    try:
        return plain(value)
    except NotPlainError as error:
        raise NotJsonError(f"{path} is {error}") from None


def _key(path: str, key: Any) -> Any:
    """A key that converts to a str as that str; any other as it is."""
    try:
        text = plain(key)
    except NotPlainError:
        return key
    return text if isinstance(text, str) else key


def check_key(path: str, key: Any) -> None:
    """Raises NotJsonError for a key that is not a str."""
    if type(key) is not str:
        raise NotJsonError(f"{path} has the key {_shown(key)}, {a_value_of(type(key))}; write a str")
    check_text(f"{path}, a key of it,", key)


def check_text(path: str, value: str) -> None:
    """Raises NotJsonError for a str that is not text."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotJsonError(f"{path} has half of a surrogate pair at {error.start}; drop it") from None


def quoted(key: str) -> str:
    """A key as JSON, cut for an error."""
    written = json.dumps(key, ensure_ascii=False)
    return written if len(written) <= 100 else f'{written[:100]}..."'


def _cut(path: str) -> str:
    """Not so long that the error would lose its end, which names the cure."""
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"


def _shown(key: Any) -> str:
    try:
        return repr(key)[:100] if isinstance(key, int | float | tuple | bytes | None) else "that is no text"
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "that is a long number"


def checked_json(field: str, value: Any) -> str:
    """As `exact_json`, for an argument: a fault is a ValidationError of the field."""
    try:
        return exact_json(field, value)
    except NotJsonError as error:
        raise ValidationError(str(error), [(field, str(error))]) from None


def json_text(field: str, value: Any) -> str:
    """A value as JSON text of any size, keys in the caller's order. Raises ValidationError."""
    try:
        return text(field, json.dumps(value, ensure_ascii=False, allow_nan=False))
    except TypeError:  # something in it is to be converted
        return text(field, json.dumps(_converted_argument(field, value), ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise
        raise invalid(field, f"must be a JSON value ({error})") from None


def _converted_argument(field: str, value: Any) -> Any:
    try:
        return converted("the value", value)
    except NotJsonError as error:
        raise invalid(field, str(error)) from None


def json_object(written: str) -> dict[str, Any] | None:
    """The JSON object that a text holds; None for one that holds none. An empty text is an empty object."""
    try:
        value = json.loads(written or "{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
