"""Citations from the domain to the contract: on the chunk with which they came, and all of them at the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from headwater.v1 import agent_pb2
from headwater_server.domain.chunks import Beside, Chunk, Delta, FinalChunk, Finish, FinishReason, StreamStats
from headwater_server.domain.citations import Citation, SourceRange, SourceUnit
from headwater_server.streaming.accumulator import ReplyAccumulator
from headwater_server.streaming.answerer import Answerer
from headwater_server.transport.convert import replies

STREAM: Any = SimpleNamespace(id="s-1", answerer=Answerer("openai", model="gpt-4o"))
FULL = Citation("https://example.org", "T", "quoted", "doc-1", 2, 0, 5, SourceRange(SourceUnit.PAGES, 3, 4))
PLAIN = Citation("https://b.org")
SENT = [
    agent_pb2.Citation(
        url="https://example.org",
        title="T",
        quoted_text="quoted",
        source_id="doc-1",
        block_index=2,
        start_index=0,
        end_index=5,
        source_range=agent_pb2.SourceRange(unit=agent_pb2.SOURCE_UNIT_PAGES, start=3, end=4),
    ),
    agent_pb2.Citation(url="https://b.org"),
]
END = FinalChunk(1, 0, Finish(FinishReason.STOP, citations=[FULL, PLAIN]), StreamStats(None, 1, 0, None), [])


def test_a_chunk_has_the_citations_that_came_with_it() -> None:
    message = replies.stream_chunk(Chunk(1, 0, Delta(content="Hi", beside=Beside(citations=[FULL, PLAIN]))))
    assert (message.content, list(message.citations)) == ("Hi", SENT)


def test_a_final_chunk_has_all() -> None:
    assert list(replies.final_chunk(END).citations) == SENT


def test_a_whole_reply_has_all() -> None:
    assert list(replies.run_response(STREAM, ReplyAccumulator(), END).citations) == SENT


def test_every_unit_has_its_value_in_the_contract() -> None:
    for unit in SourceUnit:
        citation = Citation(source_range=SourceRange(unit, 1, 2))
        [sent] = replies.stream_chunk(Chunk(1, 0, Delta(beside=Beside(citations=[citation])))).citations
        assert agent_pb2.SourceUnit.Name(sent.source_range.unit) == f"SOURCE_UNIT_{unit.name}"
