"""Builds a struct from a JSON object of which fields have other types than declared.

A field takes a value whose meaning is plain: a number written as text, the one object of a list where an object is
declared, one object where a list is. Everything else gives way to the field's default: null, a list for an object, a
word for a number. So an odd field costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

_ABSENT = object()
"""The value makes no sense here; the field's default stands."""


class Plan:
    """The way to build one type of struct, every field of which has a default."""

    def __init__(self, struct: type[Any]) -> None:
        kind = inspect.type_info(struct)
        if not isinstance(kind, inspect.StructType):
            raise TypeError(f"{struct} is no struct")
        self._read = _struct(kind)

    def build(self, value: dict[str, Any]) -> Any:
        """The struct of an object."""
        return self._read(value)


_Reader = Callable[[Any], Any]


def _reader(kind: inspect.Type) -> _Reader:
    match kind:
        case inspect.StructType():
            return _struct(kind)
        case inspect.UnionType():
            return _first([_reader(each) for each in kind.types if not isinstance(each, inspect.NoneType)])
        case inspect.ListType():
            return _list(_reader(kind.item_type))
        case inspect.StrType():
            return _text
        case inspect.IntType() | inspect.FloatType():
            return _number
        case inspect.BoolType():
            return _boolean
        case inspect.DictType():
            return lambda value: value if isinstance(value, dict) else _ABSENT
        case _:
            return lambda value: value


def _struct(kind: inspect.StructType) -> _Reader:
    fields = [(field.encode_name, field.name, _reader(field.type)) for field in kind.fields]

    def read(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            return _ABSENT
        found = {name: read(value[key]) for key, name, read in fields if value.get(key) is not None}
        return kind.cls(**{name: each for name, each in found.items() if each is not _ABSENT})

    return read


def _first(readers: list[_Reader]) -> _Reader:
    def read(value: Any) -> Any:
        return next((found for reader in readers if (found := reader(value)) is not _ABSENT), _ABSENT)

    return read


def _list(item: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        values = value if isinstance(value, list) else [value] if isinstance(value, dict) else []
        return [found for each in values if (found := item(each)) is not _ABSENT and found is not None]

    return read


def _text(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _ABSENT


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return _ABSENT
    if isinstance(value, int | float):
        return value
    try:
        return msgspec.convert(value, float, strict=False) if isinstance(value, str) else _ABSENT
    except ValueError:
        return _ABSENT


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else value
    known = {"true": True, "false": False, 1: True, 0: False}
    return known.get(word, _ABSENT) if isinstance(word, str | int) else _ABSENT
