"""The memory that a resumable stream takes after its end, while it is kept."""

from __future__ import annotations

import asyncio

import pytest

from headwater.v1.agent_service_pb2 import StreamRequest
from headwater_server.eventlog.stream_log import ENTRY_COST
from tests.support.attacks import memory
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub

STREAMS, AT_ONCE, WARM = 2_000, 50, 200
WORDS = 400
TEXT = " ".join(["word"] * WORDS)
"""2 KB."""


async def read(target: str, count: int, *, resumable: bool) -> None:
    """Reads so many streams to their ends, several at once."""
    request = StreamRequest(agent={"model": "scripted/echo"}, prompt="x", resumable=resumable)
    request.agent.provider_options["scripted"].update({"text": TEXT})
    left = iter(range(count))
    async with agent_stub(target) as stub:

        async def work() -> None:
            for _ in left:
                text = "".join([chunk.content async for chunk in stub.Stream(request)])
                assert text == TEXT

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_memory_of_2000_kept_streams() -> None:
    with ServerProcess("--scripted", variables={"HEADWATER_RESUME_MIB": "1024"}) as server:
        await read(server.target, WARM, resumable=False)
        before = memory(server.process.pid)
        await read(server.target, STREAMS, resumable=True)
        kib = (memory(server.process.pid) - before) * 1024 / STREAMS
    counted = (ENTRY_COST * (WORDS + 1) + len(TEXT)) / 1024
    print(f"{kib:.1f} KiB a kept stream of {len(TEXT)} characters in {WORDS} chunks; {counted:.1f} KiB are counted")
    assert kib < counted
