"""Two servers behind one target, under load; each is ended and started again in turn, and no call may fail."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from tests.support.servers.names import NameServer
from tests.support.servers.server import ServerProcess

HOSTS = ("127.0.0.1", "127.0.0.2")
CALLS_IN_BETWEEN = 100
"""How many calls are made before a server is ended, and while it is away."""

PAUSE_SECONDS = 0.05
"""The pause of a caller between its calls, so that a server that starts has time too."""

Call = Callable[[], Awaitable[None]]


@dataclass
class Figures:
    """The outcome of a load.

    Attributes:
        calls: how many calls were made.
        failures: the errors of those that failed, each with its number.
        longest_seconds: the time of the slowest call.
    """

    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0

    def __str__(self) -> str:
        failed = self.failures.total()
        return (
            f"{self.calls} calls, {failed} failed, the longest wait {self.longest_seconds:.3f} s {dict(self.failures)}"
        )


class TwoServers:
    """Two servers at one port of two addresses, from `with` to the end of its block.

    Args:
        processes: how many processes each has.
        named: whether the target is a name that has both addresses, instead of a list of them.
    """

    def __init__(self, processes: int, *, named: bool = False) -> None:
        self._processes = processes
        self._named = named
        self._names = NameServer(HOSTS)
        self._port = _free_port()
        self._running: list[ServerProcess] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._names)
            for host in HOSTS:
                self._running.append(stack.enter_context(self._server(host)))
            stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        with ExitStack() as stack:
            stack.push(self._names)
            for server in self._running:
                stack.push(server)

    @property
    def target(self) -> str:
        """Both addresses, as one target for gRPC."""
        if self._named:
            return f"dns://127.0.0.1:{self._names.port}/headwater.test:{self._port}"
        return "ipv4:" + ",".join(server.target for server in self._running)

    @property
    def port(self) -> int:
        """The port of both."""
        return self._port

    async def until_draining(self, index: int) -> None:
        """Waits until a server has begun to drain, and takes no new connection."""
        while not self._refuses(HOSTS[index]):
            await asyncio.sleep(0.01)

    def _refuses(self, host: str) -> bool:
        try:
            socket.create_connection((host, self._port), 1).close()
        except ConnectionError:
            return True
        return False

    def ask_to_end(self, index: int) -> None:
        """Sends SIGTERM to a server."""
        self._running[index].process.send_signal(signal.SIGTERM)

    def replace(self, index: int) -> None:
        """Waits for the end of a server, and starts another one at its address."""
        ended = self._running[index]
        ended.process.wait(60)  # or its end would be asked for again, which ends the waiting for its calls
        ended.__exit__(None, None, None)
        self._running[index] = self._server(HOSTS[index])
        self._running[index].__enter__()

    def callers(self, index: int) -> int:
        """How many connections have called a server."""
        return len({event["peer"] for event in self._running[index].events if event["event"] == "rpc"})

    def _server(self, host: str) -> ServerProcess:
        return ServerProcess("--scripted", "--host", host, "--port", str(self._port), processes=self._processes)


async def roll(servers: TwoServers, calls: Sequence[Call], rounds: int, spreading: int) -> Figures:
    """Makes the calls again and again, each in a separate task, while the servers are ended and replaced in turn, one a round.

    `spreading` channels spread their calls over both servers: a round begins when each has found the server that was
    replaced in the last one.
    """
    figures, enough = Figures(), asyncio.Event()

    async def call_again_and_again(call: Call) -> None:
        while not enough.is_set():
            began = time.monotonic()
            try:
                await call()
            except Exception as error:  # noqa: BLE001  counted, and reported in the figures
                figures.failures[f"{type(error).__name__}: {str(error)[:300]}"] += 1
            figures.calls += 1
            figures.longest_seconds = max(figures.longest_seconds, time.monotonic() - began)
            await asyncio.sleep(PAUSE_SECONDS)

    async def until(done: Callable[[], bool]) -> None:
        while not done():
            await asyncio.sleep(0.01)

    async def in_between() -> None:
        expected = figures.calls + CALLS_IN_BETWEEN
        await until(lambda: figures.calls >= expected)

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(call_again_and_again(call))
        for number in range(rounds):
            index = number % 2
            await in_between()
            servers.ask_to_end(index)
            await in_between()
            await asyncio.to_thread(servers.replace, index)
            await until(lambda index=index: servers.callers(index) >= spreading)  # type: ignore[misc]
        enough.set()
    return figures


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
