"""A step with `max_attempts` 1 under a server that is killed: it never runs twice, and the run says what is unknown."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc

from headwater.v1 import error_pb2, workflow_pb2, workflow_service_pb2
from headwater.v1.worker_service_pb2 import AttachRequest, TaskResult, WorkerRegistration, WorkerTask
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.servers.server import ServerProcess

ONCE = workflow_pb2.RetryPolicy(max_attempts=1)


class KilledServer(ServerProcess):
    """A server that is killed when its block is left."""

    expected_code = -9

    def __exit__(self, *exception: Any) -> None:
        self.process.kill()
        super().__exit__(*exception)


def server(folder: Path, kind: type[ServerProcess] = ServerProcess) -> ServerProcess:
    return kind("--scripted", "--data-dir", str(folder), variables={"HEADWATER_WORKER_TIMEOUT_SECONDS": "1"})


class Worker:
    """A worker of the queue `q` with the handler `h`, with nothing but the generated stub."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = WorkerServiceStub(channel).Attach()

    async def attach(self, worker_id: str, *held: str) -> None:
        registration = WorkerRegistration(worker_id=worker_id, queue="q", handlers=["h"], task_ids=held)
        await self._call.write(AttachRequest(registration=registration))
        assert (await self._call.read()).WhichOneof("kind") == "registered"

    async def task(self) -> WorkerTask:
        message = await asyncio.wait_for(self._call.read(), 10)
        assert message.WhichOneof("kind") == "task"
        return message.task

    async def finish(self, task: WorkerTask) -> None:
        await self._call.write(AttachRequest(result=TaskResult(task_id=task.task_id, result_json="1")))
        assert (await self._call.read()).ack.accepted


def request(*steps: workflow_pb2.Step) -> workflow_service_pb2.StartWorkflowRunRequest:
    return workflow_service_pb2.StartWorkflowRunRequest(
        workflow=workflow_pb2.Workflow(name="w", steps=steps), queue="q"
    )


async def end_of(channel: grpc.aio.Channel, run_id: str) -> workflow_pb2.WorkflowRun:
    """The run when it has ended."""
    stub: WorkflowServiceStub[Any] = WorkflowServiceStub(channel)
    async for _ in stub.WatchWorkflowRun(workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)):
        pass
    return (await stub.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id))).run


async def test_a_step_that_a_worker_has_when_the_server_is_killed_fails_and_one_that_waits_runs(tmp_path: Path) -> None:
    steps = [workflow_pb2.Step(name=name, handler="h", retry_policy=ONCE) for name in ("ran", "waits")]
    steps.append(workflow_pb2.Step(name="after", handler="h", depends_on=["ran"]))
    with server(tmp_path, KilledServer) as first:
        async with grpc.aio.insecure_channel(first.target) as channel:
            worker = Worker(channel)
            await worker.attach("one")
            stub: WorkflowServiceStub[Any] = WorkflowServiceStub(channel)
            run_id = (await stub.StartWorkflowRun(request(*steps))).run_id
            assert (await worker.task()).step.name == "ran"
            watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)
            async for event in stub.WatchWorkflowRun(watch):
                if event.HasField("step_waiting"):
                    break
    with server(tmp_path) as second:
        async with grpc.aio.insecure_channel(second.target) as channel:
            worker = Worker(channel)
            await worker.attach("two")
            task = await worker.task()
            assert (task.step.name, task.attempt) == ("waits", 2)
            await worker.finish(task)
            run = await end_of(channel, run_id)
    assert [workflow_pb2.StepStatus.Name(step.status).removeprefix("STEP_STATUS_") for step in run.steps] == [
        *("FAILED", "COMPLETED", "SKIPPED")
    ]
    assert run.steps[0].attempt == 1
    assert run.steps[0].failure.reason == error_pb2.ERROR_REASON_WORKER_LOST
    assert run.steps[0].failure.non_retryable
    assert "whether the attempt ran is unknown" in run.steps[0].failure.message
    assert (run.failed_steps, list(run.steps[2].skipped_because_of)) == (["ran"], ["ran"])


async def test_the_result_of_a_worker_that_comes_back_to_another_process_of_the_server_counts(tmp_path: Path) -> None:
    with server(tmp_path, KilledServer) as first:
        async with grpc.aio.insecure_channel(first.target) as channel:
            worker = Worker(channel)
            await worker.attach("one")
            stub: WorkflowServiceStub[Any] = WorkflowServiceStub(channel)
            step = workflow_pb2.Step(name="a", handler="h", retry_policy=ONCE)
            run_id = (await stub.StartWorkflowRun(request(step))).run_id
            task = await worker.task()
    with server(tmp_path) as second:
        async with grpc.aio.insecure_channel(second.target) as channel:
            worker = Worker(channel)
            await worker.attach("one", task.task_id)
            await worker.finish(task)
            run = await end_of(channel, run_id)
    assert (run.steps[0].status, run.steps[0].attempt) == (workflow_pb2.STEP_STATUS_COMPLETED, 1)


async def test_a_step_whose_worker_is_lost_fails_and_keeps_its_key_when_it_may_be_tried_again(tmp_path: Path) -> None:
    once = workflow_pb2.Step(name="once", handler="h", retry_policy=ONCE)
    more = workflow_pb2.Step(name="more", handler="h")
    variables = {"HEADWATER_WORKER_TIMEOUT_SECONDS": "1"}
    with ServerProcess("--scripted", "--data-dir", str(tmp_path), variables=variables) as process:
        async with grpc.aio.insecure_channel(process.target) as channel:
            stub: WorkflowServiceStub[Any] = WorkflowServiceStub(channel)
            silent = Worker(channel)
            await silent.attach("silent")
            run_id = (await stub.StartWorkflowRun(request(once))).run_id
            assert (await silent.task()).step.name == "once"
            run = await end_of(channel, run_id)
            assert run.steps[0].failure.reason == error_pb2.ERROR_REASON_WORKER_LOST
            assert "whether the attempt ran is unknown" in run.failure.message
            again = Worker(channel)
            await again.attach("again")
            run_id = (await stub.StartWorkflowRun(request(more))).run_id
            before = await again.task()
            watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)
            async for event in stub.WatchWorkflowRun(watch):
                if event.HasField("step_retrying"):
                    break
            assert event.step_retrying.failure.reason == error_pb2.ERROR_REASON_WORKER_LOST
            second = Worker(channel)
            await second.attach("second")
            after = await second.task()
    assert (before.attempt, after.attempt) == (1, 2)
    assert before.idempotency_key == after.idempotency_key
    assert before.task_id != after.task_id
