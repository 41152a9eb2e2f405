"""Random bytes at the port and as messages: no crash, no call that ends with INTERNAL or UNKNOWN, flat memory."""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc
import pytest

from tests.support import http2
from tests.support.methods.attacked import attacked, family_memory, is_flat
from tests.support.methods.calls import OPTIONS, call, is_fault, methods_of
from tests.support.methods.maker import RequestMaker
from tests.support.servers.server import ReplayThread, ServerProcess

SEED = 20261129
AT_ONCE = 24
FEW, MANY, ROUNDS = 500, 10_000, 5
LONGEST_SECONDS = 10.0
ADDRESSES = 100
"""Each connection comes from one of so many addresses, or the ports of one would run out."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Bytes:
    """Random bytes of several kinds: none, a preface, right frames with wrong contents."""

    def __init__(self) -> None:
        self._chance = random.Random(SEED)  # noqa: S311  repeatable, not secret

    def some(self, most: int = 300) -> bytes:
        """Any bytes."""
        return self._chance.randbytes(self._chance.randrange(most))

    def for_port(self) -> bytes:
        """Bytes for a new connection."""
        kind = self._chance.random()
        if kind < 0.3:
            return self.some()
        if kind < 0.4:
            return self._damaged(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        if kind < 0.5:
            return self._damaged(bytes.fromhex("16030100a5010000a10303") + self.some())
        frames = [self._frame() for _ in range(self._chance.randint(1, 6))]
        whole = http2.PREFACE + frame(http2.SETTINGS, 0, 0, b"") + b"".join(frames)
        return whole if kind < 0.8 else self._damaged(whole)

    def _frame(self) -> bytes:
        kind = self._chance.choice((*range(10), 255))
        stream = self._chance.choice((0, 1, 1, 3, 2, 2**31 - 1))
        return frame(kind, self._chance.choice((0, 1, 4, 5, 255)), stream, self.some(100))

    def damaged(self, message: bytes) -> bytes:
        """A message of which some bytes are others, or missing; or any bytes."""
        return self._damaged(message) if self._chance.random() < 0.7 else self.some()

    def _damaged(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._chance.randint(1, 4)):
            if changed:
                changed[self._chance.randrange(len(changed))] = self._chance.randrange(256)
        return bytes(changed[: self._chance.randint(0, len(changed))] if self._chance.random() < 0.3 else changed)


async def side_by_side(count: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Does the work so many times, several at once."""
    left = iter(range(count))

    async def do() -> None:
        for number in left:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(do())


async def send_to_the_port(server: ServerProcess, data: Bytes, count: int) -> Counter[str]:
    """Sends random bytes on so many connections, each until the server has closed it; how they ended."""
    ends: Counter[str] = Counter()
    host, _, port = server.target.rpartition(":")

    async def connect(number: int) -> None:
        own = (f"127.0.1.{number % ADDRESSES + 1}", 0)
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=own)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                writer.write(data.for_port())
                writer.write_eof()
                answer = await reader.read()
                ends["answered and closed" if answer else "closed"] += 1
        except ConnectionError:
            ends["reset"] += 1
        finally:
            writer.transport.abort()

    await side_by_side(count, connect)
    return ends


async def send_as_messages(server: ServerProcess, data: Bytes, count: int) -> Counter[str]:
    """Sends random bytes as the messages of so many calls of all methods; how they ended."""
    ends: Counter[str] = Counter()
    methods = methods_of(server.target)
    chance = random.Random(SEED)  # noqa: S311  repeatable, not secret
    maker = RequestMaker(chance)

    async with grpc.aio.insecure_channel(server.target, options=OPTIONS) as channel:

        async def ask(number: int) -> None:
            method = methods[number % len(methods)]
            message = data.damaged(maker.make(method.request).SerializeToString())
            ending, _ = await call(channel, method, [message], 1)
            ends[ending.code.name] += 1
            assert not is_fault(method, ending), (method.path, ending, message)

        await side_by_side(count, ask)
    return ends


async def is_well(server: ServerProcess) -> bool:
    """Whether the server answers."""
    async with grpc.aio.insecure_channel(server.target, options=OPTIONS) as channel:
        return await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x01"


@pytest.mark.parametrize("send", [send_to_the_port, send_as_messages])
async def test_random_bytes_are_refused_and_the_server_continues(replay: ReplayThread, send) -> None:
    with attacked(replay.url, 1) as server:
        print(dict(await send(server, Bytes(), FEW)))
        assert await is_well(server)


@pytest.mark.chaos
@pytest.mark.timeout(3_600)
async def test_100000_random_byte_strings_leave_the_memory_flat(replay: ReplayThread) -> None:
    data, ends, sizes = Bytes(), Counter[str](), []
    with attacked(replay.url, 2) as server:
        for _ in range(ROUNDS):
            ends += await send_to_the_port(server, data, MANY)
            ends += await send_as_messages(server, data, MANY)
            sizes.append(family_memory(server))
        print(f"seed {SEED}; {ends.total():,} byte strings: {dict(ends)}")
        print(f"after each {2 * MANY:,}: {sizes} MB")
        assert await is_well(server)
    assert is_flat(sizes)
