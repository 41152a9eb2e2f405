"""Decoders of all wires: the same events however the bytes are cut, and nothing but HeadwaterError for any bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.chunks import Delta, Finish
from headwater_server.domain.errors import HeadwaterError
from headwater_server.providers.base import Decoder
from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.ollama import wire as ollama
from headwater_server.providers.wires.errors import response_error, stream_error
from tests.support.upstream.decoding import WIRES, Outcome, decode, wire_for
from tests.support.upstream.fixtures import Fixture, load_fixtures

STREAMS = [f for f in load_fixtures().values() if f.status == 200 and wire_for(f.endpoint) is not None]
SMALL = [f for f in STREAMS if len(f.body) < 100_000]

DECODERS: dict[str, Callable[[], Decoder]] = {
    "chat completions": lambda: WIRES["/v1/chat/completions"].decoder("text/event-stream"),
    "one completion": lambda: WIRES["/v1/chat/completions"].decoder("application/json"),
    "responses": lambda: WIRES["/v1/responses"].decoder("text/event-stream"),
    "messages": lambda: WIRES["/v1/messages"].decoder("text/event-stream"),
    "ollama": lambda: WIRES["/api/chat"].decoder("application/x-ndjson"),
    "chat completions with tokens": lambda: WIRES["/v1/chat/completions"].decoder("text/event-stream", logprobs=True),
    "responses with tokens": lambda: WIRES["/v1/responses"].decoder("text/event-stream", logprobs=True),
    "ollama with tokens": lambda: WIRES["/api/chat"].decoder("application/x-ndjson", logprobs=True),
}


def named(fixture: Fixture) -> str:
    return fixture.name


def run(fixture: Fixture, pieces: list[bytes]) -> tuple[object, ...]:
    wire = wire_for(fixture.endpoint)
    assert wire is not None
    outcome = decode(wire.decoder(fixture.content_type), pieces, close=fixture.ends_clean)
    return outcome.events, str(outcome.error)


def cut(body: bytes, positions: list[int]) -> list[bytes]:
    cuts = [0, *sorted(positions), len(body)]
    return [body[a:b] for a, b in pairwise(cuts)]


@pytest.mark.parametrize("fixture", SMALL, ids=named)
def test_byte_by_byte_gives_the_same_events(fixture: Fixture) -> None:
    body = fixture.body
    assert run(fixture, [body[i : i + 1] for i in range(len(body))]) == run(fixture, [body])


@pytest.mark.parametrize("fixture", STREAMS, ids=named)
@settings(max_examples=40)
@given(data=st.data())
def test_any_cut_gives_the_same_events(fixture: Fixture, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, len(fixture.body)), min_size=1, max_size=4))
    assert run(fixture, cut(fixture.body, positions)) == run(fixture, [fixture.body])


@pytest.mark.parametrize("name", ["openai-crlf-comments", "openai-utf8-split", "anthropic-crlf", "ollama-nel"])
def test_a_cut_at_each_single_byte_gives_the_same_events(name: str) -> None:
    fixture = load_fixtures()[name]
    whole = run(fixture, [fixture.body])
    assert all(run(fixture, cut(fixture.body, [position])) == whole for position in range(len(fixture.body)))


def check(outcome: Outcome) -> None:
    """Checks that any outcome has one Finish at most and last, no empty delta, nothing that is not UTF-8."""
    _ = outcome.finish
    for event in outcome.events:
        repr(event).encode()
        if isinstance(event, Finish):
            assert all(isinstance(value, dict) or 0 <= value < 2**63 for value in event.metadata.values())
        for text in texts(event):
            text.encode()
        if isinstance(event, Delta):
            assert (
                event.content
                or event.thinking
                or event.thinking_signature
                or event.redacted_thinking
                or (event.refusal or event.tool_calls or event.beside)
            )
    if outcome.error is not None:
        outcome.error.message.encode()
        assert len(outcome.error.message) <= 600


def texts(value: Any) -> list[str]:
    """All strings within an event."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in texts(item)]
    if fields := getattr(value, "__dataclass_fields__", None) or getattr(value, "__struct_fields__", None):
        return [text for name in fields for text in texts(getattr(value, name))]
    return []


@pytest.mark.parametrize("name", DECODERS)
@given(body=st.binary(max_size=200) | st.text(alphabet='{}[]":,\n\r dateurnl019.\\', max_size=200).map(str.encode))
def test_random_bytes_do_no_harm(name: str, body: bytes) -> None:
    check(decode(DECODERS[name](), [body]))
    check(decode(DECODERS[name](), [b"data: " + body + b"\n\n"]))


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_fixture_does_no_harm(data: st.DataObject) -> None:
    fixture = data.draw(st.sampled_from(SMALL))
    body = bytearray(fixture.body)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(body)))
        width = data.draw(st.integers(0, 20))
        body[at : at + width] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', rb"\ud83d", b"null", b"9" * 30])
        )
    wire = wire_for(fixture.endpoint)
    assert wire is not None
    check(decode(wire.decoder(fixture.content_type), cut(bytes(body), [len(body) // 2])))


KEYS = sorted(
    {
        "arguments", "call_id", "choices", "code", "completion_tokens", "content", "content_block", "content_index",
        "data", "delta", "done", "done_reason", "error", "eval_count", "finish_reason", "function", "id", "index",
        "input_tokens", "item", "item_id", "logprobs", "message", "name", "object", "output_index", "partial_json", "reasoning",
        "reasoning_content", "refusal", "response", "signature", "status", "stop_details", "stop_reason",
        "stop_sequence", "text", "thinking", "tool_calls", "total_duration", "type", "usage",
    }
)  # fmt: skip
WORDS = ["", "a", "\ud83d", "\ude00", "x\ud83d", "error", "tool_use", "text", "function_call", "text_delta", "stop"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.just(10**400)
    | st.integers(-3, 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
EVENTS = [
    "", "message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "error",
    "response.output_text.delta", "response.function_call_arguments.delta", "response.output_item.added",
    "response.output_item.done", "response.completed", "response.incomplete", "response.failed",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), VALUES), max_size=4), st.sampled_from(sorted(DECODERS)))
def test_json_of_any_shape_does_no_harm(events: list[tuple[str, Any]], name: str) -> None:
    if name.startswith("ollama"):
        body = "".join(json.dumps(value) + "\n" for _, value in events)
    elif name == "one completion":
        body = json.dumps(events[0][1] if events else {})
    else:
        body = "".join(f"event: {event}\ndata: {json.dumps(value)}\n\n" for event, value in events)
    check(decode(DECODERS[name](), [body.encode()]))


SPLIT_TEXT = st.lists(st.sampled_from(["a", "é", "😀", "\ud83d", "\ude00", "\ud83d\ud83d"]), max_size=8)


@given(SPLIT_TEXT, st.sampled_from(["content", "reasoning_content", "refusal"]))
def test_halves_over_deltas_are_joined_as_in_one_text(pieces: list[str], field: str) -> None:
    lines = [f"data: {json.dumps({'choices': [{'delta': {field: piece}}]})}\n\n" for piece in pieces]
    outcome = decode(DECODERS["chat completions"](), [line.encode() for line in lines])
    got = {"content": outcome.text, "reasoning_content": outcome.thinking, "refusal": outcome.refusal}[field]
    assert got == "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


PARSERS: dict[str, Callable[[bytes], object]] = {
    "ps": lambda body: ollama.parse_ps(body, "m"),
    "show": ollama.parse_show,
    "version": ollama.parse_version,
    "models": parse_models,
}
ANSWER_KEYS = ["models", "data", "id", "name", "size", "size_vram", "capabilities", "model_info", "version", "error",
               "message", "type", "code", "details", "error_code", "request_id", "general.architecture"]  # fmt: skip
ANSWERS = st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ANSWER_KEYS), inner, max_size=6),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("name", PARSERS)
@given(body=ANSWERS)
def test_any_answer_to_a_question_is_read_or_refused(name: str, body: bytes) -> None:
    try:
        for text in texts(PARSERS[name](body)):
            text.encode()
    except HeadwaterError as error:
        error.message.encode()


@given(
    ANSWERS,
    st.sampled_from([204, 302, 400, 404, 429, 500]),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date", "x-request-id"]), st.text(max_size=30)),
)
def test_any_body_of_an_error_is_an_error(body: bytes, status: int, headers: dict[str, str]) -> None:
    error = response_error(status, headers, body)
    error.message.encode()
    assert error.metadata["http_status"] == str(status)
    assert error.retry_after_seconds is None or 0 <= error.retry_after_seconds < 1e9


@given(VALUES)
def test_any_error_inside_a_stream_is_an_error(value: Any) -> None:
    stream_error(value).message.encode()
