"""A watcher that takes nothing of a large event is let go, so that it holds up no others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from headwater.v1.workflow_pb2 import StepCompletedEvent, WorkflowEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.transport.handlers import Context
from headwater_server.transport.services.workflow import WRITE_SECONDS, _write
from headwater_server.workflows.journal.base import LARGE_CHARACTERS
from tests.support.virtual_time import run_in_virtual_time

LARGE = WorkflowEvent(step_completed=StepCompletedEvent(result_json="x" * 2 * LARGE_CHARACTERS))
SMALL = WorkflowEvent(step_completed=StepCompletedEvent(result_json="1"))


class Reader:
    """A caller that takes each event after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.taken: list[WorkflowEvent] = []

    async def write(self, event: WorkflowEvent) -> None:
        await asyncio.sleep(self._seconds)
        self.taken.append(event)


def watch(event: WorkflowEvent, seconds: float) -> Reader:
    reader = Reader(seconds)
    run_in_virtual_time(_write(event, cast(Context, reader)))
    return reader


def test_one_that_takes_nothing_of_a_large_event_for_30_seconds_is_told_to_watch_again() -> None:
    assert WRITE_SECONDS == 30
    with pytest.raises(HeadwaterError) as caught:
        watch(LARGE, WRITE_SECONDS + 1)
    assert caught.value.reason is Reason.SERVER_OVERLOADED
    assert caught.value.retry_after_seconds == 1.0
    assert "watch again" in caught.value.message


@pytest.mark.parametrize(("event", "seconds"), [(LARGE, WRITE_SECONDS - 1), (SMALL, 10_000.0)], ids=["large", "small"])
def test_one_that_is_slower_than_others_gets_it(event: Any, seconds: float) -> None:
    assert watch(event, seconds).taken == [event]
