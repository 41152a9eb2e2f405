"""The merging channel: order, merging, bounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, StreamStats, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming import channel as channel_module
from headwater_server.streaming.channel import (
    MAX_DELTA_CHARACTERS,
    MAX_MERGED_CHARACTERS,
    MAX_WAITING_CHARACTERS,
    MergingChannel,
)

FINAL = FinalChunk(9, 0.0, Finish(FinishReason.STOP), StreamStats(None, 0.0, 0, None), [])


async def drained(channel: MergingChannel) -> list[Chunk]:
    """All chunks up to the final one."""
    chunks = []
    while not isinstance(chunk := await channel.get(), FinalChunk):
        chunks.append(chunk)
    return chunks


async def put_all(*deltas: Delta) -> list[Chunk]:
    """What a reader gets that comes after all of the deltas."""
    channel = MergingChannel()
    for delta in deltas:
        channel.put(delta)
    channel.end(FINAL)
    return await drained(channel)


async def test_a_reader_that_keeps_up_gets_every_delta_as_its_own_chunk():
    channel = MergingChannel()
    chunks = []
    for word in ("a", "b", "c"):
        channel.put(Delta(content=word))
        chunks.append(await channel.get())
    assert [(c.sequence, c.delta.content, c.merged) for c in chunks] == [
        (1, "a", False),
        (2, "b", False),
        (3, "c", False),
    ]


async def test_text_that_waits_is_merged_and_the_sequence_counts_all_of_it():
    chunks = await put_all(Delta(content="a"), Delta(content="b"), Delta(content="c"))
    assert [(c.sequence, c.delta.content, c.merged) for c in chunks] == [(3, "abc", True)]


async def test_a_merged_chunk_has_the_time_of_its_first_delta(monkeypatch):
    times = iter([10.0, 20.0])
    monkeypatch.setattr(channel_module.time, "time", lambda: next(times))
    [chunk] = await put_all(Delta(content="a"), Delta(content="b"))
    assert chunk.create_time == 10.0


@pytest.mark.parametrize(
    "other",
    [
        Delta(thinking="t"),
        Delta(content="b", block=1),
        Delta(content="b", event_type="other"),
        Delta(refusal="no"),
        Delta(thinking_signature="sig"),
        Delta(redacted_thinking="data"),
        Delta(tool_calls=[ToolCallDelta(0, "id", "name", "{}")]),
    ],
)
async def test_nothing_is_merged_over_a_delta_that_says_something_else(other):
    chunks = await put_all(Delta(content="a"), other, Delta(content="c"))
    assert [c.delta for c in chunks] == [Delta(content="a"), other, Delta(content="c")]


async def test_tool_call_deltas_are_never_merged():
    call = Delta(tool_calls=[ToolCallDelta(0, arguments="1")])
    assert len(await put_all(call, call, call)) == 3


async def test_a_merged_chunk_stays_within_its_limit():
    deltas = [Delta(content="x" * 1000) for _ in range(40)]
    chunks = await put_all(*deltas)
    assert max(len(c.delta.content) for c in chunks) <= MAX_MERGED_CHARACTERS
    assert sum(len(c.delta.content) for c in chunks) == 40_000
    assert chunks[-1].sequence == 40


async def test_a_huge_delta_is_cut_into_pieces_that_fit_a_message():
    text = "é" * 1_000_000
    chunks = await put_all(Delta(content=text))
    assert "".join(c.delta.content for c in chunks) == text
    assert all(len(c.delta.content.encode()) < 3 * 1024 * 1024 for c in chunks)
    assert [c.sequence for c in chunks] == [1, 2, 3, 4]


async def test_a_full_channel_holds_its_producer_until_the_reader_takes():
    channel = MergingChannel()
    while not channel.full:
        channel.put(Delta(content="x" * 10_000))
    waiting = asyncio.create_task(channel.space())
    await asyncio.sleep(0)
    assert not waiting.done()
    while channel.full:
        await channel.get()
    await waiting


async def test_a_slow_reader_never_makes_more_than_the_bound_wait():
    channel = MergingChannel()

    async def produce() -> None:
        for _ in range(200):
            channel.put(Delta(content="y" * 5000))
            most.append(channel._size)
            if channel.full:
                await channel.space()
        channel.end(FINAL)

    most: list[int] = []
    producer = asyncio.create_task(produce())
    chunks = await drained(channel)
    await producer
    assert sum(len(c.delta.content) for c in chunks) == 1_000_000
    assert max(most) <= MAX_WAITING_CHARACTERS + 5000 + channel_module.CHUNK_COST


async def test_an_error_comes_after_all_that_was_waiting():
    channel = MergingChannel()
    channel.put(Delta(content="a"))
    channel.end(HeadwaterError(Reason.STREAM_INTERRUPTED, "cut"))
    chunk = await channel.get()
    assert isinstance(chunk, Chunk)
    with pytest.raises(HeadwaterError, match="cut"):
        await channel.get()


async def test_only_the_first_end_counts():
    channel = MergingChannel()
    channel.end(FINAL)
    channel.end(HeadwaterError(Reason.INTERNAL, "late"))
    assert await channel.get() is FINAL


@pytest.mark.parametrize(
    "delta",
    [
        Delta(refusal="no" * 500_000),
        Delta(thinking="t" * 600_000, content="c" * 600_000),
        Delta(tool_calls=[ToolCallDelta(0, "id", "name", "1" * 1_500_000), ToolCallDelta(1, "b", "other")]),
    ],
)
async def test_whatever_is_huge_is_cut_into_pieces_that_fit_a_message(delta):
    chunks = [chunk.delta for chunk in await put_all(delta)]
    calls = [call for chunk in chunks for call in chunk.tool_calls or ()]
    for field in ("content", "thinking", "refusal"):
        assert "".join(getattr(chunk, field) for chunk in chunks) == getattr(delta, field)
        assert max(len(getattr(chunk, field)) for chunk in chunks) <= MAX_DELTA_CHARACTERS
    assert [(call.id, call.name) for call in calls if call.id] == [(c.id, c.name) for c in delta.tool_calls or ()]
    assert "".join(call.arguments for call in calls) == "".join(c.arguments for c in delta.tool_calls or ())
    assert all(len(call.arguments) <= MAX_DELTA_CHARACTERS for call in calls)


@pytest.mark.parametrize(
    "delta", [Delta(tool_calls=[ToolCallDelta(0, id="i")]), Delta(content="x"), Delta(refusal="n")]
)
async def test_very_many_very_small_deltas_fill_the_channel_too(delta):
    channel = MergingChannel()
    while not channel.full and channel.sequence < 10_000:
        channel.put(replace(delta))
    assert channel.full
    channel.end(FINAL)
    await drained(channel)
    assert channel._size == 0
