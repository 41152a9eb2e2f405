"""Callers that use runs against others: watchers that stop reading, steps that hang, races, registrations without end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from headwater.v1 import worker_service_pb2, workflow_pb2, workflow_service_pb2
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.attacks import OPTIONS, memory
from tests.support.servers.server import ServerProcess

STEPS = 1500
WATCHERS = 200
PLACES_OF_ONE_RUN = 224
"""Seven of eight of the 256 prompts that are asked at once."""


def workflow(steps: int, max_attempts: int = 4, **script: object) -> workflow_pb2.Workflow:
    """A workflow whose steps do not depend on each other, each answered by this script."""
    made = workflow_pb2.Workflow(name="w", agent={"model": "scripted/echo"})
    made.agent.provider_options["scripted"].update(script or {"text": "ok"})
    for number in range(steps):
        made.steps.add(name=f"s{number}", action="x").retry_policy.max_attempts = max_attempts
    return made


def start(stub: WorkflowServiceStub, made: workflow_pb2.Workflow, **context: str) -> str:
    request = workflow_service_pb2.StartWorkflowRunRequest(workflow=made, queue="q")
    request.context.update(context)
    run_id: str = stub.StartWorkflowRun(request).run_id
    return run_id


def watch(run_id: str) -> workflow_service_pb2.WatchWorkflowRunRequest:
    return workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess("--scripted", "--data-dir", str(tmp_path_factory.mktemp("data"))) as process:
        yield process


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[WorkflowServiceStub]:
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        yield WorkflowServiceStub(channel)


def stopped_watchers(server: ServerProcess, run_id: str, count: int, after: int = 0) -> float:
    """Memory in KB that each of many watchers takes that stop reading after one event."""
    request = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id, after_sequence=after)
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        watching = WorkflowServiceStub(channel)
        before = memory(server.process.pid)
        calls = [watching.WatchWorkflowRun(request) for _ in range(count)]
        for call in calls:
            next(call)
        each = (memory(server.process.pid) - before) * 1024 / count
        for call in calls:
            call.cancel()
    return each


def test_watchers_of_an_ended_run_that_stop_reading_cost_under_100_kb_each(
    server: ServerProcess, stub: WorkflowServiceStub
) -> None:
    run_id = start(stub, workflow(STEPS))
    assert sum(1 for _ in stub.WatchWorkflowRun(watch(run_id))) == 2 + 3 * STEPS
    assert stopped_watchers(server, run_id, WATCHERS) < 100


def test_watchers_that_stop_before_a_large_result_take_turns_and_hold_up_no_other_run(
    server: ServerProcess, stub: WorkflowServiceStub
) -> None:
    attacked, other = (start(stub, workflow(1, text="x" * 200_000)) for _ in range(2))
    for run_id in (attacked, other):
        assert [*stub.WatchWorkflowRun(watch(run_id))]
    assert stopped_watchers(server, attacked, WATCHERS) < 200  # 28 of 200 have copies of the result
    assert [*stub.WatchWorkflowRun(watch(other), timeout=20)]


def running(stub: WorkflowServiceStub, run_id: str) -> int:
    """How many steps of a run are running."""
    run = stub.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id)).run
    return [step.status for step in run.steps].count(workflow_pb2.STEP_STATUS_RUNNING)


def test_hanging_steps_of_one_run_keep_no_other_run_from_beginning(
    server: ServerProcess, stub: WorkflowServiceStub
) -> None:
    hanging = start(stub, workflow(300, hang_after=1))
    try:
        while running(stub, hanging) < PLACES_OF_ONE_RUN:
            time.sleep(0.05)
        assert [*stub.WatchWorkflowRun(watch(start(stub, workflow(1))), timeout=5)]
    finally:
        stub.CancelWorkflowRun(workflow_service_pb2.CancelWorkflowRunRequest(run_id=hanging))


@pytest.mark.parametrize("places", [8, 16])
def test_hanging_handlers_of_one_run_keep_no_other_run_from_beginning(
    server: ServerProcess, stub: WorkflowServiceStub, places: int
) -> None:
    made = workflow_pb2.Workflow(name="w", schedule_timeout={"seconds": 20})
    made.steps.extend(workflow_pb2.Step(name=f"s{number}", handler="h") for number in range(40))
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        message = worker_service_pb2.AttachRequest()
        message.registration.worker_id, message.registration.queue = "w", "q"
        message.registration.handlers.append("h")
        message.registration.concurrency = places
        silent = threading.Event()

        def say() -> Iterator[worker_service_pb2.AttachRequest]:
            yield message
            silent.wait(20)

        tasks = WorkerServiceStub(channel).Attach(say(), timeout=20)
        next(tasks)
        hanging = start(stub, made)
        held = [next(tasks).task.run_id for _ in range(places - places // 8)]
        del made.steps[1:]
        other = start(stub, made)
        assert held == [hanging] * (places - places // 8)
        assert next(tasks).task.run_id == other
        silent.set()
        tasks.cancel()
    for run_id in (hanging, other):
        stub.CancelWorkflowRun(workflow_service_pb2.CancelWorkflowRunRequest(run_id=run_id))


def test_cancels_beside_resumes_and_watches_are_never_a_fault(server: ServerProcess, stub: WorkflowServiceStub) -> None:
    runs = [start(stub, workflow(4, 1, text="a b c d e f", delay_ms=20)) for _ in range(5)]

    def race(number: int) -> list[grpc.StatusCode]:
        chance, codes = random.Random(number), []  # noqa: S311
        for _ in range(20):
            run_id = chance.choice(runs)
            try:
                match chance.randrange(4):
                    case 0:
                        stub.CancelWorkflowRun(workflow_service_pb2.CancelWorkflowRunRequest(run_id=run_id))
                    case 1:
                        stub.ResumeWorkflowRun(workflow_service_pb2.ResumeWorkflowRunRequest(run_id=run_id))
                    case 2:
                        stub.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id))
                    case 3:
                        [*stub.WatchWorkflowRun(watch(run_id), timeout=0.3)]
            except grpc.RpcError as error:
                codes.append(error.code())
            else:
                codes.append(grpc.StatusCode.OK)
        return codes

    with ThreadPoolExecutor(20) as threads:
        codes = [code for some in threads.map(race, range(20)) for code in some]
    assert len(codes) == 400
    assert not {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN} & set(codes)


def test_registrations_of_workers_fill_neither_disk_nor_memory(tmp_path: Path) -> None:
    names = [f"{number:04}" + "h" * 252 for number in range(1000)]
    with (
        ServerProcess("--scripted", "--data-dir", str(tmp_path)) as process,
        grpc.insecure_channel(process.target, options=OPTIONS) as channel,
    ):
        before = sum(file.stat().st_size for file in tmp_path.iterdir())
        codes = set()
        for number in range(20):
            message = worker_service_pb2.AttachRequest()
            message.registration.worker_id, message.registration.queue = f"w{number}", f"{number}" + "q" * 200
            message.registration.handlers.extend(names)
            call = WorkerServiceStub(channel).Attach(iter([message]), timeout=20)
            try:
                next(call)
            except grpc.RpcError as error:
                codes.add(error.code())
            call.cancel()
        assert not codes
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) - before < 8_000_000


def test_runs_that_wait_take_no_more_memory_than_is_configured(tmp_path: Path) -> None:
    variables = {"HEADWATER_ACTIVE_RUNS_MIB": "16"}
    with (
        ServerProcess("--scripted", "--data-dir", str(tmp_path), variables=variables) as process,
        grpc.insecure_channel(process.target, options=OPTIONS) as channel,
    ):
        stub = WorkflowServiceStub(channel)
        before = memory(process.process.pid)
        made = workflow_pb2.Workflow(name="w", steps=[workflow_pb2.Step(name="s", handler="h")])
        started, refused = 0, set()
        for number in range(20):
            try:
                start(stub, made, big=f"{number}" + "x" * 1_000_000)
                started += 1
            except grpc.RpcError as error:
                refused.add(error.code())
        assert refused == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert 10 < started < 18
        assert memory(process.process.pid) - before < 60
        assert [*stub.WatchWorkflowRun(watch(start(stub, workflow(1))), timeout=10)]
