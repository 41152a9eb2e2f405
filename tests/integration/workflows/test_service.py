"""Workflows as a caller with nothing but the generated stub meets them: definitions, runs, events, errors."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from headwater.v1 import agent_service_pb2, error_pb2, workflow_pb2, workflow_service_pb2
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub, details, workflow_stub

PB = workflow_pb2
SVC = workflow_service_pb2
ERR = error_pb2


def definition(*steps: dict[str, Any], **fields: Any) -> PB.Workflow:
    """A workflow whose actions are answered by the scripted provider, word for word."""
    fields.setdefault("agent", {"model": "scripted/echo"})
    return ParseDict({"name": "test", "steps": list(steps), **fields}, PB.Workflow())


def start(workflow: PB.Workflow, **fields: Any) -> SVC.StartWorkflowRunRequest:
    return SVC.StartWorkflowRunRequest(workflow=workflow, **fields)


def scripted(**options: Any) -> dict[str, Any]:
    return {"model": "scripted/echo", "provider_options": {"scripted": options}}


async def execute(stub: Any, request: SVC.StartWorkflowRunRequest) -> list[PB.WorkflowEvent]:
    return [event async for event in stub.ExecuteWorkflow(SVC.ExecuteWorkflowRequest(start=request))]


async def get(stub: Any, run_id: str) -> PB.WorkflowRun:
    return (await stub.GetWorkflowRun(SVC.GetWorkflowRunRequest(run_id=run_id))).run


def told(events: list[PB.WorkflowEvent]) -> list[str]:
    """The events without their chunks, as `step_completed a`."""
    return [
        f"{event.WhichOneof('event')} {event.step}".strip()
        for event in events
        if event.WhichOneof("event") != "step_chunk"
    ]


def text(events: list[PB.WorkflowEvent], step: str) -> str:
    return "".join(event.step_chunk.content for event in events if event.step == step)


@pytest.fixture(scope="module")
def server(processes):
    with ServerProcess("--scripted", processes=processes) as process:
        yield process


@pytest.fixture
async def stub(server):
    async with workflow_stub(server.target) as service:
        yield service


async def test_a_chain_streams_its_steps_and_hands_each_result_on(stub):
    workflow = definition({"name": "a", "action": "one two"}, {"name": "b", "action": "three", "depends_on": ["a"]})
    events = await execute(stub, start(workflow))
    assert told(events) == [
        "run_started", "step_started a", "step_completed a", "step_started b", "step_completed b", "run_finished",
    ]  # fmt: skip
    assert text(events, "a") == "one two"
    assert text(events, "b") == 'three\n\n{"a": "one two"}'
    assert [event.sequence for event in events] == sorted({event.sequence for event in events})
    assert events[0].run_id.startswith("run_")
    assert events[-1].run_finished.status == PB.WORKFLOW_RUN_STATUS_COMPLETED
    run = await get(stub, events[0].run_id)
    assert json.loads(run.context_json) == {"a_result": "one two", "b_result": 'three\n\n{"a": "one two"}'}
    assert run.status == PB.WORKFLOW_RUN_STATUS_COMPLETED
    assert [step.attempt for step in run.steps] == [1, 1]
    assert run.workflow.steps[1].depends_on == ["a"]


async def test_branches_run_side_by_side(stub):
    slow = {"delay_ms": 150, "text": "x y z"}
    workflow = definition(*({"name": name, "action": "x"} for name in "abcde"), agent=scripted(**slow))
    began = time.monotonic()
    events = await execute(stub, start(workflow))
    assert time.monotonic() - began < 5 * 0.3  # one after the other
    assert told(events)[1:6] == [f"step_started {name}" for name in "abcde"]


async def test_a_watcher_that_comes_late_gets_every_event_and_each_step_as_one_chunk(stub):
    workflow = definition(
        {"name": "a", "action": "one two three four"}, {"name": "b", "action": "x", "depends_on": ["a"]}
    )
    events = await execute(stub, start(workflow))
    watch = SVC.WatchWorkflowRunRequest(run_id=events[0].run_id)
    late = [event async for event in stub.WatchWorkflowRun(watch)]
    assert told(late) == told(events)
    assert [event.step_chunk.content for event in late if event.step_chunk.content and event.step == "a"] == [
        "one two three four"
    ]


async def test_a_watch_from_any_event_on_loses_nothing_and_doubles_nothing(stub):
    workflow = definition({"name": "a", "action": "one two three four five six"})
    events = await execute(stub, start(workflow))
    for index, event in enumerate(events):
        watch = SVC.WatchWorkflowRunRequest(run_id=events[0].run_id, after_sequence=event.sequence)
        rest = [later async for later in stub.WatchWorkflowRun(watch)]
        assert told(rest) == told(events[index + 1 :])
        assert text(rest, "a") == text(events[index + 1 :], "a")


async def test_a_condition_decides_and_skips_what_depends_on_it(stub):
    workflow = definition(
        {"name": "good", "action": "x", "condition": "context.score >= 0.8"},
        {"name": "bad", "action": "x", "condition": "context.score < 0.8"},
        {"name": "after", "action": "x", "depends_on": ["good"]},
        {"name": "asked", "action": "x", "condition": "has(context.nothing)"},
    )
    events = await execute(stub, start(workflow, context_json='{"score": 0.5}'))
    run = await get(stub, events[0].run_id)
    assert {step.name: (step.skip_reason, list(step.skipped_because_of)) for step in run.steps} == {
        "good": (PB.SKIP_REASON_CONDITION_FALSE, []),
        "bad": (PB.SKIP_REASON_UNSPECIFIED, []),
        "after": (PB.SKIP_REASON_DEPENDENCY_SKIPPED, ["good"]),
        "asked": (PB.SKIP_REASON_CONDITION_FALSE, []),
    }
    assert events[-1].run_finished.status == PB.WORKFLOW_RUN_STATUS_COMPLETED


async def test_a_key_that_a_condition_misses_fails_the_step_and_is_named(stub):
    events = await execute(stub, start(definition({"name": "a", "action": "x", "condition": "context.score < 1"})))
    failed = next(event for event in events if event.HasField("step_failed"))
    assert "score" in failed.step_failed.failure.message
    assert failed.step_failed.failure.reason == ERR.ERROR_REASON_STEP_FAILED
    assert failed.step_failed.failure.non_retryable
    assert events[-1].run_finished.status == PB.WORKFLOW_RUN_STATUS_FAILED


async def test_a_failed_step_is_tried_again_and_then_fails_the_run_with_its_dependants_named(stub):
    workflow = definition(
        {"name": "a", "action": "x", "retry_policy": {"max_attempts": 3}},
        {"name": "b", "action": "x", "depends_on": ["a"]},
        {"name": "c", "action": "x", "depends_on": ["b"]},
        agent=scripted(fail_reason="PROVIDER_UNAVAILABLE"),
    )
    events = await execute(stub, start(workflow))
    assert told(events) == [
        "run_started", "step_started a", "step_retrying a", "step_started a", "step_retrying a", "step_started a",
        "step_failed a", "step_skipped b", "step_skipped c", "run_finished",
    ]  # fmt: skip
    retrying = [event.step_retrying for event in events if event.HasField("step_retrying")]
    first, second = (retry.delay.ToMilliseconds() for retry in retrying)
    assert 100 <= first <= 200 <= second <= 400
    reason = ERR.ERROR_REASON_PROVIDER_UNAVAILABLE
    assert {retry.failure.reason for retry in retrying} == {reason}
    finished = events[-1].run_finished
    assert "step `a` failed" in finished.failure.message
    assert finished.failure.reason == ERR.ERROR_REASON_STEP_FAILED
    assert (finished.failure.cause.reason, finished.failure.cause.provider.provider) == (reason, "scripted")
    assert finished.failed_steps == ["a"]
    run = await get(stub, events[0].run_id)
    assert [step.attempt for step in run.steps] == [3, 0, 0]
    assert run.steps[0].failure == run.failure.cause == finished.failure.cause
    assert run.failed_steps == ["a"]
    for step in run.steps[1:]:
        assert step.skip_reason == PB.SKIP_REASON_DEPENDENCY_FAILED
        assert step.skipped_because_of == ["a"]
    skipped = [event.step_skipped for event in events if event.HasField("step_skipped")]
    assert [(skip.reason, list(skip.because_of)) for skip in skipped] == [(PB.SKIP_REASON_DEPENDENCY_FAILED, ["a"])] * 2


async def test_a_definition_comes_back_with_its_defaults(stub):
    workflow = definition({"name": "a", "action": "x", "retry_policy": {"initial_delay": "90s"}, "timeout": "1.5s"})
    run = await get(stub, (await execute(stub, start(workflow)))[0].run_id)
    expected = definition(
        {
            "name": "a",
            "action": "x",
            "timeout": "1.5s",
            "retry_policy": {"initial_delay": "90s", "backoff": 2.0, "max_delay": "90s", "max_attempts": 4},
        },
        schedule_timeout="3600s",
    )
    assert run.workflow == expected


async def test_every_event_has_the_id_of_its_run_and_its_time(stub):
    events = await execute(stub, start(definition({"name": "a", "action": "one two"})))
    assert {event.run_id for event in events} == {events[0].run_id}
    assert events[0].run_started.workflow_name == "test"
    assert all(event.HasField("create_time") for event in events)
    assert {event.attempt for event in events if event.step} == {1}


async def test_what_no_attempt_can_mend_is_not_tried_again(stub):
    workflow = definition({"name": "a", "action": "x"}, agent=scripted(fail_reason="PROVIDER_AUTH_FAILED"))
    assert "step_retrying a" not in told(await execute(stub, start(workflow)))


async def test_a_step_past_its_timeout_is_tried_again(stub):
    workflow = definition(
        {"name": "a", "action": "x", "timeout": "0.1s", "retry_policy": {"max_attempts": 2}},
        agent=scripted(hang_after=1, text="x y"),
    )
    events = await execute(stub, start(workflow))
    assert told(events).count("step_started a") == 2
    failure = events[-2].step_failed.failure
    assert failure.reason == ERR.ERROR_REASON_STEP_TIMEOUT
    assert "0.1 s" in failure.message


async def test_one_request_id_is_one_run(stub):
    workflow = definition({"name": "a", "action": "x"})
    request = start(workflow, request_id="the same", context_json='{"k": 1}')
    first, second = await asyncio.gather(stub.StartWorkflowRun(request), stub.StartWorkflowRun(request))
    assert first.run_id == second.run_id
    assert (await execute(stub, request))[0].run_id == first.run_id
    other = start(workflow, request_id="the same", context_json='{"k": 2}')
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.StartWorkflowRun(other)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details(caught.value)["ErrorInfo"].reason == "REQUEST_ID_REUSED"


async def test_a_struct_is_a_context_too(stub):
    request = start(definition({"name": "a", "action": "x", "condition": "context.n == 3"}))
    request.context.update({"n": 3, "text": "x"})
    events = await execute(stub, request)
    run = await get(stub, events[0].run_id)
    assert '"n": 3,' in run.context_json
    assert "step_completed a" in told(events)


async def test_numbers_come_back_as_they_were_sent(stub):
    context = (
        '{"int": 3, "float": 3.0, "big": 9007199254740993, "huge": 123456789012345678901234567890, "z": null, "a": []}'
    )
    events = await execute(stub, start(definition({"name": "s", "action": "x"}), context_json=context))
    run = await get(stub, events[0].run_id)
    assert run.context_json.startswith(context[:-1])


@pytest.mark.parametrize(
    ("context_json", "words"),
    [
        ("[1]", "JSON object"),
        ("{", "is not JSON"),
        ('{"a": NaN}', "is not JSON"),
        ('{"a": 1e999}', "is not JSON"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": ' + "[" * 100_000, "is not JSON"),
        ('{"a": "' + "x" * 5 * 1024 * 1024 + '"}', "more than 1048576"),
    ],
)  # fmt: skip
async def test_a_bad_context_is_refused(stub, context_json, words):
    with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
        await stub.StartWorkflowRun(start(definition({"name": "a", "action": "x"}), context_json=context_json))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(caught.value)["BadRequest"].field_violations[0].field == "context_json"


async def test_every_mistake_of_a_definition_is_named_at_once(stub):
    workflow = definition(
        {"name": "a", "action": "x"},
        {"name": "a", "action": "x"},
        {"name": "b", "action": "x", "depends_on": ["nobody"]},
        {"name": "c", "action": "x", "depends_on": ["e"]},
        {"name": "d", "action": "x", "depends_on": ["c"]},
        {"name": "e", "action": "x", "depends_on": ["d"]},
        {"name": "f", "handler": "unknown", "queue": "empty"},
        {"name": "g", "action": "x", "condition": "context.x <"},
        {"name": "h"},
        agent={"model": "scripted/echo", "temperature": 9},
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.StartWorkflowRun(start(workflow))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(caught.value)["ErrorInfo"].reason == "WORKFLOW_INVALID"
    answer = await stub.ValidateWorkflow(SVC.ValidateWorkflowRequest(workflow=workflow))
    found = {violation.field: violation.description for violation in answer.violations}
    assert sorted(found) == [
        "workflow.agent.temperature", "workflow.steps[1].name", "workflow.steps[2].depends_on[0]",
        "workflow.steps[3].depends_on[0]", "workflow.steps[6].handler", "workflow.steps[7].condition", "workflow.steps[8].action",
    ]  # fmt: skip
    assert found["workflow.steps[3].depends_on[0]"].count(" -> ") == 3


async def test_each_mistake_is_named_once(stub):
    workflow = definition({"name": "a", "action": "x"}, name="n" * 257, id="i" * 257, schedule_timeout="0s")
    answer = await stub.ValidateWorkflow(SVC.ValidateWorkflowRequest(workflow=workflow))
    assert sorted(violation.field for violation in answer.violations) == [
        "workflow.id", "workflow.name", "workflow.schedule_timeout",
    ]  # fmt: skip


async def test_the_size_of_a_context_is_in_bytes(stub):
    context = json.dumps({"k": "文" * 350_000}, ensure_ascii=False)
    with pytest.raises(grpc.aio.AioRpcError, match="context_json: has 1050009 bytes"):
        await stub.StartWorkflowRun(start(definition({"name": "a", "action": "x"}), context_json=context))


@pytest.mark.parametrize(
    "fields",
    [{"tools": [{"function": {"name": "t"}}]}, {"tool_choice": {"mode": 2}}, {"parallel_tool_calls": False}],
)
async def test_an_agent_of_a_workflow_has_no_tools(stub, fields):
    workflow = definition({"name": "a", "action": "x"}, agent={"model": "scripted/echo", **fields})
    answer = await stub.ValidateWorkflow(SVC.ValidateWorkflowRequest(workflow=workflow))
    assert [(violation.field, violation.description) for violation in answer.violations] == [
        (f"workflow.agent.{name}", "must be empty: the server cannot call a tool") for name in fields
    ]


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (PB.Step(timeout=Duration()), "timeout"),
        (PB.Step(timeout=Duration(seconds=-1)), "timeout"),
        (PB.Step(timeout=Duration(seconds=366 * 86_400)), "timeout"),
        (PB.Step(timeout=Duration(nanos=1_000_000_000)), "timeout"),
        (PB.Step(timeout=Duration(seconds=1, nanos=-1)), "timeout"),
        (PB.Step(retry_policy=PB.RetryPolicy(max_attempts=0)), "retry_policy.max_attempts"),
        (PB.Step(retry_policy=PB.RetryPolicy(backoff=0.9)), "retry_policy.backoff"),
        (PB.Step(retry_policy=PB.RetryPolicy(initial_delay=Duration(nanos=-1))), "retry_policy.initial_delay"),
        (PB.Step(retry_policy=PB.RetryPolicy(max_delay=Duration(nanos=2_000_000_000))), "retry_policy.max_delay"),
        (PB.Step(retry_policy=PB.RetryPolicy(max_delay=Duration(nanos=1))), "retry_policy.max_delay"),
        (PB.Step(metadata_json="[]"), "metadata_json"),
    ],
)
async def test_a_field_of_a_step_that_is_out_of_its_range_is_named(stub, step, field):
    workflow = definition({"name": "first", "action": "x"}, {"name": "a", "action": "x"})
    workflow.steps[1].MergeFrom(step)
    answer = await stub.ValidateWorkflow(SVC.ValidateWorkflowRequest(workflow=workflow))
    assert [violation.field for violation in answer.violations] == [f"workflow.steps[1].{field}"]


async def test_an_instant_that_is_none_is_refused(stub):
    request = SVC.ListWorkflowRunsRequest(min_create_time=Timestamp(nanos=-1))
    with pytest.raises(grpc.aio.AioRpcError, match="min_create_time"):
        await stub.ListWorkflowRuns(request)


@pytest.mark.parametrize("rpc", ["WatchWorkflowRun", "GetWorkflowRun", "CancelWorkflowRun", "ResumeWorkflowRun"])
async def test_an_unknown_run_is_not_found(stub, rpc):
    request = getattr(SVC, f"{rpc}Request")(run_id="run_nobody")
    call = getattr(stub, rpc)(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if rpc.startswith("Watch") else call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert details(caught.value)["ErrorInfo"].reason == "RUN_NOT_FOUND"


async def test_a_negative_cursor_is_refused(stub):
    with pytest.raises(grpc.aio.AioRpcError, match="after_sequence"):
        await stub.WatchWorkflowRun(SVC.WatchWorkflowRunRequest(run_id="run_x", after_sequence=-1)).read()


async def test_a_cancelled_run_ends_its_running_step_and_its_stream(server, stub):
    async with agent_stub(server.target) as agents:
        seconds = []
        for _ in range(20):
            workflow = definition(
                {"name": "a", "action": "x"},
                {"name": "b", "action": "x", "depends_on": ["a"]},
                agent=scripted(hang_after=1, text="x y"),
            )
            run_id = (await stub.StartWorkflowRun(start(workflow))).run_id
            async for event in stub.WatchWorkflowRun(SVC.WatchWorkflowRunRequest(run_id=run_id)):
                if event.step_chunk.content:
                    break
            began = time.monotonic()
            await stub.CancelWorkflowRun(SVC.CancelWorkflowRunRequest(run_id=run_id))
            streams = await agents.ListStreams(agent_service_pb2.ListStreamsRequest())
            seconds.append(time.monotonic() - began)
            assert not streams.streams
            run = await get(stub, run_id)
            assert run.status == PB.WORKFLOW_RUN_STATUS_CANCELLED
            assert [step.status for step in run.steps] == [PB.STEP_STATUS_CANCELLED] * 2
    print(f"cancel: median {statistics.median(seconds) * 1000:.1f} ms, worst {max(seconds) * 1000:.1f} ms")
    assert statistics.median(seconds) < 0.1
    assert max(seconds) < 1


async def test_cancelling_twice_is_fine_and_cancelling_what_has_ended_is_not(stub):
    workflow = definition({"name": "a", "action": "x"}, agent=scripted(hang_after=1, text="x y"))
    run_id = (await stub.StartWorkflowRun(start(workflow))).run_id
    for _ in range(2):
        await stub.CancelWorkflowRun(SVC.CancelWorkflowRunRequest(run_id=run_id))
    done = (await execute(stub, start(definition({"name": "a", "action": "x"}))))[0].run_id
    with pytest.raises(grpc.aio.AioRpcError, match="completed") as caught:
        await stub.CancelWorkflowRun(SVC.CancelWorkflowRunRequest(run_id=done))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.aio.AioRpcError, match="completed"):
        await stub.ResumeWorkflowRun(SVC.ResumeWorkflowRunRequest(run_id=done))


async def test_a_failed_run_goes_on_from_its_failed_steps(stub):
    workflow = definition(
        {"name": "a", "action": "x"},
        {"name": "b", "action": "x", "depends_on": ["a"], "condition": "context.missing == 1"},
        {"name": "c", "action": "x", "depends_on": ["b"]},
    )
    run_id = (await execute(stub, start(workflow)))[0].run_id
    answer = await stub.ResumeWorkflowRun(SVC.ResumeWorkflowRunRequest(run_id=run_id))
    watch = SVC.WatchWorkflowRunRequest(run_id=run_id, after_sequence=answer.sequence)
    events = [event async for event in stub.WatchWorkflowRun(watch)]
    assert told(events) == ["run_resumed", "step_failed b", "step_skipped c", "run_finished"]
    assert events[0].sequence > answer.sequence


async def test_runs_are_listed_newest_first_by_status_name_and_time(stub):
    since = Timestamp()
    since.GetCurrentTime()
    ids = []
    for number in range(5):
        workflow = definition(
            {"name": "a", "action": "x", "condition": "true" if number % 2 else "context.missing"}, name="listed"
        )
        ids.append((await execute(stub, start(workflow)))[0].run_id)
    request = SVC.ListWorkflowRunsRequest(workflow_name="listed", page_size=2, min_create_time=since)
    found: list[str] = []
    while True:
        page = await stub.ListWorkflowRuns(request)
        found += [run.run_id for run in page.runs]
        assert len(page.runs) <= 2
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == ids[::-1]
    failed = SVC.ListWorkflowRunsRequest(workflow_name="listed", status=PB.WORKFLOW_RUN_STATUS_FAILED)
    assert [run.run_id for run in (await stub.ListWorkflowRuns(failed)).runs] == ids[::-2]
    later = SVC.ListWorkflowRunsRequest(workflow_name="listed", min_create_time=Timestamp(seconds=since.seconds + 3600))
    assert not (await stub.ListWorkflowRuns(later)).runs


async def test_a_thousand_steps_with_twenty_branches(stub):
    steps = [{"name": "root", "action": "x"}]
    for branch in range(20):
        before = "root"
        for number in range(50):
            name = f"b{branch}_{number}"
            steps.append({"name": name, "action": "x", "depends_on": [before]})
            before = name
    assert len(steps) == 1001
    began = time.monotonic()
    events = await execute(stub, start(definition(*steps, agent=scripted(text="ok"))))
    print(f"1,001 steps: {time.monotonic() - began:.2f} s")
    assert events[-1].run_finished.status == PB.WORKFLOW_RUN_STATUS_COMPLETED
    assert sum(event.HasField("step_completed") for event in events) == 1001


async def test_a_hundred_runs_at_once(stub):
    workflow = definition(
        {"name": "a", "action": "x"}, *({"name": n, "action": "x", "depends_on": ["a"]} for n in "bcde")
    )
    began = time.monotonic()
    runs = await asyncio.gather(*(execute(stub, start(workflow)) for _ in range(100)))
    seconds = time.monotonic() - began
    print(f"100 runs of 5 steps: {seconds:.2f} s, {100 / seconds:.0f} runs/s")
    assert all(events[-1].run_finished.status == PB.WORKFLOW_RUN_STATUS_COMPLETED for events in runs)
    assert len({events[0].run_id for events in runs}) == 100
