"""JSON text of a provider into typed structs that hold only the fields that are needed.

msgspec decodes straight into the struct and skips the rest, but refuses lone surrogates (`"\\ud83d"` in one delta,
`"\\ude00"` in the next), which real servers send. Such a text, and no other, is parsed again by the standard library;
the result may then hold surrogates, and `surrogates` handles them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.surrogates import without_surrogates

T = TypeVar("T")

_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class JSONShape(Generic[T]):
    """Decodes texts of one shape; `what` names it in errors ("a chat completion chunk")."""

    def __init__(self, shape: type[T], what: str) -> None:
        self._shape = shape
        self._what = what
        self._decoder = msgspec.json.Decoder(shape)

    def decode(self, data: bytes) -> T:
        """The struct, which may hold surrogates.

        Raises HeadwaterError, which quotes nothing of the text, for anything of another shape.
        """
        try:
            return self._decoder.decode(data)
        except _REFUSALS:
            pass  # decoded once more to tell why; the common case is to cost no further call
        return self._decode(data, _unchanged)

    def decode_answer(self, data: bytes) -> T:
        """As `decode`, for a text that stands alone: U+FFFD for lone surrogates."""
        return self._decode(data, without_surrogates)

    def _decode(self, data: bytes, clean: Callable[[Any], Any]) -> T:
        # Raised outside the handlers: the exceptions of the parsers hold the text itself, which must not reach a log.
        malformed = False
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            fault = str(error)
        except msgspec.DecodeError as error:
            fault = str(error)
            malformed = True
        except UnicodeDecodeError as error:
            fault = f"it is not UTF-8 ({error.reason} at byte {error.start})"
        except RecursionError:
            fault = "it is nested too deeply"
        if malformed and _SURROGATE_ESCAPE.search(data):
            return self._decode_surrogates(data, clean)
        raise self._error(fault)

    def _decode_surrogates(self, data: bytes, clean: Callable[[Any], Any]) -> T:
        try:
            return msgspec.convert(clean(parse_json(data)), self._shape)
        except RecursionError:
            fault = "it is nested too deeply"
        except UnicodeDecodeError as error:
            fault = f"it is not UTF-8 ({error.reason} at byte {error.start})"
        except json.JSONDecodeError as error:
            fault = f"{error.msg} (character {error.pos})"
        except ValueError as error:  # msgspec.ValidationError, and an integer of too many digits
            fault = str(error)
        raise self._error(fault)

    def _error(self, fault: str) -> HeadwaterError:
        message = f"The provider sent something that is not {self._what}: {fault}"
        return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)


def parse_json(data: bytes | str) -> Any:
    """Any JSON value, by the standard library. Raises ValueError (also for NaN) or RecursionError for other text."""
    return json.loads(data, parse_constant=_refuse_constant)


def _unchanged(value: Any) -> Any:
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
