"""The WorkerService: one call for each attached worker.

Theory of operation. Three things can end a call, and each has its own waiter: the worker (it leaves, or says something
wrong: the reading task), the connection (the writing task), and the server (it drains, or the worker has attached
again). In each case the session is closed in the pool before the call ends.

Memory is bounded without losing a message: tasks that wait to be written are references, made into messages one at a
time; a task that is cancelled before it was written is dropped with its cancellation; and as acknowledgements are what
a worker can cause without end, nothing more is read from one that does not read them. A worker that takes no message
for half a minute is disconnected, and so is one that says nothing for half a minute: it may have sent all of a message
but its end, which gRPC keeps.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

import structlog

from headwater.v1 import worker_service_pb2, worker_service_pb2_grpc
from headwater_server.callers.caller import caller
from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.domain.failure import StepError
from headwater_server.domain.limits import MAX_NAME
from headwater_server.telemetry.audit import audit
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.transport.convert import workers as worker_messages
from headwater_server.transport.convert.workers import Registration
from headwater_server.transport.handlers import Context
from headwater_server.transport.services.chunk_acks import ChunkAcks
from headwater_server.workflows.journal.base import JournalError
from headwater_server.workflows.workers.pool import WorkerPool
from headwater_server.workflows.workers.session import WorkerSession
from headwater_server.workflows.workers.tasks import Assign, Cancel, HandedBack, ToWorker

HEARTBEATS_PER_TIMEOUT = 3
REGISTER_SECONDS = 10.0
WRITE_SECONDS = 30.0
LAST_WRITE_SECONDS = 1.0
SILENT_SECONDS = 30.0
MAX_WAITING_ACKS = 1_000
RECONNECT_AFTER_SECONDS = 0.5

RememberHandlers = Callable[[str, Collection[str]], Awaitable[None]]
AllResumed = Callable[[], Awaitable[None]]
Requests = AsyncIterator[worker_service_pb2.AttachRequest]
Ack = worker_service_pb2.TaskResultAck | worker_service_pb2.TaskChunkAck

log = structlog.get_logger("headwater.workers")


class _Outbox:
    """The messages that wait to be written to one worker, in order."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[str, str], ToWorker | Ack] = OrderedDict()
        self._first: worker_service_pb2.AttachResponse | None = None
        self._acks = 0
        self._last_acks = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def begin(self, registered: worker_service_pb2.AttachResponse) -> None:
        """The answer to the registration comes before all others. It may be large, and goes once it is written."""
        self._first = registered

    def send(self, message: ToWorker) -> None:
        if isinstance(message, Cancel) and self._waiting.pop(("Assign", message.task_id), None) is not None:
            return
        self._waiting[type(message).__name__, message.task_id] = message
        self._changed.set()

    async def acknowledge(self, ack: Ack) -> None:
        """Waits while too many acknowledgements wait."""
        await self._room.wait()
        key = type(ack).__name__, ack.task_id
        self._acks += key not in self._waiting
        self._waiting[key] = ack
        if self._acks >= MAX_WAITING_ACKS:
            self._room.clear()
        self._changed.set()

    def end_with_acks(self) -> None:
        """The worker has left: it gets no tasks any more, and then no message at all."""
        self._last_acks = True
        self._changed.set()

    async def next(self) -> worker_service_pb2.AttachResponse | ToWorker | Ack | None:
        """The oldest message; None after the last one."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        while True:
            while not self._waiting:
                if self._last_acks:
                    return None
                self._changed.clear()
                await self._changed.wait()
            _, message = self._waiting.popitem(last=False)
            is_ack = isinstance(message, Ack)
            if is_ack:
                self._acks -= 1
                self._room.set()
            if is_ack or not self._last_acks:
                return message


class _Hearing:
    """When a worker was heard last. While its message is worked on it need not say more."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._is_working = False

    def begin(self) -> None:
        """A message has come."""
        self._is_working = True

    def end(self) -> None:
        """The message was worked on, and the next is waited for."""
        self._is_working, self._since = False, self._loop.time()

    async def silence(self, seconds: float) -> None:
        """Returns when nothing was heard for so long."""
        while True:
            left = seconds if self._is_working else self._since + seconds - self._loop.time()
            if left <= 0:
                return
            await asyncio.sleep(left)


class WorkerService(worker_service_pb2_grpc.WorkerServiceServicer):
    """Connects workers to the pool.

    Args:
        pool: has the tasks.
        remember_handlers: notes that names were registered on a queue; awaited before the worker gets its answer.
        version: of this server, for workers.
        all_resumed: waits until the attempts that workers may still have from before are known.
    """

    def __init__(
        self, pool: WorkerPool, remember_handlers: RememberHandlers, version: str, all_resumed: AllResumed
    ) -> None:
        self._pool = pool
        self._all_resumed = all_resumed
        self._remember_handlers = remember_handlers
        self._version = version
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Takes no more workers, and ends the calls of those that are connected."""
        self._draining.set()

    async def Attach(  # type: ignore[override]  # noqa: N802  gRPC also takes a coroutine that writes
        self, requests: Requests, context: Context
    ) -> None:
        """Serves one worker as long as it is attached."""
        if self._draining.is_set():
            raise _draining()
        registration = await self._register(requests)
        if registration.held_task_ids:
            await self._wait_for_runs()
        outbox = _Outbox()
        session = self._pool.connect(
            f"{caller.get().name}\n{registration.worker_id}",  # no caller is in the place of another's worker
            registration.queue,
            registration.handlers,
            registration.concurrency,
            registration.held_task_ids,
            outbox.send,
        )
        audit("worker_registered")
        log.info("worker attached", client_version=registration.client_version, features=list(registration.features))
        try:
            acks = ChunkAcks(outbox.acknowledge) if worker_messages.CHUNK_ACKS in registration.features else None
            outbox.begin(self._registered(registration, session))
            del registration  # as large as its worker likes, and held as long as the call
            await self._serve(requests, context, session, outbox, acks)
        finally:
            session.disconnected()

    async def _wait_for_runs(self) -> None:
        """Waits until the attempts are known that a worker may still have from before, or raises: the server drains."""
        resumed = asyncio.ensure_future(self._all_resumed())
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait([resumed, draining], return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                raise _draining()
        finally:
            await _end(resumed, draining)

    async def _register(self, requests: Requests) -> Registration:
        first = asyncio.ensure_future(anext(requests, None))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait([first, draining], timeout=REGISTER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                raise _draining()
            message = first.result() if first.done() else None
        finally:
            await _end(first, draining)
        if message is None or message.WhichOneof("kind") != "registration":
            raise invalid("registration", f"must be the first message, within {REGISTER_SECONDS:g} s")
        registration = worker_messages.parse_registration(message.registration)
        caller.get().check_queue(registration.queue)
        with suppress(JournalError):  # which says why itself; the names only help to find typing mistakes
            await self._remember_handlers(registration.queue, registration.handlers)
        add_facts(worker_id=registration.worker_id, queue=registration.queue, handlers=len(registration.handlers))
        return registration

    async def _serve(
        self,
        requests: Requests,
        context: Context,
        session: WorkerSession,
        outbox: _Outbox,
        acks: ChunkAcks | None,
    ) -> None:
        hearing = _Hearing()
        longest = max(SILENT_SECONDS, self._pool.heartbeat_timeout_seconds)
        reading = asyncio.ensure_future(_read(requests, session, outbox, acks, hearing))
        writing = asyncio.ensure_future(_write(context, session, outbox))
        draining = asyncio.ensure_future(self._draining.wait())
        replaced = asyncio.ensure_future(session.replaced.wait())
        silent = asyncio.ensure_future(hearing.silence(longest))
        ends = (reading, writing, draining, replaced, silent)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
                session.disconnected()
                outbox.end_with_acks()
                await asyncio.wait([writing, draining], return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                return writing.result()
            if replaced.done():
                raise invalid("registration.worker_id", "has attached again elsewhere; give each worker another id")
            if silent.done():
                what = f"the worker has said nothing for {longest:g} s; send heartbeats, and attach again"
                raise HeadwaterError(Reason.STREAM_INTERRUPTED, what)
            raise _draining()
        finally:
            await _end(*ends)

    def _registered(self, registration: Registration, session: WorkerSession) -> worker_service_pb2.AttachResponse:
        timeout = self._pool.heartbeat_timeout_seconds
        unwanted, session.unwanted = session.unwanted, ()
        return worker_messages.registered(
            registration, timeout / HEARTBEATS_PER_TIMEOUT, timeout, unwanted, self._version
        )


async def _end(*waiters: asyncio.Future[Any]) -> None:
    """Cancels those that are not done, and waits for all; errors that matter were handled before."""
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)


async def _read(
    requests: Requests, session: WorkerSession, outbox: _Outbox, acks: ChunkAcks | None, hearing: _Hearing
) -> None:
    """Takes what the worker says, until it has said all. `acks`: None when the worker counts no positions."""
    async for message in requests:
        hearing.begin()
        session.heard()
        await _take(message, session, outbox, acks)
        del message  # a result may be large, and the next message may come late
        hearing.end()


async def _take(
    message: worker_service_pb2.AttachRequest, session: WorkerSession, outbox: _Outbox, acks: ChunkAcks | None
) -> None:
    match message.WhichOneof("kind"):
        case "chunk":
            chunk = message.chunk
            worker_messages.check_chunk(chunk)
            if acks is None or not chunk.HasField("position"):
                await session.chunk(chunk.task_id, chunk.content, chunk.thinking)
            elif await session.chunk(chunk.task_id, chunk.content, chunk.thinking, chunk.position):
                await acks.arrived(chunk)
        case "result":
            task_id = message.result.task_id
            if not 1 <= len(task_id) <= MAX_NAME:
                raise invalid("result.task_id", f"must have 1 to {MAX_NAME} characters")
            outcome = worker_messages.parse_result(message.result)
            if isinstance(outcome, HandedBack):
                accepted = await session.handed_back(task_id, outcome)
            else:
                accepted = session.result(task_id, outcome)
            await outbox.acknowledge(worker_service_pb2.TaskResultAck(task_id=task_id, accepted=accepted))
        case "capacity":
            session.capacity(worker_messages.parse_capacity(message.capacity))
        case "waiting":
            worker_messages.check_waiting(message.waiting)
            await session.waiting(message.waiting.task_id, message.waiting.run_id)
        case "progress":
            worker_messages.check_progress(message.progress)
            session.progress(message.progress.task_id, message.progress.progress_json)
        case "registration":
            raise invalid("registration", "must be the first message only; attach again to register other handlers")
        case None:
            raise invalid(
                "kind", "none is set; send registration, heartbeat, chunk, progress, result, capacity or waiting"
            )


async def _write(context: Context, session: WorkerSession, outbox: _Outbox) -> None:
    """Writes to the worker, until it has left or that fails."""
    while (message := await outbox.next()) is not None:
        if (response := _response(message, session)) is not None:
            await _put(context, response)
        del message, response  # a task may be large, and the next may come late


def _response(
    message: worker_service_pb2.AttachResponse | ToWorker | Ack, session: WorkerSession
) -> worker_service_pb2.AttachResponse | None:
    """The message as it is written; None for a task that is too large, which fails."""
    match message:
        case worker_service_pb2.AttachResponse():
            return message
        case Assign():
            try:
                return worker_service_pb2.AttachResponse(task=worker_messages.task(message))
            except StepError as error:
                session.result(message.task_id, error.failure)
                return None
        case Cancel(task_id):
            cancellation = worker_service_pb2.TaskCancellation(task_id=task_id)
            return worker_service_pb2.AttachResponse(cancellation=cancellation)
        case worker_service_pb2.TaskResultAck():
            return worker_service_pb2.AttachResponse(ack=message)
        case worker_service_pb2.TaskChunkAck():
            return worker_service_pb2.AttachResponse(chunk_ack=message)


async def _put(context: Context, message: worker_service_pb2.AttachResponse) -> None:
    """Writes a message. A cancellation waits for it: gRPC loses the status of a call that ends during a write."""
    write = asyncio.ensure_future(context.write(message))
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await asyncio.shield(write)
    except TimeoutError as error:
        raise HeadwaterError(
            Reason.STREAM_INTERRUPTED, f"the worker has taken no message for {WRITE_SECONDS:g} s; attach again"
        ) from error
    finally:
        if not write.done():
            await asyncio.wait([write], timeout=LAST_WRITE_SECONDS)
            await _end(write)


def _draining() -> HeadwaterError:
    return HeadwaterError(
        Reason.SERVER_DRAINING,
        "the server is shutting down; attach again",
        retry_after_seconds=RECONNECT_AFTER_SECONDS,
    )
