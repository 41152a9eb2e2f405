"""Reads and writes JSON in the narrow sense that all languages share: no NaN, no lone surrogate, no great depth."""

from __future__ import annotations

import gc
import json
import math
import re
from typing import Any, NoReturn

import msgspec

MAX_DEPTH = 100
LARGE_CHARACTERS = 64 * 1024

NO_OBJECT = 'must be a JSON object, such as {"key": "value"}'

_SPACE = " \t\r\n"
_CHECK = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_SCAN = json.JSONDecoder()
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS = bytes(ord("0") if chr(code) in "0123456789" else ord("e") if chr(code) in "eE" else 32 for code in range(256))
_FENCE = re.compile(r"\s*```(?:json)?[ \t\r]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def parse_json(text: str, depth: int = MAX_DEPTH) -> Any:
    """The value. Raises ValueError that names the fault of the text, as the end of a sentence about it."""
    return _values(text) if _is_plain(text, depth) else _parse_carefully(text, depth)


def check_json(text: str, depth: int = MAX_DEPTH) -> None:
    """Raises ValueError that names the fault of the text, as `parse_json` does; takes a tenth of its time."""
    if not _is_plain(text, depth):
        _parse_carefully(text, depth)


def members(text: str, depth: int = MAX_DEPTH) -> dict[str, str]:
    """The values of a JSON object by key, as the texts that they are. Raises ValueError as `parse_json` does."""
    check_json(text, depth)
    if not text.lstrip(_SPACE).startswith("{"):
        raise ValueError(NO_OBJECT)
    return {key: bytes(value).decode() for key, value in _MEMBERS.decode(text).items()}


def _is_plain(text: str, depth: int) -> bool:
    """Whether a text is JSON beyond doubt. It is looked at without building its values, which takes much longer."""
    try:
        data = text.encode()
        _CHECK.decode(data)
    except (ValueError, RecursionError):
        return False
    may_be_deep = data.count(b"[") + data.count(b"{") > depth
    if not may_be_deep and not _has_large_number(data):
        return True  # strings with such signs do not matter
    data = _STRING.sub(b"", data)
    if _has_large_number(data):
        return False
    brackets = data.translate(_SQUARE, _NO_BRACKETS)
    for _ in range(depth):  # each time the innermost level goes
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def _has_large_number(data: bytes) -> bool:
    """Whether a number may be too large for a float, or too long for Python."""
    digits = data.translate(_DIGITS, b"+")
    return b"e000" in digits or b"0" * 300 in digits


def _values(text: str) -> Any:
    """The value of a text that is JSON. The collector pauses for a large one: looking at lists takes it twice as long
    as making them.
    """
    if len(text) < LARGE_CHARACTERS or not gc.isenabled():
        return _SCAN.decode(text)
    gc.disable()
    try:
        return _SCAN.decode(text)
    finally:
        gc.enable()


def _parse_carefully(text: str, depth: int) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_such_number, parse_float=_finite)
        to_json(value).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at character {error.pos}") from error
    except UnicodeEncodeError as error:
        raise ValueError("is not JSON: it has half of a surrogate pair, which is not text") from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise ValueError(f"is not JSON: it has a number that JSON does not have: {error}") from error
    if text.count("[") + text.count("{") > depth and is_deep(value, depth):
        raise _too_deep()
    return value


def unfenced(text: str) -> str:
    """A reply that is to be JSON, without the byte order mark and fence of Markdown that some models put around it."""
    text = text.removeprefix("\ufeff")
    fenced = _FENCE.fullmatch(text)
    return (fenced[1] if fenced else text).strip()


def to_json(value: Any) -> str:
    """The text of a value; numbers stay what they are, keys keep their order."""
    return _WRITER.encode(value)


def _too_deep() -> ValueError:
    return ValueError(f"is not JSON that can be kept: it is too deep, nested more than {MAX_DEPTH} levels")


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(f"{name}; send null or a string")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large for a float")
    return number


def is_deep(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether a JSON value is nested more than so many levels."""
    level = [value]
    for _ in range(depth):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return any(isinstance(item, dict | list) for item in level)
