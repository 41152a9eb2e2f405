"""The interceptors around every call: how its end reaches the caller, and its line in the log.

The calls are real ones, to a server with the chain; the test says what its method does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc._cython import cygrpc
from structlog.testing import capture_logs

from headwater.v1 import error_pb2
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason, invalid_request
from headwater_server.telemetry.call_facts import add_facts, call_facts, merge_facts
from headwater_server.transport.handlers import Behaviour
from headwater_server.transport.interceptors import chain
from headwater_server.transport.interceptors.interceptor import Interceptor
from headwater_server.workflows.journal.base import JournalDamagedError, JournalError
from tests.support.servers.callers import NO_CALLERS
from tests.support.stubs.stub import details

SAID = "the prompt that a provider quotes"
OK = {"event": "rpc", "log_level": "info", "rpc": "Method", "code": "OK"}
CANCELLED = OK | {"code": "CANCELLED"}

Act = Callable[[Any, Any], Awaitable[Any]]


class Server:
    """A server with the chain and one method, from `async with` to the end of its block.

    Attributes:
        act: the work of the method.
        ended: is set when it has ended.
        lines: the log, without the seconds and the peers of calls.
    """

    def __init__(self, kind: str = "unary_unary", behaviour: Any = None, parse: Any = None) -> None:
        self.act: Act
        self.ended = asyncio.Event()
        self.lines: list[dict[str, Any]] = []
        self._kind = kind
        self._handler = getattr(grpc, f"{kind}_rpc_method_handler")(behaviour or self._behave, parse)

    async def _behave(self, request: Any, context: Any) -> Any:
        try:
            return await self.act(request, context)
        finally:
            self.ended.set()

    async def __aenter__(self) -> Server:
        self._capture = capture_logs(processors=[merge_facts])
        self._logged = self._capture.__enter__()
        options = [("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(interceptors=chain.interceptors(NO_CALLERS), options=options)
        handlers = {"Method": self._handler}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.http2.bdp_probe", 0)])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
        await self._server.stop(5)
        self._capture.__exit__(None, None, None)
        self.lines = [dict(line) for line in self._logged]
        for line in self.lines:
            if line["event"] == "rpc":
                assert 0 <= line.pop("seconds") < 60
                assert line.pop("peer").startswith("ipv4:127.0.0.1:")

    def call(self, request: Any = b"", method: str = "Method") -> Any:
        return getattr(self._channel, self._kind)(f"/test.Service/{method}")(request)


async def ended(error: BaseException, cause: BaseException | None = None) -> tuple[Any, list[dict[str, Any]]]:
    """How a call ends whose method raises this, and what of it is logged."""

    async def act(request: Any, context: Any) -> bytes:
        raise error from cause

    async with Server() as server:
        server.act = act
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.call()
    return caught.value, server.lines


def told(error: Any) -> tuple[grpc.StatusCode, str, str]:
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    return error.code(), error.details(), info.reason


def one(lines: list[dict[str, Any]], event: str) -> dict[str, Any]:
    [line] = [line for line in lines if line["event"] == event]
    return line


async def soon(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, 10)


# A call that ends well


async def test_a_call_that_ends_well_returns_its_reply_and_is_one_line():
    async def act(request: bytes, context: Any) -> bytes:
        return b"re: " + request

    async with Server() as server:
        server.act = act
        assert await server.call(b"a") == b"re: a"
    assert server.lines == [OK]


async def said(requests: Any) -> list[bytes]:
    return [request async for request in requests] if hasattr(requests, "__aiter__") else [requests]


async def answer_once(requests: Any, context: Any) -> bytes:
    return b"re: " + b"".join(await said(requests))


async def write_each(requests: Any, context: Any) -> None:
    for request in await said(requests):
        await context.write(b"re: " + request)


async def generate_each(requests: Any, context: Any) -> AsyncIterator[bytes]:
    for request in await said(requests):
        yield b"re: " + request


@pytest.mark.parametrize(
    ("kind", "behaviour", "requests", "answers"),
    [
        ("unary_unary", answer_once, b"a", [b"re: a"]),
        ("stream_unary", answer_once, [b"a", b"b"], [b"re: ab"]),
        ("unary_stream", write_each, b"a", [b"re: a"]),
        ("stream_stream", write_each, [b"a", b"b"], [b"re: a", b"re: b"]),
        ("unary_stream", generate_each, b"a", [b"re: a"]),
        ("stream_stream", generate_each, [b"a", b"b"], [b"re: a", b"re: b"]),
    ],
)
async def test_every_kind_of_method_is_surrounded(kind, behaviour, requests, answers):
    async with Server(kind, behaviour) as server:
        call = server.call(requests)
        assert ([answer async for answer in call] if kind.endswith("stream") else [await call]) == answers
    assert server.lines == [OK]


async def test_a_handler_gets_grpcs_own_context_and_requests_so_that_nothing_runs_for_each_message():
    seen: list[str] = []

    async def act(requests: Any, context: Any) -> None:
        seen.extend(type(value).__module__ for value in (requests, context))

    async with Server("stream_stream") as server:
        server.act = act
        assert [answer async for answer in server.call([])] == []
    assert seen == ["grpc._cython.cygrpc"] * 2


async def test_an_unknown_method_is_unimplemented():
    async with Server() as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.call(method="Other")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert server.lines == []


def nested(levels: int) -> bytes:
    """A failure with so many causes, one in the other."""
    message = b""
    for _ in range(levels):
        message = bytes([0x3A, len(message) & 127 | 128, len(message) >> 7]) + message
    return message


@pytest.mark.parametrize("unreadable", [b"\xff\xff", b"\x12\x01\xff", nested(101)], ids=["broken", "no text", "deep"])
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_request_that_cannot_be_read_is_an_error_of_the_caller(kind, unreadable):
    async with Server(
        kind, answer_once if kind.endswith("unary") else write_each, error_pb2.Failure.FromString
    ) as server:
        call = server.call([unreadable] if kind.startswith("stream") else unreadable)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await soon(call if kind.endswith("unary") else call.read())
    code, text, reason = told(caught.value)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "build it with the stub" in text
    assert server.lines == [OK | {"code": "INVALID_ARGUMENT", "reason": "INVALID_REQUEST"}]


async def test_a_method_is_surrounded_once_and_not_once_a_call(monkeypatch):
    surrounded: list[str] = []

    class Counts(Interceptor):
        def around(self, path: str, behaviour: Behaviour) -> Behaviour:
            surrounded.append(path)
            return behaviour

    monkeypatch.setattr(chain, "interceptors", lambda _: (Counts(),))
    async with Server(behaviour=answer_once) as server:
        for _ in range(3):
            await server.call()
    assert surrounded == ["/test.Service/Method"]


# An error


async def test_an_error_is_told_with_its_status_and_logged_with_its_facts():
    facts = {
        "http_status": "503",
        "provider_code": "overloaded",
        "provider_request_id": "req_1",
        "cause": "PROVIDER_UNAVAILABLE",
    }
    metadata = {**facts, "provider": "openai", "model": SAID}
    error, lines = await ended(HeadwaterError(Reason.STREAM_INTERRUPTED, SAID, metadata=metadata))
    assert told(error) == (grpc.StatusCode.ABORTED, SAID, "STREAM_INTERRUPTED")
    assert lines == [OK | {"log_level": "warning", "code": "ABORTED", "reason": "STREAM_INTERRUPTED", **facts}]


async def test_bad_fields_are_logged_by_name_and_without_what_they_hold():
    error, [line] = await ended(invalid_request([FieldViolation(f"messages[{i}]", SAID) for i in range(11)]))
    assert told(error)[::2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert line["fields"] == [f"messages[{i}]" for i in range(10)]
    assert SAID not in repr(line)


async def test_an_internal_error_logs_its_cause_as_a_fault_without_its_words():
    error, lines = await ended(HeadwaterError(Reason.INTERNAL, "Headwater failed"), ZeroDivisionError(SAID))
    assert told(error) == (grpc.StatusCode.INTERNAL, "Headwater failed", "INTERNAL")
    fault = one(lines, "fault")
    assert (fault["error"], fault["rpc"], fault["log_level"]) == ("ZeroDivisionError", "Method", "error")
    assert one(lines, "rpc") == OK | {"log_level": "error", "code": "INTERNAL", "reason": "INTERNAL"}
    assert SAID not in repr(lines)


async def test_a_journal_that_cannot_be_used_now_is_unavailable_and_one_that_is_damaged_a_fault():
    error, lines = await ended(JournalError(SAID))
    assert told(error)[::2] == (grpc.StatusCode.UNAVAILABLE, "JOURNAL_UNAVAILABLE")
    assert SAID not in told(error)[1]
    assert details(error)["RetryInfo"]
    assert [line["event"] for line in lines] == ["rpc"]
    error, lines = await ended(JournalDamagedError(SAID))
    assert told(error)[::2] == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert one(lines, "fault")["error"] == "JournalDamagedError"


async def test_an_unexpected_exception_is_an_internal_error_whose_words_stay_here():
    error, lines = await ended(ValueError(SAID))
    code, message, reason = told(error)
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert message
    assert SAID not in message
    fault = one(lines, "fault")
    assert (fault["error"], fault["log_level"]) == ("ValueError", "error")
    assert any(frame.endswith(" act") for frame in fault["at"])
    assert one(lines, "rpc") == OK | {"log_level": "error", "code": "INTERNAL"}
    assert SAID not in repr(lines)


async def test_an_error_in_the_middle_of_many_answers_comes_after_them():
    async def act(request: bytes, context: Any) -> None:
        await context.write(b"a")
        raise HeadwaterError(Reason.STREAM_INTERRUPTED, "cut")

    async with Server("unary_stream") as server:
        server.act = act
        call = server.call()
        assert await call.read() == b"a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert told(caught.value) == (grpc.StatusCode.ABORTED, "cut", "STREAM_INTERRUPTED")


async def test_the_status_of_a_call_that_another_process_has_answered_is_passed_on_as_it_is():
    trailers = grpc.aio.Metadata(("x-other", "1"), ("grpc-status-details-bin", b"\x08\x0b"))
    relayed = grpc.aio.AioRpcError(grpc.StatusCode.OUT_OF_RANGE, grpc.aio.Metadata(), trailers, "größer % als")
    error, lines = await ended(relayed)
    assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "größer % als")
    assert dict(error.trailing_metadata()) == dict(trailers)
    assert lines == [OK | {"code": "OUT_OF_RANGE"}]


async def test_a_handler_may_end_its_call_itself():
    async def act(request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    async with Server() as server:
        server.act = act
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.call()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    assert server.lines == [OK | {"code": "NOT_FOUND"}]


# A caller who leaves


async def wait(request: Any, context: Any) -> None:
    await asyncio.Event().wait()


async def write_without_end(request: Any, context: Any) -> None:
    while True:
        await context.write(bytes(1000))


@pytest.mark.parametrize("act", [wait, write_without_end])
async def test_a_caller_who_leaves_is_an_ordinary_end(act):
    async with Server("unary_stream") as server:
        began = asyncio.Event()

        async def begin(request: Any, context: Any) -> None:
            await context.write(b"first")
            began.set()
            await act(request, context)

        server.act = begin
        call = server.call()
        await soon(began.wait())
        await soon(call.read())
        call.cancel()
        await soon(server.ended.wait())
    assert server.lines == [CANCELLED]


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), cygrpc.ExecuteBatchError("Failed grpc_call_start_batch")],
    ids=["its task is cancelled", "a write fails"],
)
async def test_either_way_in_which_a_handler_learns_of_it_is_an_ordinary_end(error):
    async def learn(request: Any, context: Any) -> None:
        raise error

    async with Server() as server:
        server.act = learn
        call = server.call()
        await soon(server.ended.wait())
        call.cancel()
    assert server.lines == [CANCELLED]


async def test_a_generator_is_closed_when_its_caller_leaves():
    closed = asyncio.Event()

    async def generate(request: Any, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1000)
        finally:
            closed.set()

    async with Server("unary_stream", generate) as server:
        call = server.call()
        await soon(call.read())
        call.cancel()
        await soon(closed.wait())
    assert server.lines == [CANCELLED]


# Facts that calls leave in the log's context


async def test_what_a_call_binds_stands_in_its_own_line_and_in_no_later_one():
    async def binds(request: bytes, context: Any) -> bytes:
        add_facts(stream_id="s-1")
        return b""

    async def binds_nothing(request: bytes, context: Any) -> bytes:
        assert call_facts().keys() == {"peer"}
        return b""

    async with Server() as server:
        for server.act in (binds, binds_nothing):
            await server.call()
    assert server.lines == [OK | {"stream_id": "s-1"}, OK]
