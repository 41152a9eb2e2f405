"""Connections that open more than they use, and calls that wait for their turn."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headwater_server.transport.incoming import turns
from headwater_server.transport.server import GrpcServer
from tests.support.attacks import OtherCaller, memory
from tests.support.raw_streams import RawConnection
from tests.support.servers.callers import NO_CALLERS
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import details

RUN = "/headwater.v1.AgentService/Run"


def flood(target: str, seconds: float, *, reset: bool) -> int:
    """Opens streams as fast as it can, over one connection at a time; how many."""
    end, opened = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with RawConnection(target) as attacker:
            while time.monotonic() < end and not attacker.is_closed:
                attacker.open(RUN, 100, reset=reset)
        opened += attacker.opened
    return opened


@pytest.mark.parametrize("seconds", [2, pytest.param(8, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("reset", [True, False], ids=["each is reset at once", "each stays open"])
def test_one_connection_that_floods_streams_takes_little_memory(reset, seconds):
    with ServerProcess("--scripted", "--log-level", "warning") as server:
        before = memory(server.process.pid)
        with OtherCaller(server.target) as others:
            assert flood(server.target, seconds, reset=reset) > 1000
        assert memory(server.process.pid, "VmHWM") < before + 200  # 5,000 calls may wait
        assert others.failures == []


def test_connections_and_their_idle_time_are_limited():
    variables = {"HEADWATER_MAX_CONNECTIONS": "20", "HEADWATER_MAX_CONNECTION_IDLE_SECONDS": "1"}
    with ServerProcess("--scripted", variables=variables) as server, ExitStack() as stack:
        attackers = [stack.enter_context(RawConnection(server.target)) for _ in range(30)]
        wait_until(lambda: count_closed(attackers) == 10)
        wait_until(lambda: count_closed(attackers) == 30)
        with OtherCaller(server.target) as others:
            wait_until(lambda: others.calls >= 3)
        assert others.failures == []


def count_closed(connections: list[RawConnection]) -> int:
    for connection in connections:
        connection.look()
    return sum(connection.is_closed for connection in connections)


def wait_until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end


async def test_a_call_that_waited_too_long_for_its_turn_is_told_to_try_again(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST_SECONDS", 0.2)
    server = GrpcServer([], NO_CALLERS)
    await server.start("127.0.0.1", 0)

    def check() -> grpc.RpcError | None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            try:
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
            except grpc.RpcError as error:
                return error
        return None

    waiting = asyncio.create_task(asyncio.to_thread(check))
    await asyncio.sleep(0)  # the thread begins
    time.sleep(turns.EVERY_SECONDS + 1)  # noqa: ASYNC251  holds the loop, as something that computes would
    error = await waiting
    assert error is not None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error)["ErrorInfo"].reason == "SERVER_OVERLOADED"
    assert details(error)["RetryInfo"].retry_delay.seconds == 1
    await asyncio.sleep(turns.AFTER_SECONDS)
    assert await asyncio.to_thread(check) is None
    await server.stop()
