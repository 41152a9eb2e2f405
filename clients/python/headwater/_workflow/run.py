"""A run that this process has to do with: started or resumed here, its handlers hosted here, watched to its end.

Theory of operation. Work that must not depend on the caller's loop happens on the background loop: starting the run,
its worker, and giving it up. So a caller that is cancelled in the middle of the start, or whose loop ends, still ends
the run that it has begun. The events, which are many, come over the caller's own loop.

A stream is a plain object and no async generator, for the reason that `_call.stream` gives: it is freed with its last
reference, there and then.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, TypeVar

from headwater._grpc.channels import open_channel
from headwater._grpc.portal import background
from headwater._grpc.server import Server
from headwater._values.background import report_death
from headwater._worker.worker import TaskHandler
from headwater._workflow.context import update as update_context
from headwater._workflow.definition import Violation
from headwater._workflow.events import WorkflowEvent, to_event
from headwater._workflow.hosting import Hosts, ProcessIdentity
from headwater._workflow.request import merged_violations, refuse
from headwater._workflow.result import WorkflowResult, to_result
from headwater._workflow.service import cancel_run, check_reached, resume_run, start_run, validate
from headwater._workflow.watch import RunWatch
from headwater.exceptions import (
    ForkError,
    HeadwaterError,
    ServerUnavailableError,
    WorkflowError,
    WorkflowValidationError,
)
from headwater.v1.workflow_service_pb2 import StartWorkflowRunRequest

T = TypeVar("T")

GIVE_UP_SECONDS = 2.0
"""How long a caller that leaves waits for the end of its run."""

log = logging.getLogger("headwater")


class Begun(NamedTuple):
    """A run that continues: its id, and the number of the event after which to watch."""

    run_id: str
    after: int


class Session:
    """The part of a run that lives on the background loop: its hosted handlers, its start, its end.

    Args:
        server: where the run is.
        hosts: the agent's workers.
        place: where to host handlers for the run; None when it needs none of this process.
        handlers: all that this process has.
        queues: those of the run's handlers.
        mistakes: those that were found in the definition.
    """

    def __init__(
        self,
        server: Server,
        hosts: Hosts,
        place: ProcessIdentity | None,
        handlers: Mapping[str, TaskHandler],
        queues: Collection[str],
        mistakes: Sequence[Violation] = (),
    ) -> None:
        self.queues = queues
        self._server = server
        self._hosts = hosts
        self._identity = place
        self._handlers = handlers
        self._mistakes = list(mistakes)

    async def start(self, request: StartWorkflowRunRequest) -> Begun:
        """Host the handlers and start a run, unless mistakes were found in its definition: then name all of them."""
        if self._mistakes:
            raise await self._refusal(request)
        if self._identity is not None:
            await check_reached(self._server)  # a worker would wait for it
        return await self._hosted(lambda: self._start(request))

    async def resume(self, run_id: str) -> Begun:
        """Host the handlers and resume a run."""
        return await self._hosted(lambda: self._resume(run_id))

    async def _refusal(self, request: StartWorkflowRunRequest) -> WorkflowValidationError:
        remote: list[Violation] = []
        with contextlib.suppress(ServerUnavailableError):  # the mistakes found here count all the same
            found = await validate(self._server, request.workflow, request.queue)
            remote = [(violation.field, violation.description) for violation in found.violations]
        return refuse(merged_violations(request.workflow, self._mistakes, remote))

    async def _start(self, request: StartWorkflowRunRequest) -> Begun:
        return Begun(await start_run(self._server, request), 0)

    async def _resume(self, run_id: str) -> Begun:
        return Begun(run_id, await resume_run(self._server, run_id))

    async def _hosted(self, begin: Callable[[], Coroutine[Any, Any, Begun]]) -> Begun:
        if self._identity is not None:
            await self._hosts.enter(self._identity, self._handlers)
        try:
            return await begin()
        except BaseException:
            await self.leave()
            raise

    async def watch_worker(self, watch: RunWatch[WorkflowEvent], failures: list[HeadwaterError]) -> None:
        """When the worker gives up, note why and end the watch: no event would come."""
        if self._identity is not None:
            failures.append(await self._hosts.wait_failed(self._identity))
            watch.cancel()

    async def leave(self) -> None:
        """Host the handlers no more."""
        if self._identity is not None:
            await self._hosts.leave(self._identity)

    async def give_up(self, beginning: concurrent.futures.Future[Begun], *, cancel: bool) -> None:
        """Leave a run before its end, and cancel it if that is asked for."""
        try:
            begun = await asyncio.wait_for(asyncio.wrap_future(beginning), GIVE_UP_SECONDS)
        except HeadwaterError:
            return  # there is no run, and the worker has gone
        except TimeoutError:
            log.warning("a run was given up while it was started; whether the server has started it is not known")
            return
        try:
            if cancel:
                await cancel_run(self._server, begun.run_id, GIVE_UP_SECONDS)
        except HeadwaterError as error:
            if error.reason != "RUN_STATE":  # that it has ended is as good
                log.warning("run %s could not be cancelled and continues: %s", begun.run_id, error)
        finally:
            await self.leave()


class WorkflowStream:
    """The events of a run as they come. `WorkflowAgent.stream_workflow` makes it.

    Nothing is sent before the first event is asked for. Leaving the loop early, dropping the object and `aclose()` all
    cancel the run. It belongs to the event loop that asked for the first event.

    Attributes:
        run_id: id of the run; None before it has started.
        result: the result of the run, once the last event was taken; None before.
    """

    def __init__(
        self,
        server: Server,
        begin: Callable[[], tuple[Session, Coroutine[Any, Any, Begun]]],
        context: MutableMapping[str, Any] | None,
        *,
        cancels: bool,
    ) -> None:
        self.run_id: str | None = None
        self.result: WorkflowResult | None = None
        self._server = server
        self._begin = begin
        self._context = context
        self._cancels = cancels
        self._session: Session | None = None
        self._beginning: concurrent.futures.Future[Begun] | None = None
        self._watch: RunWatch[WorkflowEvent] | None = None
        self._giving_up: concurrent.futures.Future[None] | None = None
        self._failures: list[HeadwaterError] = []  # of the worker
        self._watching_worker: concurrent.futures.Future[None] | None = None
        self._ended = False
        self._cut = ""  # why it ended before the run, when its reader did not end it

    @property
    def queues(self) -> Collection[str]:
        """The queues of the run's handlers, once it has begun."""
        return () if self._session is None else self._session.queues

    def __aiter__(self) -> WorkflowStream:
        return self

    async def __anext__(self) -> WorkflowEvent:
        if self._ended:
            if self._cut:
                raise WorkflowError(self._cut)
            raise StopAsyncIteration
        try:
            event = await self._next()
        except asyncio.CancelledError:
            self._end_early("when the wait for its next event was cancelled")
            raise
        except HeadwaterError:
            self._cancels = False  # the run may continue without its watcher, whose leaving is no request to end it
            self.cancel()
            raise
        except BaseException:
            self.cancel()
            raise
        if event is None:
            if self.result is None:
                raise WorkflowError(self._cut or self._closed())
            raise StopAsyncIteration
        return event

    async def _next(self) -> WorkflowEvent | None:
        """The next event; None when the run has ended and all is put away, or the stream was closed."""
        watch = self._watch or await self._start()
        event = await anext(watch, None)
        if event is None and watch.run is not None and not self._ended:
            await self._finish(to_result(watch.run))
        elif event is None and self._failures and not self._ended:
            raise self._failures[0]
        return event

    async def begin(self) -> str:
        """Start the run before its first event is asked for, and return its id. A caller cancelled here has no run."""
        try:
            return (await self._start()).run_id
        except BaseException:
            self._cancels = True  # only this stream knows its id
            self.cancel()
            raise

    async def _start(self) -> RunWatch[WorkflowEvent]:
        if self._beginning is not None:
            raise RuntimeError("another task already waits for the first event of this stream")
        (await open_channel(self._server)).streams.add(self)
        session, beginning = self._begin()
        self._session = session
        self._beginning = background().submit(beginning)
        begun = await result_of(self._beginning)
        self.run_id = begun.run_id
        convert = functools.partial(to_event, begun.run_id)
        self._watch = RunWatch(self._server, begun.run_id, convert, begun.after, patient=True, queues=session.queues)
        self._watching_worker = _look_after_worker(session, self._watch, self._failures)
        return self._watch

    async def _finish(self, result: WorkflowResult) -> None:
        self._ended = True
        if self._watching_worker is not None:
            self._watching_worker.cancel()
        if self._session is not None:
            await result_of(background().submit(self._session.leave()))
        if self._context is not None:
            update_context(self._context, result.context)
        self.result = result

    async def read_to_end(self) -> WorkflowResult:
        """Take all events, and return the result of the run."""
        async for _ in self:
            pass
        if self.result is None:
            raise WorkflowError(self._closed())
        return self.result

    def _closed(self) -> str:
        return f"the stream of run {self.run_id} was closed before the run had ended"

    def interrupt(self) -> None:
        """As `cancel`, with an error for the reader."""
        self._end_early("because it was closed")

    def _end_early(self, why: str) -> None:
        if not self._ended:
            fate = "the run was cancelled with it" if self._cancels else "the run continues"
            run = f"run {self.run_id}" if self.run_id else "a run that had not begun"
            self._cut = (
                f"the stream of {run} ended {why}; {fate}. To leave a run and come back, use agent.start_workflow and "
                "agent.stream_workflow_progress(run_id)"
            )
        self.cancel()

    def cancel(self) -> None:
        """Leave the run, and end it unless it is somebody else's; from any thread, without waiting."""
        if self._ended:
            return
        self._ended = True
        if self._watch is not None:
            self._watch.cancel()
        if self._watching_worker is not None:
            self._watching_worker.cancel()
        if self._session is not None and self._beginning is not None and not sys.is_finalizing():
            with contextlib.suppress(ForkError):  # in a child of a fork: the run is its parent's
                self._giving_up = background().submit(self._session.give_up(self._beginning, cancel=self._cancels))
                report_death(self._giving_up, f"leaving run {self.run_id}")
                _remember(self._giving_up)

    async def aclose(self) -> None:
        """Leave the run, and wait for its end, 2 seconds at most."""
        self.cancel()
        if self._giving_up is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await result_of(self._giving_up)

    def __del__(self) -> None:
        self.cancel()


def _look_after_worker(
    session: Session, watch: RunWatch[WorkflowEvent], failures: list[HeadwaterError]
) -> concurrent.futures.Future[None]:
    """`Session.watch_worker`, without a reference to the stream: that ends the run when it is dropped."""

    def died(error: BaseException) -> None:
        failures.append(WorkflowError(f"the look at the worker of the run failed: {error!r}"))
        watch.cancel()

    looking = background().submit(session.watch_worker(watch, failures))
    report_death(looking, f"the look at the worker of run {watch.run_id}", died)
    return looking


async def result_of(future: concurrent.futures.Future[T]) -> T:
    """The result of work on the background loop. A caller that is cancelled stops waiting; the work continues."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # no caller waits: the loop is closed
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    await done.wait()
    return future.result()


_leaving: set[concurrent.futures.Future[None]] = set()


def _remember(future: concurrent.futures.Future[None]) -> None:
    """An interpreter that exits waits for those that are leaving their runs."""
    if not _leaving:
        atexit.unregister(_wait_for_leaving)
        atexit.register(_wait_for_leaving)  # after the portal's own, so it is called before
    _leaving.add(future)
    future.add_done_callback(_leaving.discard)


def _wait_for_leaving() -> None:
    concurrent.futures.wait(list(_leaving), GIVE_UP_SECONDS)
