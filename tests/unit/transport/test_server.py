"""The servers of a process: every call has the chain around it, also those of health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.transport import process_server
from headwater_server.transport import server as transport_server
from headwater_server.transport.process_server import ProcessServer, StreamServices
from headwater_server.transport.server import GrpcServer, SiblingServer
from tests.support.servers.callers import NO_CALLERS
from tests.support.stubs.stub import details


async def fail(request: bytes, context: Any) -> bytes:
    raise ValueError


def add_failing(server: grpc.aio.Server) -> None:
    handlers = {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_registered_method_handlers("test.Service", handlers)


@asynccontextmanager
async def public(folder: Path) -> AsyncIterator[grpc.aio.Channel]:
    server = GrpcServer([add_failing], NO_CALLERS)
    await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    await server.stop()


@asynccontextmanager
async def between_processes(folder: Path) -> AsyncIterator[grpc.aio.Channel]:
    server = SiblingServer([add_failing], NO_CALLERS)
    await server.start(folder / "socket")
    async with grpc.aio.insecure_channel(f"unix:{folder / 'socket'}") as channel:
        yield channel
    await server.stop()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def calls(lines: list[Any]) -> list[tuple[str, str, str]]:
    return [(line["rpc"], line["code"], line["log_level"]) for line in lines if line["event"] == "rpc"]


@pytest.mark.parametrize("serve", [public, between_processes])
async def test_what_a_handler_raises_has_a_status_with_details_and_a_line(tmp_path, lines, serve):
    async with serve(tmp_path) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Service/Fail")(b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "ErrorInfo" in details(caught.value)
    assert calls(lines) == [("Fail", "INTERNAL", "error")]


async def test_health_checks_are_logged_at_level_debug(tmp_path, lines):
    async with public(tmp_path) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="Nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert calls(lines) == [("Check", "OK", "debug"), ("Check", "NOT_FOUND", "debug")]


async def test_a_watch_of_the_health_may_be_left(tmp_path, lines):
    async with public(tmp_path) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await asyncio.wait_for(watch.read(), 10)).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
    assert calls(lines) == [("Watch", "CANCELLED", "debug")]


async def test_callers_that_watch_the_health_can_leave_before_a_server_takes_no_calls(monkeypatch):
    monkeypatch.setattr(transport_server, "LEAVE_SECONDS", 3_600)
    server = GrpcServer([], NO_CALLERS)
    await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        ending = asyncio.create_task(server.announce_end())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        late = await stub.Check(health_pb2.HealthCheckRequest())
        assert late.status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        ending.cancel()
        await asyncio.wait([ending])
    await server.stop()


async def test_reflection_is_logged_at_level_debug(tmp_path, lines):
    async with public(tmp_path) as channel:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo([request])
        assert len([response async for response in call]) == 1
    assert calls(lines) == [("ServerReflectionInfo", "OK", "debug")]


async def test_a_process_that_ends_answers_the_siblings_that_end_a_little_later(tmp_path, monkeypatch):
    monkeypatch.setattr(process_server, "SIBLINGS_LATE_SECONDS", 3_600)
    parts: Any = (None, None, None, None)  # no call comes to them
    server = ProcessServer(ProcessIdentity(1, 2, tmp_path), StreamServices(*parts, "1"), None, NO_CALLERS)
    await server.start("127.0.0.1", 0)
    stopping = asyncio.create_task(server.stop())
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):  # reset: it waited to be taken
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.close()
            await writer.wait_closed()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / '1.sock'}") as channel:
        code = await channel.unary_unary("/test.Service/None")(b"").code()
    assert code is grpc.StatusCode.UNIMPLEMENTED
    monkeypatch.setattr(process_server, "SIBLINGS_LATE_SECONDS", 0)
    stopping.cancel()
    await asyncio.wait([stopping])
    await server.stop()
