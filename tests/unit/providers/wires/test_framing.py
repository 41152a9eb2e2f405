"""The body decides what it is, whatever its type of content says."""

from __future__ import annotations

import json

import pytest

from headwater_server.domain.chunks import FinishReason
from headwater_server.domain.errors import Reason
from tests.support.upstream.decoding import WIRES, Outcome, decode

FIRST = json.dumps({"choices": [{"index": 0, "delta": {"content": "Gut"}}]})
LAST = json.dumps({"choices": [{"index": 0, "delta": {"content": " so"}, "finish_reason": "stop"}]})
BOTH = f"data: {FIRST}\n\ndata: {LAST}\n\n"
BOM = "\ufeff"


def read(body: str, content_type: str = "text/event-stream", wire: str = "/v1/chat/completions") -> Outcome:
    data = body.encode()
    whole = decode(WIRES[wire].decoder(content_type), [data])
    apart = decode(WIRES[wire].decoder(content_type), [data[i : i + 1] for i in range(len(data))])
    assert (apart.events, str(apart.error)) == (whole.events, str(whole.error))
    return whole


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json", "application/octet-stream", "text/html", "application/x-ndjson"],
)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BOTH, id="events"),
        pytest.param(f"{BOTH}data: [DONE]\n\n", id="events and the end mark"),
        pytest.param(BOTH.rstrip(), id="events, the last without a line end"),
        pytest.param(f"{FIRST}\n{LAST}\n", id="JSON lines"),
        pytest.param(f"{FIRST}\n{LAST}", id="JSON lines, the last without a line end"),
        pytest.param(f"[{FIRST},\n{LAST}\n]", id="a list"),
        pytest.param(json.dumps([json.loads(FIRST), json.loads(LAST)], indent=2), id="a list over many lines"),
        pytest.param(json.dumps(json.loads(FIRST), indent=2) + "\n" + LAST, id="an object over many lines"),
        pytest.param(f"\x1e{FIRST}\n\x1e{LAST}\n", id="JSON text sequences"),
        pytest.param(f"{FIRST}{LAST}", id="objects without a line end"),
        pytest.param(BOM + BOTH, id="a mark before events"),
        pytest.param(f"{BOM}{FIRST}\n{BOM}{LAST}\n", id="marks before JSON lines"),
        pytest.param(f"{BOM}data: {FIRST}\n\n{BOM}data: {LAST}\n\n", id="a mark before each event"),
        pytest.param(f"data: {BOM}{FIRST}\n\ndata: {BOM}{LAST}\n\n", id="a mark before each object"),
        pytest.param("\n\n" + BOTH, id="blank lines first"),
        pytest.param(f"data: {FIRST}\ndata: {LAST}\n", id="no blank line between events"),
        pytest.param(f"data: data: {FIRST}\n\ndata: data: {LAST}\n\n", id="framed twice"),
        pytest.param(f"data: [{FIRST}]\n\ndata: [{LAST}]\n\n", id="lists in events"),
        pytest.param(f"{FIRST}\n\ndata: {LAST}\n\n", id="both framings"),
        pytest.param(f"id: 1\ndata: {FIRST}\n\nretry: 5\ndata: {LAST}\n\n", id="ids first"),
        pytest.param(f"HTTP streaming\ndata: {FIRST}\n\ndata: {LAST}\n\n", id="a sentence first"),
    ],
)
def test_a_reply_is_read_whatever_its_label(body: str, content_type: str) -> None:
    outcome = read(body, content_type)
    assert (outcome.text, outcome.error) == ("Gut so", None)
    assert outcome.finish is not None
    assert outcome.finish.reason is FinishReason.STOP


def test_the_end_mark_needs_no_line_end() -> None:
    outcome = read(f"data: {FIRST}\n\ndata: [DONE]")
    assert outcome.finish is not None
    assert (outcome.text, outcome.finish.reason) == ("Gut", FinishReason.OTHER)


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_last_line_that_was_cut_is_no_event(cut: int) -> None:
    outcome = read(f"data: {FIRST}\n\ndata: {LAST}"[:-cut])
    assert (outcome.text, outcome.error, outcome.finish) == ("Gut", None, None)


@pytest.mark.parametrize(
    "beat",
    [
        "data:\n\n", "data:   \n\n", "data: : keepalive\n\n", ": comment\n\n", "data: ping\n\n", "data: null\n\n",
        "data: [PING]\n\n", "event: ping\ndata: {}\n\n", 'event: ping\ndata: {"type": "ping"}\n\n', "event: ping\n\n",
        "data: {}\n\n", 'data: {"choices": []}\n\n', "event: heartbeat\ndata: 12:00\n\n", "data: keep-alive\n\n", "\n",
    ],
)  # fmt: skip
def test_a_heartbeat_says_nothing(beat: str) -> None:
    outcome = read(f"{beat}data: {FIRST}\n\n{beat}data: {LAST}\n\n{beat}")
    assert (outcome.text, outcome.error) == ("Gut so", None)
    assert outcome.finish is not None


@pytest.mark.parametrize(
    "rest",
    [
        "data: <!-- edge -->\n\n", "data: garbage\n\n", 'data: {"choices": [\n\n', "garbage", '{"error": "late"}\n',
        'data: {"error": {"message": "late"}}\n\n', "event: error\ndata: late\n\n", 'data: "[DONE]"\n\n', "data: [done]",
        'data: {"cost": 1}\n\n', "data: [DONE]\n\ndata: garbage\n\n",
    ],
)  # fmt: skip
def test_what_follows_the_finish_reason_costs_nothing(rest: str) -> None:
    outcome = read(BOTH + rest)
    assert (outcome.text, outcome.error) == ("Gut so", None)
    assert outcome.finish is not None


@pytest.mark.parametrize(
    "error",
    [
        'data: {"error": {"message": "out of memory"}}\n\n',
        'data: {"error": "out of memory"}\n\n',
        'data: {"error": true, "message": "out of memory"}\n\n',
        'data: {"code": "X1", "message": "out of memory"}\n\n',
        'data: {"type": "error", "error": {"message": "out of memory"}}\n\n',
        'data: {"object": "error", "message": "out of memory"}\n\n',
        'data: {"detail": "out of memory"}\n\n',
        'data: {"errors": [{"message": "out of memory"}]}\n\n',
        'data: {"base_resp": {"status_code": 1013, "status_msg": "out of memory"}}\n\n',
        'data: {"success": false, "msg": "out of memory"}\n\n',
        'data: {"choices": [], "x_groq": {"error": "out of memory"}}\n\n',
        'data: {"choices": [{"index": 0, "delta": {}, "error": {"message": "out of memory"}}]}\n\n',
        'data: [{"error": {"message": "out of memory"}}]\n\n',
        "event: error\ndata: out of memory\n\n",
        'event: error\ndata: {"message": "out of memory"}\n\n',
        'error: {"message": "out of memory"}\n\n',
        "error: out of memory\n\n",
        '{"error": {"message": "out of memory"}}',
        '{"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n',
        '{\n  "error": {\n    "message": "out of memory"\n  }\n}\n',
    ],
)
@pytest.mark.parametrize("before", ["", f"data: {FIRST}\n\n"], ids=["first", "after text"])
def test_an_error_of_any_shape_is_told_in_its_words(before: str, error: str) -> None:
    outcome = read(before + error)
    assert outcome.finish is None
    assert outcome.error is not None
    assert "out of memory" in outcome.error.message
    assert outcome.text == ("Gut" if before else "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<html><head><title>Sign in</title></head></html>", "(Sign in)"),
        ("Bad gateway", "(Bad gateway)"),
        ("<?xml version='1.0'?><Error><Message>x</Message></Error>", "not a stream"),
    ],
)
def test_a_page_is_no_stream(body: str, words: str) -> None:
    error = read(body, "text/html").error
    assert error is not None
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert "text/html, not a stream" in error.message
    assert words in error.message


def test_ollamas_lines_may_come_as_events() -> None:
    lines = ['{"message": {"content": "a"}, "done": false}', '{"done": true, "done_reason": "stop"}']
    outcome = read("".join(f"data: {line}\n\n" for line in lines), "application/x-ndjson", "/api/chat")
    assert (outcome.text, outcome.error) == ("a", None)
    assert outcome.finish is not None
