"""Pictures of replies as each provider's documentation writes them, through the decoders, however the bytes are cut."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.limits import MAX_IMAGE_BYTES
from headwater_server.domain.messages import Image, Opaque
from headwater_server.providers.base import Wire
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.streaming.accumulator import Account, MessageAccumulator
from tests.support.upstream.decoding import WIRES, Outcome, decode

CHAT, RESPONSES, MESSAGES = WIRES["/v1/chat/completions"], WIRES["/v1/responses"], WIRES["/v1/messages"]
GEMINI: Wire = GeminiWire()
EVENTS = "text/event-stream"
PNG = b"\x89PNG\r\n\x1a\nrest"
CODED = base64.b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{CODED}"
PICTURE = Image(PNG, "image/png")
LINK = "https://example.org/a.png"


def events(*values: dict[str, Any], done: bool = False) -> bytes:
    named = [(f"event: {value['type']}\n" if "type" in value else "", json.dumps(value)) for value in values]
    return "".join(f"{name}data: {text}\n\n" for name, text in named).encode() + (b"data: [DONE]\n\n" if done else b"")


def chat(*deltas: dict[str, Any]) -> bytes:
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return events(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, done=True)


def responses(*middle: dict[str, Any], **last: Any) -> bytes:
    return events(*middle, {"type": "response.completed", "response": {"status": "completed", **last}})


def gemini(*parts: dict[str, Any]) -> bytes:
    content = {"parts": parts, "role": "model"}
    return events({"candidates": [{"content": content, "finishReason": "STOP"}]})


GENERATED = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": CODED}
INLINE = {"inlineData": {"mimeType": "image/png", "data": CODED}}

CASES: dict[str, tuple[Wire, bytes, list[Image]]] = {
    "OpenRouter": (
        CHAT,
        chat({"content": "Here."}, {"images": [{"type": "image_url", "image_url": {"url": DATA_URL}, "index": 0}]}),
        [PICTURE],
    ),
    "one object, as an older gateway sends it": (CHAT, chat({"content": "", "image": {"url": DATA_URL}}), [PICTURE]),
    "a part of the content, with an address": (
        CHAT,
        chat({"content": [{"type": "text", "text": "A"}, {"type": "image_url", "image_url": {"url": LINK}}]}),
        [Image(url=LINK)],
    ),
    "the address alone": (CHAT, chat({"images": [LINK, DATA_URL]}), [Image(url=LINK), PICTURE]),
    "one whole completion": (
        CHAT,
        json.dumps(
            {
                "object": "chat.completion",
                "choices": [{"message": {"content": "A", "images": [{"b64_json": CODED}]}, "finish_reason": "stop"}],
            }
        ).encode(),
        [PICTURE],
    ),
    "Responses: the item, after its previews, and the whole": (
        RESPONSES,
        responses(
            {"type": "response.image_generation_call.partial_image", "partial_image_b64": "AAAA"},
            {"type": "response.output_item.done", "output_index": 0, "item": GENERATED},
            output=[GENERATED],
        ),
        [PICTURE],
    ),
    "Responses: the whole alone": (RESPONSES, responses(output=[GENERATED]), [PICTURE]),
    "Gemini": (GEMINI, gemini({"text": "A"}, INLINE, {"text": "B"}), [PICTURE]),
    "Gemini: a draft among the thoughts, and a sound": (
        GEMINI,
        gemini({**INLINE, "thought": True}, {"inlineData": {"mimeType": "audio/wav", "data": CODED}}, {"text": "A"}),
        [],
    ),
    "an address of a file": (
        GEMINI,
        gemini({"fileData": {"mimeType": "image/png", "fileUri": LINK}}),
        [Image(url=LINK)],
    ),
    "a block of a proxy in front of Anthropic": (
        MESSAGES,
        events(
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": CODED},
                },
            },
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ),
        [PICTURE],
    ),
}


def shown(outcome: Outcome) -> list[Image]:
    assert outcome.error is None
    assert outcome.finish is not None
    assert not any(delta.content for delta in outcome.deltas if delta.beside)
    return [image for delta in outcome.deltas if delta.beside for image in delta.beside.images]


@pytest.mark.parametrize(("wire", "body", "expected"), CASES.values(), ids=CASES.keys())
def test_a_picture_comes_once_and_whole(wire: Wire, body: bytes, expected: list[Image]) -> None:
    outcome = decode(wire.decoder(EVENTS), [body])
    assert shown(outcome) == expected
    assert outcome.finish is not None
    assert "dropped_images" not in outcome.finish.metadata


@given(st.sampled_from(sorted(CASES)), st.integers(1, 60))
def test_cuts_between_bytes_change_nothing(name: str, size: int) -> None:
    wire, body, expected = CASES[name]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert shown(decode(wire.decoder(EVENTS), pieces)) == expected


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF", "image/webp"), (b"GIF89a", "image/gif"), (b"?", "image/x-odd")],
)
def test_the_bytes_tell_the_media_type_where_they_can(start: bytes, kind: str) -> None:
    url = "data:image/x-odd;charset=x;base64," + base64.urlsafe_b64encode(start + b"\xfb\xff").decode().rstrip("=")
    assert shown(decode(CHAT.decoder(EVENTS), [chat({"images": [url]})])) == [Image(start + b"\xfb\xff", kind)]


@pytest.mark.parametrize(
    "image",
    [
        "data:image/png;base64,!!!",
        "data:image/png;base64,",
        "data:text/html;base64,AAAA",
        {"data": "A" * (4 * MAX_IMAGE_BYTES // 3 + 8)},
    ],
    ids=["no base64", "nothing", "no picture", "too large"],
)
def test_a_picture_that_cannot_be_sent_is_counted_and_costs_no_text(image: Any) -> None:
    outcome = decode(CHAT.decoder(EVENTS), [chat({"content": "A", "images": [image]})])
    assert shown(outcome) == []
    assert outcome.text == "A"
    assert outcome.finish is not None
    assert outcome.finish.metadata == {"dropped_images": 1}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(DATA_URL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "data", "image_url"]), inner),
    max_leaves=8,
)


@given(_VALUES)
def test_a_picture_of_any_shape_costs_no_text(value: Any) -> None:
    outcome = decode(CHAT.decoder(EVENTS), [chat({"content": "A", "images": value, "image": value})])
    shown(outcome)
    assert outcome.text == "A"


def test_a_picture_of_gemini_goes_back_with_its_signature() -> None:
    part = {**INLINE, "thoughtSignature": "S"}
    message = MessageAccumulator(Account("gemini"), from_start=True)
    for delta in decode(GEMINI.decoder(EVENTS), [gemini(part)]).deltas:
        message.add(delta)
    complete = message.complete([])
    assert complete is not None
    [opaque] = complete.parts
    assert isinstance(opaque, Opaque)
    assert opaque.provider_data is not None
    assert json.loads(opaque.provider_data.data_json) == {"part": part}
