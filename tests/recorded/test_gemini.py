"""Every answer of `gemini` through the decoder, however it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.chunks import Delta, Finish, FinishReason
from headwater_server.domain.errors import HeadwaterError
from headwater_server.providers.gemini.wire import GeminiWire
from tests.support.upstream.decoding import Outcome, decode
from tests.support.upstream.fixtures import Fixture, load_gemini

FIXTURES = load_gemini()
STREAMS = [fixture for fixture in FIXTURES.values() if fixture.status == 200]
ERRORS = [fixture for fixture in FIXTURES.values() if fixture.status != 200]
REASONS = {
    "STOP": FinishReason.STOP,
    "stop": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.OTHER,
}


def named(fixture: Fixture) -> str:
    return fixture.name


def read(fixture: Fixture, pieces: list[bytes]) -> Outcome:
    return decode(GeminiWire().decoder(fixture.content_type), pieces)


def check_error(expected: dict[str, object], error: HeadwaterError | None) -> None:
    assert error is not None
    assert (error.reason, error.metadata["provider_code"]) == (expected["reason"], expected["code"])
    assert str(expected["message"]) in error.message
    assert error.retry_after_seconds == expected.get("retry_after_s")


@pytest.mark.parametrize("fixture", STREAMS, ids=named)
def test_a_stream_becomes_what_is_expected(fixture: Fixture) -> None:
    outcome, expected = read(fixture, [fixture.body]), fixture.expected
    assert (outcome.text, outcome.thinking) == (expected["text"], expected["thinking"])
    calls = [{"id": c.id, "name": c.name, "arguments": json.loads(c.arguments)} for c in outcome.tool_calls]
    assert calls == expected["tool_calls"]
    opaque = [json.loads(d.provider_data) for d in outcome.deltas if d.provider_data and not d.says_something()]
    assert opaque == expected["opaque"]
    if expected["error"]:
        assert outcome.finish is None
        if expected["error"]["where"] == "stream":
            check_error(expected["error"], outcome.error)
        return
    assert outcome.error is None
    assert outcome.finish is not None
    word = expected["finish_reason"]
    assert outcome.finish.provider_reason == word
    assert outcome.finish.reason is (FinishReason.TOOL_CALLS if calls else REASONS[word])
    for name, count in expected["usage"].items():
        assert getattr(outcome.finish.usage, name) == count, name


@pytest.mark.parametrize("fixture", ERRORS, ids=named)
def test_an_error_becomes_what_is_expected(fixture: Fixture) -> None:
    check_error(fixture.expected["error"], GeminiWire().error(fixture.status, fixture.headers, fixture.body))


@pytest.mark.parametrize("fixture", STREAMS, ids=named)
def test_byte_by_byte_gives_the_same_events(fixture: Fixture) -> None:
    pieces = [fixture.body[i : i + 1] for i in range(len(fixture.body))]
    assert read(fixture, pieces).events == read(fixture, [fixture.body]).events


@pytest.mark.parametrize("fixture", STREAMS, ids=named)
@settings(max_examples=20)
@given(data=st.data())
def test_a_body_that_is_cut_loses_nothing_that_came_and_never_ends_well(fixture: Fixture, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, fixture.body.rindex(b"data: ")))
    whole = read(fixture, [fixture.body])
    outcome = decode(GeminiWire().decoder(fixture.content_type), [fixture.body[:length]], close=False)
    assert outcome.finish is None
    assert outcome.events == whole.events[: len(outcome.events)]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=60)))
def test_any_bytes_are_a_reply_or_an_error(pieces: list[bytes]) -> None:
    decode(GeminiWire().decoder(""), pieces)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "args", "name", "id",
         "index", "finishReason", "finishMessage", "usageMetadata", "promptTokenCount", "promptFeedback", "blockReason",
         "error", "message"]
    ), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["candidates", "usageMetadata", "promptFeedback", "error"]), _VALUES))
def test_any_event_is_a_reply_or_an_error(event: dict[str, object]) -> None:
    body = b"data: " + json.dumps(event).encode() + b"\n\n"
    outcome = decode(GeminiWire().decoder(""), [body])
    for found in outcome.events:
        assert isinstance(found, Finish) or found.says_something() or found.provider_data
        repr(found).encode()
    assert all(isinstance(found, Delta | Finish) for found in outcome.events)
