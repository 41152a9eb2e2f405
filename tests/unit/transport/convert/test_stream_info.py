"""The facts of a stream in the list: its model, how far it is, whether it is read; nothing of prompt or reply."""

from __future__ import annotations

import asyncio

from headwater.v1 import agent_service_pb2 as pb
from headwater_server.streaming.live import LiveStream
from headwater_server.transport.convert.replies import stream_info
from tests.support.services.resumable import WORDS, Provider, Service, in_virtual_time, read


def told(service: Service, stream: LiveStream) -> tuple[int, int]:
    """The state of a stream in the list, and its last sequence."""
    info = stream_info(stream, service.replays.facts(stream))
    return info.state, info.last_sequence


@in_virtual_time
async def test_a_stream_is_told_with_its_state_from_its_first_chunk_to_its_end():
    service = Service()
    async with service.open_stream(Provider()) as (reader, stream):
        assert told(service, stream) == (pb.STREAM_STATE_ATTACHED, 0)
        await reader.next()
        assert told(service, stream) == (pb.STREAM_STATE_ATTACHED, 1)
    assert service.replays.ended() == []
    await asyncio.sleep(3.5)
    assert told(service, stream) == (pb.STREAM_STATE_DETACHED, 4)
    await asyncio.sleep(30)
    assert told(service, stream) == (pb.STREAM_STATE_ENDED, 11)
    assert service.replays.ended() == [stream]
    await service.close()


@in_virtual_time
async def test_only_its_facts_are_told():
    service = Service()
    async with service.open_stream(Provider()) as (reader, stream):
        await read(reader)
        info = stream_info(stream, service.replays.facts(stream))
    assert (info.stream_id, info.provider, info.chunk_count, info.resumable) == (stream.id, "fake", 10, True)
    assert abs(info.create_time.ToNanoseconds() / 1e9 - stream.created) < 1e-3
    assert info.labels == {"team": "red"}
    text = str(info).replace(stream.id, "")  # any letters may be in an id
    assert "fake" in text
    assert [word for word in WORDS if word in text] == []
    await service.close()
