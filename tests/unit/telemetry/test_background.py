"""Work in the background: its end by an error is in the log at once, and whatever depends on it gets the reason."""

from __future__ import annotations

import asyncio

import structlog

from headwater_server.telemetry.background import in_background


async def fail() -> None:
    raise OSError("of-7141-only")


async def test_work_that_fails_is_a_fault_in_the_log_and_the_reason_of_its_dependants() -> None:
    reasons: list[BaseException] = []
    with structlog.testing.capture_logs() as lines:
        task = in_background(fail(), "the work", reasons.append)
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert [type(reason) for reason in reasons] == [OSError]
    assert [(line["event"], line["task"], line["error"]) for line in lines] == [("fault", "the work", "OSError")]
    assert "7141" not in str(lines)


async def test_work_that_ends_or_is_cancelled_says_nothing() -> None:
    reasons: list[BaseException] = []
    with structlog.testing.capture_logs() as lines:
        done = in_background(asyncio.sleep(0), "done", reasons.append)
        cancelled = in_background(asyncio.sleep(60), "cancelled", reasons.append)
        cancelled.cancel()
        await asyncio.wait([done, cancelled])
        await asyncio.sleep(0)
    assert (reasons, lines) == ([], [])
