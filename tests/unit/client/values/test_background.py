"""Work in the background: its end by an error is in the log at once, and whatever depends on it gets the reason."""

from __future__ import annotations

import asyncio
import logging

import pytest

from headwater._grpc.portal import background
from headwater._values.background import report_death


async def fail() -> None:
    raise OSError("why")


@pytest.mark.parametrize("where", ["here", "on the background loop"])
async def test_work_that_fails_is_in_the_log_and_the_reason_of_its_dependants(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    reasons: list[BaseException] = []
    work = asyncio.create_task(fail()) if where == "here" else background().submit(fail())
    report_death(work, "the work", reasons.append)
    while not reasons:
        await asyncio.sleep(0.001)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "the work ended: OSError")
    ]
    assert [str(reason) for reason in reasons] == ["why"]
