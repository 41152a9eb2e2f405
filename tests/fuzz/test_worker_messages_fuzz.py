"""Any messages of a worker: each is taken, or refused by the name of its field; no other worker notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.v1.worker_service_pb2 import AttachRequest, TaskChunk
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.workflow import Outcome, Step
from headwater_server.transport.convert.workers import parse_registration
from headwater_server.transport.services.chunk_acks import ChunkAcks
from headwater_server.transport.services.worker import _Hearing, _Outbox, _read
from headwater_server.workflows.workers.pool import WorkerPool
from headwater_server.workflows.workers.tasks import Reports, TaskSpec
from tests.support.messages import messages

FEW = settings(max_examples=25)
"""Each message takes long to make; `make fuzz` repeats them."""

SPEC = TaskSpec("run", "workflow", Step("step", handler="h"), 1)


async def read(requests: list[AttachRequest]) -> None:
    """Reads the messages of a worker that has a task, while another waits for one."""
    pool, outbox = WorkerPool(60.0), _Outbox()

    async def nothing(*_: object) -> None: ...

    async def said() -> AsyncIterator[AttachRequest]:
        for request in requests:
            yield request

    session = pool.connect("w", "q", ["h"], 1, [], outbox.send)
    running: asyncio.Task[Any] = asyncio.create_task(
        pool.run_task(
            SPEC,
            "q",
            schedule_timeout_seconds=30,
            timeout_seconds=None,
            on_waiting=nothing,
            on_started=nothing,
            reports=Reports(nothing, nothing, lambda _: None),
        )
    )
    await asyncio.sleep(0)
    try:
        await _read(said(), session, outbox, ChunkAcks(outbox.acknowledge), _Hearing())
    except HeadwaterError as error:
        assert error.reason is Reason.INVALID_REQUEST
        assert error.violations
    finally:
        session.disconnected()
        other = pool.connect("other", "other", ["h"], 1, [], outbox.send)
        assert not other.unwanted
        assert not other.result("unknown", Outcome("1"))
        running.cancel()
        await asyncio.wait([running])
        pool.close()


def for_the_task(request: AttachRequest) -> AttachRequest:
    """The same message, about the task that the worker has."""
    kind = request.WhichOneof("kind")
    if kind in ("chunk", "result", "waiting", "progress"):
        getattr(request, kind).task_id = SPEC.task_id
    return request


@FEW
@given(st.lists(st.one_of(messages(AttachRequest), messages(AttachRequest).map(for_the_task)), max_size=6))
@example([AttachRequest(chunk=TaskChunk(task_id=SPEC.task_id, content="x", position=2**31 - 1))])  # no int32 after it
def test_any_messages_of_a_worker(requests: list[AttachRequest]) -> None:
    asyncio.run(read(requests))


@FEW
@given(messages(AttachRequest))
def test_any_registration(request: AttachRequest) -> None:
    try:
        registration = parse_registration(request.registration)
    except HeadwaterError as error:
        assert error.violations
    else:
        assert 1 <= registration.concurrency <= 10_000
