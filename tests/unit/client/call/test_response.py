"""Whole replies, put together from chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headwater import Image, StreamChunk, TokenLogprob, TopLogprob, collect_stream
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


def test_a_chunk_has_its_tokens() -> None:
    likely = [
        agent_pb2.TopLogprob(token="Hi", logprob=-0.5, utf8=b"Hi"),
        agent_pb2.TopLogprob(token="Ho", logprob=-2),
    ]
    chunk = to_chunk(
        agent_pb2.StreamChunk(
            content="Hi",
            sequence=1,
            logprobs=[
                agent_pb2.TokenLogprob(token="Hi", logprob=-0.5, utf8=b"Hi", top_logprobs=likely),
                agent_pb2.TokenLogprob(token="?", logprob=-1, kind=agent_pb2.TOKEN_KIND_THINKING),
            ],
        ),
        0,
    )
    assert chunk.logprobs == [
        TokenLogprob("Hi", -0.5, b"Hi", (TopLogprob("Hi", -0.5, b"Hi"), TopLogprob("Ho", -2.0))),
        TokenLogprob("?", -1.0, kind="thinking"),
    ]
    assert to_chunk(agent_pb2.StreamChunk(content="Hi", sequence=1), 0).logprobs == []


async def scored() -> AsyncIterator[StreamChunk]:
    for number, text in enumerate(["Hi", " there"], 1):
        token = agent_pb2.TokenLogprob(token=text, logprob=-number)
        yield to_chunk(agent_pb2.StreamChunk(content=text, sequence=number, logprobs=[token]), number - 1)
    yield to_chunk(agent_pb2.StreamChunk(sequence=3, is_final=True), 2)


async def test_a_reply_has_all_tokens() -> None:
    expected = [TokenLogprob("Hi", -1.0), TokenLogprob(" there", -2.0)]
    assert (await collect_response(scored(), "")).logprobs == expected
    assert (await collect_stream(scored())).logprobs == expected
    assert (await collect_response(shown(), "")).logprobs == []


async def test_a_chunk_has_its_pictures() -> None:
    assert [chunk.images for chunk in [chunk async for chunk in shown()]] == [PICTURES[:1], PICTURES[1:], []]


async def test_a_reply_has_all_pictures() -> None:
    assert (await collect_response(shown(), "")).images == PICTURES
    assert (await collect_stream(shown())).images == PICTURES
