"""A reader that takes nothing for too long ends its call; one that only waits does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.times.idle import IdleWatch
from tests.support.virtual_time import run_in_virtual_time


async def read_chunks(*writes: float, seconds: float = 120.0, detaches: bool = False, wait: float = 500.0) -> float:
    """Writes that take so long each, with a wait for the provider before each; the time at the end."""
    with IdleWatch(seconds, detaches=detaches) as reader:
        for write in writes:
            await asyncio.sleep(wait)
            reader.begin()
            await asyncio.sleep(write)
            reader.busy_since = None
    return asyncio.get_running_loop().time()


def test_a_reader_that_is_slow_or_waits_for_the_provider_is_not_taken_for_idle():
    assert run_in_virtual_time(read_chunks(119.0, 0.0, 119.0)) == 1738


@pytest.mark.parametrize(
    ("detaches", "cure"),
    [(True, "resume after the last chunk that came"), (False, "ask for a stream that can be resumed")],
)
def test_a_reader_that_takes_nothing_ends_its_call_with_the_cure(detaches, cure):
    async def main() -> tuple[HeadwaterError, float]:
        with pytest.raises(HeadwaterError) as caught:
            await read_chunks(1.0, 3600.0, detaches=detaches)
        assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
        return caught.value, asyncio.get_running_loop().time()

    error, ended = run_in_virtual_time(main())
    assert (error.reason, error.metadata["limit"]) == (Reason.STREAM_TIMEOUT, "idle_reader")
    assert error.metadata.get("detached") == ("true" if detaches else None)
    assert error.message == (f"nothing was read for 120 seconds; {cure}, or raise idle_reader_seconds of the server")
    assert ended == 1001 + 120


def test_a_call_that_is_cancelled_in_the_same_moment_stays_cancelled():
    async def main() -> None:
        call = asyncio.create_task(read_chunks(3600.0))
        asyncio.get_running_loop().call_at(620.0, call.cancel)
        await asyncio.sleep(620.0)
        with pytest.raises(asyncio.CancelledError):
            await call

    run_in_virtual_time(main())


def cut() -> HeadwaterError:
    return HeadwaterError(Reason.STREAM_CANCELLED, "the stream was ended by CancelStream")


@pytest.mark.parametrize(("began", "ended"), [(0.0, 60.0), (59.5, 60.5)])
def test_a_reader_that_has_taken_nothing_for_a_second_ends_its_call_when_the_stream_is_cut(began: float, ended: float):
    async def main() -> tuple[HeadwaterError, float]:
        loop = asyncio.get_running_loop()
        with pytest.raises(HeadwaterError) as caught, IdleWatch(120.0, detaches=False) as reader:
            for _ in range(2):
                loop.call_at(60.0, reader.hurry, cut())
            await asyncio.sleep(began)
            reader.begin()
            await asyncio.sleep(3600.0)
        assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
        return caught.value, loop.time()

    error, at = run_in_virtual_time(main())
    assert (error.reason, at) == (Reason.STREAM_CANCELLED, ended)


def test_a_reader_that_keeps_up_gets_what_is_left_of_a_stream_that_is_cut():
    async def main() -> float:
        with IdleWatch(120.0, detaches=False) as reader:
            reader.hurry(cut())
            for _ in range(5):
                reader.begin()
                await asyncio.sleep(0.9)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(main()) == pytest.approx(4.5)


def test_a_call_that_rests_has_no_timer_and_its_next_write_is_watched_again():
    async def main() -> tuple[list[int], float]:
        timers = []
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(HeadwaterError), IdleWatch(120.0, detaches=False) as reader:
            for wait in (0.0, 500.0):
                await asyncio.sleep(wait)
                reader.begin()
                timers.append(len(loop._scheduled))
                if wait:
                    await asyncio.sleep(3600.0)
                reader.rest()
                timers.append(sum(not timer.cancelled() for timer in loop._scheduled))
        return timers, loop.time()

    assert run_in_virtual_time(main()) == ([1, 0, 1], 500 + 120)
