"""A call that has ended leaves nothing behind, without the help of the garbage collector.

A request can have 32 MiB. The collector runs after so many new objects, not so many bytes: memory that only it can
free stays for minutes where calls are few and large.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import grpc
import pytest
from google.protobuf.message import DecodeError
from grpc._cython import cygrpc

from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.workflows.journal.base import JournalError
from tests.unit.transport.interceptors.test_chain import Server, soon

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


class Request:
    """A parsed request, whose end can be seen."""

    alive: ClassVar[weakref.WeakSet[Request]] = weakref.WeakSet()

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.alive.add(self)


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Turns the collector off; objects of earlier tests do not count."""
    gc.collect()
    Request.alive.clear()
    gc.disable()
    yield
    gc.enable()


async def refuse(request: Any, context: Any) -> None:
    raise invalid("prompt", "is too long")


async def refuse_because_of_another(request: Any, context: Any) -> None:
    try:
        raise ValueError(request)
    except ValueError as error:
        raise HeadwaterError(Reason.PROVIDER_RATE_LIMITED, "later") from error


async def refuse_in_a_task(request: Any, context: Any) -> None:
    await asyncio.gather(asyncio.create_task(refuse(request, context)))


async def refuse_in_a_task_that_is_kept(request: Any, context: Any) -> None:
    task = asyncio.create_task(refuse_because_of_another(request, context))
    await asyncio.wait([task])
    task.result()


async def refuse_several(request: Any, context: Any) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(refuse_because_of_another(request, context)) for _ in range(2)]
    raise AssertionError(tasks)


async def fail(request: Any, context: Any) -> None:
    raise ZeroDivisionError(request)


async def fail_to_write(request: Any, context: Any) -> None:
    raise JournalError("the disk is full")


async def repeat_another_status(request: Any, context: Any) -> None:
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", b"\x08\x0b"))
    raise grpc.aio.AioRpcError(grpc.StatusCode.OUT_OF_RANGE, grpc.aio.Metadata(), trailers, "gone")


async def end_itself(request: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


async def end_itself_after_an_error(request: Any, context: Any) -> None:
    try:
        raise ValueError(request)
    except ValueError:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


ENDS = [
    refuse,
    refuse_because_of_another,
    refuse_in_a_task,
    refuse_in_a_task_that_is_kept,
    refuse_several,
    fail,
    fail_to_write,
    repeat_another_status,
    end_itself,
    end_itself_after_an_error,
]


def keeping(end: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """Reads one request, then ends the call so; the frame holds what it has read, as a handler's does."""

    async def act(requests: Any, context: Any) -> Any:
        request = await anext(requests) if hasattr(requests, "__aiter__") else requests
        assert request.data == b"large"
        return await end(request, context)

    return act


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_fails_leaves_no_request_behind(kind, end):
    async with Server(kind, parse=Request) as server:
        server.act = keeping(end)
        call = server.call([b"large", b"later"] if kind.startswith("stream") else b"large")
        with pytest.raises(grpc.aio.AioRpcError):
            await soon(call if kind.endswith("unary") else call.read())
    assert list(Request.alive) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["cancelled", "its write fails", "its tasks are cancelled"])
async def test_a_call_that_is_left_leaves_no_request_behind(kind, how):
    async def learn(request: Any, context: Any) -> None:
        began.set()
        if how == "its write fails":
            raise cygrpc.ExecuteBatchError("Failed grpc_call_start_batch")
        if how == "its tasks are cancelled":
            tasks = [asyncio.create_task(wait(request)) for _ in range(2)]
            try:
                await asyncio.wait(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.Event().wait()

    async def wait(request: Any) -> None:
        await asyncio.Event().wait()

    async with Server(kind, parse=Request) as server:
        began = asyncio.Event()
        server.act = keeping(learn)
        call = server.call([b"large", b"later"] if kind.startswith("stream") else b"large")
        await soon(began.wait())
        call.cancel()
        await soon(server.ended.wait())
    assert list(Request.alive) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_that_cannot_be_read_is_not_left_behind(kind):
    def parse(data: bytes) -> Request:
        request = Request(data)
        raise DecodeError(request)

    async def read(requests: Any, context: Any) -> None:
        reading = asyncio.ensure_future(anext(requests))
        await asyncio.wait([reading])
        reading.result()

    async with Server(kind, parse=parse) as server:
        server.act = read
        call = server.call([b"large"] if kind.startswith("stream") else b"large")
        with pytest.raises(grpc.aio.AioRpcError):
            await soon(call if kind.endswith("unary") else call.read())
    assert list(Request.alive) == []
