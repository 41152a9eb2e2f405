"""Reports from the field on the journal: locked, damaged, copied, growing. Each test is one report, or one of its kind."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headwater.v1 import workflow_pb2, workflow_service_pb2, workflow_service_pb2_grpc
from headwater.workflow import WorkflowAgent
from tests.support.servers.server import ServerProcess, run_cli

SERVICE = "headwater.v1.WorkflowService"
Trouble: TypeAlias = Callable[[Path, int], AbstractContextManager[None]]


def a_chain(agent: WorkflowAgent, begun: asyncio.Event, go_on: asyncio.Event, done: list[str]) -> Any:
    async def work(agent: Any, step: Any, context: Any) -> str:
        begun.set()
        await go_on.wait()
        done.append(step.name)
        return str(step.name)

    agent.register_handler("work", work)
    workflow = agent.create_workflow("w")
    for number in range(4):
        workflow.add_step(f"s{number}", handler="work", depends_on=[f"s{number - 1}"] if number else [])
    return workflow


async def health(channel: grpc.aio.Channel, wanted: int) -> None:
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    async for answer in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=30):
        if answer.status == wanted:
            return


async def start_with_the_stub(channel: grpc.aio.Channel) -> None:
    stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
    workflow = workflow_pb2.Workflow(name="w", steps=[workflow_pb2.Step(name="a", action="x")])
    await stub.StartWorkflowRun(workflow_service_pb2.StartWorkflowRunRequest(workflow=workflow), timeout=30)


@contextmanager
def a_lock(folder: Path, pid: int) -> Iterator[None]:
    """Another program writes to the journal."""
    with closing(sqlite3.connect(folder / "headwater.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def a_disk_error(folder: Path, pid: int) -> Iterator[None]:
    """No file of the server may grow: each write beyond its first bytes fails."""
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("trouble", "why"), [(a_lock, "close the program that holds the file"), (a_disk_error, "look at its disk")]
)
async def test_a_run_continues_by_itself_when_the_journal_can_be_written_again(
    tmp_path: Path, trouble: Trouble, why: str
) -> None:
    """https://github.com/dbos-inc/dbos-transact-py/issues/716, https://github.com/dstackai/dstack/issues/825"""
    begun, go_on, done = asyncio.Event(), asyncio.Event(), list[str]()
    with ServerProcess("--scripted", "--data-dir", str(tmp_path)) as server:
        agent = WorkflowAgent(target=server.target)
        running = asyncio.create_task(agent.execute_workflow(a_chain(agent, begun, go_on, done)))
        await begun.wait()
        async with grpc.aio.insecure_channel(server.target) as channel:
            with trouble(tmp_path, server.process.pid):
                go_on.set()
                await health(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await start_with_the_stub(channel)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            await health(channel, health_pb2.HealthCheckResponse.SERVING)
        result = await asyncio.wait_for(running, 30)
        assert (result.status, done) == ("completed", ["s0", "s1", "s2", "s3"])
    first, *_, last = [event for event in server.events if event["event"] == "journal"]
    assert why in first["why"]
    assert (first["level"], last["level"]) == ("error", "info")


def test_a_damaged_journal_stops_the_server_with_one_line(tmp_path: Path) -> None:
    with ServerProcess("--scripted", "--data-dir", str(tmp_path)):
        pass
    file = tmp_path / "headwater.db"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\x55" * (len(content) - 4096)
    file.write_bytes(content)
    ended = run_cli("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert ended.returncode != 0
    [line] = ended.stderr.splitlines()
    assert "restore the file from a copy" in line


async def finished(target: str, runs: int, result: Any = 1) -> list[str]:
    agent = WorkflowAgent(target=target)
    agent.register_handler("h", lambda agent, step, context: result)
    workflow = agent.create_workflow("w")
    workflow.add_step("h", handler="h")
    return [(await agent.execute_workflow(workflow)).run_id for _ in range(runs)]


async def test_a_backup_of_a_running_server_is_whole_and_can_be_served(tmp_path: Path) -> None:
    """https://github.com/lbedner/aegis-stack/issues/1198, https://github.com/ellanetworks/core/issues/890"""
    data, copy = tmp_path / "data", tmp_path / "copy" / "headwater.db"
    copy.parent.mkdir()
    with ServerProcess("--scripted", "--data-dir", str(data)) as server:
        runs = await finished(server.target, 5, {"a": 3.0})
        done = run_cli("backup", str(copy), "--data-dir", str(data))
        assert done.returncode == 0, done.stderr
        assert copy.stat().st_mode & 0o077 == 0
        again = run_cli("backup", str(copy), "--data-dir", str(data))
        assert (again.returncode, "exists already" in again.stderr) == (1, True)
    with ServerProcess("--scripted", "--data-dir", str(copy.parent)) as restored:
        agent = WorkflowAgent(target=restored.target)
        for run_id in runs:
            found = await agent.get_workflow_status(run_id)
            assert found.step_results["h"].result == found.context["h_result"] == {"a": 3.0}
            events = [event async for event in agent.stream_workflow_progress(run_id)]
            assert [event.result for event in events if event.type == "step_completed"] == [{"a": 3.0}]


async def test_the_file_gets_smaller_when_runs_are_deleted_and_a_result_is_in_it_once(tmp_path: Path) -> None:
    """https://github.com/n8n-io/n8n/issues/37926, https://github.com/n8n-io/n8n/issues/819"""

    def megabytes() -> float:
        return sum(file.stat().st_size for file in tmp_path.iterdir()) / 1e6

    with ServerProcess("--scripted", "--data-dir", str(tmp_path)) as server:
        runs = await finished(server.target, 8, "x" * 900_000)
        copy = tmp_path.parent / f"{tmp_path.name}.db"
        run_cli("backup", str(copy), "--data-dir", str(tmp_path))
        assert 8 * 0.9 < copy.stat().st_size / 1e6 < 8
        for run_id in runs:
            deleted = run_cli("workflow", "delete", run_id, "--target", server.target)
            assert deleted.returncode == 0, deleted.stderr
        assert megabytes() < 1
        gone = run_cli("workflow", "delete", runs[0], "--target", server.target)
        assert (gone.returncode, "no run has this id" in gone.stderr) == (3, True)
