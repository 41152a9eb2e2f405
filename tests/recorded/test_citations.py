"""Citations as each provider's documentation writes them, through the decoders, however the bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.citations import Citation, SourceRange, SourceUnit
from headwater_server.providers.base import Wire
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.wires.beside_text.citations import MAX_CHARACTERS, MAX_CITATIONS, MAX_TITLE
from tests.support.upstream.decoding import WIRES, Outcome, decode

CHAT, RESPONSES, MESSAGES = WIRES["/v1/chat/completions"], WIRES["/v1/responses"], WIRES["/v1/messages"]
GEMINI: Wire = GeminiWire()
EVENTS = "text/event-stream"
URL = "https://example.org/a"
BODY = "The tower is 330 m high."


def events(*values: dict[str, Any], done: bool = False) -> bytes:
    """A stream of these events, each named by its type where it has one."""
    named = [(f"event: {value['type']}\n" if "type" in value else "", json.dumps(value)) for value in values]
    return "".join(f"{name}data: {text}\n\n" for name, text in named).encode() + (b"data: [DONE]\n\n" if done else b"")


def chat(*deltas: dict[str, Any], **top: Any) -> bytes:
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **top} for delta in deltas]
    return events(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **top}, done=True)


def responses(*middle: dict[str, Any], text: str = BODY, **last: Any) -> bytes:
    said = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": text}
    end = {"type": "response.completed", "response": {"status": "completed", **last}}
    return events(*([said] if text else []), *middle, end)


def message(*blocks: tuple[dict[str, Any], list[dict[str, Any]]]) -> bytes:
    inner: list[dict[str, Any]] = []
    for index, (block, deltas) in enumerate(blocks):
        inner.append({"type": "content_block_start", "index": index, "content_block": block})
        inner += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        inner.append({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    return events({"type": "message_start", "message": {"content": []}}, *inner, end, {"type": "message_stop"})


def gemini(*candidates: dict[str, Any]) -> bytes:
    return events(*[{"candidates": [{"index": 0, **each}]} for each in candidates])


def spoken(text: str) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}], "role": "model"}}


ANNOTATION = {"type": "url_citation", "url": URL, "title": "Tower", "start_index": 4, "end_index": 9}
WHOLE_ITEM = {
    "type": "message",
    "id": "m",
    "content": [{"type": "output_text", "text": BODY, "annotations": [ANNOTATION]}],
}
ADDED = {"type": "response.output_text.annotation.added", "item_id": "m", "output_index": 0, "annotation": ANNOTATION}
TOWER = Citation(URL, "Tower", start=4, end=9)
BLOCK = {"type": "text", "text": "", "citations": []}
SAID = {"type": "text_delta", "text": BODY}
GROUNDING = {
    "webSearchQueries": ["tower height"],
    "groundingChunks": [{"web": {"uri": URL, "title": "example.org"}}, {"web": {"uri": "https://b.org", "title": "B"}}],
    "groundingSupports": [
        {"segment": {"startIndex": 4, "endIndex": 9, "text": "tower"}, "groundingChunkIndices": [0]},
        {"segment": {"endIndex": 3, "text": "The"}, "groundingChunkIndices": [0, 1]},
    ],
}


def cited(**citation: Any) -> dict[str, Any]:
    return {"type": "citations_delta", "citation": citation}


CASES: dict[str, tuple[Wire, bytes, list[Citation]]] = {
    "OpenAI's search models and OpenRouter": (
        CHAT,
        chat({"content": BODY}, {"annotations": [{"type": "url_citation", "url_citation": ANNOTATION}]}),
        [TOWER],
    ),
    "OpenRouter with the words of the page, without a place": (
        CHAT,
        chat(
            {
                "content": BODY,
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"url": URL, "content": "330 m", "start_index": 0, "end_index": 0},
                    }
                ],
            }
        ),
        [Citation(URL, quoted_text="330 m")],
    ),
    "Perplexity, which repeats its sources in every chunk": (
        CHAT,
        chat(
            {"content": "The"},
            {"content": " tower[1]"},
            citations=[URL, "https://b.org"],
            search_results=[{"title": "Tower", "url": URL, "date": "2025-01-01", "snippet": "330 m"}],
        ),
        [Citation(URL, "Tower", "330 m"), Citation("https://b.org")],
    ),
    "addresses first, and what they are at the end": (
        CHAT,
        events(
            {"choices": [{"index": 0, "delta": {"content": BODY}}], "citations": [URL, "https://b.org"]},
            {"choices": [], "search_results": [{"title": "Tower", "url": URL}, {"title": "B", "url": "https://b.org"}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            done=True,
        ),
        [Citation(URL, "Tower"), Citation("https://b.org", "B")],
    ),
    "Azure with data of the account": (
        CHAT,
        chat(
            {
                "content": BODY,
                "context": {"citations": [{"content": "330 m", "title": "T", "url": URL, "chunk_id": "0"}]},
            }
        ),
        [Citation(URL, "T", "330 m")],
    ),
    "Mistral's references between the texts": (
        CHAT,
        chat(
            {"content": [{"type": "text", "text": BODY}, {"type": "reference", "reference_ids": [2, 5]}]},
            {"content": [{"type": "tool_reference", "tool": "web_search", "title": "Tower", "url": URL}]},
        ),
        [Citation(source_id="2"), Citation(source_id="5"), Citation(URL, "Tower")],
    ),
    "one whole completion": (
        CHAT,
        json.dumps(
            {
                "object": "chat.completion",
                "choices": [{"message": {"content": BODY, "annotations": [ANNOTATION]}, "finish_reason": "stop"}],
            }
        ).encode(),
        [TOWER],
    ),
    "Responses as it searches": (RESPONSES, responses(ADDED), [TOWER]),
    "Responses, once more with the part, the item and the whole": (
        RESPONSES,
        responses(
            ADDED,
            {"type": "response.content_part.done", "part": WHOLE_ITEM["content"][0]},  # type: ignore[index]
            {"type": "response.output_item.done", "output_index": 0, "item": WHOLE_ITEM},
            output=[WHOLE_ITEM],
        ),
        [TOWER],
    ),
    "Responses, with the whole alone": (RESPONSES, responses(text="", output=[WHOLE_ITEM]), [TOWER]),
    "a file that Responses searched": (
        RESPONSES,
        responses(
            {
                "type": "response.output_text.annotation.added",
                "annotation": {"type": "file_citation", "file_id": "file-1", "filename": "t.pdf", "index": 24},
            },
        ),
        [Citation(title="t.pdf", source_id="file-1")],
    ),
    "the sources of a search item": (
        RESPONSES,
        responses(
            output=[
                {"type": "web_search_call", "action": {"type": "search", "sources": [{"type": "url", "url": URL}]}},
                {"type": "search_results", "results": [{"url": "https://b.org", "title": "B", "snippet": "s"}]},
            ],
            citations=["https://c.org"],
        ),
        [Citation(URL), Citation("https://b.org", "B", "s"), Citation("https://c.org")],
    ),
    "a document of Anthropic's request": (
        MESSAGES,
        message(
            (
                BLOCK,
                [
                    cited(
                        type="char_location",
                        cited_text="330 m",
                        document_index=1,
                        document_title="Towers",
                        start_char_index=10,
                        end_char_index=15,
                    ),
                    SAID,
                    cited(
                        type="page_location",
                        cited_text="high",
                        document_index=2,
                        document_title=None,
                        start_page_number=3,
                        end_page_number=4,
                    ),
                ],
            )
        ),
        [
            Citation("", "Towers", "330 m", "1", source_range=SourceRange(SourceUnit.CHARACTERS, 10, 15)),
            Citation("", "", "high", "2", source_range=SourceRange(SourceUnit.PAGES, 3, 4)),
        ],
    ),
    "a search of Anthropic's, and a text that cites it twice": (
        MESSAGES,
        message(
            (
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "srv",
                    "content": [{"type": "web_search_result", "url": URL, "title": "Tower", "encrypted_content": "E"}],
                },
                [],
            ),
            (
                BLOCK,
                [
                    SAID,
                    cited(
                        type="web_search_result_location",
                        url=URL,
                        title="Tower",
                        encrypted_index="E",
                        cited_text="330 m",
                    ),
                ],
            ),
            (
                BLOCK,
                [
                    SAID,
                    cited(
                        type="search_result_location",
                        source="internal-7",
                        title="T",
                        cited_text="x",
                        start_block_index=0,
                        end_block_index=1,
                    ),
                ],
            ),
        ),
        [
            Citation(URL, "Tower", "330 m", block=1),
            Citation("", "T", "x", "internal-7", 2, source_range=SourceRange(SourceUnit.BLOCKS, 0, 1)),
        ],
    ),
    "Gemini's grounding, in bytes of the text": (
        GEMINI,
        gemini(spoken("Der "), spoken("Türme"), {"finishReason": "STOP", "groundingMetadata": GROUNDING}),
        [
            Citation(URL, "example.org", block=1, start=4, end=8),
            Citation(URL, "example.org", block=1, start=0, end=3),
            Citation("https://b.org", "B", block=1, start=0, end=3),
        ],
    ),
    "Gemini's recitations and sites": (
        GEMINI,
        gemini(
            spoken(BODY),
            {
                "finishReason": "STOP",
                "citationMetadata": {"citationSources": [{"startIndex": 4, "endIndex": 9, "uri": URL}]},
                "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": "https://b.org"}]},
            },
        ),
        [Citation(URL, block=1, start=4, end=9), Citation("https://b.org")],
    ),
}


def end(outcome: Outcome) -> list[Citation]:
    assert outcome.error is None
    assert outcome.finish is not None
    return outcome.finish.citations


@pytest.mark.parametrize(("wire", "body", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_cited_is_known_at_the_end_and_comes_once_with_the_stream(
    wire: Wire, body: bytes, expected: list[Citation]
) -> None:
    outcome = decode(wire.decoder(EVENTS), [body])
    assert end(outcome) == expected
    assert outcome.text
    came = [citation for delta in outcome.deltas if delta.beside for citation in delta.beside.citations]
    assert set(expected) <= {*came, *(Citation(c.url, c.title, c.quoted_text, c.source_id) for c in came)}
    assert len(came) == len(set(came))


@given(st.sampled_from(sorted(CASES)), st.integers(1, 60))
def test_cuts_between_bytes_change_nothing(name: str, size: int) -> None:
    wire, body, expected = CASES[name]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert end(decode(wire.decoder(EVENTS), pieces)) == expected


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "title", "type"]), inner),
    max_leaves=8,
)


@given(_VALUES, st.sampled_from(["annotations", "citations", "context"]))
def test_a_citation_of_any_shape_costs_no_text(value: Any, field: str) -> None:
    outcome = decode(CHAT.decoder(EVENTS), [chat({"content": BODY, field: value}, citations=value)])
    end(outcome)
    assert outcome.text == BODY


@given(_VALUES, st.sampled_from(["groundingMetadata", "citationMetadata", "urlContextMetadata"]))
def test_grounding_of_any_shape_costs_no_text(value: Any, field: str) -> None:
    facts = {field: {"groundingChunks": value, "groundingSupports": value, "urlMetadata": value, "citations": value}}
    outcome = decode(GEMINI.decoder(EVENTS), [gemini({**spoken(BODY), "finishReason": "STOP", **facts})])
    end(outcome)
    assert outcome.text == BODY


def test_more_than_a_reply_may_have_are_left_out_and_counted() -> None:
    many = [f"https://example.org/{number}" for number in range(MAX_CITATIONS + 7)]
    outcome = decode(CHAT.decoder(EVENTS), [chat({"content": BODY}, citations=many)])
    assert len(end(outcome)) == MAX_CITATIONS
    assert outcome.finish is not None
    assert outcome.finish.metadata == {"dropped_citations": 7}


def test_long_words_are_cut_and_their_sum_is_bounded() -> None:
    found = [{"url": f"{URL}{number}", "title": "t" * 5000, "content": "q" * 90_000} for number in range(100)]
    outcome = decode(CHAT.decoder(EVENTS), [chat({"content": BODY, "annotations": found})])
    kept = end(outcome)
    assert {len(citation.title) for citation in kept} == {MAX_TITLE}
    assert sum(len(c.url + c.title + c.quoted_text) for c in kept) <= MAX_CHARACTERS
    assert outcome.finish is not None
    assert outcome.finish.metadata["dropped_citations"] == 100 - len(kept)


def test_halves_of_surrogate_pairs_do_not_leave_the_decoder() -> None:
    body = chat({"content": BODY, "annotations": [{"url": URL, "title": "a\ud83d"}]})
    [citation] = end(decode(CHAT.decoder(EVENTS), [body]))
    assert citation.title == "a\ufffd"


def test_sources_alone_are_no_reply() -> None:
    body = events({"choices": [{"index": 0, "delta": {}}], "citations": [URL]}, done=True)
    assert decode(CHAT.decoder(EVENTS), [body]).finish is None
