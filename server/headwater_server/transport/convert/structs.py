"""Between google.protobuf.Struct and JSON values of Python.

A Struct knows only floating-point numbers and no order of keys. Numbers without a fraction, up to 2^53, become
integers again, and keys are sorted, so that the same options always make the same request body.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

MAX_EXACT = 2**53


def struct_to_dict(struct: Struct) -> dict[str, Any]:
    """The Struct as a dict, keys sorted. Raises ValueError for a value that JSON does not have."""
    return {key: _from_value(struct.fields[key]) for key in sorted(struct.fields)}


def _from_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise ValueError("holds a number that JSON does not have")
        return int(number) if number.is_integer() and abs(number) <= MAX_EXACT else number
    if kind == "null_value" or kind is None:
        return None
    return getattr(value, kind)


def dict_to_struct(values: Mapping[str, Any]) -> Struct:
    """The JSON values as a Struct."""
    struct = Struct()
    struct.update(values)
    return struct
