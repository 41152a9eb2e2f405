"""A server that answers wrongly about runs, or as a worker: a HeadwaterError says so, and nothing waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from headwater import HeadwaterError
from headwater._workflow import watch
from headwater.v1.worker_service_pb2 import (
    AttachRequest,
    AttachResponse,
    TaskCancellation,
    TaskResultAck,
    WorkerRegistered,
    WorkerTask,
)
from headwater.v1.workflow_pb2 import StepRun, WorkflowEvent, WorkflowRun
from headwater.v1.workflow_service_pb2 import (
    GetWorkflowRunResponse,
    ListWorkflowRunsResponse,
    StartWorkflowRunResponse,
    ValidateWorkflowResponse,
)
from headwater.workflow import WorkflowAgent
from tests.support.servers.server import run_cli
from tests.support.services.wrong_server import FOREVER, GARBAGE, WrongServer, serving

SAYS_WHY = "the server sent "


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RESUMED_PAUSE_SECONDS", 0.0)


RUN = {"run_id": "r", "workflow_name": "w", "status": "WORKFLOW_RUN_STATUS_COMPLETED"}
DEEP = "[" * 100_000
NO_JSON = ("{", "nonsense", DEEP, "9" * 5_000, "{'a': 1}")


def run(**fields: Any) -> GetWorkflowRunResponse:
    return GetWorkflowRunResponse(run=WorkflowRun(**(RUN | fields)))


def step(**fields: Any) -> GetWorkflowRunResponse:
    facts: dict[str, Any] = {"name": "s", "status": "STEP_STATUS_COMPLETED"}
    return run(steps=[StepRun(**(facts | fields))])


BROKEN_RUNS: dict[str, Any] = {
    "no message": GARBAGE,
    "no run": GetWorkflowRunResponse(),
    "a run without an id": run(run_id=""),
    "no status": run(status=0),
    "an unknown status": run(status=99),
    "a context that is a list": run(context_json="[1]"),
    "a context that is a number": run(context_json="5"),
    "no status of a step": step(status=0),
    "an unknown status of a step": step(status=-1),
    **{f"a context like {text[:9]}": run(context_json=text) for text in NO_JSON},
    **{f"a result like {text[:9]}": step(result_json=text) for text in NO_JSON},
    **{f"progress like {text[:9]}": step(progress_json=text) for text in NO_JSON},
    "a result that the context lacks": run(
        context_lacks_results=True, steps=[StepRun(name="s", status="STEP_STATUS_COMPLETED", result_json="{")]
    ),
}


@pytest.mark.parametrize("answer", BROKEN_RUNS.values(), ids=BROKEN_RUNS.keys())
async def test_a_run_that_breaks_the_contract_is_an_error_that_says_so(answer: Any) -> None:
    start = StartWorkflowRunResponse(run_id="r")
    async with serving(WrongServer({"GetWorkflowRun": [answer], "StartWorkflowRun": [start]})) as target:
        agent = WorkflowAgent(target=target)
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await agent.get_workflow_status("r")
        workflow = agent.create_workflow("w")
        workflow.add_step("s", action="x")
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            async with asyncio.timeout(10):
                await agent.execute_workflow(workflow)


async def test_a_run_with_odd_facts_is_a_result() -> None:
    odd = step(
        attempt=-1,
        skip_reason=99,
        start_time=Timestamp(seconds=-(2**62)),
        end_time=Timestamp(seconds=2**62, nanos=-7),
        reply={"finish_reason": 99, "usage": {"input_tokens": -1}},
        failure={"reason": 99, "retry_delay": {"seconds": -(2**62)}},
    )
    async with serving(WrongServer({"GetWorkflowRun": [odd]})) as target:
        result = await WorkflowAgent(target=target).get_workflow_status("r")
    assert result.step_results["s"].skip_reason == "unknown"
    assert result.format_summary()


def event(sequence: int = 1, **kind: Any) -> WorkflowEvent:
    return WorkflowEvent(sequence=sequence, step="s", attempt=1, **kind)


BROKEN_WATCHES: dict[str, list[Any]] = {
    "no message": [GARBAGE, FOREVER],
    "an event without a number": [event(0, step_chunk={"content": "x"}), FOREVER],
    "a number that falls": [event(5, step_started={}), event(4, step_chunk={"content": "x"}), FOREVER],
    "the same event twice": [event(5, step_started={}), event(5, step_started={}), FOREVER],
    "a negative number": [event(-5, step_started={}), FOREVER],
    "an unknown status": [event(5, run_finished={"status": 99}), FOREVER],
    "no status": [event(5, run_finished={}), FOREVER],
    **{f"a result like {text[:9]}": [event(step_completed={"result_json": text}), FOREVER] for text in NO_JSON},
    **{f"progress like {text[:9]}": [event(step_progress={"progress_json": text}), FOREVER] for text in NO_JSON},
    "an end although the run continues": [],
}


@pytest.mark.parametrize("messages", BROKEN_WATCHES.values(), ids=BROKEN_WATCHES.keys())
async def test_a_watch_that_breaks_the_contract_is_an_error_that_says_so_and_is_left(
    messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_EMPTY", 20)
    running = run(status="WORKFLOW_RUN_STATUS_RUNNING")
    wrong = WrongServer({"WatchWorkflowRun": messages, "GetWorkflowRun": [running]})
    async with serving(wrong) as target:
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            async with asyncio.timeout(10):
                await WorkflowAgent(target=target).stream_workflow_progress("r")
        while messages and not wrong.left:
            await asyncio.sleep(0.001)


async def test_an_event_of_no_kind_is_unknown() -> None:
    answers = {"WatchWorkflowRun": [event(1), WorkflowEvent(sequence=2)], "GetWorkflowRun": [run()]}
    async with serving(WrongServer(answers)) as target:
        kinds = [seen.type async for seen in WorkflowAgent(target=target).stream_workflow_progress("r")]
    assert kinds == ["unknown", "unknown"]


async def test_a_run_that_is_started_without_an_id_is_an_error() -> None:
    answers = {"StartWorkflowRun": [StartWorkflowRunResponse()], "ValidateWorkflow": [ValidateWorkflowResponse()]}
    async with serving(WrongServer(answers)) as target:
        agent = WorkflowAgent(target=target)
        workflow = agent.create_workflow("w")
        workflow.add_step("s", action="x")
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await agent.execute_workflow(workflow)


def registered(seconds: int = 5, **fields: Any) -> AttachResponse:
    return AttachResponse(registered=WorkerRegistered(heartbeat_interval={"seconds": seconds}, **fields))


def task(**fields: Any) -> AttachResponse:
    facts: dict[str, Any] = {"task_id": "t", "run_id": "r", "step": {"name": "s", "handler": "h"}}
    return AttachResponse(task=WorkerTask(**(facts | fields)))


REFUSED: dict[str, list[Any]] = {
    "no message": [GARBAGE, FOREVER],
    "no heartbeat interval": [registered(0), FOREVER],
    "a negative heartbeat interval": [registered(-5), FOREVER],
    "two answers to a registration": [registered(), registered(), FOREVER],
    "a task without an id": [registered(), task(task_id=""), FOREVER],
}


@pytest.mark.parametrize("messages", REFUSED.values(), ids=REFUSED.keys())
async def test_a_worker_gives_up_a_server_that_breaks_the_contract(
    messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater._worker.worker._REFUSED_SECONDS", 0.0)
    wrong = WrongServer({"Attach": messages})
    async with serving(wrong) as target:
        agent = WorkflowAgent(target=target)
        agent.register_handler("h", lambda agent, step, context: 1)
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            async with asyncio.timeout(10):
                await agent.run_worker(queue="q")
        while not wrong.left:
            await asyncio.sleep(0.001)


ODD_TASKS: list[Any] = [
    AttachResponse(),
    b"\xfa\x3f\x02\x08\x01",  # a kind that a newer server may know
    AttachResponse(cancellation=TaskCancellation(task_id="unknown")),
    AttachResponse(ack=TaskResultAck(task_id="unknown")),
    AttachResponse(chunk_ack={"task_id": "unknown", "position": -1}),
    task(task_id="unknown handler", step={"handler": "none"}),
    task(task_id="no step", step=None),
    *[task(task_id=f"context {number}", context_json=text) for number, text in enumerate((*NO_JSON, "[1]"))],
    task(task_id="metadata", step={"name": "s", "handler": "h", "metadata_json": "["}),
    task(task_id="progress", progress_json="["),
    task(attempt=-1),
    task(),
    task(),
]


async def test_a_worker_answers_odd_tasks_with_failures_and_continues() -> None:
    results: dict[str, str] = {}
    ended = asyncio.Event()

    class Odd(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return grpc.stream_stream_rpc_method_handler(self.attach, AttachRequest.FromString)

        async def attach(self, requests: Any, context: Any) -> None:
            for message in [registered(), *ODD_TASKS]:
                await context.write(message if isinstance(message, bytes) else message.SerializeToString())
            async for request in requests:
                if request.HasField("result"):
                    assert request.result.task_id not in results
                    results[request.result.task_id] = request.result.failure.message or request.result.result_json
                if "t" in results and len(results) == len(ODD_TASKS) - 7:
                    ended.set()

    async with serving(Odd()) as target:  # type: ignore[arg-type]
        agent = WorkflowAgent(target=target)
        agent.register_handler("h", lambda agent, step, context: 1)
        async with asyncio.timeout(10):
            await agent.run_worker(queue="q", stop=ended)
    assert results.pop("t") == "1"
    assert "no handler" in results.pop("unknown handler")
    assert "no handler" in results.pop("no step")
    assert all(text.startswith(SAYS_WHY) for text in results.values()), results


async def test_a_worker_pauses_between_connections_that_its_server_ends_at_once() -> None:
    wrong = WrongServer({"Attach": [registered()]})
    async with serving(wrong) as target:
        agent = WorkflowAgent(target=target)
        agent.register_handler("h", lambda agent, step, context: 1)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, stop.set)
        await agent.run_worker(queue="q", stop=stop)
    assert 1 < len(wrong.calls) < 8


ODD_PAGES = {
    "one token for ever": ListWorkflowRunsResponse(next_page_token="t"),
    "no message": GARBAGE,
    "an unknown status": ListWorkflowRunsResponse(runs=[WorkflowRun(run_id="r", status=99)]),
    "a time that no calendar has": ListWorkflowRunsResponse(
        runs=[WorkflowRun(**RUN, create_time=Timestamp(seconds=2**62))]
    ),
}


@pytest.mark.parametrize("page", ODD_PAGES.values(), ids=ODD_PAGES.keys())
async def test_a_command_says_that_the_server_is_wrong(page: Any) -> None:
    async with serving(WrongServer({"ListWorkflowRuns": [page]})) as target:
        done = await asyncio.to_thread(run_cli, "workflow", "list", "--target", target)
    assert done.returncode == 1
    assert SAYS_WHY in done.stderr
    assert 'File "' not in done.stderr.partition(SAYS_WHY)[2]
