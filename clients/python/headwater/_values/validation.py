"""Checks of arguments: each returns the value as the contract wants it, or raises ValidationError naming the field."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

from headwater.exceptions import ValidationError

MAX_HEADER = 32 * 1024
_INT32 = 2**31
_WHOLE = 2**53
_LONGEST_SECONDS = 1e8  # about three years; far larger values overflow gRPC's clock
# Each level of a Struct is three protobuf messages deep, and parsers give up at 100.
_DEEPEST = 30


def invalid(field: str, description: str) -> ValidationError:
    """The error for one bad argument."""
    return ValidationError(f"{field}: {description}", [(field, description)])


def text(field: str, value: Any) -> str:
    """A string that can be encoded."""
    if not isinstance(value, str):
        raise invalid(field, f"must be a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(field, f"has half of a surrogate pair at {error.start}, which is not text; drop it") from None
    return value


def flag(field: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise invalid(field, f"must be True or False, not {type(value).__name__}")
    return value


def finite(field: str, value: Any) -> float:
    """A number that is neither infinite nor NaN."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise invalid(field, f"must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise invalid(field, "must be a finite number")
    return number


def int32(field: str, value: Any) -> int:
    """A whole number that fits into 32 bits."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise invalid(field, f"must be an int, not {type(value).__name__}")
    number = int(value)
    if not -_INT32 <= number < _INT32:
        raise invalid(field, "must be from -2147483648 to 2147483647")
    return number


def seconds(field: str, value: Any) -> float:
    """A duration above zero."""
    number = finite(field, value)
    if not 0 < number <= _LONGEST_SECONDS:
        raise invalid(field, "must be above 0 seconds and at most 100,000,000")
    return number


def header(field: str, value: Any) -> str:
    """A string that an HTTP header can carry. The error does not repeat it: it is a secret."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or value != value.strip():
        raise invalid(field, "must be a str of printable ASCII characters, with no space or line break around it")
    if len(value) > MAX_HEADER:
        raise invalid(
            field, f"must be at most {MAX_HEADER:,} characters, not {len(value):,}: a server takes no longer one"
        )
    return value


def struct(field: str, value: Any) -> Struct:
    """A mapping of JSON values as Struct."""
    if not isinstance(value, Mapping):
        raise invalid(field, f"must be a dict of JSON values, not {type(value).__name__}")
    return _struct(field, value, 1)


def _struct(field: str, value: Mapping[Any, Any], depth: int) -> Struct:
    if depth > _DEEPEST:
        raise invalid(field, f"is nested more than {_DEEPEST} levels deep")
    result = Struct()
    for key, item in value.items():
        result.fields[text(f"{field} (a key)", key)].CopyFrom(json_value(f"{field}.{key}", item, depth))
    return result


def json_value(field: str, value: Any, depth: int = 1) -> Value:
    """A JSON value as protobuf Value."""
    if value is None:
        return Value(null_value=NullValue.NULL_VALUE)
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, str):
        return Value(string_value=text(field, value))
    if isinstance(value, numbers.Real):
        number = finite(field, value)
        if isinstance(value, numbers.Integral) and abs(int(value)) > _WHOLE:
            raise invalid(field, "must be within ±2^53: a larger number loses digits; send it as a str")
        return Value(number_value=number)
    if isinstance(value, Mapping):
        return Value(struct_value=_struct(field, value, depth + 1))
    if isinstance(value, list | tuple):
        if depth >= _DEEPEST:
            raise invalid(field, f"is nested more than {_DEEPEST} levels deep")
        items = [json_value(f"{field}[{index}]", item, depth + 1) for index, item in enumerate(value)]
        return Value(list_value=ListValue(values=items))
    raise invalid(field, f"must be a JSON value, not {type(value).__name__}")
