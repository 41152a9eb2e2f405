"""GetServerStatus and `headwater top` of a real server: they say what the metrics and the replies say."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import grpc
import pytest

from headwater.v1.agent_service_pb2 import StreamRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.operator_service_pb2 import GetServerStatusRequest, GetServerStatusResponse
from headwater.v1.operator_service_pb2_grpc import OperatorServiceStub
from headwater.v1.worker_service_pb2 import AttachRequest, WorkerRegistration
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2 import StartWorkflowRunRequest
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.servers.metrics import ADMIN, counted, port_of, scrape, total
from tests.support.servers.processes import channel_to
from tests.support.servers.server import ServerProcess, run_cli
from tests.support.terminals import Terminal

PRICES = '[prices."scripted/story"]\ninput = 0.15\noutput = 0.6\n'
STORY = {"provider": "scripted", "model": "story"}
"""The model of this load; `channel_to` asks another."""


@pytest.fixture
def server(tmp_path: Path, processes: int) -> Iterator[ServerProcess]:
    (tmp_path / "headwater.toml").write_text(PRICES)
    flags = ("--scripted", "--config", str(tmp_path / "headwater.toml"))
    variables = ADMIN | {"HEADWATER_DRAIN_SECONDS": "0.2"}  # the run that waits has lost its worker
    with ServerProcess(*flags, variables=variables, processes=processes) as started:
        yield started


def question(**options: object) -> StreamRequest:
    request = StreamRequest(agent={"model": "scripted/story"}, prompt="a b c")
    request.agent.provider_options["scripted"].update({"text": "one two three", **options})
    return request


@asynccontextmanager
async def load(server: ServerProcess, processes: int) -> AsyncIterator[list[str]]:
    """Two whole replies and one that is held open in each process, a failure, a worker, a run that waits; the costs."""
    costs, held = [], []
    channels = [channel_to(server.target, index) for index in range(processes)]
    async with grpc.aio.insecure_channel(server.target) as channel:
        for place in channels:
            stub = AgentServiceStub(await place.__aenter__())
            for _ in range(2):
                costs += [chunk.cost async for chunk in stub.Stream(question()) if chunk.is_final]
            held.append(stub.Stream(question(hang_after=1)))
            await held[-1].read()
        with pytest.raises(grpc.aio.AioRpcError):
            await AgentServiceStub(channel).Stream(question(fail_reason="PROVIDER_REJECTED_REQUEST")).read()
        worker = WorkerServiceStub(channel).Attach()
        registration = WorkerRegistration(worker_id="w1", queue="gpu", handlers=["h"], concurrency=1)
        await worker.write(AttachRequest(registration=registration))
        await worker.read()
        steps = [Step(name=name, handler="h", queue="gpu") for name in ("a", "b", "c")]
        await WorkflowServiceStub(channel).StartWorkflowRun(
            StartWorkflowRunRequest(workflow=Workflow(name="w", steps=steps))
        )
        await worker.read()
        await counted(port_of(server), "headwater_streams_ended_total", 2 * processes + 1, **STORY)
        await counted(port_of(server), "headwater_tasks_waiting", 2)
        yield costs
        for call in (*held, worker):
            call.cancel()
        for place in channels:
            await place.__aexit__(None, None, None)


async def status_of(server: ServerProcess, index: int) -> GetServerStatusResponse:
    async with channel_to(server.target, index) as channel:
        return await OperatorServiceStub(channel).GetServerStatus(GetServerStatusRequest())


async def test_every_process_says_the_state_of_all_and_it_is_that_of_the_metrics(server, processes):
    async with load(server, processes) as costs:
        series = await scrape(port_of(server))
        for index in range(processes):
            status = await status_of(server, index)
            [story] = [model for model in status.models if (model.provider, model.model) == ("scripted", "story")]
            assert story.open_streams == processes == total(series, "headwater_streams_open", **STORY)
            assert (story.ended_streams, story.failed_streams) == (2 * processes + 1, 1)
            assert story.chunks == total(series, "headwater_chunks_total", **STORY) == processes * (3 + 3 + 1)
            assert (
                story.output_tokens == total(series, "headwater_tokens_total", kind="output", **STORY) == processes * 6
            )
            assert Decimal(story.cost) == sum(map(Decimal, costs)) == processes * 2 * 3 * Decimal("0.00000075")
            assert total(series, "headwater_cost_total", **STORY) == pytest.approx(float(story.cost), rel=1e-12)
            assert [process.process for process in status.processes] == list(range(processes))
            assert [process.open_streams for process in status.processes] == [1] * processes
            assert all(process.memory_bytes > 10**7 and process.cpu_seconds > 0 for process in status.processes)
            [queue] = status.queues
            assert (queue.queue, queue.workers, queue.running_tasks, queue.waiting_tasks) == ("gpu", 1, 1, 2)
            assert status.open_runs == total(series, "headwater_runs_open") == 1
            assert status.journal_bytes > 0


async def test_elsewhere_than_on_a_terminal_it_is_plain_text_and_json(server, processes):
    async with load(server, processes) as costs:
        text = run_cli("top", "--target", server.target, "--once", "--interval", "0.2")
        answer = json.loads(run_cli("top", "--target", server.target, "--once", "--json").stdout)
    assert (text.returncode, text.stderr) == (0, "")
    assert "\x1b" not in text.stdout
    rows = [line.split() for line in text.stdout.splitlines()]
    cost = f"{sum(map(Decimal, costs)):f}".rstrip("0")
    assert ["scripted/story", str(processes), "0.0", "0.0", cost, "1", "closed"] in [row[:7] for row in rows]
    assert ["gpu", "1", "1", "2"] in rows
    assert answer["models"][0]["cost"] == cost
    assert answer["models"][0]["open_circuits"] == 0


@pytest.mark.parametrize("columns", [60, 100])
async def test_on_a_terminal_the_view_is_renewed_in_place_and_ends_with_ctrl_c(server, processes, tmp_path, columns):
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    (tmp_path / "terminal").mkdir()
    async with load(server, processes) as costs:
        cost = f"{sum(map(Decimal, costs)):f}".rstrip("0")
        with Terminal(tmp_path / "terminal", server.target, columns) as terminal:
            terminal.run("headwater top --interval 0.2")
            row = rf"^scripted/story +{processes} +0\.0 +0\.0 +{re.escape(cost)}"
            shown = terminal.wait_for(row)
            assert max(map(len, shown.splitlines())) <= columns
            assert ("ENDED" in shown) == (columns == 100)
            assert shown.count("PROCESS") == 1
            async with channel_to(server.target, 0) as channel:
                _ = [chunk async for chunk in AgentServiceStub(channel).Stream(question())]
            terminal.wait_for(rf"^scripted/story +{processes} +0\.0 +0\.0 +(?!{re.escape(cost)} )")
            terminal.press("C-c")
            left = terminal.wait_for(r"\$\Z")
            assert "scripted/story" not in left


def test_a_server_that_is_not_there_is_named():
    done = run_cli("top", "--target", "127.0.0.1:9", "--once")
    assert done.returncode == 7
    assert "127.0.0.1:9" in done.stderr
