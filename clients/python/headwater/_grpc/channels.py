"""One channel for each event loop and server, shared by all agents, closed when its loop is.

Theory of operation. A grpc.aio channel belongs to the loop it was made on: carried into a second `asyncio.run` it fails
with "Event loop is closed". Nobody tells a library that a loop is about to close, with one exception: asyncio closes
async generators that were begun on a loop before it closes the loop (`shutdown_asyncgens`; `asyncio.run` does this, and
so do uvloop, pytest-asyncio and web servers). So an async generator is begun on the loop and parked at its `yield`; its
`finally` ends the streams, closes the channels, and waits for completions that gRPC's own thread still delivers.

A loop that is closed without `shutdown_asyncgens` leaves its entry behind. The next use of any loop drops it, and the
channels close as they are freed.

A process that is forked while a channel is open cannot use gRPC: its threads are gone and its state is shared with the
parent. Measured in the child: a hang or an abort, also with a channel of its own. With no channel open at the fork,
gRPC works in the child. So the child remembers whether one was, and refuses with ForkError instead of hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol

import grpc

from headwater.exceptions import ForkError
from headwater.v1 import agent_service_pb2_grpc

if TYPE_CHECKING:
    from headwater.v1.agent_service_pb2_grpc import AgentServiceAsyncStub

_LATE_COMPLETIONS_SECONDS = 0.05

_OPTIONS: tuple[tuple[str, int], ...] = (
    # A reader that stops must stop the server soon: no probe that grows the window, and a small look-ahead.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16 * 1024),
    # A server that comes back is found within a second; an address that swallows packets is given up after 5.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A peer that vanished without a word is noticed; the timeout is the one that gRPC honours.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.max_send_message_length", 32 * 1024 * 1024),
)
_LOOPBACK = ("localhost", "127.", "[::1]", "ipv4:127.", "ipv6:[::1]")


class Cancellable(Protocol):
    """A stream that can be ended from any thread."""

    def cancel(self) -> None:
        """End it now."""


class LoopChannels:
    """The channels of one event loop, by target, and the streams that run over them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.streams: weakref.WeakSet[Cancellable] = weakref.WeakSet()
        self._channels: dict[str, tuple[grpc.aio.Channel, AgentServiceAsyncStub]] = {}
        self._owner = _close_with_loop(loop, self)
        # Runs it to its yield; that it was begun on the running loop is what makes asyncio close it.
        with contextlib.suppress(StopIteration):
            self._owner.__anext__().send(None)

    def stub(self, target: str) -> AgentServiceAsyncStub:
        """The service at `target`, over the channel that this loop has to it."""
        self.channel(target)
        return self._channels[target][1]

    def channel(self, target: str) -> grpc.aio.Channel:
        """The channel that this loop has to `target`, for the stubs of the other services."""
        if target not in self._channels:
            proxy = [("grpc.enable_http_proxy", 0)] if target.startswith(_LOOPBACK) else []
            channel = grpc.aio.insecure_channel(target, options=[*_OPTIONS, *proxy])
            self._channels[target] = channel, agent_service_pb2_grpc.AgentServiceStub(channel)
        return self._channels[target][0]

    def abandon(self) -> None:
        """Let go of the channels of a loop that is closed already; they close as they are freed."""
        self._channels.clear()

    async def close(self) -> None:
        """End the streams and close the channels."""
        for stream in list(self.streams):
            stream.cancel()
        for channel, _ in self._channels.values():
            await channel.close()
        self._channels.clear()


_loops: dict[asyncio.AbstractEventLoop, LoopChannels] = {}
_lock = threading.Lock()
_forked_with_open_channels = False


async def _close_with_loop(loop: asyncio.AbstractEventLoop, channels: LoopChannels) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await channels.close()
        await asyncio.sleep(_LATE_COMPLETIONS_SECONDS)
        with _lock:
            _loops.pop(loop, None)


def channels_of_running_loop() -> LoopChannels:
    """The channels of the running loop.

    Raises:
        ForkError: in a process that was forked while its parent had a channel open.
    """
    check_fork()
    loop = asyncio.get_running_loop()
    channels = _loops.get(loop)
    if channels is None:
        with _lock:
            abandoned = [_loops.pop(other) for other in list(_loops) if other.is_closed()]
        for other in abandoned:
            other.abandon()
        channels = LoopChannels(loop)
        with _lock:
            _loops[loop] = channels
    return channels


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """False for gRPC's false alarm: before 1.80 each of several loops tries to read a wake-up that was for one."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, BlockingIOError) and "PollerCompletionQueue" in record.getMessage())


logging.getLogger("asyncio").addFilter(_is_worth_logging)


def check_fork() -> None:
    """Raise ForkError where gRPC would hang."""
    if _forked_with_open_channels:
        raise ForkError(
            "this process was forked while its parent had a connection to Headwater open, and gRPC does not survive "
            "that. Fork before the parent's first call (agents may be made before), or start the process with spawn: "
            'multiprocessing.set_start_method("spawn")'
        )


def _after_fork_in_child() -> None:
    global _forked_with_open_channels, _lock
    _lock = threading.Lock()
    # The entries stay: freeing a channel here would hang.
    _forked_with_open_channels = _forked_with_open_channels or bool(_loops)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
