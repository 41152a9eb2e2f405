from __future__ import annotations

import asyncio
import json

import pytest

from benchmarks.load.readers import BadStreamError, HttpReader
from benchmarks.load.upstream import Upstream
from benchmarks.load.wire import Order, now_us, stamps
from benchmarks.samples import ages


async def read(upstream: Upstream, order: Order) -> list[tuple[int, str | bytes]]:
    notes: list[tuple[int, str | bytes]] = []
    async with HttpReader("127.0.0.1", upstream.port) as reader:
        await reader.read(order, lambda text: notes.append((now_us(), text)))
    return notes


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


async def test_a_paced_stream_keeps_its_pace():
    async with Upstream() as upstream:
        began = now_us()
        notes = await read(upstream, Order(pace=100.0, count=31))
    written = [stamp for _, text in notes for stamp in stamps(text)]
    # From the second delta on one is due each 10 ms. On a busy machine any of them may be late, also the second one; none
    # is early.
    assert len(written) == 31
    assert [place for place, stamp in enumerate(written[1:]) if stamp - began < place * 10_000 - 1_000] == []


async def test_a_stamp_is_the_moment_of_writing():
    async with Upstream() as upstream:
        before = now_us()
        notes = await read(upstream, Order(count=1))
    (age,) = ages(notes)
    assert 0 <= age <= now_us() - before


async def test_a_burst_by_time_ends_and_says_how_much_it_wrote():
    async with Upstream() as upstream:
        notes = await read(upstream, Order(seconds=0.05))
        assert len(notes) == upstream.counts.events > 1


async def test_a_reader_that_leaves_a_silent_stream_is_counted():
    async with Upstream() as upstream, HttpReader("127.0.0.1", upstream.port) as reader:
        spoken = asyncio.Event()
        task = asyncio.create_task(reader.read(Order(), lambda _: spoken.set()))
        await spoken.wait()
        assert (upstream.counts.open, upstream.counts.streaming, upstream.counts.left) == (1, 1, 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: upstream.counts.left == 1)
        assert (upstream.counts.open, upstream.counts.streaming) == (0, 0)


async def test_a_stream_read_to_its_end_was_not_left():
    async with Upstream() as upstream:
        await read(upstream, Order(count=3))
        await until(lambda: upstream.counts.open == 0)
        assert upstream.counts.left == 0


async def test_a_connection_serves_one_stream_after_the_other():
    async with Upstream() as upstream, HttpReader("127.0.0.1", upstream.port) as reader:
        for _ in range(3):
            await reader.read(Order(count=2), lambda _: None)
        assert (upstream.counts.requests, upstream.counts.open) == (3, 1)


async def test_a_prompt_that_orders_nothing_is_refused():
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()
    async with Upstream() as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_an_upstream_that_dies_in_mid_stream_is_a_failed_stream():
    async with Upstream() as upstream:
        spoken = asyncio.Event()
        reader = HttpReader("127.0.0.1", upstream.port)
        task = asyncio.create_task(reader.read(Order(), lambda _: spoken.set()))
        await spoken.wait()
    async with reader:
        with pytest.raises(BadStreamError, match="the connection was cut"):
            await task
