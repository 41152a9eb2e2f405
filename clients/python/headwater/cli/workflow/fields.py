"""The values that the scalar fields of a message take, and their names in errors."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import yaml
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

TAG = "tag:yaml.org,2002:"
"""Before the names of YAML's own types."""

DURATION = re.compile(r"\d{1,12}(\.\d{1,9})?s")
"""A Duration in protobuf's JSON, from 0."""

READ_AS = {"bool": "a truth value", "int": "a number", "float": "a number", "timestamp": "a date", "null": "nothing"}
_INTS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def unknown(key: str, descriptor: Any) -> str:
    """The advice for a name that is no field of a message."""
    names = [field.name for field in descriptor.fields]
    within = [field.name for field in descriptor.fields if key in _fields_inside(field)]
    close = get_close_matches(key, names, n=1)
    if within:
        cure = f"write it inside `{within[0]}`"
    else:
        cure = f"did you mean `{close[0]}`?" if close else f"its fields are {', '.join(names)}"
    return f"is no field of {descriptor.name}; {cure}"


def _fields_inside(field: FieldDescriptor) -> Collection[str]:
    """The fields of the contract's message that a field has; those of protobuf's types are not written."""
    inside = field.message_type
    return inside.fields_by_name if inside and inside.file.package != "google.protobuf" else ()


def wanted(field: FieldDescriptor) -> str:
    """The values that a scalar field takes, in words."""
    if field.enum_type is not None:
        prefix, values = _prefix(field.enum_type), field.enum_type.values
        return f"one of {', '.join(value.name.removeprefix(prefix).lower() for value in values if value.number)}"
    if field.cpp_type in _INTS:
        low, high = _INTS[field.cpp_type]
        return f"a whole number from {low:,} to {high:,}"
    if field.cpp_type in _FLOATS:
        return "a number"
    return "true or false" if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else "text"


def enum_name(text: str, field: FieldDescriptor) -> str:
    """The contract's name of a value of an enum that is written without its prefix, as `none_failed`; else the text."""
    if field.enum_type is None or not text.islower():
        return text
    name = f"{_prefix(field.enum_type)}{text.upper()}"
    return name if name in field.enum_type.values_by_name else text


def _prefix(enum: EnumDescriptor) -> str:
    """The part that the names of an enum's values share; its zero value is always UNSPECIFIED."""
    name: str = enum.values_by_number[0].name
    return name.removesuffix("UNSPECIFIED")


def fits(value: Any, field: FieldDescriptor) -> bool:
    """Whether a scalar field takes a value."""
    kind = field.cpp_type
    if field.enum_type is not None:
        return value in field.enum_type.values_by_name if isinstance(value, str) else type(value) is int
    if kind in _INTS:
        low, high = _INTS[kind]
        whole = type(value) is int or (isinstance(value, float) and value.is_integer())
        return whole and low <= value <= high
    if kind in _FLOATS:
        return type(value) in (int, float)
    return isinstance(value, bool if kind == FieldDescriptor.CPPTYPE_BOOL else str)


def misfit(node: yaml.ScalarNode, field: FieldDescriptor) -> str:
    """The fault of a value that the field does not take."""
    what = wanted(field)
    if what != "text":
        return f"must be {what}, not `{node.value[:40]}`"
    read_as = READ_AS[node.tag.removeprefix(TAG)]
    return f"must be text; YAML reads `{node.value[:40]}` as {read_as}, so put it in quotes"
