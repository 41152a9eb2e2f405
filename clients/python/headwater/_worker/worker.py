"""A worker: hosts handlers for one queue, over one stream at a time.

Theory of operation. Everything here happens on the background loop; the public methods may be called from anywhere and
only hand over. So heartbeats do not depend on the caller's loop, and nothing needs a lock.

A task stays known from the moment it comes until its result is acknowledged. When the connection is lost, work
continues; the next registration names those tasks, the server says which of them are no longer wanted, and results and
chunks that were not acknowledged are sent again (`outbox`). To add handlers, a worker leaves and attaches again. A
worker that is to stop says that it takes no more tasks, finishes those that it has, and hands the rest back.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias, TypeVar

from headwater._grpc.errors import to_exception
from headwater._grpc.loading import grpc
from headwater._grpc.origin import origin, origin_of
from headwater._grpc.other_servers import explain
from headwater._grpc.portal import background
from headwater._grpc.server import Server
from headwater._grpc.wrong_server import wrong
from headwater._values.background import report_death
from headwater._values.failures import failure_message, failure_of
from headwater._values.threads import StuckThreadsError
from headwater._worker.attachment import Attachment
from headwater._worker.handlers import failed
from headwater._worker.outbox import CHUNK_ACKS, Outbox
from headwater._worker.output import Output
from headwater._worker.places import Places
from headwater._worker.stuck import StuckThreads
from headwater.exceptions import AuthenticationError, HeadwaterError, ServerUnavailableError, WorkflowError
from headwater.v1 import worker_service_pb2

T = TypeVar("T")

TaskHandler: TypeAlias = Callable[[worker_service_pb2.WorkerTask, Output], Awaitable[worker_service_pb2.TaskResult]]
"""Does a task, on the background loop."""

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_STEADY_SECONDS = 1.0  # a connection that lived so long is replaced at once; after a shorter one the worker pauses
_MOST_TASKS = 20_000  # more than the server ever gives to a worker
_CLOSE_SECONDS = 6.0
_REFUSED_SECONDS = 60.0
"""How long a worker that was registered before tries again although it is refused: a roll-out or a token may end it."""
_MAX_RESULT_BYTES = 3 * 1024 * 1024
_FINAL = frozenset(
    {
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "UNIMPLEMENTED",
        "NOT_FOUND",
        "FAILED_PRECONDITION",
    }
)

_DRAIN, _WAITING, _PROGRESS = "drain", "waiting", "progress"
"""Features of the protocol: `capacity` and tasks that are handed back; tasks that give their place back; tasks that
report how far they are."""

CLIENT_VERSION = f"headwater-python/{version('headwater')}"

log = logging.getLogger("headwater.worker")


class Worker:
    """Hosts handlers for a queue, from `start` to `aclose`.

    Args:
        server: where to connect.
        queue: whose tasks it takes.
        handlers: by name.
        concurrency: most tasks at a time.
    """

    def __init__(
        self,
        server: Server,
        queue: str,
        handlers: Mapping[str, TaskHandler],
        concurrency: int = 1,
    ) -> None:
        self.worker_id = uuid.uuid4().hex
        self.queue = queue
        self._server = server
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._places = Places(queue, concurrency)
        self._tasks: dict[str, asyncio.Task[worker_service_pb2.TaskResult]] = {}
        self._results: dict[str, worker_service_pb2.TaskResult] = {}
        self._begun: set[str] = set()
        self._draining = False
        self._features: frozenset[str] = frozenset()
        self._outbox = Outbox()
        self._attachment: Attachment | None = None
        self._registered = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: HeadwaterError | None = None
        self._last_error: HeadwaterError | None = None
        self._was_registered = False
        self._lost_by = ""
        self._refused_since: float | None = None
        self._closing = asyncio.Event()
        self._main: asyncio.Task[Any] | None = None
        self._closer: asyncio.Task[None] | None = None
        name = f"worker {self.worker_id} of queue {queue!r}"
        self._stuck = StuckThreads(name, self._closing, lambda takes: self._offer(concurrency if takes else 0))

    @property
    def failure(self) -> HeadwaterError | None:
        """Why it has given up for good; None while it has not."""
        return self._failure

    def start(self) -> None:
        """Connect, and stay connected. Returns at once; from any thread.

        Raises:
            ForkError: in a process that was forked while its parent had a channel open.
        """
        report_death(background().submit(self._run()), f"worker {self.worker_id} of queue {self.queue!r}", self._died)

    async def wait_registered(self, timeout: float) -> None:
        """Wait until the server knows the worker with all its handlers; from any loop.

        Raises:
            ServerUnavailableError: not within `timeout` seconds.
            HeadwaterError: the server refuses the worker.
        """
        await _there(self._wait_registered(timeout))

    async def wait_failed(self) -> HeadwaterError:
        """Wait until it gives up for good, and return why; from any loop. Does not return while all is well."""
        return await _there(self._wait_failed())

    def add_handlers(self, handlers: Mapping[str, TaskHandler]) -> None:
        """Host more handlers, or others under the same names; from any thread. `wait_registered` then waits again."""
        background().submit(self._add(dict(handlers)))

    async def drain(self, seconds: float) -> None:
        """Take no more tasks, and wait up to `seconds` for the end of those in work; from any loop."""
        await _there(self._drain(seconds))

    async def aclose(self) -> None:
        """Abandon the tasks in work and disconnect; from any loop.

        Async handlers are cancelled, and the server gets the tasks back: other workers can have them.
        """
        await _there(self._close())

    async def _wait_registered(self, timeout: float) -> None:
        waiters = [asyncio.ensure_future(event.wait()) for event in (self._registered, self._failed)]
        try:
            await asyncio.wait(waiters, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        if self._failure is not None:
            raise self._failure
        if not self._registered.is_set():
            why = self._last_error or f"no Headwater server answers at {self._server.target}"
            raise ServerUnavailableError(f"the worker was not registered within {timeout:g} s: {why}")

    async def _wait_failed(self) -> HeadwaterError:
        while self._failure is None:
            await self._failed.wait()
        return self._failure

    async def _add(self, handlers: dict[str, TaskHandler]) -> None:
        new = handlers.keys() - self._handlers.keys()
        self._handlers.update(handlers)
        if new:
            self._registered.clear()
            if self._attachment is not None:
                self._attachment.leave()

    async def _drain(self, seconds: float) -> None:
        self._draining = True
        self._offer(0)
        for task_id in self._tasks.keys() - self._begun:
            self._tasks[task_id].cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=seconds)

    def _offer(self, concurrency: int) -> None:
        """Tells the server how many tasks the worker takes."""
        if _DRAIN in self._features:
            capacity = worker_service_pb2.WorkerCapacity(concurrency=0 if self._draining else concurrency)
            self._outbox.put(worker_service_pb2.AttachRequest(capacity=capacity))

    async def _close(self) -> None:
        if self._closer is None:
            self._closer = asyncio.create_task(self._shut_down())
        await asyncio.shield(self._closer)  # the waiting caller may be cancelled; closing continues

    async def _shut_down(self) -> None:
        self._closing.set()
        await self._stuck.wait()
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_CLOSE_SECONDS)
        if self._attachment is not None:
            self._attachment.leave()
        if self._main is not None:
            await asyncio.wait([self._main], timeout=_CLOSE_SECONDS)
            self._main.cancel()
            await asyncio.wait([self._main])

    async def _run(self) -> None:
        self._main = asyncio.current_task()
        pause = _FIRST_PAUSE_SECONDS
        try:
            while not self._closing.is_set():
                if await self._attach():
                    pause = _FIRST_PAUSE_SECONDS
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._closing.wait()
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def _died(self, error: BaseException) -> None:
        """It has given up, or failed: those that wait for it get the reason."""
        if isinstance(error, HeadwaterError):
            self._failure = error
        else:
            self._failure = WorkflowError(f"the worker of the queue {self.queue!r} failed: {error!r}")
            self._failure.__cause__ = error
        self._failed.set()

    async def _attach(self) -> bool:
        """One connection; whether to connect again at once. Raises HeadwaterError when that makes no sense."""
        names = sorted(self._handlers)
        registration = worker_service_pb2.WorkerRegistration(
            worker_id=self.worker_id,
            queue=self.queue,
            handlers=names,
            concurrency=self._concurrency,
            task_ids=[*self._tasks, *self._results],
            client_version=CLIENT_VERSION,
            features=[_DRAIN, _WAITING, _PROGRESS, CHUNK_ACKS],
        )
        was_registered = False
        began = asyncio.get_running_loop().time()

        def registered(answer: worker_service_pb2.WorkerRegistered) -> None:
            nonlocal was_registered
            was_registered = self._was_registered = True
            self._refused_since = None
            self._lost_by = ""
            log.info("serves queue %s at %s", self.queue, self._server.target, extra={"is_registration": True})
            for task_id in answer.unwanted_task_ids:
                self._forget(task_id)
            self._features = frozenset(answer.features)
            self._outbox.restart(self._results.values(), {*self._tasks, *self._results}, self._features)
            if self._draining or self._stuck:
                self._offer(0)
            if names == sorted(self._handlers):
                self._registered.set()
            else:  # more were added in the meantime
                attachment.leave()

        attachment = self._attachment = Attachment(self._server, self._outbox, self._take)
        try:
            await attachment.run(registration, registered)
        except grpc.aio.AioRpcError as error:
            answers = "" if self._was_registered else await explain(error, self._server)
            self._lost(to_exception(error, target=self._server.target, answers=answers))
        except (ServerUnavailableError, AuthenticationError) as error:
            self._lost(error)
        except HeadwaterError as error:
            self._lost(error, is_wrong=True)
        else:
            return True
        finally:
            self._attachment = None
            self._registered.clear()
        return was_registered and asyncio.get_running_loop().time() - began >= _STEADY_SECONDS

    def _lost(self, error: HeadwaterError, *, is_wrong: bool = False) -> None:  # is_wrong: no right server's messages
        if is_wrong or isinstance(error, AuthenticationError) or (error.code is not None and error.code.name in _FINAL):
            now = asyncio.get_running_loop().time()
            self._refused_since = self._refused_since or now
            if not self._was_registered or now - self._refused_since >= _REFUSED_SECONDS:
                raise error
        self._last_error = error
        reason = f"{type(error).__name__} {error.code}"
        if self._lost_by == reason:  # it tries each second, and one line says it all
            return
        self._lost_by = reason
        level = logging.INFO if self._refused_since is None else logging.WARNING
        log.log(level, "is not connected to queue %s and tries again: %s", self.queue, error)

    def _take(self, message: worker_service_pb2.AttachResponse) -> None:
        match message.WhichOneof("kind"):
            case "task":
                task = message.task
                if not task.task_id or len(self._tasks) >= _MOST_TASKS:
                    raise wrong("too many tasks" if task.task_id else "a task without an id")
                if task.task_id not in self._tasks and task.task_id not in self._results:
                    self._tasks[task.task_id] = work = asyncio.create_task(self._work(task))
                    report_death(work, f"the work on step {task.step.name!r} of run {task.run_id}")
                    work.add_done_callback(functools.partial(self._worked, task))
                    if self._draining:  # it was on its way
                        work.cancel()
            case "cancellation":
                self._forget(message.cancellation.task_id)
            case "ack":
                if self._results.pop(message.ack.task_id, None) is not None:
                    self._outbox.forget(message.ack.task_id)
            case "chunk_ack":
                self._outbox.acknowledged(message.chunk_ack.task_id, message.chunk_ack.position)

    def _forget(self, task_id: str) -> None:
        self._results.pop(task_id, None)
        self._outbox.forget(task_id)
        task = self._tasks.get(task_id)
        if task is not None:
            task.cancel()

    async def _work(self, task: worker_service_pb2.WorkerTask) -> worker_service_pb2.TaskResult:
        async with self._places.take(task, functools.partial(self._wait_for, task.task_id)):
            self._begun.add(task.task_id)
            origin.set(origin_of(task))
            handler = self._handlers.get(task.step.handler)
            if handler is None:
                return failed(task, failure_message(f"this worker has no handler {task.step.handler!r}"))
            output = Output(task.task_id, self._outbox, lambda: _PROGRESS in self._features)
            try:
                result = await handler(task, output)
            except StuckThreadsError as error:
                if _DRAIN not in self._features:
                    return failed(task, failure_message(str(error)))
                self._stuck.begin()
                return _handed_back(task, begun=False, reason=f"it takes no more tasks: {error}")
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise
                log.warning("step %r of run %s failed", task.step.name, task.run_id, exc_info=error)
                return failed(task, failure_of(error))
            finally:
                output.close()
        result.task_id = task.task_id
        log.info("step %r of run %s is done", task.step.name, task.run_id)
        if result.ByteSize() > _MAX_RESULT_BYTES:
            text = f"its result has {result.ByteSize():,} bytes, more than 1 MiB"
            return failed(task, failure_message(text, non_retryable=True))
        return result

    def _wait_for(self, task_id: str, run_id: str) -> None:
        """Tells the server the run that a task waits for; empty: it waits no longer."""
        if _WAITING in self._features and task_id in self._tasks:
            waiting = worker_service_pb2.TaskWaiting(task_id=task_id, run_id=run_id)
            self._outbox.put(worker_service_pb2.AttachRequest(waiting=waiting))

    def _worked(self, task: worker_service_pb2.WorkerTask, work: asyncio.Task[worker_service_pb2.TaskResult]) -> None:
        del self._tasks[task.task_id]
        begun = task.task_id in self._begun
        self._begun.discard(task.task_id)
        if not work.cancelled():
            error = work.exception()  # a fault of the worker itself
            result = work.result() if error is None else failed(task, failure_of(error))
        elif not (self._closing.is_set() or self._draining):
            self._outbox.forget(task.task_id)
            return
        elif _DRAIN in self._features:
            result = _handed_back(task, begun=begun)
        else:
            result = failed(task, failure_message("its worker was closed", reason="WORKER_LOST"))
        self._results[task.task_id] = result
        self._outbox.put(worker_service_pb2.AttachRequest(result=result))


def _handed_back(
    task: worker_service_pb2.WorkerTask, *, begun: bool, reason: str = ""
) -> worker_service_pb2.TaskResult:
    back = worker_service_pb2.TaskHandback(begun=begun, reason=reason)
    return worker_service_pb2.TaskResult(task_id=task.task_id, handed_back=back)


async def _there(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it on the background loop and waits for it on this one."""
    return await asyncio.wrap_future(background().submit(coroutine))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
