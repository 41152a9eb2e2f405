"""Pictures of a reply from the domain to the contract."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from headwater.v1 import agent_pb2
from headwater_server.domain.chunks import Beside, Chunk, Delta, FinalChunk, Finish, FinishReason, StreamStats
from headwater_server.domain.limits import MAX_IMAGE_BYTES, MAX_MESSAGE_BYTES
from headwater_server.domain.messages import Image
from headwater_server.streaming.accumulator import ReplyAccumulator
from headwater_server.streaming.answerer import Answerer
from headwater_server.transport.convert import replies

STREAM: Any = SimpleNamespace(id="s-1", answerer=Answerer("openai", model="gpt-4o"))
CHUNK = Chunk(1, 0, Delta(beside=Beside(images=[Image(b"png", "image/png"), Image(url="https://example.org/a.png")])))
SENT = [
    agent_pb2.Image(data=b"png", media_type="image/png"),
    agent_pb2.Image(url="https://example.org/a.png"),
]
END = FinalChunk(1, 0, Finish(FinishReason.STOP), StreamStats(None, 1, 0, None), [])


def test_a_chunk_has_its_pictures() -> None:
    assert list(replies.stream_chunk(CHUNK).images) == SENT


def test_the_largest_picture_fits_into_a_message() -> None:
    image = Image(bytes(MAX_IMAGE_BYTES), "image/png")
    assert replies.stream_chunk(Chunk(1, 0, Delta(beside=Beside(images=[image])))).ByteSize() < MAX_MESSAGE_BYTES


def test_a_whole_reply_has_all_and_counts_their_bytes() -> None:
    reply = ReplyAccumulator()
    reply.add_chunk(CHUNK)
    reply.add_chunk(CHUNK)
    assert reply.size >= 6
    assert list(replies.run_response(STREAM, reply, END).images) == SENT + SENT
