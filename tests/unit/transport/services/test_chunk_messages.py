"""The bytes of a chunk are those of the generated class, however they are made."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from headwater.v1 import agent_pb2
from headwater_server.domain.chunks import Beside, Chunk, Delta, ToolCallDelta
from headwater_server.domain.citations import Citation
from headwater_server.transport.convert import replies
from headwater_server.transport.services import chunk_messages
from headwater_server.transport.services.chunk_messages import chunk_bytes

INT32 = 2**31 - 1
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
RARE_TEXTS = st.just("") | TEXTS
MICROS = st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros / 1_000_000)
SECONDS = st.integers(0, 2**33).map(float)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    calls = st.none() | st.lists(st.builds(ToolCallDelta, st.integers(0, 9), TEXTS, TEXTS, TEXTS), max_size=2)
    citation = st.builds(lambda url: Beside(citations=[Citation(url=url)]), TEXTS)
    is_common = draw(st.booleans())
    return Delta(
        content=draw(RARE_TEXTS),
        thinking=draw(RARE_TEXTS),
        event_type=draw(RARE_TEXTS),
        block=draw(st.integers(0, INT32)),
        thinking_signature="" if is_common else draw(RARE_TEXTS),
        redacted_thinking="" if is_common else draw(RARE_TEXTS),
        refusal="" if is_common else draw(RARE_TEXTS),
        tool_calls=None if is_common else draw(calls),
        beside=None if is_common else draw(st.none() | citation),
    )


CHUNKS = st.builds(Chunk, st.integers(1, INT32), MICROS | SECONDS | st.floats(0, 2**33), deltas(), st.booleans())


@given(CHUNKS)
@example(Chunk(1, 0.0, Delta("a")))
@example(Chunk(127, 1_700_000_000.0, Delta("a")))
@example(Chunk(128, 0.000_001, Delta("a", block=127)))
@example(Chunk(INT32, 1_700_000_000.999_999, Delta("é" * 64, block=128, event_type="e" * 65)))
@example(Chunk(1, 1.0, Delta("a" * 200_000, thinking="b" * 200_000)))
def test_the_bytes_are_those_of_the_generated_class(chunk: Chunk) -> None:
    assert chunk_bytes(chunk) == replies.stream_chunk(chunk).SerializeToString()


@given(st.integers(0, 2**63 - 1))
def test_a_number_is_as_the_generated_class_has_it(number: int) -> None:
    message = agent_pb2.StreamChunk()
    message.create_time.seconds = number
    head = 3 if number else 2  # tag and length of create_time, then the tag of its seconds
    assert message.SerializeToString()[head:] == (chunk_messages._varint(number) if number else b"")


def test_common_chunks_do_not_pass_through_the_generated_class(monkeypatch) -> None:
    monkeypatch.delattr(replies, "stream_chunk")
    for delta in (Delta("a"), Delta(thinking="b", block=1), Delta("c", event_type="content_block_delta", block=2)):
        assert chunk_bytes(Chunk(1, 1.0, delta))
