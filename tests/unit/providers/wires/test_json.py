"""JSON text into typed structs."""

from __future__ import annotations

import msgspec
import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.json import JSONShape


class Line(msgspec.Struct):
    text: str = ""
    count: int | None = None


LINE = JSONShape(Line, "a line of an example")


def test_only_the_declared_fields_are_read() -> None:
    assert LINE.decode(b'{"text": "caf\xc3\xa9", "other": [{}]}') == Line("café")


def test_a_lone_surrogate_is_kept_for_the_joiner() -> None:
    assert LINE.decode(rb'{"text": "a\ud83d", "count": 2}') == Line("a\ud83d", 2)


def test_a_lone_surrogate_in_an_unknown_field_does_no_harm() -> None:
    assert LINE.decode(rb'{"x": "\uDE00", "text": "a"}') == Line("a")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        rb'{"text": "\ud83d"',
        b"[" * 100_000,
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"text": "\\ud83d", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_anything_else_is_a_headwater_error(data: bytes) -> None:
    with pytest.raises(HeadwaterError) as caught:
        LINE.decode(data)
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
    assert caught.value.message.startswith("The provider sent something that is not a line of an example: ")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'{"text": 1}', Line("1")),
        (b'{"text": null, "count": 2}', Line(count=2)),
        (b'{"text": ["a", "b"], "count": "2"}', Line(count=2)),
        (b'{"text": ["a"]}', Line("a")),
        (b'{"text": "a\xff"}', Line("a\ufffd")),
        (b'{"text": "a\tb"}', Line("a\tb")),
        (b'\xef\xbb\xbf{"text": "a"}', Line("a")),
        (rb'{"text": "\ud83d", "count": "many"}', Line("\ud83d")),
        (rb'{"text": "\ud83d", "count": NaN}', Line("\ud83d")),
        (b'{"text": "a", "count": {}, "x": ' + b"9" * 5000 + b"}", Line("a")),
    ],
)
def test_a_field_of_another_type_costs_nothing_but_itself(data: bytes, line: Line) -> None:
    assert LINE.decode(data) == line


def test_an_error_quotes_nothing_of_the_reply() -> None:
    for data in (b'{"text": "secret" secret', b'["secret"]', rb'{"text": "secret\ud83d" secret'):
        with pytest.raises(HeadwaterError) as caught:
            LINE.decode(data)
        assert "secret" not in caught.value.message
        assert caught.value.__context__ is None
