"""The calls of WorkflowService, on the running loop.

Theory of operation. A run belongs to the server and goes on without its watchers, so a lost connection costs nothing
but time: the call is made again and, for a watch, carries on after the last event that came. Starting is safe to repeat
because the request has a `request_id`. Only a server that was never reached is reported at once; one that was there is
waited for, up to PATIENCE_SECONDS without any answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc

from headwater._call.request import Server
from headwater._grpc.channels import channels_of_running_loop
from headwater._grpc.errors import to_exception
from headwater._values.validation import invalid, text
from headwater._workflow.events import WorkflowEvent, to_event
from headwater._workflow.result import WorkflowResult, to_result
from headwater.exceptions import HeadwaterError, ServerUnavailableError
from headwater.v1 import workflow_pb2, workflow_service_pb2, workflow_service_pb2_grpc

if TYPE_CHECKING:
    from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceAsyncStub

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
CALL_SECONDS = 30.0
CONNECTED_SECONDS = 10.0
"""A call that lived so long had reached the server, even if nothing happened in the run."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_LOST = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Patience:
    """How long to go on without an answer, with growing pauses.

    Args:
        advice: for the error of one that came to its end: what becomes of the run.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._loop = asyncio.get_running_loop()
        self.heard()

    def heard(self) -> None:
        """An answer has come; start anew."""
        self._since: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    async def wait(self, failure: HeadwaterError) -> None:
        """A pause before the next try. Raises ServerUnavailableError when it has lasted too long."""
        now = self._loop.time()
        self._since = now if self._since is None else self._since
        if now - self._since >= PATIENCE_SECONDS:
            raise ServerUnavailableError(
                f"no answer for {PATIENCE_SECONDS:g} seconds: {failure}; {self._advice}",
                reason=failure.reason,
                code=failure.code,
                retry_after=failure.retry_after,
            )
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)


def may_pass(failure: HeadwaterError) -> bool:
    """Whether a failure says no more than that the server is not there just now."""
    return failure.reason == "SERVER_DRAINING" or (failure.reason is None and failure.code in _LOST)


async def was_reached(server: Server) -> bool:
    """Whether the server is connected, after a first attempt to do so."""
    channel = channels_of_running_loop().channel(server.target)
    waiting = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
    while (state := channel.get_state(try_to_connect=True)) in waiting:
        await channel.wait_for_state_change(state)
    return state is grpc.ChannelConnectivity.READY


async def check_reached(server: Server) -> None:
    """Raises ServerUnavailableError unless the server answers now; for calls that would wait for it."""
    if not await was_reached(server):
        await validate(server, workflow_pb2.Workflow(), "")


async def start_run(server: Server, request: workflow_service_pb2.StartWorkflowRunRequest) -> str:
    """Start a run, once however often it takes; its id."""
    reached = await was_reached(server)

    async def start() -> workflow_service_pb2.StartWorkflowRunResponse:
        return await _stub(server).StartWorkflowRun(request, timeout=CALL_SECONDS, metadata=server.headers())

    advice = f"whether the run was started is not known; its request_id is {request.request_id}"
    answer = await _patiently(start, server, Patience(advice)) if reached else await _answer(start(), server)
    return answer.run_id


async def validate(server: Server, workflow: workflow_pb2.Workflow, queue: str) -> list[tuple[str, str]]:
    """The mistakes that the server finds in a definition: path and description."""
    request = workflow_service_pb2.ValidateWorkflowRequest(workflow=workflow, queue=queue)
    call = _stub(server).ValidateWorkflow(request, timeout=CALL_SECONDS, metadata=server.headers())
    answer = await _answer(call, server)
    return [(violation.field, violation.description) for violation in answer.violations]


async def get_run(server: Server, run_id: str) -> workflow_pb2.WorkflowRun:
    """The run as it is now."""
    request = workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id_of(run_id))
    call = _stub(server).GetWorkflowRun(request, timeout=CALL_SECONDS, metadata=server.headers())
    return (await _answer(call, server)).run


async def get_result(server: Server, run_id: str) -> WorkflowResult:
    """What has come of a run that was watched to its end, which the server must have."""
    request = workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id)

    async def get() -> workflow_service_pb2.GetWorkflowRunResponse:
        return await _stub(server).GetWorkflowRun(request, timeout=CALL_SECONDS, metadata=server.headers())

    return to_result((await _patiently(get, server, Patience(advice_for(run_id)))).run)


async def cancel_run(server: Server, run_id: str, seconds: float = CALL_SECONDS) -> None:
    """End a run."""
    request = workflow_service_pb2.CancelWorkflowRunRequest(run_id=run_id_of(run_id))
    await _answer(
        _stub(server).CancelWorkflowRun(request, timeout=seconds, metadata=server.headers()),
        server,
    )


async def resume_run(server: Server, run_id: str) -> int:
    """Go on with a run; the number of its latest event before that."""
    request = workflow_service_pb2.ResumeWorkflowRunRequest(run_id=run_id)
    call = _stub(server).ResumeWorkflowRun(request, timeout=CALL_SECONDS, metadata=server.headers())
    return (await _answer(call, server)).sequence


def run_id_of(value: Any) -> str:
    """A run's id that a caller gave."""
    if not text("run_id", value):
        raise invalid("run_id", "is empty; write the id of a run, such as WorkflowResult.run_id")
    return cast("str", value)


def advice_for(run_id: str) -> str:
    """What becomes of a run whose server is away."""
    return f"run {run_id} goes on when the server is back, its handlers with `await agent.resume_workflow({run_id!r})`"


class RunWatch:
    """The events of a run as they come, to its end, over lost connections too. Leaving it does not touch the run.

    It belongs to the event loop that asked for the first event.

    Args:
        server: where the run is.
        run_id: which run.
        after: sequence of the last event that is known; 0: from the first.
        patient: the server has just answered, so it is waited for from the start.
    """

    def __init__(self, server: Server, run_id: str, after: int = 0, *, patient: bool = False) -> None:
        self._server = server
        self.run_id = run_id
        self.after = after
        self._ended = False
        self._known = patient
        self._patience: Patience | None = None
        self._called = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._call: grpc.aio.UnaryStreamCall[Any, workflow_pb2.WorkflowEvent] | None = None

    def __aiter__(self) -> RunWatch:
        return self

    async def __anext__(self) -> WorkflowEvent:
        while not self._ended:
            try:
                message = await self._read()
            except grpc.aio.AioRpcError as error:
                await self._pause(error)
                continue
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if self._ended and not (task and task.cancelling()):  # closed under the reader
                    break
                self.cancel()
                raise
            except BaseException:
                self.cancel()
                raise
            if message is None:
                break
            self._known, self.after = True, message.sequence
            if self._patience is not None:
                self._patience.heard()
            return to_event(message, self.run_id)
        self._ended = True
        raise StopAsyncIteration

    async def _read(self) -> workflow_pb2.WorkflowEvent | None:
        """The next event; None at the end of the run."""
        if self._call is None:
            channels = channels_of_running_loop()
            self._loop = asyncio.get_running_loop()
            self._called = self._loop.time()
            request = workflow_service_pb2.WatchWorkflowRunRequest(run_id=self.run_id, after_sequence=self.after)
            self._call = _stub(self._server).WatchWorkflowRun(request, metadata=self._server.headers())
            channels.streams.add(self)
        message = await self._call.read()
        return None if message is grpc.aio.EOF else cast("workflow_pb2.WorkflowEvent", message)

    async def _pause(self, error: grpc.aio.AioRpcError) -> None:
        self._call = None
        if self._ended:
            return
        failure = to_exception(error, target=self._server.target)
        try:
            if not (self._known and may_pass(failure)):
                raise failure from None
            if self._patience is None:
                self._patience = Patience(advice_for(self.run_id))
            if asyncio.get_running_loop().time() - self._called >= CONNECTED_SECONDS:
                self._patience.heard()
            await self._patience.wait(failure)
        except BaseException:
            self._ended = True
            raise

    def cancel(self) -> None:
        """Watch no more; from any thread."""
        self._ended = True
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


def _stub(server: Server) -> WorkflowServiceAsyncStub:
    channel = channels_of_running_loop().channel(server.target)
    return workflow_service_pb2_grpc.WorkflowServiceStub(channel)


async def _answer(call: Awaitable[T], server: Server) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise to_exception(error, target=server.target) from None


async def _patiently(ask: Callable[[], Awaitable[T]], server: Server, patience: Patience) -> T:
    """The answer of a call that may be repeated."""
    while True:
        try:
            return await _answer(ask(), server)
        except HeadwaterError as failure:
            if not may_pass(failure):
                raise
            await patience.wait(failure)
