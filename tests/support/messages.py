"""Any message of the contract, for property tests: every field may be missing, extreme or senseless."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

DEPTH = 3
TEXT = st.one_of(
    st.text(max_size=10),
    st.sampled_from(["{}", "[", "null", '{"a": 1}', "1e999", "NaN", "[" * 300, "9" * 5_000, "\x00", "h", "t"]),
)
_INT32 = st.one_of(st.integers(-3, 3), st.sampled_from([2**31 - 1, -(2**31), 2**31 - 2]))
_INT64 = st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63), 2**62]))
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_ENUM: _INT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


@st.composite
def messages(draw: st.DrawFn, kind: type[M]) -> M:
    """A message of this kind."""
    made = kind()
    _fill(draw, made, DEPTH)
    return made


def _fill(draw: st.DrawFn, message: Message, depth: int) -> None:
    fields = [field for field in message.DESCRIPTOR.fields if depth or field.message_type is None]
    if not fields:
        return
    for field in draw(st.lists(st.sampled_from(fields), max_size=6, unique_by=lambda field: field.name)):
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(draw, getattr(message, field.name), field.message_type, depth)
        elif field.is_repeated:
            for _ in range(draw(st.integers(0, 3))):
                if field.message_type is None:
                    getattr(message, field.name).append(draw(_scalar(field)))
                else:
                    _fill(draw, getattr(message, field.name).add(), depth - 1)
        elif field.message_type is None:
            setattr(message, field.name, draw(_scalar(field)))
        else:
            getattr(message, field.name).SetInParent()
            _fill(draw, getattr(message, field.name), depth - 1)


def _fill_map(draw: st.DrawFn, entries: Any, entry: Descriptor, depth: int) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for _ in range(draw(st.integers(0, 2))):
        if value.message_type is None:
            entries[draw(_scalar(key))] = draw(_scalar(value))
        else:
            _fill(draw, entries[draw(_scalar(key))], depth - 1)


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.binary(max_size=10) if field.type == FieldDescriptor.TYPE_BYTES else TEXT
    return _SCALARS[field.cpp_type]
