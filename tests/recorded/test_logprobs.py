"""Log probabilities as each provider writes them, through the decoders, however the bytes are cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.logprobs import TokenKind, TokenLogprob, TopLogprob, size_of
from headwater_server.providers.base import Wire
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.wires.beside_text.logprobs import MAX_SIZE, MAX_TOKEN
from tests.support.upstream.decoding import WIRES, Outcome, decode
from tests.support.upstream.fixtures import load_recorded

CHAT, RESPONSES, OLLAMA = WIRES["/v1/chat/completions"], WIRES["/v1/responses"], WIRES["/api/chat"]
GEMINI: Wire = GeminiWire()
EVENTS = "text/event-stream"

HI = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
THERE = {
    "token": " there",
    "logprob": -1.25,
    "bytes": [32, 116, 104, 101, 114, 101],
    "top_logprobs": [
        {"token": "!", "logprob": -2.5, "bytes": [33]},
        {"token": " there", "logprob": -1.25, "bytes": [32, 116, 104, 101, 114, 101]},
    ],
}
IS_HI = TokenLogprob("Hi", -0.5, b"Hi")
IS_THERE = TokenLogprob(
    " there", -1.25, b" there", (TopLogprob(" there", -1.25, b" there"), TopLogprob("!", -2.5, b"!"))
)
SMILE = [
    {"token": "\\xf0\\x9f", "logprob": -0.1, "bytes": [240, 159], "top_logprobs": []},
    {"token": "\\x98\\x80", "logprob": -0.2, "bytes": [152, 128], "top_logprobs": []},
]


def events(*values: dict[str, Any], done: bool = False) -> bytes:
    named = [(f"event: {value['type']}\n" if "type" in value else "", json.dumps(value)) for value in values]
    return "".join(f"{name}data: {text}\n\n" for name, text in named).encode() + (b"data: [DONE]\n\n" if done else b"")


def chat(*choices: dict[str, Any]) -> bytes:
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    chunks = [{"choices": [{"index": 0, "finish_reason": None, **choice}]} for choice in choices]
    return events(*chunks, {"choices": [last]}, done=True)


def piece(delta: dict[str, Any], **logprobs: Any) -> dict[str, Any]:
    return {"delta": delta, "logprobs": {"content": None, "refusal": None, **logprobs}}


def responses(*middle: dict[str, Any], **last: Any) -> bytes:
    return events(*middle, {"type": "response.completed", "response": {"status": "completed", **last}})


def text_delta(delta: str, *tokens: dict[str, Any]) -> dict[str, Any]:
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    return {"type": "response.output_text.delta", "delta": delta, "logprobs": list(tokens), **place}


def gemini(*candidates: dict[str, Any]) -> bytes:
    return events(*({"candidates": [candidate]} for candidate in candidates))


def lines(*values: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


WHOLE_TEXT = {"type": "output_text", "text": "Hi there", "logprobs": [HI, THERE]}
MESSAGE = {"type": "message", "id": "m", "content": [WHOLE_TEXT]}

CASES: dict[str, tuple[Wire, bytes, list[TokenLogprob]]] = {
    "Chat Completions": (
        CHAT,
        chat(
            {"delta": {"role": "assistant", "content": ""}, "logprobs": None},
            piece({"content": "Hi"}, content=[HI]),
            piece({"content": " there"}, content=[THERE]),
        ),
        [IS_HI, IS_THERE],
    ),
    "Chat Completions: two halves of a character": (
        CHAT,
        chat(piece({"content": ""}, content=SMILE[:1]), piece({"content": "😀"}, content=SMILE[1:])),
        [TokenLogprob("\\xf0\\x9f", -0.1, b"\xf0\x9f"), TokenLogprob("\\x98\\x80", -0.2, b"\x98\x80")],
    ),
    "Chat Completions: a refusal": (
        CHAT,
        chat(piece({"refusal": "Hi"}, refusal=[HI])),
        [TokenLogprob("Hi", -0.5, b"Hi", kind=TokenKind.REFUSAL)],
    ),
    "DeepSeek: thinking": (
        CHAT,
        chat(piece({"reasoning_content": "Hi"}, reasoning_content=[HI]), piece({"content": " there"}, content=[THERE])),
        [TokenLogprob("Hi", -0.5, b"Hi", kind=TokenKind.THINKING), IS_THERE],
    ),
    "vLLM: tokens of thinking under the name of text": (
        CHAT,
        chat(piece({"reasoning": "Hi"}, content=[HI])),
        [TokenLogprob("Hi", -0.5, b"Hi", kind=TokenKind.THINKING)],
    ),
    "Chat Completions: one whole completion": (
        CHAT,
        json.dumps(
            {
                "object": "chat.completion",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hi there"},
                        "logprobs": {"content": [HI, THERE], "refusal": None},
                        "finish_reason": "stop",
                    }
                ],
            }
        ).encode(),
        [IS_HI, IS_THERE],
    ),
    "Chat Completions: of two choices the first": (
        CHAT,
        chat(
            piece({"content": "Hi"}, content=[HI]),
            {"index": 1, **piece({"content": " there"}, content=[THERE])},
        ),
        [IS_HI],
    ),
    "Fireworks: columns": (
        CHAT,
        chat(
            {
                "delta": {"content": "Hi there"},
                "logprobs": {
                    "tokens": ["Hi", " there"],
                    "token_logprobs": [-0.5, -1.25],
                    "top_logprobs": [None, {"!": -2.5, " there": -1.25}],
                    "text_offset": [0, 2],
                },
            }
        ),
        [
            TokenLogprob("Hi", -0.5),
            TokenLogprob(" there", -1.25, top=(TopLogprob(" there", -1.25), TopLogprob("!", -2.5))),
        ],
    ),
    "Together: a number": (
        CHAT,
        chat({"delta": {"content": "Hi", "token_id": 5}, "logprobs": -0.5}),
        [TokenLogprob("Hi", -0.5)],
    ),
    "Responses: in deltas, and again in each whole": (
        RESPONSES,
        responses(
            text_delta("Hi", HI),
            text_delta(" there", THERE),
            {"type": "response.output_text.done", "text": "Hi there", "logprobs": [HI, THERE], "output_index": 0},
            {"type": "response.content_part.done", "part": WHOLE_TEXT, "output_index": 0, "content_index": 0},
            {"type": "response.output_item.done", "item": MESSAGE, "output_index": 0},
            output=[MESSAGE],
        ),
        [IS_HI, IS_THERE],
    ),
    "Responses: in the whole alone": (
        RESPONSES,
        responses(text_delta("Hi there"), output=[MESSAGE]),
        [IS_HI, IS_THERE],
    ),
    "Responses: no stream": (
        RESPONSES,
        json.dumps({"object": "response", "status": "completed", "output": [MESSAGE]}).encode(),
        [IS_HI, IS_THERE],
    ),
    "Gemini, which leaves out zeros": (
        GEMINI,
        gemini(
            {
                "content": {"parts": [{"text": "Hi there"}], "role": "model"},
                "logprobsResult": {
                    "topCandidates": [
                        {"candidates": [{"token": "Hi", "tokenId": 1}, {"token": "Ho", "logProbability": -9}]},
                        {"candidates": [{"token": " there", "tokenId": 2, "logProbability": -1.25}]},
                    ],
                    "chosenCandidates": [
                        {"token": "Hi", "tokenId": 1},
                        {"token": " there", "tokenId": 2, "logProbability": -1.25},
                    ],
                },
            },
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "avgLogprobs": -0.1},
        ),
        [
            TokenLogprob("Hi", 0.0, top=(TopLogprob("Hi", 0.0), TopLogprob("Ho", -9.0))),
            TokenLogprob(" there", -1.25, top=(TopLogprob(" there", -1.25),)),
        ],
    ),
    "Ollama": (
        OLLAMA,
        lines(
            {"message": {"role": "assistant", "content": "", "thinking": "Hi"}, "done": False, "logprobs": [HI]},
            {"message": {"role": "assistant", "content": " there"}, "done": False, "logprobs": [THERE]},
            {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "logprobs": [HI]},
        ),
        [TokenLogprob("Hi", -0.5, b"Hi", kind=TokenKind.THINKING), IS_THERE, IS_HI],
    ),
}


def tokens(outcome: Outcome) -> list[TokenLogprob]:
    assert outcome.error is None
    assert outcome.finish is not None
    return [token for delta in outcome.deltas if delta.beside for token in delta.beside.logprobs]


@pytest.mark.parametrize(("wire", "body", "expected"), CASES.values(), ids=CASES.keys())
def test_the_tokens_of_a_reply(wire: Wire, body: bytes, expected: list[TokenLogprob]) -> None:
    assert tokens(decode(wire.decoder(EVENTS, logprobs=True), [body])) == expected


@pytest.mark.parametrize(("wire", "body"), [case[:2] for case in CASES.values()], ids=CASES.keys())
def test_a_reply_whose_request_asked_for_none_has_none_and_is_the_same_else(wire: Wire, body: bytes) -> None:
    asked, not_asked = (decode(wire.decoder(EVENTS, logprobs=on), [body]) for on in (True, False))
    assert tokens(not_asked) == []
    assert (asked.text, asked.thinking, asked.refusal) == (not_asked.text, not_asked.thinking, not_asked.refusal)
    assert asked.finish == not_asked.finish


@given(st.sampled_from(list(CASES.values())), st.lists(st.integers(0, 2000), max_size=8))
def test_the_tokens_are_the_same_however_the_bytes_are_cut(
    case: tuple[Wire, bytes, list[TokenLogprob]], cuts: list[int]
) -> None:
    wire, body, expected = case
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert tokens(decode(wire.decoder(EVENTS, logprobs=True), pieces)) == expected


def test_the_tokens_that_a_real_server_sent() -> None:
    recorded = load_recorded()["llamacpp-smollm2/chat_logprobs"]
    outcome = decode(CHAT.decoder(recorded.content_type, logprobs=True), recorded.pieces)
    found = tokens(outcome)
    assert "".join(token.token for token in found) == outcome.text == "I'm so glad you're"
    assert b"".join(token.token_bytes for token in found) == outcome.text.encode()
    assert all(len(token.top) == 2 and token.top[0].token == token.token for token in found)
    assert found[1].logprob == -0.5055685639381409
    assert sum(delta.beside is not None for delta in outcome.deltas) == len(found)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "content",
                    "token",
                    "logprob",
                    "bytes",
                    "top_logprobs",
                    "tokens",
                    "token_logprobs",
                    "refusal",
                    "topCandidates",
                    "chosenCandidates",
                    "candidates",
                    "logProbability",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_no_value_costs_the_reply(value: Any) -> None:
    answers = {
        CHAT: chat({"delta": {"content": "Hi"}, "logprobs": value}),
        RESPONSES: responses({**text_delta("Hi"), "logprobs": value}),
        GEMINI: gemini({"content": {"parts": [{"text": "Hi"}]}, "logprobsResult": value, "finishReason": "STOP"}),
        OLLAMA: lines({"message": {"content": "Hi"}, "logprobs": value}, {"done": True, "done_reason": "stop"}),
    }
    for wire, body in answers.items():
        outcome = decode(wire.decoder(EVENTS, logprobs=True), [body])
        assert outcome.text == "Hi"
        assert all(len(token.token) <= MAX_TOKEN for token in tokens(outcome))


def test_lists_within_lists_are_not_followed_without_end() -> None:
    value: Any = [HI]
    for _ in range(300):
        value = [value]
    assert (
        tokens(decode(CHAT.decoder(EVENTS, logprobs=True), [chat({"delta": {"content": "Hi"}, "logprobs": value})]))
        == []
    )


def test_tokens_that_are_too_many_for_one_chunk_have_several() -> None:
    many = [{**THERE, "token": f"t{number}", "top_logprobs": [HI] * 50} for number in range(1000)]
    outcome = decode(CHAT.decoder(EVENTS, logprobs=True), [chat(piece({"content": "Hi"}, content=many))])
    assert [token.token for token in tokens(outcome)] == [token["token"] for token in many]
    assert all(len(token.top) == 20 for token in tokens(outcome))
    sizes = [size_of(delta.beside.logprobs) for delta in outcome.deltas if delta.beside]
    assert len(sizes) > 1
    assert max(sizes) <= MAX_SIZE


def test_a_token_of_any_length_is_cut() -> None:
    long = {"token": "x" * 100_000, "logprob": -1, "bytes": [120] * 100_000}
    [token] = tokens(decode(CHAT.decoder(EVENTS, logprobs=True), [chat(piece({"content": "x"}, content=[long]))]))
    assert (len(token.token), len(token.token_bytes)) == (MAX_TOKEN, MAX_TOKEN)


def test_a_reply_of_tokens_alone_is_no_reply() -> None:
    """An end mark without a reason ends a reply that said something."""
    body = events({"choices": [piece({"content": ""}, content=[HI])]}, done=True)
    assert decode(CHAT.decoder(EVENTS, logprobs=True), [body]).finish is None
