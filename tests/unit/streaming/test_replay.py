"""A resumable stream: read to its end without its callers, and whole for each of them, however often they come back."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.domain.chunks import Chunk, FinalChunk, FinishReason
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.terms import Continuation
from tests.support.services.resumable import TEXT, WORDS, Failing, Provider, Service, in_virtual_time, read


@in_virtual_time
async def test_a_caller_that_comes_back_gets_the_rest_and_nothing_twice():
    service = Service()
    stream_id, sequence, text = await service.leave_after(Provider(), 3)
    await asyncio.sleep(4.5)
    rest, final = await service.rest(stream_id, sequence)
    assert text + rest == TEXT
    assert final.sequence == 11
    await service.close()


@in_virtual_time
async def test_what_waits_for_a_reader_comes_as_one_chunk():
    service = Service()
    stream_id, *_ = await service.leave_after(Provider(), 2)
    await asyncio.sleep(3.5)
    async with service.replays.resume(stream_id, 2) as attached:
        chunk = await attached.reader.next()
    assert isinstance(chunk, Chunk)
    assert (chunk.sequence, chunk.merged) == (5, True)
    await service.close()


@in_virtual_time
async def test_a_stream_that_has_ended_is_kept_and_can_be_read_again_from_any_chunk():
    service = Service()
    stream_id, *_ = await service.leave_after(Provider(), 1)
    await asyncio.sleep(60)
    for after in range(11):
        text, final = await service.rest(stream_id, after)
        assert (text, final.sequence) == ("".join(WORDS[after:]), 11)
    assert (await service.rest(stream_id, 11))[0] == ""
    await service.close()


@in_virtual_time
async def test_the_error_with_which_it_ended_is_given_to_all_who_ask():
    service = Service()
    stream_id, sequence, _ = await service.leave_after(Failing(), 3)
    await asyncio.sleep(5)
    errors = [await service.error(stream_id, sequence) for _ in range(2)]
    assert [error.reason for error in errors] == [Reason.STREAM_INTERRUPTED] * 2
    assert errors[0] is not errors[1]
    await service.close()


@in_virtual_time
async def test_a_stream_that_nobody_reads_is_ended_when_the_time_to_come_back_is_over():
    service, provider = Service(detach_seconds=3), Provider()
    stream_id, sequence, _ = await service.leave_after(provider, 2)
    await asyncio.sleep(3.5)
    assert provider.closed
    error = await service.error(stream_id, sequence)
    assert error.reason is Reason.STREAM_EXPIRED
    assert "no reader" in error.message
    await service.close()


@in_virtual_time
async def test_a_log_is_forgotten_some_time_after_the_end():
    service = Service(retention_seconds=30)
    stream_id, *_ = await service.leave_after(Provider(), 1)
    await asyncio.sleep(11 + 31)
    error = await service.error(stream_id)
    assert error.reason is Reason.STREAM_EXPIRED
    assert "first_sequence" not in error.metadata
    await service.close()


@in_virtual_time
async def test_an_id_that_was_never_resumable_is_told_from_one_whose_log_is_gone():
    service = Service()
    plain = "str_0_" + "a" * 22
    assert (await service.error(plain)).reason is Reason.STREAM_NOT_FOUND
    assert (await service.error("nonsense")).reason is Reason.STREAM_NOT_FOUND
    assert (await service.error(plain + "_r")).reason is Reason.STREAM_EXPIRED


@in_virtual_time
async def test_past_its_size_the_oldest_chunks_go_and_who_lacks_them_is_told_where_the_rest_begins():
    service = Service(max_bytes=20_000)
    stream_id, sequence, _ = await service.leave_after(Provider(size=5_000), 1)
    await asyncio.sleep(30)
    error = await service.error(stream_id, sequence)
    assert error.reason is Reason.STREAM_EXPIRED
    first = int(error.metadata["first_sequence"])
    text, final = await service.rest(stream_id, first - 1)
    assert text.startswith(WORDS[first - 1])
    assert final.sequence == 11
    await service.close()


@in_virtual_time
async def test_the_provider_waits_for_the_only_reader_before_anything_it_lacks_is_dropped():
    service, provider = Service(max_bytes=20_000), Provider(size=5_000, pause=0.01)
    async with service.open_stream(provider) as (reader, _):
        await reader.next()
        await asyncio.sleep(60)
        assert provider.read_words < 6
        text, _ = await read(reader)
    assert text.replace("x", "") == "".join(WORDS[1:])
    await service.close()


@in_virtual_time
async def test_little_is_read_ahead_of_readers_that_have_all_stopped_and_the_rest_when_one_reads_on():
    service, provider = Service(), Provider(size=20_000)
    async with service.open_stream(provider) as (reader, _):
        await reader.next()
        await asyncio.sleep(100)
        assert provider.read_words == 5
        assert len((await read(reader))[0]) == 180_000 + len(TEXT) - len(WORDS[0])
    await service.close()


@in_virtual_time
async def test_of_several_readers_the_one_that_holds_up_the_others_is_let_go():
    service, provider = Service(max_bytes=20_000, lagging_seconds=10), Provider(size=5_000, pause=0.01)
    stuck: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def stuck_reader() -> None:
        try:
            async with service.replays.resume(stream_id, 0) as attached:
                await attached.reader.next()
                await asyncio.sleep(3600)
        except HeadwaterError as error:
            stuck.set_result(error.reason)

    async with service.open_stream(provider) as (reader, stream):
        stream_id = stream.id
        chunk = await reader.next()
        other = asyncio.create_task(stuck_reader())
        text, final = await read(reader)
    assert await stuck == Reason.STREAM_EXPIRED
    assert chunk.delta.content + text == "".join(word + "x" * 5_000 for word in WORDS)
    assert final.sequence == 11
    await other
    await service.close()


@in_virtual_time
async def test_fifty_reconnects_cost_the_provider_and_another_reader_nothing():
    service, provider = Service(), Provider()
    async with service.open_stream(provider) as (reader, stream):
        other = asyncio.create_task(read(reader))
        for _ in range(50):
            async with service.replays.resume(stream.id, 0) as attached:
                await attached.reader.next()
        assert await other == (TEXT, await _final(service, stream.id))
    assert provider.read_words == 10
    await service.close()


async def _final(service: Service, stream_id: str) -> FinalChunk:
    return (await service.rest(stream_id, 0))[1]


@in_virtual_time
async def test_the_next_round_continues_the_log_of_its_id():
    service = Service()
    async with service.open_stream(Provider(reason=FinishReason.TOOL_CALLS)) as (reader, stream):
        _, end = await read(reader)
    async with service.open_stream(Provider(), Continuation(stream.id, end.sequence)) as (reader, second):
        first = await reader.next()
    assert (second.id, first.sequence) == (stream.id, 12)
    rest, final = await service.rest(stream.id, 12)
    assert (WORDS[0] + rest, final.sequence) == (TEXT, 22)
    assert (await service.rest(stream.id, 5))[1].sequence == 11  # the end of that round
    await service.close()


@in_virtual_time
async def test_a_round_that_is_asked_for_twice_is_begun_once():
    service = Service()
    async with service.open_stream(Provider(reason=FinishReason.TOOL_CALLS)) as (reader, stream):
        _, end = await read(reader)
    continues, second, third = Continuation(stream.id, end.sequence), Provider(), Provider()

    async def ask(provider: Provider) -> str:
        async with service.open_stream(provider, continues) as (reader, _):
            return (await read(reader))[0]

    first = asyncio.create_task(ask(second))
    assert await asyncio.gather(ask(third), ask(third)) == [TEXT, TEXT]  # at once, before the first has begun
    assert await first == TEXT
    assert (second.read_words, third.read_words) == (10, 0)
    await service.close()


@in_virtual_time
async def test_a_round_whose_log_is_gone_begins_a_new_one():
    service = Service()
    lost = Continuation("str_0_" + "a" * 22 + "_r", 40)
    async with service.open_stream(Provider(), lost) as (_, stream):
        pass
    assert (await service.rest(stream.id, 40))[0] == TEXT
    assert (await service.error(stream.id, 7)).reason is Reason.STREAM_EXPIRED
    await service.close()


@in_virtual_time
async def test_a_round_while_the_one_before_runs_is_refused_and_harms_it_not():
    service = Service()
    async with service.open_stream(Provider()) as (reader, stream):
        await reader.next()
        with pytest.raises(HeadwaterError, match="still runs"):
            async with service.open_stream(Provider(), Continuation(stream.id, 1)):
                pass
        assert (await read(reader))[0] == "".join(WORDS[1:])
    await service.close()


@in_virtual_time
async def test_a_cancelled_stream_ends_for_all_of_its_readers_also_while_one_holds_it_up():
    service, provider = Service(max_bytes=10_000), Provider(size=5_000, pause=0.01)
    with pytest.raises(HeadwaterError) as caught:
        async with service.open_stream(provider) as (reader, stream):
            await reader.next()
            await asyncio.sleep(1)
            service.streams.cancel_stream(stream.id)
            await asyncio.sleep(1)
            assert provider.closed
            await read(reader)
    assert caught.value.reason is Reason.STREAM_CANCELLED
    assert len(service.streams) == 0
    await service.close()


@in_virtual_time
async def test_the_logs_of_all_streams_together_are_bounded_and_the_oldest_that_ended_go_first():
    service = Service(max_bytes_in_all=150_000)
    ids = []
    for _ in range(4):
        stream_id, *_ = await service.leave_after(Provider(size=5_000, pause=0.01), 1)
        ids.append(stream_id)
        await asyncio.sleep(1)
    assert (await service.error(ids[0])).reason is Reason.STREAM_EXPIRED
    assert (await service.rest(ids[-1], 0))[1].sequence == 11
    await service.close()


@in_virtual_time
async def test_a_failure_before_the_stream_began_is_its_callers_alone():
    service = Service()
    await service.streams.drain(0)
    with pytest.raises(HeadwaterError) as caught:
        async with service.open_stream(Provider()):
            pass
    assert caught.value.reason is Reason.SERVER_DRAINING
    await service.close()


@in_virtual_time
async def test_at_the_end_of_the_server_a_stream_that_is_read_gets_its_time_and_one_that_is_not_ends():
    service, unread = Service(), Provider()
    await service.leave_after(unread, 1)
    async with service.open_stream(Provider()) as (reader, _):
        service.replays.drain()
        await asyncio.sleep(0.1)
        assert unread.closed
        draining = asyncio.create_task(service.streams.drain(60))
        assert (await read(reader))[0] == TEXT
    await draining
    await service.close()


@in_virtual_time
async def test_at_the_end_of_the_server_a_stream_whose_reader_leaves_is_not_waited_for():
    service, left = Service(), Provider()
    async with service.open_stream(left) as (reader, _):
        service.replays.drain()
        await reader.next()
    await service.streams.drain(60)
    assert (left.read_words, left.closed) == (1, True)
    await service.close()
