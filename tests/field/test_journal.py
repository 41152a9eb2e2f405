"""Reports from the field on the journal: locked, damaged, copied, growing. Each test is one report, or one of its kind."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headwater.workflow import WorkflowAgent
from tests.support.servers.server import ServerProcess, run_cli

SERVICE = "headwater.v1.WorkflowService"


def a_chain(agent: WorkflowAgent, begun: asyncio.Event, done: list[str]) -> Any:
    async def work(agent: Any, step: Any, context: Any) -> str:
        begun.set()
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


async def test_a_run_goes_on_by_itself_when_another_program_has_unlocked_the_journal(tmp_path: Path) -> None:
    begun, done = asyncio.Event(), list[str]()
    with ServerProcess("--scripted", "--data-dir", str(tmp_path)) as server:
        agent = WorkflowAgent(target=server.target)
        running = asyncio.create_task(agent.execute_workflow(a_chain(agent, begun, done)))
        await begun.wait()
        other = sqlite3.connect(tmp_path / "headwater.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with grpc.aio.insecure_channel(server.target) as channel:
            await health(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
            other.execute("ROLLBACK")
            other.close()
            await health(channel, health_pb2.HealthCheckResponse.SERVING)
        result = await asyncio.wait_for(running, 30)
        assert (result.status, done) == ("completed", ["s0", "s1", "s2", "s3"])
        assert any("close the program that holds the file" in str(event.get("why")) for event in server.events)


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
