"""Readers that stop in the middle of a long reply: they take little memory, harm no other stream, and get the rest later.

Prints what both sides took: `pytest -s -m chaos tests/integration/limits/test_slow_readers.py`.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from headwater import Agent, StreamTimeoutError
from headwater.agent import AgentStream
from tests.support.servers.server import ServerProcess, provider_variables

PIECE = 1_000
MIB = 2**20
PROVIDER = """
import asyncio, json, sys

def event(number):
    delta = {"content": f"{number:07} " + "x" * (%(piece)d - 9) + "\\n"}
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\\n\\n"

async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\\r")[0])
    await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n\\r\\n")
    try:
        for number in range(int(sys.argv[1])):
            writer.write(event(number))
            await writer.drain()
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        writer.write(b"data: " + json.dumps(end).encode() + b"\\n\\ndata: [DONE]\\n\\n")
        await writer.drain()
    except OSError:
        pass
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def digest_of(pieces: int) -> str:
    text = hashlib.sha256()
    for number in range(pieces):
        text.update((f"{number:07} " + "x" * (PIECE - 9) + "\n").encode())
    return text.hexdigest()


class LongReplies:
    """A provider in another process, so that its memory is not counted: every reply has so many pieces."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces

    def __enter__(self) -> str:
        command = [sys.executable, "-c", PROVIDER % {"piece": PIECE}, str(self._pieces)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def pieces(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The address of a provider, and how many pieces its replies have."""
    with LongReplies(request.param) as url:
        yield url, request.param


def taken(server: ServerProcess) -> int:
    """The memory of the server and of this process, in bytes."""
    gc.collect()
    return sum(psutil.Process(pid).memory_info().rss for pid in (server.process.pid, os.getpid()))


async def pace_of(agent: Agent, words: int) -> float:
    """Seconds that a live stream of so many words takes that come every 10 ms."""
    options = {"text": "word " * words, "delay_ms": 10}
    began = time.monotonic()
    async for _ in agent.stream("Hi", provider="scripted", provider_options={"scripted": options}):
        pass
    return time.monotonic() - began


async def digest_of_rest(stream: AgentStream, first: str) -> str:
    text = hashlib.sha256(first.encode())
    async for chunk in stream:
        text.update(chunk.content.encode())
    return text.hexdigest()


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize(
    ("readers", "pieces", "most_mib"),
    [(10, 1_000, 64), pytest.param(100, 10_000, 64, marks=[pytest.mark.chaos, pytest.mark.timeout(280)])],
    indirect=["pieces"],
)
async def test_readers_that_stop_take_little_memory_harm_no_live_stream_and_get_the_rest(
    readers, pieces, most_mib, resumable
):
    url, count = pieces
    with ServerProcess("--scripted", variables=provider_variables(url)) as server:
        agent = Agent(target=server.target)
        alone = await pace_of(agent, 50)
        before = taken(server)
        streams = [agent.stream("Hi", model="gpt-4o", history=0, resumable=resumable) for _ in range(readers)]
        firsts = [await anext(stream) for stream in streams]
        beside = await pace_of(agent, 50)
        await asyncio.sleep(0.02 * readers)  # the server reads ahead of them by itself; for 100 readers in 2 s
        grown = taken(server) - before
        print(
            f"{readers} readers stopped after a chunk of {count * PIECE / 1e6:g} MB, resumable {resumable}: "
            f"{grown / MIB:.1f} MiB more, a live stream took {beside:.2f} s, alone {alone:.2f} s"
        )
        assert grown < most_mib * MIB
        assert beside < 2 * alone + 1
        digests = []
        while streams:  # a few at a time: the client keeps the text of a reply to its end
            some = [digest_of_rest(streams.pop(), firsts.pop().content) for _ in range(min(10, len(streams)))]
            digests += await asyncio.gather(*some)
    assert digests == [digest_of(count)] * readers


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_reader_of_a_plain_stream_that_takes_nothing_is_ended_and_keeps_its_text(processes):
    with LongReplies(1_000) as url:
        variables = {**provider_variables(url), "HEADWATER_IDLE_READER_SECONDS": "0.4"}
        with ServerProcess(variables=variables, processes=processes) as server:
            stream = Agent(target=server.target).stream("Hi", model="gpt-4o", resumable=False)
            first = await anext(stream)
            async with asyncio.timeout(10):
                while "STREAM_TIMEOUT" not in server.log:
                    await asyncio.sleep(0.05)
            with pytest.raises(StreamTimeoutError, match=r"nothing was read for 0\.4 seconds") as caught:
                async for _ in stream:
                    pass
    text = caught.value.partial_response
    assert text.startswith(first.content)
    assert len(text) < 1_000 * PIECE
    assert [line[:7] for line in text.splitlines()][:2] == ["0000000", "0000001"]
