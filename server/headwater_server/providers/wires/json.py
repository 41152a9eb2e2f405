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
from headwater_server.providers.wires.lenient import Plan
from headwater_server.providers.wires.surrogates import without_surrogates

T = TypeVar("T")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

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
        else:
            if isinstance(value, dict):
                return value
            fault = f"expected an object, got {type(value).__name__}"
        raise self._error(fault)

    def _error(self, fault: str) -> HeadwaterError:
        message = f"The provider sent something that is not {self._what}: {fault}"
        return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)


def parse_json(data: bytes | str) -> Any:
    """Any JSON value, by the standard library. Raises ValueError (also for NaN) or RecursionError for other text."""
    return json.loads(data, parse_constant=_refuse_constant)


def read_json(data: bytes | str) -> Any:
    """Any JSON value, read liberally: U+FFFD for bytes that are no UTF-8, None for NaN and for endless numbers.

    Control characters may stand in strings, and a byte order mark before the text. Raises ValueError or RecursionError
    for text that is no JSON all the same.
    """
    text = data if isinstance(data, str) else data.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace")
    return json.loads(text, strict=False, parse_constant=_nothing, parse_int=_int)


def _int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _nothing(_name: str) -> None:
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
