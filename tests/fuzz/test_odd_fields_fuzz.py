"""Fields of other types and in another order: no crash, no INTERNAL, and no word lost that stood before the oddity.

Every fixture and every case of `field` is taken apart into its JSON texts; in one of them a value is replaced, or its
keys are put in another order. The texts before it must come out as they do alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.chunks import Finish
from headwater_server.domain.errors import Reason
from tests.support.upstream.decoding import Outcome, decode, wire_for
from tests.support.upstream.fixtures import Fixture, load_field, load_fixtures

LINE = re.compile(rb"(?m)^(data: ?)?(\{.*\})(\r?\n|\r|\Z)")
ODD = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 10**30, "", "0", "7", "null", "stop", "error", [], {}, [{}], [None], {"text": "x"}]
)


def streams() -> list[Fixture]:
    cases = [*load_fixtures().values(), *load_field().values()]
    return [
        case
        for case in cases
        if case.about.get("status") == 200
        and wire_for(str(case.about.get("endpoint"))) is not None
        and "content-encoding" not in case.headers
        and len(case.body) < 50_000
        and LINE.search(case.body)
    ]


STREAMS = streams()


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to each value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[str | int, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


def turned(value: Any) -> Any:
    """The value with the keys of all objects in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def run(case: Fixture, body: bytes, *, close: bool = True) -> Outcome:
    wire = wire_for(case.endpoint)
    assert wire is not None
    outcome = decode(wire.decoder(case.content_type), [body], close=close)
    assert outcome.error is None or outcome.error.reason is not Reason.INTERNAL
    return outcome


def said(outcome: Outcome) -> tuple[str, str, str]:
    return outcome.text, outcome.thinking, "".join(piece.arguments for piece in outcome.tool_call_pieces)


@settings(max_examples=400)
@given(data=st.data())
def test_an_odd_field_costs_nothing_that_came_before(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(STREAMS))
    lines = list(LINE.finditer(case.body))
    line = data.draw(st.sampled_from(lines))
    try:
        value = json.loads(line[2])
    except ValueError:
        return
    path = data.draw(st.sampled_from([*places(value)] or [()]))
    text = json.dumps(replaced(value, path, data.draw(ODD))).encode()
    before = case.body[: line.start()]
    outcome = run(case, before + (line[1] or b"") + text + line[3] + case.body[line.end() :])
    for whole, alone in zip(said(outcome), said(run(case, before, close=False)), strict=True):
        assert whole.startswith(alone)
    _ = outcome.finish


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_the_order_of_fields_does_not_matter(case: Fixture) -> None:
    def turn(line: re.Match[bytes]) -> bytes:
        try:
            return (line[1] or b"") + json.dumps(turned(json.loads(line[2]))).encode() + line[3]
        except ValueError:
            return line[0]

    there, here = run(case, case.body), run(case, LINE.sub(turn, case.body))
    assert here.text == there.text
    assert here.thinking == there.thinking
    assert [(c.id, c.name) for c in here.tool_calls] == [(c.id, c.name) for c in there.tool_calls]
    assert [type(event) for event in here.events] == [type(event) for event in there.events]
    assert getattr(here.finish, "reason", None) == getattr(there.finish, "reason", None)
    assert isinstance(here.finish, Finish | None)


BOOKKEEPING = frozenset(
    {
        "id", "created", "created_at", "model", "system_fingerprint", "service_tier", "logprobs", "role", "usage",
        "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "sequence_number",
        "prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details",
        "total_duration", "load_duration", "eval_count", "eval_duration", "prompt_eval_count", "obfuscation",
        "cache_read_input_tokens", "cache_creation_input_tokens", "annotations", "stop_sequence", "x_groq", "native",
    }
)  # fmt: skip
IN_ORDER = [case for case in STREAMS if case.expected.get("error") is None]


@settings(max_examples=150)
@given(data=st.data())
def test_an_odd_field_of_bookkeeping_costs_nothing(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(IN_ORDER))

    def with_odd_fields(line: re.Match[bytes]) -> bytes:
        try:
            value = json.loads(line[2])
        except ValueError:
            return line[0]
        known = [path for path in places(value) if path[-1] in BOOKKEEPING and "input" not in path]
        for path in known:
            if len(path) == 1 or path[-2] in ("usage", "response", "message", "delta"):
                value = replaced(value, path, data.draw(ODD)) if has(value, path) else value
        return (line[1] or b"") + json.dumps(value).encode() + line[3]

    there, here = run(case, case.body), run(case, LINE.sub(with_odd_fields, case.body))
    assert said(here) == said(there)
    assert [call.name for call in here.tool_calls] == [call.name for call in there.tool_calls]
    assert getattr(here.finish, "reason", None) == getattr(there.finish, "reason", None)


def has(value: Any, path: tuple[str | int, ...]) -> bool:
    """Whether the way is still there: an object on it may have been replaced."""
    for key in path:
        if not isinstance(value, dict | list) or (isinstance(value, dict) and key not in value):
            return False
        if isinstance(value, list) and not (isinstance(key, int) and key < len(value)):
            return False
        value = value[key]  # type: ignore[index]
    return True
