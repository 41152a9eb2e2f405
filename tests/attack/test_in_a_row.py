"""All attacks on the loop and on the memory, one after the other on one server; the figures are printed (`-rP`)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from headwater.v1.workflow_pb2 import Step
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.attack import test_conditions as conditions
from tests.attack import test_connections as connections
from tests.attack import test_requests as requests
from tests.attack import test_runs as runs
from tests.support.attacks import OPTIONS, OtherCaller, memory
from tests.support.servers.server import ReplayThread, ServerProcess, provider_variables

SECONDS_OF_A_FLOOD = 8
PEAK, AT_THE_END = 400, 200
"""MB."""


def stopped_conditions(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        stub = WorkflowServiceStub(channel)
        for condition in (conditions.MATCHES, conditions.COPIES):
            conditions.run_to_its_end(stub, [Step(name="a", action="x", condition=condition)])


def refused_requests(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        for kind, path, request in requests.REFUSED.values():
            requests.call(channel, kind, path, request)


def empty_elements(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        for path, body in requests.EMPTIES.values():
            requests.call(channel, "unary_unary", path, body)


def reset_streams(server: ServerProcess) -> None:
    connections.flood(server.target, SECONDS_OF_A_FLOOD, reset=True)


def open_streams(server: ServerProcess) -> None:
    connections.flood(server.target, SECONDS_OF_A_FLOOD, reset=False)


def stopped_watchers(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        stub = WorkflowServiceStub(channel)
        run_id = runs.start(stub, runs.workflow(runs.STEPS))
        for _ in stub.WatchWorkflowRun(runs.watch(run_id)):
            pass
    runs.stopped_watchers(server, run_id, 2_000)


ATTACKS: list[Callable[[ServerProcess], None]] = [
    stopped_conditions, refused_requests, empty_elements, reset_streams, open_streams, stopped_watchers
]  # fmt: skip


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_server_survives_all_attacks_one_after_the_other(tmp_path: Path, replay: ReplayThread) -> None:
    variables = provider_variables(replay.url)
    with ServerProcess("--scripted", "--data-dir", str(tmp_path), variables=variables) as server:
        for attack in ATTACKS:
            with OtherCaller(server.target) as others:
                attack(server)
            peak, now = memory(server.process.pid, "VmHWM"), memory(server.process.pid)
            print(f"{attack.__name__}: others waited {others.longest:.3f} s at most, {now} MB now, {peak} MB at most")
            assert others.failures == []
            assert peak < PEAK
        assert memory(server.process.pid) < AT_THE_END
        began = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        print(f"ended {time.monotonic() - began:.1f} s after SIGTERM")
