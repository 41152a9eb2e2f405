"""Python values as JSON and back: each row of the table in docs/values.md, alone, nested and as a key."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import pathlib
import types
import uuid
from collections import OrderedDict, namedtuple
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from headwater._values.json_values import NotJsonError, checked_json, exact_json, json_text
from headwater.exceptions import ValidationError
from headwater.workflow import from_json


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass(frozen=True)
class Point:
    x: Decimal
    raw: bytes = b""


class Line(pydantic.BaseModel):
    item: uuid.UUID
    day: dt.date = pydantic.Field(alias="theDay")


class Order(pydantic.BaseModel):
    lines: list[Line]
    point: Point


Pair = namedtuple("Pair", "left right")

ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
ZONE = dt.timezone(dt.timedelta(hours=2))
POINT = Point(Decimal("1.10"), b"\xff\xfe?>")
ORDER = Order(lines=[Line(item=ID, theDay=dt.date(2026, 2, 3))], point=Point(Decimal(1), b"a"))

ROUND_TRIPS = [
    (dt.datetime(2026, 2, 3, 4, 5, 6, 7, ZONE), dt.datetime, "2026-02-03T04:05:06.000007+02:00"),
    (dt.datetime(2026, 2, 3), dt.datetime, "2026-02-03T00:00:00"),
    (dt.date(2026, 2, 3), dt.date, "2026-02-03"),
    (dt.time(4, 5, tzinfo=ZONE), dt.time, "04:05:00+02:00"),
    (dt.timedelta(days=2, seconds=3, microseconds=40), dt.timedelta, "P2DT3.00004S"),
    (dt.timedelta(microseconds=-1), dt.timedelta, "-PT0.000001S"),
    (dt.timedelta(days=-3), dt.timedelta, "-P3D"),
    (dt.timedelta(), dt.timedelta, "PT0S"),
    (ID, uuid.UUID, str(ID)),
    (Decimal("1E+30"), Decimal, "1E+30"),
    (Colour.RED, Colour, "red"),
    (Level.HIGH, Level, 3),
    ((1, "a"), tuple[int, str], [1, "a"]),
    (Pair(1, 2), Pair, [1, 2]),
    ({3, 1, 2}, set[int], [1, 2, 3]),
    (frozenset({ID}), frozenset[uuid.UUID], [str(ID)]),
    (b"\xff\xfe?>", bytes, "//4/Pg=="),
    (pathlib.PurePosixPath("a/b"), pathlib.PurePosixPath, "a/b"),
    (POINT, Point, {"x": "1.10", "raw": "//4/Pg=="}),
    (ORDER, Order, {"lines": [{"item": str(ID), "theDay": "2026-02-03"}], "point": {"x": "1", "raw": "a"}}),
    ({ID: {Decimal("0.5"): Colour.RED}}, dict[uuid.UUID, dict[Decimal, Colour]], {str(ID): {"0.5": "red"}}),
    ({Colour.RED: [POINT]}, dict[Colour, list[Point]], {"red": [{"x": "1.10", "raw": "//4/Pg=="}]}),
]


@pytest.mark.parametrize(("value", "kind", "written"), ROUND_TRIPS)
def test_a_value_goes_out_as_json_and_comes_back_as_its_type(value: Any, kind: Any, written: Any) -> None:
    found = json.loads(exact_json("v", value))
    assert found == written
    assert from_json(found, kind) == value
    assert json.loads(exact_json("v", {"deep": [(value,)]})) == {"deep": [[written]]}
    assert json.loads(json_text("v", {"deep": [(value,)]})) == {"deep": [[written]]}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (OrderedDict(b=1, a=2), '{"b": 1, "a": 2}'),
        (types.MappingProxyType({"a": 1}), '{"a": 1}'),
        ({"k": 1}.keys(), '["k"]'),
        (bytearray(b"a"), '"YQ=="'),
        (memoryview(b"a"), '"YQ=="'),
        ({(1, 2), (0, 3)}, "[[0, 3], [1, 2]]"),
        (type("Text", (str,), {})("a"), '"a"'),
        (type("Number", (float,), {})(1), "1.0"),
        (pydantic.RootModel[list[int]]([1]), "[1]"),
    ],
)
def test_subclasses_and_views_are_written_as_what_they_are(value: Any, written: str) -> None:
    assert exact_json("v", value) == written


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [Point(Decimal(1), 1j)]}, 'v["a"][0]["raw"] is a value of type complex, which does not convert'),  # type: ignore[arg-type]
        ({"a": Point}, 'v["a"] is a value of type type'),
        ({(1, 2): 1}, "v has the key (1, 2), a value of type tuple"),
        ({Level.HIGH: 1}, "a value of type Level; write a str"),
        ({10**5000: 1}, "v has the key that is a long number, a value of type int; write a str"),
        ({ID: 1, str(ID): 2}, "twice"),
        (Decimal("inf"), "v is Infinity"),
        (pydantic.RootModel[bytes](b"\xff"), "ser_json_bytes"),
        (iter([]), "v is a value of type list_iterator"),
    ],
)
def test_a_value_that_does_not_convert_is_named_by_its_place_and_type(value: Any, said: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        exact_json("v", value)
    assert said in str(caught.value)
    with pytest.raises(ValidationError) as refused:
        checked_json("v", value)
    assert said in str(refused.value)


def test_a_value_that_is_not_of_the_type_is_refused_by_the_path_to_the_mistake() -> None:
    with pytest.raises(ValidationError) as caught:
        from_json({"x": "one"}, Point)
    assert str(caught.value).startswith("value: is no Point: x: ")
