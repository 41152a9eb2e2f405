"""Tool calls as the servers of Chat Completions send them, whatever they do with index, id and name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.upstream.decoding import WIRES, decode

LONDON, QUITO = '{"city": "London"}', '{"city": "Quito"}'


def calls(*pieces: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls that these pieces make, each piece in a chunk."""
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    outcome = decode(WIRES["/v1/chat/completions"].decoder("text/event-stream"), [body.encode()])
    assert outcome.error is None
    return [(call.id, call.name, call.arguments) for call in outcome.tool_calls]


def piece(name: str | None = None, arguments: Any = None, **rest: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"function": function, **rest}


ONE = [("a", "f", LONDON)]
TWO = [("a", "f", LONDON), ("b", "g", QUITO)]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([piece("f", "", index=0, id="a"), piece(arguments=LONDON, index=0)], id="as OpenAI"),
        pytest.param([piece("f", LONDON, index=0, id="a")], id="whole"),
        pytest.param([piece("f", {"city": "London"}, index=0, id="a")], id="arguments as an object"),
        pytest.param([piece("f", LONDON, index="0", id="a")], id="index as text"),
        pytest.param([piece("f", LONDON, id="a")], id="no index"),
        pytest.param([piece("f", "", id="a"), piece(arguments=LONDON)], id="no index, arguments apart"),
        pytest.param([piece("f", "", index=None, id="a"), piece(arguments=LONDON, index=None)], id="index null"),
        pytest.param([{"index": 0, "id": "a", "name": "f", "arguments": LONDON}], id="without function"),
        pytest.param(
            [piece("f", "", index=0, id="a"), piece("f", LONDON[:5], index=0), piece("f", LONDON[5:], index=0)],
            id="name with every piece",
        ),
        pytest.param(
            [
                piece("f", "", index=0, id="a"),
                piece(arguments=LONDON[:5], index=0, id="x1"),
                piece(arguments=LONDON[5:], index=0, id="x2"),
            ],
            id="another id with every piece",
        ),
        pytest.param(
            [
                piece("f", "", index=0, id="a"),
                piece("f", LONDON[:5], index=0, id="x1"),
                piece("f", LONDON[5:], index=0, id="x2"),
            ],
            id="another id and the name with every piece",
        ),
        pytest.param(
            [
                piece("f", "", index=0, id="a"),
                piece(arguments=LONDON[:5], index=1),
                piece(arguments=LONDON[5:], index=2),
            ],
            id="index counts pieces",
        ),
        pytest.param([piece("f", "{}", index=0, id="a"), piece(arguments=LONDON, index=0)], id="placeholder"),
        pytest.param(
            [
                piece("f", LONDON[:5], index=0, id="a"),
                piece(arguments=LONDON[:9], index=0),
                piece(arguments=LONDON, index=0),
            ],
            id="arguments so far with every piece",
        ),
        pytest.param([piece("f", LONDON, index=0, id="a"), piece("f", LONDON, index=0, id="a")], id="repeated whole"),
        pytest.param(
            [piece("f", LONDON, index=0, id="a"), piece("f", LONDON, index=1, id="a")], id="repeated elsewhere"
        ),
        pytest.param([piece("f", LONDON, index=0, id="a"), piece("f", "", index=0, id="a")], id="name repeated last"),
        pytest.param([piece(arguments=LONDON, index=0), piece("f", index=0, id="a")], id="name last"),
    ],
)
def test_one_call(pieces: list[dict[str, Any]]) -> None:
    assert calls(*pieces) == ONE


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([piece("f", LONDON, index=0, id="a"), piece("g", QUITO, index=1, id="b")], id="as OpenAI"),
        pytest.param([piece("f", LONDON, index=0, id="a"), piece("g", QUITO, index=0, id="b")], id="all with index 0"),
        pytest.param([piece("f", LONDON, id="a"), piece("g", QUITO, id="b")], id="by id"),
        pytest.param(
            [
                piece("f", "", index=0, id="a"),
                piece(arguments=LONDON, index=0),
                piece("g", "", index=0, id="b"),
                piece(arguments=QUITO, index=0),
            ],
            id="all with index 0, arguments apart",
        ),
        pytest.param(
            [
                piece("f", "", index=0, id="a"),
                piece("g", "", index=1, id="b"),
                piece(arguments=QUITO, index=1),
                piece(arguments=LONDON, index=0),
            ],
            id="interleaved",
        ),
        pytest.param(
            [piece("f", "", index=3, id="a"), piece(arguments=LONDON, index=3), piece("g", QUITO, index=7, id="b")],
            id="index with gaps",
        ),
    ],
)
def test_two_calls(pieces: list[dict[str, Any]]) -> None:
    assert calls(*pieces) == TWO


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(
            [piece("f", LONDON, index=0, id=""), piece("f", QUITO, index=0, id="")],
            [("", "f", LONDON), ("", "f", QUITO)],
            id="Gemini: the same tool twice",
        ),
        pytest.param(
            [
                piece("f", "", index=0),
                piece(arguments=LONDON, index=0),
                piece("f", "", index=0),
                piece(arguments=QUITO, index=0),
            ],
            [("", "f", LONDON), ("", "f", QUITO)],
            id="the same tool twice, arguments apart",
        ),
        pytest.param(
            [piece("f", "", index=0, id="a"), piece("f", "", index=0, id="b")],
            [("a", "f", "{}"), ("b", "f", "{}")],
            id="the same tool twice without arguments",
        ),
        pytest.param(
            [piece("f", "{}", index=0), piece("g", QUITO, index=0)],
            [("", "f", "{}"), ("", "g", QUITO)],
            id="the first without arguments",
        ),
        pytest.param(
            [piece("f", LONDON, index=0, id="a"), piece("g", QUITO, index=1, id="a")],
            [("a", "f", LONDON), ("a", "g", QUITO)],
            id="one id for all",
        ),
        pytest.param(
            [piece("f", LONDON), piece("g", QUITO)],
            [("", "f", LONDON), ("", "g", QUITO)],
            id="neither index nor id",
        ),
    ],
)
def test_calls_that_look_alike(pieces: list[dict[str, Any]], expected: list[tuple[str, str, str]]) -> None:
    assert calls(*pieces) == expected


@pytest.mark.parametrize("names", [("get_", "weather"), ("get_", "get_weather")], ids=["fragments", "longer each time"])
def test_a_name_in_pieces(names: tuple[str, str]) -> None:
    pieces = [piece(name, index=0, id="a") for name in names]
    body = [{"choices": [{"delta": {"tool_calls": [each]}}]} for each in [*pieces, piece(arguments=LONDON, index=0)]]
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in body)
    outcome = decode(WIRES["/v1/chat/completions"].decoder(""), [text.encode()])
    assert [(c.id, c.name, c.arguments) for c in outcome.tool_calls] == [("a", "get_weather", LONDON)]


def test_arguments_that_are_no_json_are_reported_as_they_came() -> None:
    assert calls(piece("f", '{"city": "Lon', index=0, id="a")) == [("a", "f", '{"city": "Lon')]
