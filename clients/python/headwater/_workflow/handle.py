"""Runs that are looked at from outside: one that was started in the background, and the progress of any."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias

from headwater._call.request import Server
from headwater._values.validation import int32
from headwater._workflow.events import WorkflowEvent
from headwater._workflow.result import WorkflowResult, to_result
from headwater._workflow.run import WorkflowStream
from headwater._workflow.service import RunWatch, cancel_run, get_result, get_run
from headwater.exceptions import WorkflowError

ProgressCallback: TypeAlias = Callable[[WorkflowEvent], Awaitable[None] | None]


class WorkflowRunHandle:
    """A run that goes on by itself. `WorkflowAgent.start_workflow` makes it.

    Its handlers run in this process as long as the event loop that started it runs, or until `WorkflowAgent.aclose`.
    Dropping the handle touches nothing.

    Attributes:
        id: id of the run.
    """

    def __init__(self, server: Server, run_id: str, stream: WorkflowStream) -> None:
        self.id = run_id
        self._server = server
        self._task = asyncio.create_task(stream.read_to_end(), name=f"headwater run {run_id}")
        self._task.add_done_callback(_look_at)

    def __repr__(self) -> str:
        return f"WorkflowRunHandle(id={self.id!r})"

    @property
    def run_id(self) -> str:
        """The same as `id`, under the name that results have for it."""
        return self.id

    async def result(self) -> WorkflowResult:
        """Wait for the end of the run. A run that was cancelled has a result too. Who stops waiting does not end it.

        Raises:
            HeadwaterError: the server was lost, or the event loop that started the run has ended; the message says
                how to go on.
        """
        if self._task.cancelled():
            raise WorkflowError(
                f"the event loop that started run {self.id} has ended, and nobody hosts its handlers; go on with "
                f"`await agent.resume_workflow({self.id!r})`"
            )
        return await asyncio.shield(self._task)

    def events(self, after_sequence: int = 0) -> RunWatch:
        """The events of the run, from the first or after one, then as they come, to its end."""
        return RunWatch(self._server, self.id, int32("after_sequence", after_sequence))

    async def status(self) -> WorkflowResult:
        """How far the run is."""
        return to_result(await get_run(self._server, self.id))

    async def cancel(self) -> None:
        """End the run, and wait until it has ended.

        Raises:
            WorkflowError: it has completed or failed already.
        """
        await cancel_run(self._server, self.id)


def _look_at(task: asyncio.Task[WorkflowResult]) -> None:
    """What went wrong is told by `result`; that nobody asks is no fault."""
    if not task.cancelled():
        task.exception()


class WorkflowProgress:
    """The events of a run: `async for event in progress`, or `await progress` for its end and its result.

    Leaving it does not touch the run.
    """

    def __init__(self, server: Server, run_id: str, callback: ProgressCallback | None) -> None:
        self._server = server
        self._run_id = run_id
        self._callback = callback
        self._watch = RunWatch(server, run_id)

    def __aiter__(self) -> WorkflowProgress:
        return self

    async def __anext__(self) -> WorkflowEvent:
        event = await anext(self._watch)
        if self._callback is not None:
            answer: Any = self._callback(event)
            if inspect.isawaitable(answer):
                await answer
        return event

    def __await__(self) -> Generator[Any, None, WorkflowResult]:
        return self._read_to_end().__await__()

    async def _read_to_end(self) -> WorkflowResult:
        async for _ in self:
            pass
        return await get_result(self._server, self._run_id)

    async def aclose(self) -> None:
        """Watch no more."""
        await self._watch.aclose()
