"""Counts the elements of a message in its bytes, before protobuf makes objects of them.

Two bytes are enough for an empty message in a list, and the object is a hundred times as large. So the count has to
come first. An element is one occurrence of a field, at any level: a value, an entry of a list or of a map.

    prompt: "hi"                          1 element
    messages: [{content: "a"}, {}]        3 elements: two messages, one text

The bytes of a text are not looked at, so a long prompt costs no more than a short one.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # the types of the wire; 3 and 4 are of groups, which proto3 lacks

Fields = dict[int, tuple[str, "Fields"]]
"""The fields of a message that are messages themselves, by their tag: the name, and their own such fields."""

_known: dict[str, Fields] = {}


class UnreadableError(Exception):
    """The bytes are no message."""


class TooManyElementsError(Exception):
    """There are more elements than allowed; `path` names the field that was reached, without indexes."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def fields_of(message: Descriptor) -> Fields:
    """Returns what `count_elements` needs to know of a message."""
    fields = _known.get(message.full_name)
    if fields is None:
        fields = _known[message.full_name] = {}  # before its fields: a message may contain itself
        for field in message.fields:
            if field.message_type is not None:
                fields[field.number << 3 | _LENGTH] = (field.name, fields_of(field.message_type))
    return fields


def count_elements(raw: bytes, fields: Fields, most: int) -> int:
    """Returns how many elements the message has. Raises TooManyElementsError past `most`, and UnreadableError.

    It holds the event loop for about a millisecond for 3,000 elements, whatever the length of their texts.
    """
    position, end, count = 0, len(raw), 0
    outer: list[tuple[int, Fields, str]] = []
    try:
        while True:
            if position >= end:
                if position > end:
                    raise UnreadableError
                if not outer:
                    return count
                end, fields, _ = outer.pop()
                continue
            count += 1
            if count > most:
                raise TooManyElementsError(_path(raw, position, fields, outer))
            tag = raw[position]
            position += 1
            if tag > 127:
                tag, position = _long_varint(raw, position, tag)
            kind = tag & 7
            if kind == _LENGTH:
                size = raw[position]
                position += 1
                if size > 127:
                    size, position = _long_varint(raw, position, size)
                inner = fields.get(tag)
                if inner is None:
                    position += size
                else:
                    outer.append((end, fields, inner[0]))
                    end, fields = position + size, inner[1]
            elif kind == _VARINT:
                while raw[position] > 127:
                    position += 1
                position += 1
            elif kind == _FIXED64:
                position += 8
            elif kind == _FIXED32:
                position += 4
            else:
                raise UnreadableError
    except IndexError:
        raise UnreadableError from None


def largest_field(raw: bytes, message: Descriptor, looked_at: int = 1000) -> str:
    """Returns the name of the field with most bytes among the first so many of a message; "" for an unknown field."""
    sizes: dict[int, int] = {}
    position = 0
    try:
        while position < len(raw) and looked_at:
            began, looked_at = position, looked_at - 1
            tag, position = _varint(raw, position)
            if tag & 7 == _LENGTH:
                size, position = _varint(raw, position)
                position += size
            elif tag & 7 == _VARINT:
                _, position = _varint(raw, position)
            else:
                position += 8 if tag & 7 == _FIXED64 else 4
            sizes[tag >> 3] = sizes.get(tag >> 3, 0) + position - began
    except IndexError:
        pass  # the bytes end too early; those before name the field
    field = message.fields_by_number.get(max(sizes, key=sizes.__getitem__, default=0))
    return field.name if field else ""


def _path(raw: bytes, position: int, fields: Fields, outer: list[tuple[int, Fields, str]]) -> str:
    names = [name for _, _, name in outer]
    if found := fields.get(_varint(raw, position)[0]):
        names.append(found[0])
    return ".".join(names)


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    first = raw[position]
    return (first, position + 1) if first < 128 else _long_varint(raw, position + 1, first)


def _long_varint(raw: bytes, position: int, first: int) -> tuple[int, int]:
    """Reads a number of several bytes, whose first byte was read. Returns it and the position behind it."""
    value, shift = first & 127, 7
    while (byte := raw[position]) > 127:
        if shift > 63:
            raise UnreadableError
        value |= (byte & 127) << shift
        shift += 7
        position += 1
    return value | byte << shift, position + 1
