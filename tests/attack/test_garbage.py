"""Bytes that are no request, on every method: an error of the caller, no fault of the server, and no line at error."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from headwater.v1 import agent_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.transport.health import Health
from tests.support.http2 import Connection, End, message
from tests.support.servers.server import FRONT, ServerProcess

FILES: list[Any] = [agent_service_pb2, workflow_service_pb2, worker_service_pb2, health_pb2, reflection_pb2]
METHODS = [
    *(
        f"/{service.full_name}/{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
]
GARBAGE = (b"\xff\xff\xff", b"\x0a\xff", b"\x0b" * 200, bytes(range(256)), b"\x80" * 20, b"\x0a\x05abc")
UNKNOWN_PATHS = (b"/x/y", b"/", b"//", b"", b"*", b"x", b"/headwater.v1.AgentService/Nope", b"/" + b"x" * 8_000)
NO_TEXT_PATHS = (b"/\xff\xfe/x", b"\xff", "/ä/ö".encode("latin-1"), b"/a\x00/b", "/ä/ö".encode())
OWN_PATH = b"/headwater.v1.AgentService/Run"
HEADERS = {
    b":method": b"POST",
    b":scheme": b"http",
    b":authority": b"localhost",
    b"content-type": b"application/grpc",
    b"te": b"trailers",
}


@pytest.fixture(scope="module", params=[1, 2], ids=["one-process", "two-processes"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with ServerProcess("--scripted", processes=request.param) as server:
        yield server
    assert loud(server) == []  # also what comes after its test


def loud(server: ServerProcess) -> list[dict[str, Any]]:
    """Lines of its log that somebody should look at."""
    return [event for event in server.events if event["level"] in ("error", "warning")]


@pytest.fixture
async def channel(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


@pytest.fixture(autouse=True)
def _no_line_at_error(server: ServerProcess) -> Iterator[None]:
    yield
    assert loud(server) == []


def raw(target: str, path: bytes, data: bytes | None, *more: tuple[bytes, bytes], **headers: bytes | None) -> End:
    """The end of a call whose headers are those of a right one, but for these."""
    named = {key.replace("__", ":").replace("_", "-").encode(): value for key, value in headers.items()}
    all_headers = {b":path": path} | HEADERS | named
    with Connection(target) as connection:
        connection.call([*((key, value) for key, value in all_headers.items() if value is not None), *more], data)
        return connection.end()


async def code_of(channel: grpc.aio.Channel, method: str, request: bytes) -> grpc.StatusCode:
    call = channel.stream_stream(method)(timeout=10)
    await call.write(request)
    await call.done_writing()
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    return await call.code()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.rpartition(".")[2])
async def test_bytes_that_are_no_message_are_an_error_of_the_caller(channel: grpc.aio.Channel, method: str) -> None:
    codes = {await code_of(channel, method, garbage) for garbage in GARBAGE}
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT}


async def test_a_message_that_is_compressed_and_no_message_is_an_error_of_the_caller(server: ServerProcess) -> None:
    for method in METHODS:
        data = message(gzip.compress(b"\xff" * 50), flag=1)
        end = await asyncio.to_thread(raw, server.target, method.encode(), data, grpc_encoding=b"gzip")
        assert end == End("status", grpc.StatusCode.INVALID_ARGUMENT.value[0])


@pytest.mark.parametrize("path", [*UNKNOWN_PATHS, *NO_TEXT_PATHS], ids=lambda path: repr(path[:12]))
async def test_a_path_of_no_method_is_unimplemented_and_the_server_continues(
    server: ServerProcess, channel: grpc.aio.Channel, path: bytes
) -> None:
    end = await asyncio.to_thread(raw, server.target, path, message(b""))
    unimplemented = End("status", grpc.StatusCode.UNIMPLEMENTED.value[0])
    no_path = path == b"" or b"\0" in path  # no request of HTTP/2 (RFC 9113, 8.2.1 and 8.3.1); gRPC's server takes it
    assert end == (End("reset") if no_path and FRONT == "lean" else unimplemented)
    with Connection(server.target):  # the port is still open
        assert await code_of(channel, "/grpc.health.v1.Health/Check", b"") is grpc.StatusCode.OK


ODD_CALLS: dict[str, tuple[bytes | None, dict[str, bytes | None], tuple[tuple[bytes, bytes], ...]]] = {
    "a type of the web": (message(b"\xff"), {"content_type": b"text/html"}, ()),
    "no type": (message(b"\xff"), {"content_type": None}, ()),
    "JSON": (b"{}", {"content_type": b"application/json"}, ()),
    "a method of the web": (None, {"__method": b"GET"}, ()),
    "no method": (message(b""), {"__method": None}, ()),
    "no path": (message(b""), {"__path": None}, ()),
    "no scheme": (message(b""), {"__scheme": None}, ()),
    "garbage that says it is gzip": (message(b"\xff" * 50, 1), {"grpc_encoding": b"gzip"}, ()),
    "gzip that breaks off": (message(gzip.compress(b"\xff" * 5_000)[:-9], 1), {"grpc_encoding": b"gzip"}, ()),
    "a flag without an encoding": (message(b"\xff", 1), {}, ()),
    "an unknown encoding": (message(b"\xff", 1), {"grpc_encoding": b"br"}, ()),
    "an unknown flag": (message(b"\xff", 7), {}, ()),
    "a length beyond its bytes": (message(b"\xff", length=100), {}, ()),
    "the greatest length": (message(b"\xff", length=2**32 - 1), {}, ()),
    "no length": (b"\xff", {}, ()),
    "no message": (b"", {}, ()),
    "no data": (None, {}, ()),
    "two messages": (message(b"\xff") * 2, {}, ()),
    "a timeout that is none": (message(b"\xff"), {"grpc_timeout": b"abc"}, ()),
    "a negative timeout": (message(b"\xff"), {"grpc_timeout": b"-1S"}, ()),
    "metadata that is no text": (message(b"\xff"), {"authorization": b"\xff\xfe", "traceparent": b"\xff"}, ()),
    "metadata with control characters": (message(b"\xff"), {"x_request_id": b"a\n\x00\x1b[31m"}, ()),
    "a key that is no text": (message(b"\xff"), {"headwater_provider_key": b"\xff" * 100}, ()),
    "metadata in capitals": (message(b"\xff"), {}, ((b"X-Upper", b"1"),)),
    "metadata without a key": (message(b"\xff"), {}, ((b"", b"1"),)),
    "binary metadata that is none": (message(b"\xff"), {}, ((b"x-bin", b"!!!"),)),
    "an unknown pseudo header": (message(b"\xff"), {}, ((b":x", b"1"),)),
}


@pytest.mark.parametrize(("data", "headers", "more"), ODD_CALLS.values(), ids=ODD_CALLS.keys())
async def test_an_odd_call_ends_and_the_server_continues(
    server: ServerProcess,
    channel: grpc.aio.Channel,
    data: bytes | None,
    headers: dict[str, bytes | None],
    more: tuple[tuple[bytes, bytes], ...],
) -> None:
    for path in (OWN_PATH, b"/headwater.v1.WorkerService/Attach", b"/headwater.v1.WorkflowService/GetWorkflowRun"):
        end = await asyncio.to_thread(lambda path=path: raw(server.target, path, data, *more, **headers))
        assert end.how in ("status", "reset")
        assert end.code is None or end.code != grpc.StatusCode.OK.value[0]
    assert await code_of(channel, "/grpc.health.v1.Health/Check", b"") is grpc.StatusCode.OK


async def test_the_health_of_all_services_is_listed(channel: grpc.aio.Channel) -> None:
    ask: Any = channel.unary_unary("/grpc.health.v1.Health/List", None, health_pb2.HealthListResponse.FromString)  # type: ignore[attr-defined]
    answer = await ask(b"", timeout=10)
    assert {"", "headwater.v1.AgentService", "headwater.v1.WorkflowService"} <= set(answer.statuses)
    assert {each.status for each in answer.statuses.values()} == {health_pb2.HealthCheckResponse.SERVING}


async def test_a_watcher_of_the_health_that_does_not_read_holds_up_no_other_and_no_end() -> None:
    class Stuck:
        async def write(self, message: Any) -> None:
            await asyncio.Event().wait()

    class Reader:
        def __init__(self) -> None:
            self.seen: list[int] = []

        async def write(self, message: health_pb2.HealthCheckResponse) -> None:
            self.seen.append(message.status)

    health, reader = Health(), Reader()
    request = health_pb2.HealthCheckRequest()
    contexts: list[Any] = [Stuck(), reader]
    watching = [asyncio.create_task(health.Watch(request, context)) for context in contexts]
    while not reader.seen:
        await asyncio.sleep(0)
    health.end()
    health.set("", serving=True)
    while len(reader.seen) < 2:
        await asyncio.sleep(0)
    assert reader.seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
