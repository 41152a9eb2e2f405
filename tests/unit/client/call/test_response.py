"""Whole replies, put together from chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headwater import Image, StreamChunk, collect_stream
from headwater._call.chunks import to_chunk
from headwater._call.response import collect_response
from headwater.v1 import agent_pb2

PNG = agent_pb2.Image(data=b"png", media_type="image/png")
LINK = agent_pb2.Image(url="https://example.org/a.png")
PICTURES = [Image(b"png", "image/png"), Image(url="https://example.org/a.png")]


async def shown() -> AsyncIterator[StreamChunk]:
    yield to_chunk(agent_pb2.StreamChunk(sequence=1, images=[PNG]), 0)
    yield to_chunk(agent_pb2.StreamChunk(sequence=2, images=[LINK]), 1)
    yield to_chunk(agent_pb2.StreamChunk(sequence=3, is_final=True), 2)


async def test_a_chunk_has_its_pictures() -> None:
    assert [chunk.images for chunk in [chunk async for chunk in shown()]] == [PICTURES[:1], PICTURES[1:], []]


async def test_a_reply_has_all_pictures() -> None:
    assert (await collect_response(shown(), "")).images == PICTURES
    assert (await collect_stream(shown())).images == PICTURES
