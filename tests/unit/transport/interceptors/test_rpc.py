"""What every RPC has in common: how its end is told to the caller, and what of it stands in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2, status_pb2
from grpc._cython import cygrpc
from structlog.contextvars import bind_contextvars, merge_contextvars
from structlog.testing import capture_logs

from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason, invalid_request
from headwater_server.transport.interceptors.rpc import rpc

SAID = "the prompt that a provider quotes"


class FakeContext:
    """Takes an abort and ends the method with it, as a call does."""

    aborted: tuple[grpc.StatusCode, str, str] | None = None

    async def abort(self, code, message, trailing_metadata):
        [(_, raw)] = trailing_metadata
        info = error_details_pb2.ErrorInfo()
        assert status_pb2.Status.FromString(raw).details[0].Unpack(info)
        self.aborted = (code, message, info.reason)
        raise grpc.aio.AbortError


class Servicer:
    """Has one method, which does what the test says."""

    def __init__(self, act: Callable[[], Awaitable[str]]) -> None:
        self._act = act

    @rpc
    async def method(self, request: Empty, context: Any) -> str:
        return await self._act()


class Call:
    """One call, what it came to and what was logged."""

    def __init__(self, act: Callable[[], Awaitable[str]]) -> None:
        self.context = FakeContext()
        self.servicer = Servicer(act)
        self.lines: list[dict[str, Any]] = []

    async def run(self) -> str:
        with capture_logs(processors=[merge_contextvars]) as lines:
            try:
                return await self.servicer.method(Empty(), self.context)
            finally:
                self.lines = [dict(line) for line in lines]
                for line in self.lines:
                    if line["event"] == "rpc":
                        assert 0 <= line.pop("seconds") < 60


def failing(error: BaseException, cause: BaseException | None = None) -> Call:
    async def act() -> str:
        raise error from cause

    return Call(act)


async def aborted(call: Call) -> tuple[grpc.StatusCode, str, str] | None:
    with pytest.raises(grpc.aio.AbortError):
        await call.run()
    return call.context.aborted


def one(lines: list[dict[str, Any]], event: str) -> dict[str, Any]:
    [line] = [line for line in lines if line["event"] == event]
    return line


async def test_a_call_that_ends_well_returns_its_reply_and_is_one_line():
    async def act() -> str:
        return "reply"

    call = Call(act)
    assert await call.run() == "reply"
    assert call.lines == [{"event": "rpc", "log_level": "info", "rpc": "method", "code": "OK"}]
    assert call.context.aborted is None


async def test_an_error_is_told_with_its_status_and_logged_with_its_facts():
    facts = {
        "http_status": "503",
        "provider_code": "overloaded",
        "provider_request_id": "req_1",
        "cause": "PROVIDER_UNAVAILABLE",
    }
    metadata = {**facts, "provider": "openai", "model": SAID}
    call = failing(HeadwaterError(Reason.STREAM_INTERRUPTED, SAID, metadata=metadata))
    assert await aborted(call) == (grpc.StatusCode.ABORTED, SAID, "STREAM_INTERRUPTED")
    assert call.lines == [
        {
            "event": "rpc",
            "log_level": "info",
            "rpc": "method",
            "code": "ABORTED",
            "reason": "STREAM_INTERRUPTED",
            **facts,
        }
    ]


async def test_bad_fields_are_logged_by_name_and_without_what_they_hold():
    call = failing(invalid_request([FieldViolation(f"messages[{i}]", SAID) for i in range(11)]))
    code, _, reason = await aborted(call) or pytest.fail("not aborted")
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    [line] = call.lines
    assert line["fields"] == [f"messages[{i}]" for i in range(10)]
    assert SAID not in repr(line)


async def test_an_internal_error_logs_its_cause_as_a_fault_without_its_words():
    call = failing(HeadwaterError(Reason.INTERNAL, "Headwater failed"), ZeroDivisionError(SAID))
    assert await aborted(call) == (grpc.StatusCode.INTERNAL, "Headwater failed", "INTERNAL")
    fault = one(call.lines, "fault")
    assert (fault["error"], fault["rpc"], fault["log_level"]) == ("ZeroDivisionError", "method", "error")
    assert one(call.lines, "rpc") == {
        "event": "rpc",
        "log_level": "error",
        "rpc": "method",
        "code": "INTERNAL",
        "reason": "INTERNAL",
    }
    assert SAID not in repr(call.lines)


async def test_an_unexpected_exception_is_an_internal_error_whose_words_stay_here():
    call = failing(ValueError(SAID))
    code, message, reason = await aborted(call) or pytest.fail("not aborted")
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert message
    assert SAID not in message
    fault = one(call.lines, "fault")
    assert (fault["error"], fault["log_level"]) == ("ValueError", "error")
    assert any(frame.endswith(" act") for frame in fault["at"])
    assert one(call.lines, "rpc") == {"event": "rpc", "log_level": "error", "rpc": "method", "code": "INTERNAL"}
    assert SAID not in repr(call.lines)


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), cygrpc.ExecuteBatchError("Failed grpc_call_start_batch")],
    ids=["its task is cancelled", "a write fails"],
)
async def test_a_caller_who_leaves_is_an_ordinary_end(error):
    call = failing(error)
    with pytest.raises(asyncio.CancelledError):
        await call.run()
    assert call.lines == [{"event": "rpc", "log_level": "info", "rpc": "method", "code": "CANCELLED"}]
    assert call.context.aborted is None


async def test_what_a_call_binds_stands_in_its_own_line_and_in_no_later_one():
    async def binds() -> str:
        bind_contextvars(stream_id="s-1")
        return "reply"

    async def binds_nothing() -> str:
        assert structlog.contextvars.get_contextvars() == {}
        return "reply"

    first, second = Call(binds), Call(binds_nothing)
    await first.run()
    await second.run()
    assert first.lines[0]["stream_id"] == "s-1"
    assert "stream_id" not in second.lines[0]


def test_a_method_keeps_its_name():
    assert Servicer.method.__name__ == "method"
