"""The readers of a resumable stream read the provider in turn; leaving at any moment costs neither them nor the stream."""

from __future__ import annotations

import asyncio
import random

import pytest

from headwater_server.domain.chunks import Chunk, ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.answerer import Timeouts
from headwater_server.streaming.reader import Reader
from tests.support.services.resumable import TEXT, Provider, Service, in_virtual_time, read


class Careful(Provider):
    """Says ten words; fails when two tasks read it at once, or when its first read is cancelled."""

    reading = False

    async def read(self) -> list[ProviderEvent]:
        assert not self.reading
        self.reading = True
        try:
            return await super().read()
        except asyncio.CancelledError:
            assert self.read_words
            raise
        finally:
            self.reading = False


async def leave_at(service: Service, stream_id: str, moment: float) -> tuple[str, int]:
    """Reads a stream from its begin and is cancelled then: the text that came, and the last sequence."""
    text, sequence = "", 0

    async def follow() -> None:
        nonlocal text, sequence
        async with service.replays.resume(stream_id, 0) as attached:
            while isinstance(chunk := await attached.reader.next(), Chunk):
                text, sequence = text + chunk.delta.content, chunk.sequence

    following = asyncio.create_task(follow())
    await asyncio.wait([following], timeout=moment)
    following.cancel()
    await asyncio.wait([following])
    return text, sequence


@pytest.mark.parametrize("seed", range(10))
def test_readers_that_leave_at_any_moment_lose_nothing(seed: int) -> None:
    async def main() -> None:
        service, chance = Service(), random.Random(seed)  # noqa: S311
        async with service.open_stream(Careful(pause=0.5)) as (reader, stream):
            leaving = [leave_at(service, stream.id, chance.uniform(0, 6)) for _ in range(20)]
            own = asyncio.create_task(read(reader)) if chance.random() < 0.5 else None
            results = await asyncio.gather(*leaving)
            assert own is None or (await own)[0] == TEXT
        for text, sequence in results:
            assert text + (await service.rest(stream.id, sequence))[0] == TEXT
        await service.close()

    in_virtual_time(main)()


@in_virtual_time
async def test_the_only_reader_leaves_while_it_waits_for_the_provider_and_the_stream_is_read_on():
    service, provider = Service(), Careful(pause=1.5)
    async with service.open_stream(provider) as (reader, stream):
        await reader.next()
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
    await asyncio.sleep(30)
    assert (await service.rest(stream.id, 0))[0] == TEXT
    await service.close()


@in_virtual_time
async def test_a_chunk_waits_a_second_for_a_busy_reader_and_then_goes_into_the_log():
    service, provider = Service(), Careful(pause=0.01)
    async with service.open_stream(provider) as (reader, _):
        await reader.next()
        await asyncio.sleep(0.9)
        assert provider.read_words == 1
        await asyncio.sleep(3)
        assert provider.read_words == 4
        assert (await read(reader))[0] == TEXT.removeprefix("w0 ")
    await service.close()


@in_virtual_time
async def test_a_fast_reader_reads_on_while_another_one_is_busy():
    service = Service()

    async def busy(stream_id: str) -> None:
        async with service.replays.resume(stream_id, 0) as attached:
            await attached.reader.next()
            await asyncio.sleep(100)

    async with service.open_stream(Careful(pause=0.5)) as (reader, stream):
        beside = asyncio.create_task(busy(stream.id))
        began = asyncio.get_running_loop().time()
        assert (await read(reader))[0] == TEXT
        assert asyncio.get_running_loop().time() - began < 6
        beside.cancel()
    await service.close()


class Silent(Provider):
    """Says one word, then nothing."""

    async def read(self) -> list[ProviderEvent]:
        if self.read_words:
            await asyncio.sleep(3600)
        return await super().read()


@in_virtual_time
async def test_the_silence_of_a_provider_is_counted_however_often_its_readers_change():
    service, loop = Service(detach_seconds=3600), asyncio.get_running_loop()
    stream_id, *_ = await service.leave_after(Silent(), 1)
    began, limit = loop.time(), Timeouts().next_chunk_seconds
    while loop.time() - began < limit - 5:
        await leave_at(service, stream_id, 7)
        await asyncio.sleep(0.1)
    error = await service.error(stream_id, 1)
    assert error.reason is Reason.STREAM_TIMEOUT
    assert loop.time() - began == pytest.approx(limit, abs=1)
    await service.close()


@in_virtual_time
async def test_a_cancelled_stream_ends_for_the_reader_that_waits_for_the_provider():
    service = Service()

    async def wait(reader: Reader) -> Reason:
        with pytest.raises(HeadwaterError) as caught:
            await reader.next()
        return caught.value.reason

    async with service.open_stream(Careful()) as (reader, stream):
        await reader.next()
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(wait(reader))
            await asyncio.sleep(0.5)
            service.streams.cancel_stream(stream.id)
    assert ended.result() is Reason.STREAM_CANCELLED
    assert len(service.streams) == 0
    await service.close()
