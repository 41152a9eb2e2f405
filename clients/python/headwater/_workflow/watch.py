"""The one watch of a run: its events to its end, over lost connections too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic, TypeVar, cast

from headwater._grpc.channels import OpenChannel, open_channel
from headwater._grpc.errors import to_exception
from headwater._grpc.loading import grpc
from headwater._grpc.other_servers import explain
from headwater._grpc.patience import Patience, answer_patiently, may_pass
from headwater._grpc.server import Server
from headwater._grpc.unary import answer
from headwater._grpc.wrong_server import UNREADABLE, wrong
from headwater._worker.places import current as place
from headwater._worker.places import give_back
from headwater._workflow.service import get_run, run_in
from headwater.exceptions import HeadwaterError
from headwater.v1 import workflow_pb2, workflow_service_pb2

T = TypeVar("T")

CONNECTED_SECONDS = 10.0
"""A call that lived so long had reached the server, even if nothing happened in the run."""
RESUMED_PAUSE_SECONDS = 0.05
MAX_EMPTY = 200


def advice_for(run_id: str) -> str:
    """The fate of a run whose server is away."""
    return (
        f"run {run_id} continues when the server is back, its handlers with `await agent.resume_workflow({run_id!r})`"
    )


def queues_of(run: workflow_pb2.WorkflowRun) -> Collection[str]:
    """The queues of a run's handlers."""
    return {step.queue or run.queue for step in run.workflow.steps if step.handler}


class RunWatch(Generic[T]):
    """The events of a run as they come, to its end. Leaving it does not touch the run.

    It belongs to the event loop that asked for the first event. A wait that is cancelled loses no event: the next one
    continues after the last that came. When the events end and the run has been resumed
    meanwhile, it continues with those that follow.

    Args:
        server: the server of the run.
        run_id: which run.
        convert: makes the reader's event of a message.
        after: sequence of the last event that is known; 0: from the first.
        patient: the server has just answered, so it is waited for from the start; else one that does not answer at
            first is reported at once.
        advice: for the error after a minute without any answer: the fate of the run; None for words for code.
        note: is called with a line when the connection is lost, and when it is there again.
        queues: those of the run's handlers. A handler that reads the watch may be in their way: it gives its place
            back. None: the server is asked, where that can be.

    Attributes:
        after: sequence of the last event that came.
        run: the run as it was at its end; None before.
    """

    def __init__(
        self,
        server: Server,
        run_id: str,
        convert: Callable[[workflow_pb2.WorkflowEvent], T],
        after: int = 0,
        *,
        patient: bool = False,
        advice: str | None = None,
        note: Callable[[str], None] | None = None,
        queues: Collection[str] | None = None,
    ) -> None:
        self.run_id = run_id
        self.after = after
        self.run: workflow_pb2.WorkflowRun | None = None
        self._server = server
        self._convert = convert
        self._advice = advice or advice_for(run_id)
        self._note = note or (lambda _: None)
        self._queues = queues
        self._end_wait: Callable[[], None] | None = None
        self._ended = False
        self._known = patient
        self._lost = False
        self._patience: Patience | None = None
        self._called = 0.0
        self._empty = 0  # watches without an event, one after the other
        self._loop: asyncio.AbstractEventLoop | None = None
        self._call: grpc.aio.UnaryStreamCall[Any, workflow_pb2.WorkflowEvent] | None = None

    def __aiter__(self) -> RunWatch[T]:
        return self

    async def __anext__(self) -> T:
        try:
            if self._end_wait is None and not self._ended:
                self._end_wait = give_back(self.run_id, await self._queues_of_run())
            message = await self._next()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._ended or (task and task.cancelling()):
                self._hang_up()
                self._call = None
                raise
            message = None  # closed under the reader
        except BaseException:
            self.cancel()
            raise
        if message is None:
            self.cancel()
            raise StopAsyncIteration
        try:
            return self._convert(message)
        except BaseException:
            self.cancel()
            raise

    async def _queues_of_run(self) -> Collection[str]:
        if self._queues is None:
            found = () if place.get() is None else queues_of(await get_run(self._server, self.run_id))
            self._queues = frozenset(found)
        return self._queues

    async def _next(self) -> workflow_pb2.WorkflowEvent | None:
        """The next event; None when the run has ended or the watch was closed."""
        while not self._ended:
            try:
                message = await self._read()
            except grpc.aio.AioRpcError as error:
                self._call = None
                if not self._ended:
                    answers = "" if self._known else await explain(error, self._server)
                    await self._pause(to_exception(error, target=self._server.target, answers=answers))
                continue
            if message is not None:
                self._heard(message.sequence)
                return message
            self._call = None
            self.run = await self._get_run()
            if self.run.status != workflow_pb2.WORKFLOW_RUN_STATUS_RUNNING:
                return None
            self._known = True
            self._empty += 1
            if self._empty > MAX_EMPTY:
                raise wrong(f"the end of the events of run {self.run_id} again and again, although it runs")
            await asyncio.sleep(RESUMED_PAUSE_SECONDS)
        return None

    async def _read(self) -> workflow_pb2.WorkflowEvent | None:
        """The next event; None at the end of the events."""
        if self._call is None:
            headers = await self._server.headers()
            self._call = self._begin(await open_channel(self._server), headers)
        message = await self._call.read()
        if message is None:
            raise wrong(UNREADABLE)
        return None if message is grpc.aio.EOF else cast("workflow_pb2.WorkflowEvent", message)

    def _begin(
        self, channel: OpenChannel, headers: Sequence[tuple[str, str]]
    ) -> grpc.aio.UnaryStreamCall[Any, workflow_pb2.WorkflowEvent]:
        self._loop = asyncio.get_running_loop()
        self._called = self._loop.time()
        channel.streams.add(self)
        request = workflow_service_pb2.WatchWorkflowRunRequest(run_id=self.run_id, after_sequence=self.after)
        call = channel.workflows.WatchWorkflowRun(request, metadata=headers)
        if self._ended:  # closed just now
            call.cancel()
        return call

    def _heard(self, sequence: int) -> None:
        if sequence <= self.after:
            raise wrong(f"event {sequence} of run {self.run_id} after event {self.after}")
        self._empty = 0
        if self._lost:
            self._note(f"connected to {self._server.target} again")
        self._known, self._lost, self.after = True, False, sequence
        if self._patience is not None:
            self._patience.heard()

    async def _pause(self, failure: HeadwaterError) -> None:
        if not (self._known and may_pass(failure)):
            raise failure from None
        if not self._lost:
            self._note(f"the connection to {self._server.target} was lost after event {self.after}; trying again")
        self._lost = True
        if self._patience is None:
            self._patience = Patience(self._advice)
        if asyncio.get_running_loop().time() - self._called >= CONNECTED_SECONDS:
            self._patience.heard()
        await self._patience.wait(failure)

    async def _get_run(self) -> workflow_pb2.WorkflowRun:
        """The run after its last event, which the server must have."""
        request = workflow_service_pb2.GetWorkflowRunRequest(run_id=self.run_id)

        async def get() -> workflow_service_pb2.GetWorkflowRunResponse:
            return await answer(self._server, lambda over: over.workflows.GetWorkflowRun, request)

        return run_in(await answer_patiently(get, Patience(self._advice)))

    def interrupt(self) -> None:
        """Watch no more; from any thread."""
        self.cancel()

    def cancel(self) -> None:
        """Watch no more; from any thread."""
        self._ended = True
        if self._end_wait is not None:
            self._end_wait()
        self._hang_up()

    def _hang_up(self) -> None:
        """End the call of the moment."""
        call, loop = self._call, self._loop
        if call is None or loop is None or call.done():
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are its calls
            loop.call_soon_threadsafe(call.cancel)

    async def aclose(self) -> None:
        """Watch no more."""
        self.cancel()

    def __del__(self) -> None:
        self.cancel()
