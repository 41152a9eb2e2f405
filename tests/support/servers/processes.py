"""The processes that share a port: their ids, and connections to a chosen one of them.

The kernel chooses the process for each new connection. So connections are made until one has come to the right place,
which the id of a stream tells. With two processes, a hundred tries fail once in 10^30.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from headwater import Agent
from headwater._grpc.channels import channels_of_running_loop
from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.server import ServerProcess

Metadata = tuple[tuple[str, str], ...]

TRIES = 100
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
"""Else channels to one address share a connection."""


def index_of(stream_id: str) -> int:
    """The process that has this stream."""
    return int(stream_id.split("_")[1])


@asynccontextmanager
async def channel_to(target: str, index: int, metadata: Metadata | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """A channel whose connection has come to the process with this index; `scripted` must be there.

    `metadata`: has the token of a caller, where there are callers.
    """
    for _ in range(TRIES):
        async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
            if await _answers(channel, metadata) == index:
                yield channel
                return
    raise AssertionError(f"no connection to {target} came to process {index}")


async def connect_client(target: str, index: int) -> None:
    """Lets the Python client's channel of the running loop come to the process with this index."""
    for _ in range(TRIES):
        stream = Agent(model="scripted/echo", target=target).stream("x")
        async for _ in stream:
            pass
        if index_of(str(stream.stream_id)) == index:
            return
        await channels_of_running_loop().close()
    raise AssertionError(f"no connection to {target} came to process {index}")


async def pid_of(server: ServerProcess, index: int, start: int = 1) -> int:
    """The process with this index, when it has become ready for the `start`th time."""
    found: list[int] = []
    while len(found) < start:
        await asyncio.sleep(0.01)
        ready = [event for event in server.events if event["event"] == "process ready"]
        found = [event["pid"] for event in ready if event["process"] == index]
    return found[start - 1]


async def _answers(channel: grpc.aio.Channel, metadata: Metadata | None) -> int:
    """Which process is at the other end."""
    request = agent_service_pb2.StreamRequest(prompt="x", agent={"model": "scripted/echo"})
    call = AgentServiceStub(channel).Stream(request, metadata=metadata)
    headers = dict(await call.initial_metadata())
    async for _ in call:
        pass
    return index_of(str(headers["headwater-stream-id"]))
