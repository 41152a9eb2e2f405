"""Any message as an answer of the server: the client takes it, or says that the server is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater import HeadwaterError
from headwater._call.chunks import to_chunk
from headwater._call.history import Reply
from headwater._call.response import collect_response
from headwater._tools.calls import Toolbox
from headwater._tools.rounds import ToolRounds
from headwater._worker.handlers import _step
from headwater._worker.shared_context import SharedContext
from headwater._workflow.events import to_event
from headwater._workflow.result import to_result
from headwater.cli.workflow.reports import result_json, result_text, run_table, run_text
from headwater.v1.agent_pb2 import FINISH_REASON_TOOL_CALLS, StreamChunk, ToolCall
from headwater.v1.worker_service_pb2 import WorkerTask
from headwater.v1.workflow_pb2 import WorkflowEvent, WorkflowRun
from tests.support.messages import messages

FEW = settings(max_examples=25)
"""Each message takes long to make; `make fuzz` repeats them."""


def tried(use: Callable[[Any], Any], message: Any) -> None:
    try:
        use(message)
    except HeadwaterError as error:
        assert str(error)


async def _response(chunks: list[Any]) -> Any:
    async def stream() -> Any:
        for chunk in chunks:
            yield chunk

    return await collect_response(stream(), "agent")


def read_chunk(message: StreamChunk) -> None:
    reply = Reply()
    reply.add(message)
    reply.message(interrupted=False)
    chunk = to_chunk(message, 0)
    try:
        _response([chunk, chunk]).send(None)
    except StopIteration as end:
        assert end.value.content == 2 * message.content


def end_rounds(message: StreamChunk) -> None:
    rounds = ToolRounds(Toolbox({}, None, 2))
    for _ in range(2):
        rounds.end_round(message, to_chunk(message, 0), "")


@FEW
@given(messages(StreamChunk))
@example(StreamChunk(metadata={"thinking": 5.0, "tool_calls": 5.0, "images": 5.0}))  # was joined and added up
def test_any_chunk(message: StreamChunk) -> None:
    tried(read_chunk, message)


@FEW
@given(messages(StreamChunk))
@example(  # was divided by
    StreamChunk(is_final=True, usage={"output_tokens": 1}, stats={"duration": {}, "tokens_per_second": float("inf")})
)
@example(  # its results had no number
    StreamChunk(is_final=True, sequence=2**31 - 1, tool_calls=[ToolCall()], finish_reason=FINISH_REASON_TOOL_CALLS)
)
def test_any_end_of_a_round(message: StreamChunk) -> None:
    tried(end_rounds, message)


@FEW
@given(messages(WorkflowEvent))
@example(WorkflowEvent(run_finished={"status": 99}))  # was a ValueError
@example(WorkflowEvent(step_completed={"result_json": "9" * 5_000}))  # Python reads no such number
def test_any_event(message: WorkflowEvent) -> None:
    tried(lambda event: to_event("r", event), message)


@FEW
@given(messages(WorkflowRun))
@example(WorkflowRun(status="WORKFLOW_RUN_STATUS_COMPLETED", context_json="[]"))  # has no keys
@example(WorkflowRun(status="WORKFLOW_RUN_STATUS_COMPLETED", create_time={"seconds": 2**62}))  # no calendar has it
def test_any_run(message: WorkflowRun) -> None:
    for use in (to_result, run_text, result_text, result_json, lambda run: run_table([run])):
        tried(use, message)


@FEW
@given(messages(WorkerTask))
@example(WorkerTask(context_json="[1]"))
def test_any_task(message: WorkerTask) -> None:
    tried(lambda task: _step(task, print), message)
    tried(lambda task: SharedContext(task.context_json).changes(), message)


@FEW
@given(st.binary(max_size=200), st.sampled_from([StreamChunk, WorkflowEvent, WorkflowRun, WorkerTask]))
def test_any_bytes(data: bytes, kind: Any) -> None:
    try:
        message = kind.FromString(data)
    except DecodeError:
        return
    uses: dict[Any, Callable[[Any], Any]] = {
        StreamChunk: read_chunk,
        WorkflowEvent: lambda event: to_event("r", event),
        WorkflowRun: to_result,
        WorkerTask: lambda task: _step(task, print),
    }
    tried(uses[kind], message)
