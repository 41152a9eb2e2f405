"""A resumable stream at its edges: nothing outlives it without need, and each waiting caller gets an end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.terms import Continuation
from tests.support.services.resumable import TEXT, WORDS, Provider, Service, in_virtual_time, read


class Broken(Provider):
    """Breaks off after one word, by an error that comes from another one."""

    async def read(self) -> list[ProviderEvent]:
        if self.read_words:
            try:
                self.fail()
            except OSError as error:
                raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "the connection broke") from error
        return await super().read()

    def fail(self) -> None:
        raise OSError("reset")


@pytest.mark.parametrize("kind", [Provider, Broken])
def test_a_log_does_not_keep_the_request(kind: type[Provider]) -> None:
    async def main() -> None:
        service, provider = Service(), kind()
        stream_id, *_ = await service.leave_after(provider, 1)
        await asyncio.sleep(20)
        gone = weakref.ref(provider)
        del provider
        gc.collect()
        assert gone() is None
        async with service.replays.resume(stream_id, 0) as attached:
            assert attached.stream.id == stream_id
        await service.close()

    in_virtual_time(main)()


@in_virtual_time
async def test_an_unexpected_error_while_it_is_opened_reaches_its_caller():
    service = Service()

    @contextlib.asynccontextmanager
    async def opening() -> AsyncIterator[LiveStream]:
        raise ZeroDivisionError
        yield

    with pytest.raises(HeadwaterError) as caught:
        async with asyncio.timeout(5), service.replays.open_stream(opening(), None):
            pass
    assert caught.value.reason is Reason.INTERNAL
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    await service.close()


@in_virtual_time
async def test_a_log_that_was_replaced_does_not_take_the_new_one_with_it():
    service = Service(retention_seconds=30)
    stream_id, *_ = await service.leave_after(Provider(), 1)
    await asyncio.sleep(15)
    async with service.replays.resume(stream_id, 0):
        slow = Provider(pause=10.0)
        async with service.open_stream(slow, Continuation(stream_id, 5)):
            pass
    await asyncio.sleep(45)  # the old log's time is over
    text, final = await service.rest(stream_id, 5)
    assert (text, final.sequence) == (TEXT, 16)
    assert service.replays.size > 0
    await service.close()
    assert service.replays.size == 0


@in_virtual_time
async def test_a_log_is_not_forgotten_while_a_round_is_opened_behind_it():
    service = Service(retention_seconds=30)
    stream_id, *_ = await service.leave_after(Provider(), 1)
    await asyncio.sleep(11 - 1 + 30 - 0.5)
    opening = service.opening(Provider(), Continuation(stream_id, 12))

    @contextlib.asynccontextmanager
    async def slowly() -> AsyncIterator[LiveStream]:
        await asyncio.sleep(1)
        async with opening as stream:
            yield stream

    async with service.replays.open_stream(slowly(), Continuation(stream_id, 12)) as attached:
        assert (await read(attached.reader))[0] == TEXT
    assert (await service.rest(stream_id, 0))[0] == TEXT
    assert (await service.rest(stream_id, 12))[0] == TEXT
    await service.close()
    assert service.replays.size == 0


@in_virtual_time
async def test_a_caller_that_leaves_in_the_moment_its_round_begins_leaves_an_end_behind():
    service = Service()
    stream_id, *_ = await service.leave_after(Provider(), 1)
    await asyncio.sleep(15)
    again = Continuation(stream_id, 12)
    for steps in range(6):

        async def begin() -> None:
            async with service.open_stream(Provider(), again):
                pass

        beginning = asyncio.create_task(begin())
        for _ in range(steps):
            await asyncio.sleep(0)
        beginning.cancel()
        await asyncio.wait([beginning])
        try:
            async with asyncio.timeout(30):
                await service.rest(stream_id, 12)
        except HeadwaterError as error:
            assert error.reason in (Reason.INVALID_REQUEST, Reason.STREAM_EXPIRED)
    await service.close()
    assert service.replays.size == 0


@in_virtual_time
async def test_a_reader_that_holds_up_the_others_is_let_go_however_often_they_come_back():
    service, provider = Service(max_bytes=20_000, lagging_seconds=10), Provider(size=5_000, pause=0.01)
    let_go: list[float] = []

    async def stuck_reader() -> None:
        async with service.replays.resume(stream_id, 0) as attached:
            await attached.reader.next()
            await asyncio.sleep(3600)

    async with service.open_stream(provider) as (reader, stream):
        stream_id = stream.id
        await reader.next()
        stuck = asyncio.create_task(stuck_reader())
        stuck.add_done_callback(lambda _: let_go.append(asyncio.get_running_loop().time()))
        reading = asyncio.create_task(read(reader))
        for _ in range(20):
            await asyncio.sleep(3)
            with contextlib.suppress(HeadwaterError):  # once the stuck reader is let go, that chunk is dropped
                async with service.replays.resume(stream_id, 3):
                    pass
        text, _ = await reading
    assert text == "".join(word + "x" * 5_000 for word in WORDS[1:])
    assert isinstance(stuck.exception(), HeadwaterError)
    assert let_go[0] < 12
    await service.close()
