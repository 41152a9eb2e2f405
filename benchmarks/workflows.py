"""The cost of the workflow engine on the SQLite journal: a run of five steps, many at once, a run of 1,001 steps.

    python benchmarks/workflows.py [--json]

A real server on this machine, over a real socket; the provider `scripted` answers each step with one word.
The last line of a round is what the disk alone takes: one row a transaction, written as the journal writes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import grpc

from headwater.v1 import workflow_pb2, workflow_service_pb2
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.servers.server import ServerProcess

ROUNDS = 5
SINGLE = 40
AT_ONCE = 200


def definition(steps: int = 5) -> workflow_pb2.Workflow:
    """A chain."""
    workflow = workflow_pb2.Workflow(name="bench")
    workflow.agent.model = "scripted/echo"
    for number in range(steps):
        step = workflow.steps.add(name=f"s{number}", action="word")
        if number:
            step.depends_on.append(f"s{number - 1}")
    workflow.agent.provider_options["scripted"].update({"text": "word"})
    return workflow


def wide() -> workflow_pb2.Workflow:
    """One step, and after it 20 branches of 50 steps."""
    workflow = definition(1)
    for branch in range(20):
        before = "s0"
        for number in range(50):
            name = f"b{branch}_{number}"
            workflow.steps.add(name=name, action="word", depends_on=[before])
            before = name
    return workflow


async def run_one(stub: WorkflowServiceStub, workflow: workflow_pb2.Workflow) -> None:
    """One run, watched to its end."""
    start = workflow_service_pb2.StartWorkflowRunRequest(workflow=workflow)
    last = None
    async for event in stub.ExecuteWorkflow(workflow_service_pb2.ExecuteWorkflowRequest(start=start)):
        last = event
    assert last is not None
    assert last.run_finished.status == workflow_pb2.WORKFLOW_RUN_STATUS_COMPLETED, last


def commits_a_second(folder: Path) -> float:
    """The disk's own limit."""
    with sqlite3.connect(folder / "probe.db", isolation_level=None) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (x)")
        began = time.perf_counter()
        for number in range(200):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        seconds = time.perf_counter() - began
    connection.close()
    return 200 / seconds


async def measure(target: str) -> list[dict[str, float]]:
    """The rounds."""
    workflow = definition()
    rounds = []
    async with grpc.aio.insecure_channel(target) as channel:
        stub = WorkflowServiceStub(channel)
        await run_one(stub, workflow)
        for _ in range(ROUNDS):
            singles = []
            for _ in range(SINGLE):
                began = time.perf_counter()
                await run_one(stub, workflow)
                singles.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            await asyncio.gather(*(run_one(stub, workflow) for _ in range(AT_ONCE)))
            together = AT_ONCE / (time.perf_counter() - began)
            began = time.perf_counter()
            await run_one(stub, wide())
            large = time.perf_counter() - began
            with tempfile.TemporaryDirectory() as folder:
                disk = commits_a_second(Path(folder))
            rounds.append(
                {
                    "ms_per_run": statistics.median(singles),
                    "runs_per_second": together,
                    "large_run_seconds": large,
                    "disk": disk,
                }
            )
    return rounds


def main() -> None:
    """Prints medians and spread over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON")
    arguments = parser.parse_args()
    with ServerProcess("--scripted", "--log-level", "warning") as server:
        rounds = asyncio.run(measure(server.target))
    if arguments.json:
        print(json.dumps(rounds))
        return
    for name, unit in (
        ("ms_per_run", f"ms for a run of 5 steps, one after the other ({SINGLE} a round)"),
        ("runs_per_second", f"runs of 5 steps a second, {AT_ONCE} at once"),
        ("large_run_seconds", "s for a run of 1,001 steps with 20 branches"),
        ("disk", "commits a second that the disk alone takes"),
    ):
        values = sorted(entry[name] for entry in rounds)
        print(f"{statistics.median(values):8.1f}  ({values[0]:.1f} to {values[-1]:.1f})  {unit}")


if __name__ == "__main__":
    main()
