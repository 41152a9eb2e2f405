"""Runs that are looked at from outside: one that was started in the background, and the progress of any."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias

from headwater._grpc.server import Server
from headwater._values.background import report_death
from headwater._values.names import all_names_nearest
from headwater._values.validation import int32
from headwater._worker.places import current, given_back
from headwater._workflow.events import WorkflowEvent, to_event
from headwater._workflow.result import WorkflowResult, to_result
from headwater._workflow.run import WorkflowStream
from headwater._workflow.service import cancel_run, get_run
from headwater._workflow.watch import RunWatch
from headwater.exceptions import WorkflowError

ProgressCallback: TypeAlias = Callable[[WorkflowEvent], Awaitable[None] | None]


@all_names_nearest
class WorkflowRunHandle:
    """A run that continues by itself. `WorkflowAgent.start_workflow` makes it.

    Its handlers run in this process as long as the event loop that started it runs, or until `WorkflowAgent.aclose`.
    Dropping the handle touches nothing.

    Attributes:
        id: id of the run.
    """

    def __init__(self, server: Server, run_id: str, stream: WorkflowStream) -> None:
        self.id = run_id
        self._queues = stream.queues
        self._server = server
        reading = contextvars.copy_context()
        reading.run(current.set, None)  # a handler does not wait for a run yet that it has started
        self._task = asyncio.create_task(stream.read_to_end(), name=f"headwater run {run_id}", context=reading)
        report_death(self._task, f"the watch of run {run_id}, whose handlers are no longer hosted here")

    def __repr__(self) -> str:
        return f"WorkflowRunHandle(id={self.id!r})"

    @property
    def run_id(self) -> str:
        """The same as `id`, under the name that results have for it."""
        return self.id

    async def result(self) -> WorkflowResult:
        """Wait for the end of the run. A run that was cancelled has a result too. To stop waiting does not end it.

        Raises:
            HeadwaterError: the server was lost, or the event loop that started the run has ended; the message says
                how to continue.
        """
        if self._task.cancelled():
            raise WorkflowError(
                f"the event loop that started run {self.id} has ended, and no worker hosts its handlers; continue with "
                f"`await agent.resume_workflow({self.id!r})`"
            )
        with given_back(self.id, self._queues):
            return await asyncio.shield(self._task)

    def events(self, after_sequence: int = 0) -> RunWatch[WorkflowEvent]:
        """The events of the run, from the first or after one, then as they come, to its end."""
        convert = functools.partial(to_event, self.id)
        return RunWatch(self._server, self.id, convert, int32("after_sequence", after_sequence), queues=self._queues)

    async def status(self) -> WorkflowResult:
        """How far the run is."""
        return to_result(await get_run(self._server, self.id))

    async def cancel(self) -> None:
        """End the run, and wait until it has ended.

        Raises:
            WorkflowError: it has completed or failed already.
        """
        await cancel_run(self._server, self.id)


class WorkflowProgress:
    """The events of a run: `async for event in progress`, or `await progress` for its end and its result.

    Leaving it does not touch the run. A wait that is cancelled loses no event: the next one continues there, and calls
    the callback again if that was interrupted.
    """

    def __init__(self, server: Server, run_id: str, callback: ProgressCallback | None) -> None:
        self._callback = callback
        self._event: WorkflowEvent | None = None  # has come, and its callback has not ended
        self._watch = RunWatch(server, run_id, functools.partial(to_event, run_id))

    def __aiter__(self) -> WorkflowProgress:
        return self

    async def __anext__(self) -> WorkflowEvent:
        event = self._event
        if event is None:
            event = await anext(self._watch)
        if self._callback is not None:
            self._event = None  # an error of the callback is raised once
            answer: Any = self._callback(event)
            if inspect.isawaitable(answer):
                self._event = event
                await self._finish(answer)
        return event

    async def _finish(self, answer: Awaitable[None]) -> None:
        try:
            await answer
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._event = None
            raise
        self._event = None

    def __await__(self) -> Generator[Any, None, WorkflowResult]:
        return self._read_to_end().__await__()

    async def _read_to_end(self) -> WorkflowResult:
        async for _ in self:
            pass
        if self._watch.run is None:
            raise WorkflowError(f"the watch of run {self._watch.run_id} was closed before the run had ended")
        return to_result(self._watch.run)

    async def aclose(self) -> None:
        """Watch no more."""
        await self._watch.aclose()
