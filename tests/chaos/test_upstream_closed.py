"""A caller that leaves ends the provider's work at once, and one that vanishes soon after.

Each case is a way to ask and a moment: before the provider has said anything, or in the middle of its reply. The times
are printed (`-rP`).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
import pytest

from headwater.v1.agent_service_pb2 import CancelStreamRequest, ListStreamsRequest, RunRequest, StreamRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.gate import Gate
from tests.support.servers.server import ServerProcess, provider_variables
from tests.support.stubs.stub import agent_stub
from tests.support.upstream.replay import HOLD_HEAD, Record, ReplayServer

FEW, MANY = 5, 40
AGENT = {"model": "openai/gpt-4o@openai-plain"}
IN_THE_MIDDLE = 2
"""The provider says two pieces of its reply, and then nothing more."""
MEDIAN_SECONDS, LONGEST_SECONDS = 0.1, 1.0
SLACK_SECONDS, QUIET_SECONDS = 5.0, 0.2

Stub: TypeAlias = "AgentServiceStub[Any]"
Ask = Callable[[Stub], Any]
Leave = Callable[[Stub, Any, str], Awaitable[None]]


def stream(stub: Stub) -> Any:
    return stub.Stream(StreamRequest(prompt="Hi", agent=AGENT))


def resumable(stub: Stub) -> Any:
    return stub.Stream(StreamRequest(prompt="Hi", agent=AGENT, resumable=True))


def run(stub: Stub) -> Any:
    return stub.Run(RunRequest(prompt="Hi", agent=AGENT))


async def leave(stub: Stub, call: Any, stream_id: str) -> None:
    call.cancel()


async def say_cancel(stub: Stub, call: Any, stream_id: str) -> None:
    await stub.CancelStream(CancelStreamRequest(stream_id=stream_id))


async def id_of_the_only_stream(stub: Stub) -> str:
    while not (streams := (await stub.ListStreams(ListStreamsRequest())).streams):
        await asyncio.sleep(0.001)
    [stream] = streams
    return str(stream.stream_id)


async def none_is_left(stub: Stub) -> None:
    while (await stub.ListStreams(ListStreamsRequest())).streams:
        await asyncio.sleep(0.001)


async def asked(replay: ReplayServer, number: int) -> Record:
    """The provider's record of a request, once it has said all that it says before the caller leaves."""
    record = await replay.wait_record(number)
    while record.pieces_sent < max(replay.hold or 0, 0):
        await asyncio.sleep(0.001)
    return record


WAYS: list[tuple[Ask, Leave]] = [
    (stream, leave), (run, leave), (stream, say_cancel), (resumable, say_cancel), (run, say_cancel)
]  # fmt: skip


@pytest.mark.parametrize("rounds", [FEW, pytest.param(MANY, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("hold", [HOLD_HEAD, IN_THE_MIDDLE], ids=["before-the-first-chunk", "in-the-middle"])
async def test_the_upstream_is_closed_at_once(hold: int, rounds: int) -> None:
    async with ReplayServer(hold=hold) as replay:
        with ServerProcess(variables=provider_variables(replay.url)) as server:
            async with agent_stub(server.target) as stub:
                for ask, end in WAYS:
                    delays = [await delay(replay, stub, ask, end) for _ in range(rounds)]
                    median, longest = statistics.median(delays), max(delays)
                    which = f"{ask.__name__}, {end.__name__}"
                    print(f"{which}: {median * 1000:.1f} ms (median), {longest * 1000:.1f} ms (longest) of {rounds}")
                    assert median < MEDIAN_SECONDS, which
                    assert longest < LONGEST_SECONDS, which


async def delay(replay: ReplayServer, stub: Stub, ask: Ask, end: Leave) -> float:
    """The seconds from the caller's leaving to the end of the upstream."""
    number = len(replay.records)
    call = ask(stub)
    record, stream_id = await asked(replay, number), await id_of_the_only_stream(stub)
    left_at = time.monotonic()
    await end(stub, call, stream_id)
    closed_at = await replay.wait_closed(record)
    call.cancel()
    await none_is_left(stub)
    return closed_at - left_at


@pytest.mark.parametrize(
    ("keepalive", "detach"),
    [(0.6, 0.5), pytest.param(30, 60, marks=[pytest.mark.chaos, pytest.mark.timeout(180)])],
    ids=["short-times", "default-times"],
)
@pytest.mark.parametrize("hold", [HOLD_HEAD, IN_THE_MIDDLE], ids=["before-the-first-chunk", "in-the-middle"])
async def test_the_upstream_of_a_caller_that_vanished_is_closed_soon(
    hold: int, keepalive: float, detach: float
) -> None:
    variables = {"HEADWATER_KEEPALIVE_SECONDS": str(keepalive), "HEADWATER_DETACH_SECONDS": str(detach)}
    noticed = keepalive * 4 / 3
    async with ReplayServer(hold=hold) as replay:
        with ServerProcess(variables={**provider_variables(replay.url), **variables}) as server:
            async with (
                Gate(int(server.target.rpartition(":")[2])) as gate,
                agent_stub(gate.target) as stub,
                asyncio.timeout(noticed + detach + SLACK_SECONDS),
            ):
                calls, records = [], {}
                for number, ask in enumerate((stream, run, resumable)):
                    calls.append(ask(stub))
                    records[ask] = await asked(replay, number)
                await gate.quiet(QUIET_SECONDS)  # else the caller may owe an answer, and is noticed sooner
                gate.lose()
                lost_at = time.monotonic()
                for ask, record in records.items():
                    seconds = await replay.wait_closed(record, noticed + detach + SLACK_SECONDS) - lost_at
                    limit = noticed + SLACK_SECONDS + (detach if ask is resumable else 0)
                    print(f"{ask.__name__}: closed after {seconds:.1f} s")
                    assert seconds < limit
                for call in calls:
                    call.cancel()
                    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                        await call.code()
