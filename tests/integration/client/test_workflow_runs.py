"""Runs as their caller sees them: the request, the events, and the end of a run whose caller leaves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from headwater._grpc import patience
from headwater._workflow import watch
from headwater.exceptions import (
    ServerUnavailableError,
    StepExecutionError,
    ValidationError,
    WorkflowError,
    WorkflowValidationError,
)
from headwater.workflow import (
    StepStatus,
    Workflow,
    WorkflowAgent,
    WorkflowCancelledError,
    WorkflowEvent,
    WorkflowTimeoutError,
)
from tests.support.services.fake_workflow_service import (
    CANCELLED,
    FAILED,
    FakeWorkflowService,
    event,
    finished,
    one_step,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def service() -> Iterator[FakeWorkflowService]:
    with FakeWorkflowService(script=one_step()) as service:
        yield service


@pytest.fixture
def agent(service: FakeWorkflowService) -> WorkflowAgent:
    return WorkflowAgent(target=service.target)


def a_workflow(**fields) -> Workflow:
    workflow = Workflow("w")
    workflow.add_step("ask", "Say hello", **fields)
    return workflow


async def test_execute_gives_the_result(agent: WorkflowAgent) -> None:
    result = await agent.execute_workflow(a_workflow())
    assert (result.run_id, result.workflow_name, result.status, result.successful) == ("run_1", "w", "completed", True)
    assert result.get_step_result("ask").result == "Hello"


async def test_what_is_sent(service: FakeWorkflowService) -> None:
    agent = WorkflowAgent(
        "n", "Be brief", "m", "p", temperature=0.5, max_tokens=9, timeout=2.5, target=service.target, token="t"
    )
    workflow = agent.create_workflow("w", "What for", id="w-1", schedule_timeout=1.5)
    workflow.add_step("ask", "Say hello")
    workflow.add_step(
        "check", "Check", depends_on=["ask"], condition="context.x > 1", timeout=0.0001, max_retries=0,
        parallel=False, description="d", metadata={"k": 1},
    )  # fmt: skip
    service.script = [finished()]
    await agent.execute_workflow(workflow, {"x": 1, "y": 1.0})
    (request,) = service.starts
    assert request.context_json == '{"x": 1, "y": 1.0}'
    assert request.request_id
    assert request.queue.startswith("agent-")
    sent = request.workflow
    assert (sent.name, sent.description, sent.id, sent.schedule_timeout.ToMilliseconds()) == (
        "w", "What for", "w-1", 1500,
    )  # fmt: skip
    settings = sent.agent
    assert (settings.instructions, settings.model, settings.provider) == ("Be brief", "m", "p")
    assert (settings.temperature, settings.max_tokens) == (0.5, 9)
    ask, check = sent.steps
    assert (ask.timeout.ToMilliseconds(), ask.retry_policy.max_attempts, ask.exclusive) == (2500, 4, False)
    assert ask.handler == ""
    assert (check.timeout.ToMicroseconds(), check.retry_policy.max_attempts, check.exclusive) == (100, 1, True)
    assert (check.depends_on, check.condition, check.description) == (["ask"], "context.x > 1", "d")
    assert json.loads(check.metadata_json) == {"k": 1}


async def test_the_callers_dict_holds_the_final_context(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.context = '{"a": [1], "b": 2.0, "ask_result": "Hello"}'
    kept = [1]
    context = {"a": kept, "b": 2, "gone": None}
    result = await agent.execute_workflow(a_workflow(), context)
    assert repr(context) == "{'a': [1], 'b': 2.0, 'ask_result': 'Hello'}"
    assert context["a"] is kept
    assert result.context == context


async def test_a_failed_step_does_not_raise(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = [event("run_started"), event("step_failed", "ask", error="no"), finished(FAILED)]
    result = await agent.execute_workflow(a_workflow())
    assert (result.status, result.failed_steps) == (StepStatus.FAILED, ["ask"])
    with pytest.raises(StepExecutionError):
        result.raise_for_failure()


async def test_the_events_come_in_order(agent: WorkflowAgent) -> None:
    stream = agent.stream_workflow(a_workflow())
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "run_started", "step_started", "chunk", "step_completed", "run_finished",
    ]  # fmt: skip
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert {event.run_id for event in events} == {"run_1"}
    assert (events[2].step, events[2].attempt, events[2].content) == ("ask", 1, "Hello")
    assert events[3].result == "Hello"
    assert events[4].status is StepStatus.COMPLETED
    assert stream.result is not None
    assert stream.result.successful


async def test_leaving_a_stream_early_cancels_the_run(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    async for happened in agent.stream_workflow(a_workflow()):
        if happened.type == "chunk":
            break
    await asyncio.to_thread(service.wait_for, lambda: service.run.status == CANCELLED)


def test_leaving_a_stream_as_the_last_act_of_a_program_cancels_the_run(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    service.script = one_step()[:3]

    async def main() -> None:
        async for _ in agent.stream_workflow(a_workflow()):
            break

    asyncio.run(main())
    service.wait_for(lambda: service.run.status == CANCELLED)


async def test_closing_a_stream_waits_for_the_end_of_the_run(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    service.script = one_step()[:3]
    stream = agent.stream_workflow(a_workflow())
    await anext(stream)
    await stream.aclose()
    assert service.run.status == CANCELLED
    assert [event async for event in stream] == []


async def test_a_stream_that_nobody_reads_starts_nothing(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    await agent.stream_workflow(a_workflow()).aclose()
    assert service.starts == []


async def test_to_cancel_execute_is_to_cancel_the_run(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    task = asyncio.create_task(agent.execute_workflow(a_workflow()))
    await asyncio.to_thread(service.wait_for, lambda: service.watches)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.run.status == CANCELLED


async def test_a_timeout_cancels_the_run(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    with pytest.raises(WorkflowTimeoutError, match=r"run run_1 took longer than 0\.2 seconds"):
        await agent.execute_workflow(a_workflow(), timeout=0.2)
    assert service.run.status == CANCELLED
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await agent.execute_workflow(a_workflow())
    assert [run.status for run in service.runs.values()] == [CANCELLED, CANCELLED]


async def test_a_run_that_somebody_else_cancelled_raises(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    task = asyncio.create_task(agent.execute_workflow(a_workflow()))
    await asyncio.to_thread(service.wait_for, lambda: service.watches)
    await agent.cancel_workflow("run_1")
    with pytest.raises(WorkflowCancelledError, match="run_1"):
        await task


async def test_a_handle_leaves_the_run_to_itself(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    context = {}
    service.context = '{"done": true}'
    handle = await agent.start_workflow(a_workflow(), context)
    assert (handle.id, handle.run_id) == ("run_1", "run_1")
    assert (await handle.status()).status is StepStatus.RUNNING
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await handle.result()
    assert service.run.cancelled == 0
    service.happen(*one_step()[3:])
    assert (await handle.result()).successful
    assert context == {"done": True}
    assert [event.sequence async for event in handle.events()] == [1, 2, 3, 4, 5]
    assert [event.sequence async for event in handle.events(3)] == [4, 5]


async def test_a_handle_refuses_a_sequence_that_is_no_number(agent: WorkflowAgent) -> None:
    handle = await agent.start_workflow(a_workflow())
    for bad in ("1", None, 1.0, 2**64):
        with pytest.raises(ValidationError, match="after_sequence: must be"):
            handle.events(bad)  # type: ignore[arg-type]
    await handle.result()


async def test_a_handle_cancels_when_asked_to(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    handle = await agent.start_workflow(a_workflow())
    await handle.cancel()
    assert (await handle.result()).status is StepStatus.CANCELLED


async def test_a_start_that_is_cancelled_leaves_no_run(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    service.start_seconds = 0.2
    task = asyncio.create_task(agent.start_workflow(a_workflow()))
    await asyncio.to_thread(service.wait_for, lambda: service.starts)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(service.wait_for, lambda: service.runs and service.run.status == CANCELLED)


async def test_the_progress_of_a_run(agent: WorkflowAgent) -> None:
    run_id = (await agent.execute_workflow(a_workflow())).run_id
    seen: list[WorkflowEvent] = []
    result = await agent.stream_workflow_progress(run_id, seen.append)
    assert result.successful
    assert [event async for event in agent.stream_workflow_progress(run_id)] == seen

    async def callback(event: WorkflowEvent) -> None:
        again.append(event)

    again: list[WorkflowEvent] = []
    await agent.stream_workflow_progress(run_id, callback=callback)
    assert again == seen


async def test_leaving_the_progress_of_a_run_does_not_touch_it(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    service.script = one_step()[:3]
    handle = await agent.start_workflow(a_workflow())
    async for _ in agent.stream_workflow_progress(handle.id):
        break
    service.happen(*one_step()[3:])
    assert (await handle.result()).successful
    assert service.run.cancelled == 0


@pytest.mark.parametrize("run_id", ["", 7])
async def test_a_bad_run_id_is_refused(agent: WorkflowAgent, run_id: str) -> None:
    with pytest.raises(ValidationError, match="run_id"):
        await agent.get_workflow_status(run_id)


async def test_an_unknown_run_is_an_error_of_every_call(agent: WorkflowAgent) -> None:
    with pytest.raises(WorkflowError, match="no run has this id"):
        await agent.get_workflow_status("other")
    with pytest.raises(WorkflowError):
        await agent.cancel_workflow("other")
    with pytest.raises(WorkflowError):
        await agent.resume_workflow("other")
    with pytest.raises(WorkflowError):
        await agent.stream_workflow_progress("other")


async def test_a_failed_run_is_resumed(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = [event("run_started"), event("step_failed", "ask", error="no"), finished(FAILED)]
    run_id = (await agent.execute_workflow(a_workflow())).run_id
    task = asyncio.create_task(agent.resume_workflow(run_id))
    await asyncio.to_thread(service.wait_for, lambda: service.run.resumed)
    service.happen(*one_step()[1:])
    assert (await task).successful
    assert (await agent.resume_workflow(run_id)).successful
    assert service.run.resumed == 1


async def test_to_cancel_resume_leaves_the_run(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.script = one_step()[:3]
    handle = await agent.start_workflow(a_workflow())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await agent.resume_workflow(handle.id)
    assert service.run.cancelled == 0
    await agent.cancel_workflow(handle.id)
    await handle.result()


async def test_a_stream_of_a_run_whose_wait_was_cancelled_never_looks_finished(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    service.script = one_step()[:1]
    stream = agent.stream_workflow(a_workflow())
    await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.01)
    with pytest.raises(WorkflowError, match=r"run run_1 ended when the wait .* was cancelled; the run was cancelled"):
        await anext(stream)
    await asyncio.to_thread(service.wait_for, lambda: service.run.status == CANCELLED)


@pytest.mark.parametrize("watch", ["progress", "events"])
async def test_a_watch_loses_no_event_to_a_wait_that_was_cancelled(
    service: FakeWorkflowService, agent: WorkflowAgent, watch: str
) -> None:
    service.script = one_step()[:2]
    handle = await agent.start_workflow(a_workflow())
    events = agent.stream_workflow_progress(handle.id) if watch == "progress" else handle.events()
    assert [(await anext(events)).sequence for _ in range(2)] == [1, 2]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(events), 0.01)
    service.happen(*one_step()[2:])
    assert [event.sequence async for event in events] == [3, 4, 5]
    await handle.result()


async def test_a_callback_that_was_interrupted_gets_its_event_again(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    calls: list[int] = []

    async def callback(event: WorkflowEvent) -> None:
        calls.append(event.sequence)
        if len(calls) == 1:
            await asyncio.Event().wait()

    handle = await agent.start_workflow(a_workflow())
    progress = agent.stream_workflow_progress(handle.id, callback)
    reader = asyncio.create_task(anext(progress))
    await asyncio.to_thread(service.wait_for, lambda: bool(calls))
    reader.cancel()
    await asyncio.wait([reader])
    assert [event.sequence async for event in progress] == [1, 2, 3, 4, 5]
    assert calls == [1, 1, 2, 3, 4, 5]
    await handle.result()


async def test_a_watch_that_is_cut_goes_on_where_it_was(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.cut_after = [(2, UNAVAILABLE, ""), (0, UNAVAILABLE, "SERVER_DRAINING"), (1, grpc.StatusCode.INTERNAL, "")]
    events = [event async for event in agent.stream_workflow(a_workflow())]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert service.watches == [0, 2, 2, 3]


async def test_a_fault_of_the_server_is_raised_and_the_run_left(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    service.cut_after = [(2, grpc.StatusCode.INTERNAL, "INTERNAL")]
    with pytest.raises(Exception, match="it was cut"):
        await agent.execute_workflow(a_workflow())
    assert service.run.cancelled == 0


async def test_a_start_whose_answer_was_lost_starts_one_run(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.fail_starts = 2
    assert (await agent.execute_workflow(a_workflow())).successful
    assert len(service.starts) == 3
    assert len(service.runs) == 1


async def test_a_server_that_restarts_is_waited_for(agent: WorkflowAgent) -> None:
    with FakeWorkflowService(script=one_step()[:3]) as first:
        task = asyncio.create_task(WorkflowAgent(target=first.target).execute_workflow(a_workflow()))
        await asyncio.to_thread(first.wait_for, lambda: first.watches)
    with FakeWorkflowService(port=first.port, runs=first.runs) as second:
        await asyncio.to_thread(second.wait_for, lambda: second.watches)
        second.happen(*one_step()[3:])
        assert (await task).successful
        assert second.starts == []


async def test_patience_has_an_end_that_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    with FakeWorkflowService(script=one_step()[:3]) as service:
        task = asyncio.create_task(WorkflowAgent(target=service.target).execute_workflow(a_workflow()))
        await asyncio.to_thread(service.wait_for, lambda: service.watches)
    with pytest.raises(ServerUnavailableError, match=r"no answer for 0\.2 seconds.*agent\.resume_workflow\('run_1'\)"):
        await task
    assert service.run.cancelled == 0


async def test_no_server_is_told_at_once(service: FakeWorkflowService) -> None:
    agent = WorkflowAgent(target="127.0.0.1:1")
    for call in (
        agent.execute_workflow(a_workflow()),
        agent.start_workflow(a_workflow()),
        agent.get_workflow_status("run_1"),
        agent.resume_workflow("run_1"),
        anext(agent.stream_workflow_progress("run_1")),
    ):
        async with asyncio.timeout(5):
            with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1"):
                await call


async def test_mistakes_of_both_sides_are_named_at_once(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.violations = [
        ("workflow.steps[0].condition", "is no CEL"),
        ("workflow.steps[1].handler", "was never registered"),
        ("workflow.steps[2].handler", "was never registered on fleet"),
    ]
    workflow = a_workflow(depends_on=["x"], condition="1 +")
    workflow.add_step("h", handler="mine")
    workflow.add_step("f", handler="theirs", queue="fleet")
    with pytest.raises(WorkflowValidationError) as caught:
        await agent.execute_workflow(workflow)
    assert [path for path, _ in caught.value.violations] == [
        "workflow.steps[0].depends_on[0]",
        "workflow.steps[1].handler",
        "workflow.steps[0].condition",
        "workflow.steps[2].handler",
    ]
    assert service.starts == []


async def test_mistakes_are_named_without_a_server_too() -> None:
    with pytest.raises(WorkflowValidationError, match="no step is called `x`"):
        await WorkflowAgent(target="127.0.0.1:1").execute_workflow(a_workflow(depends_on=["x"]))


async def test_mistakes_that_only_the_server_sees_raise_too(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    service.violations = [("workflow.steps[0].condition", "is no CEL")]
    with pytest.raises(WorkflowValidationError, match="is no CEL"):
        await agent.execute_workflow(a_workflow(condition="1 +"))


async def test_a_bad_argument_is_refused_before_anything_is_sent(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    for workflow, context, timeout, says in (
        ("w", None, None, "workflow: must be a Workflow, not str"),
        (a_workflow(), {"a": object()}, None, 'context["a"]'),
        (a_workflow(), None, -1, "timeout: must be above 0"),
    ):
        with pytest.raises(ValidationError) as caught:
            await agent.execute_workflow(workflow, context, timeout=timeout)
        assert says in str(caught.value)
    assert service.starts == []


@pytest.mark.parametrize(
    ("name", "setting"), [("api_key", "sk-secret"), ("provider_headers", {"x-session-id": "secret"})]
)
async def test_a_secret_does_not_travel_with_a_run(service: FakeWorkflowService, name: str, setting: Any) -> None:
    agent = WorkflowAgent(target=service.target, **{name: setting})
    with pytest.raises(ValidationError, match=f"{name}: cannot be used by a workflow with action steps") as caught:
        await agent.execute_workflow(a_workflow())
    assert "secret" not in str(caught.value)


async def test_fifty_runs_at_once(agent: WorkflowAgent) -> None:
    results = await asyncio.gather(*(agent.execute_workflow(a_workflow()) for _ in range(50)))
    assert len({result.run_id for result in results}) == 50


def test_one_agent_in_two_runs_of_asyncio_and_in_two_threads(agent: WorkflowAgent) -> None:
    def run(_: int) -> str:
        return asyncio.run(agent.execute_workflow(a_workflow())).run_id

    first = [run(0), run(1)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert len({*first, *pool.map(run, range(4))}) == 6


async def test_closing_the_agent_ends_what_it_executes_and_leaves_what_it_started(
    service: FakeWorkflowService, agent: WorkflowAgent
) -> None:
    service.script = one_step()[:3]
    async with agent as same:
        assert same is agent
        handle = await agent.start_workflow(a_workflow())
        stream = agent.stream_workflow(a_workflow())
        await anext(stream)
    assert [run.cancelled for run in service.runs.values()] == [0, 1]
    with pytest.raises(WorkflowError, match="closed"):
        await handle.result()


def test_a_copy_has_the_handlers_and_settings(agent: WorkflowAgent) -> None:
    agent.register_handler("max", max)
    for twin in (copy.copy(agent), pickle.loads(pickle.dumps(agent))):  # noqa: S301
        workflow = twin.create_workflow("w")
        workflow.add_step("a", handler="max")
        assert workflow.validate() == []
        twin.register_handler("min", min)
        assert asyncio.run(twin.execute_workflow(a_workflow())).successful
    workflow = agent.create_workflow("w")
    workflow.add_step("a", handler="min")
    assert len(workflow.validate()) == 1


async def test_the_picture_of_a_run_by_its_id(agent: WorkflowAgent) -> None:
    run_id = (await agent.execute_workflow(a_workflow())).run_id
    assert "completed" not in agent.visualize_workflow(a_workflow())
    assert 's0["ask<br/>completed"]' in agent.visualize_workflow(a_workflow(), run_id)
    assert 's0["ask<br/>completed"]' in agent.visualize_workflow(a_workflow(), await agent.get_workflow_status(run_id))


@pytest.mark.parametrize(("connected_seconds", "waits"), [(0.0, True), (10.0, False)])
async def test_a_watch_that_was_connected_for_long_starts_its_patience_anew(
    service: FakeWorkflowService,
    agent: WorkflowAgent,
    monkeypatch: pytest.MonkeyPatch,
    connected_seconds: float,
    waits: bool,
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(watch, "CONNECTED_SECONDS", connected_seconds)
    service.cut_after = [(0, UNAVAILABLE, "")] * 8
    if waits:
        assert (await agent.execute_workflow(a_workflow())).successful
    else:
        with pytest.raises(ServerUnavailableError):
            await agent.execute_workflow(a_workflow())


def test_a_run_without_async(service: FakeWorkflowService, agent: WorkflowAgent) -> None:
    context: dict[str, object] = {}
    assert agent.execute_workflow_sync(a_workflow(), context).successful
    assert len(service.starts) == 1
