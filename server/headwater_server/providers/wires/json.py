"""JSON text of a provider into typed structs that hold only the fields that are needed.

msgspec decodes straight into the struct and skips the rest. It refuses a text where any field has another type, and
lone surrogates (`"\\ud83d"` in one delta, `"\\ude00"` in the next), which real servers send. Such a text, and no other,
is parsed again by the standard library, and each field takes what it can use (see `lenient`). The result may then hold
surrogates, and `surrogates` handles them.

The structs are made with `gc=False`: values of JSON hold no cycles, and the collector of garbage need not look at them.
"""

from __future__ import annotations

import json
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.json_text import is_deep
from headwater_server.providers.wires.lenient import Plan
from headwater_server.providers.wires.surrogates import without_surrogates

T = TypeVar("T")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

LARGE = 256 * 1024
"""Bytes of a text whose values are counted before it is parsed."""

MAX_VALUES = 1_000_000
"""Most values of a large text, about: a parser makes an object of each, which takes 60 bytes and more."""

MAX_LIBERAL_VALUES = 200_000
"""Most values of a large text that is read liberally, which takes several times as long."""

TOO_MANY = "it holds too many values"

_PIECE = 1024 * 1024
_MARKS = (b",", b"[", b"{", b"\\ud", b"\\uD")

_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MOST_DIGITS = 400


class JSONShape(Generic[T]):
    """Decodes texts of one shape; `what` names it in errors ("a chat completion chunk")."""

    def __init__(self, shape: type[T], what: str) -> None:
        self._shape = shape
        self._what = what
        self._decoder = msgspec.json.Decoder(shape)
        self._plan: Plan | None = None

    def decode(self, data: bytes) -> T:
        """The struct, which may hold surrogates. A field with a value that makes no sense there has its default.

        Raises HeadwaterError, which quotes nothing of the text, for anything but an object.
        """
        if len(data) > LARGE and has_too_many_values(data, MAX_VALUES):
            raise self._error(TOO_MANY)
        try:
            return self._decoder.decode(data)
        except _REFUSALS:
            pass  # read liberally outside the handler: its exception holds the text itself, which must not reach a log
        if self._plan is None:
            self._plan = Plan(self._shape)
        struct: T = self._plan.build(self._object(data))
        return struct

    def decode_answer(self, data: bytes) -> T:
        """The struct of a text that stands alone: every field as declared, U+FFFD for lone surrogates."""
        value = without_surrogates(self._object(data))
        try:
            return msgspec.convert(value, self._shape)
        except ValueError as error:
            fault = str(error)
        raise self._error(fault)

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            value = read_json(data)
        except RecursionError:
            fault = "it is nested too deeply"
        except json.JSONDecodeError as error:
            fault = f"{error.msg} (character {error.pos})"
        except ValueError as error:
            fault = str(error)
        else:
            if isinstance(value, dict):
                return value
            fault = f"expected an object, got {type(value).__name__}"
        raise self._error(fault)

    def _error(self, fault: str) -> HeadwaterError:
        message = f"The provider sent something that is not {self._what}: {fault}"
        return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)


def has_too_many_values(data: bytes, most: int = MAX_LIBERAL_VALUES) -> bool:
    """Whether a text has more than so many commas, brackets and halves of surrogate pairs, each of which takes time.

    Those in strings count too: a picture has none.
    """
    found = 0
    for start in range(0, len(data), _PIECE):
        found += sum(data.count(mark, start, start + _PIECE) for mark in _MARKS)
        if found > most:
            return True
    return False


def parse_json(data: bytes | str) -> Any:
    """Any JSON value, by the standard library. Raises ValueError (also for NaN) for other text, and RecursionError for
    text that is nested more than 100 levels.
    """
    return _not_deep(json.loads(data, parse_constant=_refuse_constant))


def read_json(data: bytes | str) -> Any:
    """Any JSON value, read liberally: U+FFFD for bytes that are no UTF-8, None for NaN and for endless numbers.

    Control characters may stand in strings, and a byte order mark before the text. Raises ValueError or RecursionError
    for text that is no JSON all the same, or is nested more than 100 levels.
    """
    if len(data) > LARGE and has_too_many_values(data.encode() if isinstance(data, str) else data):
        raise ValueError(TOO_MANY)
    text = data if isinstance(data, str) else data.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace")
    return _not_deep(json.loads(text, strict=False, parse_constant=_nothing, parse_int=_int))


def _not_deep(value: Any) -> Any:
    """The value, which functions that call themselves for each level can then read."""
    if is_deep(value):
        raise RecursionError("it is nested too deeply")
    return value


def _int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _nothing(_name: str) -> None:
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
