"""One channel for each event loop and server, shared by all agents, closed when its loop is.

A `Connection` has private channels, one for each loop that uses it; it can close them earlier.

Theory of operation. A grpc.aio channel belongs to the loop it was made on: carried into a second `asyncio.run` it fails
with "Event loop is closed". A library cannot learn that a loop is about to close, with one exception: asyncio closes
async generators that were begun on a loop before it closes the loop (`shutdown_asyncgens`; `asyncio.run` does this, and
so do uvloop, pytest-asyncio and web servers). So an async generator is begun on the loop and parked at its `yield`; its
`finally` ends the streams, closes the channels, and waits for completions that gRPC's own thread still delivers.

A channel whose last attempt to connect has failed would report that failure to the calls of the next moments too. A
call that finds one gets a new channel, which connects now. The failed one closes as it is freed: calls over a
connection that it had before end by themselves.

A loop that is closed without `shutdown_asyncgens` leaves its entry behind. The next use of any loop drops it, and the
channels close as they are freed.

A process that is forked while a channel is open cannot use gRPC: its threads are gone and its state is shared with the
parent. Measured in the child: a hang or an abort, also with a new channel. With no channel open at the fork,
gRPC works in the child. So the child remembers whether one was, and refuses with ForkError instead of hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from headwater._grpc.loading import fork_advice, grpc, is_loaded, load
from headwater._grpc.patched import check_not_patched
from headwater._grpc.server import Server, is_loopback
from headwater._grpc.tls.files import TlsFiles
from headwater._values.background import report_death
from headwater.exceptions import ForkError

if TYPE_CHECKING:
    from headwater.v1.agent_service_pb2_grpc import AgentServiceAsyncStub
    from headwater.v1.operator_service_pb2_grpc import OperatorServiceAsyncStub
    from headwater.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub
    from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceAsyncStub

_LATE_COMPLETIONS_SECONDS = 0.05
_CLOSE_SECONDS = 5.0
_LEAVE_SECONDS = 2.0
_NOTICE_SECONDS = 0.25
_LOOK_SECONDS = 0.002

# A server that ends refuses the calls that are on their way just then by a bare CANCELLED, before they have begun. They
# are safe to repeat: the headers of a stream that has begun come at once, and after them gRPC does not repeat it. Of
# the calls about runs, it repeats those that do the same however often they come. A start has a request_id.
_REPEATED_OF_WORKFLOWS = (
    "ValidateWorkflow",
    "StartWorkflowRun",
    "WatchWorkflowRun",
    "GetWorkflowRun",
    "ListWorkflowRuns",
    "CancelWorkflowRun",
)
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": "headwater.v1.AgentService"},
                    {"service": "headwater.v1.OperatorService"},
                    *({"service": "headwater.v1.WorkflowService", "method": name} for name in _REPEATED_OF_WORKFLOWS),
                ],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.02s",
                    "maxBackoff": "0.2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["CANCELLED"],
                },
            }
        ]
    }
)
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    # A reader that stops must stop the server soon: no probe that grows the window, and a small look-ahead.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16 * 1024),
    # Channels of one process share connections, and their failures, unless each has this option.
    ("grpc.use_local_subchannel_pool", 1),
    # A server that comes back is found within a second; an address that swallows packets is given up after 5.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A peer that vanished without a word is noticed; the timeout is the one that gRPC honours.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # Else gRPC sends no third ping while the client only listens, as it does for the whole of a stream.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_send_message_length", 32 * 1024 * 1024),
)


Wanted: TypeAlias = Callable[[Hashable, str], bool]
"""Whether a channel is meant, by its owner and its target."""


class Interruptible(Protocol):
    """A stream that can be ended from any thread."""

    def interrupt(self) -> None:
        """End it now, and let its reader know."""


_begun: set[asyncio.Task[None]] = set()
"""The loop itself holds tasks only weakly."""


class Leaving:
    """Work that ends a stream for its server. Where its loop ends first, its channel does the work before it closes.

    Args:
        work: the work; doing it twice does no harm.
        channel: carried the stream; None for none.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], channel: OpenChannel | None) -> None:
        self._work = work
        self._channel = channel
        self._task: asyncio.Task[None] | None = None
        if channel is not None:
            channel.leaving.add(self)

    def begin(self) -> None:
        """Begin the work, on the loop of the channel."""
        self._task = asyncio.create_task(self._do(), name="headwater leaving")
        report_death(self._task, "leaving a stream")
        _begun.add(self._task)
        self._task.add_done_callback(_begun.discard)

    async def finish(self) -> None:
        """Do the work, or wait for it."""
        if self._task is None or self._task.cancelled():
            await self._do()
        else:
            await asyncio.wait([self._task])

    async def _do(self) -> None:
        await self._work()
        if self._channel is not None:
            self._channel.leaving.discard(self)


class OpenChannel:
    """A channel to a server, the stubs over it, and the streams that run over it.

    Args:
        server: where it leads.
        failed: the channel that it replaces, whose streams belong to it now.
    """

    def __init__(self, server: Server, failed: OpenChannel | None = None) -> None:
        self.streams: weakref.WeakSet[Interruptible] = weakref.WeakSet() if failed is None else failed.streams
        self.leaving: set[Leaving] = set()
        self._files, self._stamp = server.files, server.files.stamp()
        proxy = [("grpc.enable_http_proxy", 0)] if is_loopback(server.address) else []
        options = [*_OPTIONS, *proxy]
        if server.has_tls:
            credentials = server.files.credentials()
            self.channel = grpc.aio.secure_channel(server.address, credentials, options=options)
        else:
            self.channel = grpc.aio.insecure_channel(server.address, options=options)
        # Not at the top: these modules import gRPC.
        from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
        from headwater.v1.operator_service_pb2_grpc import OperatorServiceStub
        from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
        from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub

        self.agents: AgentServiceAsyncStub = AgentServiceStub(self.channel)
        self.workflows: WorkflowServiceAsyncStub = WorkflowServiceStub(self.channel)
        self.workers: WorkerServiceAsyncStub = WorkerServiceStub(self.channel)
        self.operators: OperatorServiceAsyncStub = OperatorServiceStub(self.channel)

    @property
    def has_failed(self) -> bool:
        """Whether its last attempt to connect has failed, or its files of TLS are no longer those that it has read."""
        if self._stamp != self._files.stamp():
            return True
        return self.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def notice_loss(self) -> None:
        """After the loss of a connection, wait until the channel has noticed it.

        gRPC ends the calls first. Then it ends the write that it has begun, and only then the connection leaves the
        channel. A call that is made in that moment is sent over the lost connection.

        A channel that stays connected, as one to a proxy does that has lost its server, is waited for 0.25 s.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOTICE_SECONDS):
                # gRPC's own wait would leave a watch behind in a channel that stays connected.
                while self.channel.get_state() is grpc.ChannelConnectivity.READY:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """End the streams and close the channel."""
        for stream in list(self.streams):
            stream.interrupt()
        if self.leaving:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await asyncio.gather(*(leaving.finish() for leaving in list(self.leaving)))
        await self.channel.close()


class LoopChannels:
    """The channels of one event loop, by owner, target and files of TLS."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._open: dict[tuple[Hashable, str, TlsFiles], OpenChannel] = {}
        self._closer = _close_with_loop(loop, self)
        # Runs it to its yield; that it was begun on the running loop is what makes asyncio close it.
        with contextlib.suppress(StopIteration):
            self._closer.__anext__().send(None)

    def to(self, server: Server) -> OpenChannel:
        """The channel that this loop has to a server, opened if need be.

        Make the call before the next `await`, and keep no variable: a channel that failed closes when it is freed, and
        the traceback of an exception keeps variables.
        """
        key = server.owner, server.target, server.files
        found = self._open.get(key)
        if found is None or found.has_failed:
            found = self._open[key] = OpenChannel(server, found)
        return found

    def has(self, wanted: Wanted) -> bool:
        """Whether one of these channels is open."""
        return any(wanted(owner, target) for owner, target, _ in list(self._open))

    def abandon(self) -> None:
        """Drop the channels of a loop that is closed already; they close as they are freed."""
        self._open.clear()

    async def close(self) -> None:
        """End all streams and close all channels."""
        opened = list(self._open.values())
        self._open.clear()
        for channel in opened:
            await channel.close()

    async def close_those(self, wanted: Wanted) -> None:
        """End the streams and close the channels that are wanted."""
        for key in [key for key in self._open if wanted(*key[:2])]:
            await self._open.pop(key).close()


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
    check_process()
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


async def open_channel(server: Server) -> OpenChannel:
    """The running loop's channel to a server, opened if need be; see `LoopChannels.to`.

    The first call of a process loads gRPC.

    Raises:
        ForkError: in a process that was forked while its parent had a channel open.
    """
    check_process()
    if not is_loaded():
        await asyncio.to_thread(load)
    return channels_of_running_loop().to(server)


async def close_owned(owner: Hashable) -> None:
    """Close the channels of an owner on every loop. A loop that does not run closes its own when it is closed."""
    await _close_those(lambda of, _: of == owner)


async def close_target(target: str) -> None:
    """Close the channels to a server on every loop, as `close_owned` does."""
    await _close_those(lambda _, to: to == target)


async def _close_those(wanted: Wanted) -> None:
    here = asyncio.get_running_loop()
    elsewhere: list[asyncio.Future[None]] = []
    with _lock:
        loops = list(_loops.items())
    for loop, channels in loops:
        if loop is not here and loop.is_running() and channels.has(wanted):
            with contextlib.suppress(RuntimeError):  # it was closed in this moment, and its channels with it
                closing = asyncio.run_coroutine_threadsafe(channels.close_those(wanted), loop)
                elsewhere.append(asyncio.wrap_future(closing))
    if here in _loops:
        await _loops[here].close_those(wanted)
    if elsewhere:
        await asyncio.wait(elsewhere, timeout=_CLOSE_SECONDS)  # a loop that is blocked closes its own later


def check_process() -> None:
    """Raise ForkError, or HeadwaterError in a process that is patched, where gRPC would hang."""
    check_not_patched()
    if _forked_with_open_channels:
        raise ForkError(
            "this process was forked while its parent had a connection to Headwater open, and gRPC does not survive "
            "that. Fork before the parent's first call (agents may be made before), or start the process with spawn: "
            'multiprocessing.set_start_method("spawn")' + fork_advice()
        )


def _after_fork_in_child() -> None:
    global _forked_with_open_channels, _lock
    _lock = threading.Lock()
    # The entries stay: freeing a channel here would hang.
    _forked_with_open_channels = _forked_with_open_channels or bool(_loops)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
