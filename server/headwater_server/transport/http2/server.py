"""A gRPC server in the event loop, with the interface of `grpc.aio.server()`, without a thread and without a queue."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
from grpc import aio

from headwater_server.transport.http2.calls.call import Call
from headwater_server.transport.http2.calls.context import Context
from headwater_server.transport.http2.calls.held import Held, Share
from headwater_server.transport.http2.calls.messages import RefusedError
from headwater_server.transport.http2.calls.metadata import NoCallError, read_head, trailers
from headwater_server.transport.http2.calls.methods import Methods
from headwater_server.transport.http2.calls.no_call import NoCall
from headwater_server.transport.http2.calls.unpacking import Unpacker
from headwater_server.transport.http2.headers import Fields
from headwater_server.transport.http2.limits import DEFAULT_LIMITS, Limits
from headwater_server.transport.http2.link import READ_BYTES, Link
from headwater_server.transport.http2.listening import BACKLOG, Handshakes, Listeners, TlsListener
from headwater_server.transport.http2.stream import Stream

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 0.2
"""How long the ends of calls may take to go out when a server stops."""


class Server(aio.Server):
    """A server, from `start` to `stop`.

    Args:
        interceptors: around each call, outermost first.
        limits: how much callers may take.
        shares_port: whether other processes may listen on its port too.
    """

    def __init__(
        self,
        interceptors: Sequence[aio.ServerInterceptor] = (),
        limits: Limits = DEFAULT_LIMITS,
        *,
        shares_port: bool = False,
    ) -> None:
        self._limits = limits
        self._listeners = Listeners(shares_port=shares_port)
        self._bound: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._listening: list[asyncio.Server | TlsListener] = []
        self._handshakes = Handshakes(self._make, limits.preface_seconds)
        self._links: dict[Link, Share] = {}
        self._calls: dict[asyncio.Task[None], Callable[[asyncio.Task[None]], None]] = {}
        self._pending: set[Context] = set()
        self._methods = Methods(interceptors, self._pending.discard, self._ended)
        self._held = Held(limits.max_held_bytes)
        self._unsent = 0
        self._relieving: asyncio.Handle | None = None
        self._unpacker = Unpacker(limits.max_message_bytes)
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._stopping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._latest: asyncio.Timeout | None = None
        self._alone = asyncio.Event()
        self._terminated = asyncio.Event()

    # --- before it starts

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Adds handlers that are asked for methods without a name here."""
        self._methods.add_generic(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Adds the methods of a service."""
        self._methods.add_named(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Binds an address; the port. Raises RuntimeError."""
        return self._bind(address, None)

    def add_secure_port(self, address: str, server_credentials: Any) -> int:
        """Binds an address for TLS; the port. Raises RuntimeError.

        Args:
            address: the address.
            server_credentials: an `ssl.SSLContext`, not one of gRPC's; it must offer ALPN `h2`.
        """
        if not isinstance(server_credentials, ssl.SSLContext):
            raise TypeError("this server needs an ssl.SSLContext: gRPC's credentials do not say what they have")
        return self._bind(address, server_credentials)

    def _bind(self, address: str, tls: ssl.SSLContext | None) -> int:
        found, port = self._listeners.bind(address)
        self._bound += [(one, tls) for one in found]
        return port

    async def start(self) -> None:
        """Takes calls."""
        loop = self._loop = asyncio.get_running_loop()
        while self._bound:
            bound, tls = self._bound.pop()
            if tls is not None:
                self._listening.append(TlsListener(bound, partial(self._accepted, tls)))
                continue
            create = loop.create_unix_server if bound.family == socket.AF_UNIX else loop.create_server
            self._listening.append(await create(self._make, sock=bound, backlog=BACKLOG))

    # --- connections and calls

    def _make(self) -> Link:
        return Link(self, self._limits, self._buffer)

    def _accepted(self, tls: ssl.SSLContext, accepted: socket.socket) -> None:
        """A connection for TLS has come."""
        most = self._limits.max_connections
        if most and len(self._links) + len(self._handshakes) >= most and not self._handshakes.end_long_one():
            accepted.close()
        else:
            self._handshakes.begin(accepted, tls)

    def link_made(self, link: Link) -> bool:
        """A connection has come; whether there is room for it. The handshake of TLS may outlast the server."""
        most = self._limits.max_connections
        if self._stopping is not None or (most and len(self._links) >= most):
            return False
        self._links[link] = Share(self._held)
        return True

    def link_lost(self, link: Link) -> None:
        """A connection has gone."""
        self._links.pop(link, None)
        if not self._links:
            self._alone.set()

    def held(self, step: int) -> None:
        """Streams of a connection hold so many bytes more, or fewer, that its caller does not take yet."""
        self._unsent += step
        most = self._limits.max_unsent_bytes
        if most and self._unsent > most and self._relieving is None:
            self._relieving = asyncio.get_running_loop().call_soon(self._relieve)  # not while a stream sends

    def _relieve(self) -> None:
        self._relieving = None
        while self._unsent > self._limits.max_unsent_bytes:
            max(self._links, key=_unsent_of).give_up_largest()

    def stream_opened(self, link: Link, stream: Stream, fields: Fields) -> None:
        """A call has come: it begins in a task, or ends here."""
        most = link.connection.sending.max_header_bytes
        try:
            if fields.size > self._limits.max_header_bytes:
                why = f"the metadata has more than {self._limits.max_header_bytes} bytes"
                raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
            head = fields.note = fields.note or read_head(fields)
            if self._methods.find(head.path, head.metadata) is None:
                raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            if self._limits.max_pending_calls and len(self._pending) >= self._limits.max_pending_calls:
                why = f"{len(self._pending)} calls wait for their beginning; try again"
                raise RefusedError(grpc.StatusCode.UNAVAILABLE, why)
        except NoCallError as error:
            stream.user = NoCall(stream, error.status, has_body=error.method != b"HEAD")
            return
        except RefusedError as error:
            stream.finish(trailers(error.code, error.message, (), most, alone=True))
            return
        most, share = self._limits.max_message_bytes, self._links[link]
        call = stream.user = Call(stream, head, link.peer, most, self._unpacker, share, self._loop)
        context = Context(call)
        self._pending.add(context)
        task = context.task = self._loop.create_task(self._methods.answer(context))
        call.on_left = task.cancel
        self._calls[task] = failed = partial(self._failed, context)
        task.add_done_callback(failed)

    def _failed(self, context: Context, task: asyncio.Task[None]) -> None:
        """The task of a call was cancelled, or has a fault."""
        self._pending.discard(context)  # a task that is cancelled early has not begun
        del self._calls[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the call of [%s] could not be ended", context.call.head.path, exc_info=error)
        self._release(context)

    def _ended(self, context: Context) -> None:
        """The handler of a call has ended: here, for a callback of its task would take another round of the loop."""
        if (task := context.task) is not None:
            task.remove_done_callback(self._calls.pop(task))
        self._release(context)

    def _release(self, context: Context) -> None:
        call, context.task = context.call, None
        if not call.stream.over:  # the server stops, or has a fault: clients repeat a call that ends so
            call.finish(grpc.StatusCode.UNAVAILABLE, "the server has ended the call")
        call.release()
        for callback in context.callbacks:
            callback(context)

    # --- the end

    async def stop(self, grace: float | None) -> None:
        """Takes no new connections, sends callers elsewhere, and waits for their calls; then ends those that are left.

        Args:
            grace: how long to wait, in seconds; the shortest of several calls counts.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace or 0.0))
        else:
            self._hurry(grace or 0.0)
        await asyncio.shield(self._stopping)

    def _hurry(self, grace: float) -> None:
        when = asyncio.get_running_loop().time() + grace
        if self._latest is not None and when < (self._latest.when() or when):
            self._latest.reschedule(when)

    async def _stop(self, grace: float) -> None:
        for listening in self._listening:
            listening.close()
        for bound, _ in self._bound:
            bound.close()
        self._bound.clear()
        self._listeners.forget()
        await self._handshakes.close()
        for link in list(self._links):
            link.say_goodbye()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace) as self._latest:
                await self._until_alone()
        self._latest = None
        for link in list(self._links):
            link.connection.take_no_more()
        for task in list(self._calls):
            task.cancel()
        while self._calls:
            await asyncio.wait(list(self._calls))
        for link in list(self._links):
            link.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._until_alone()
        for link in list(self._links):
            link.abort()
        await self._until_alone()
        self._terminated.set()

    async def _until_alone(self) -> None:
        """Waits until there is no connection."""
        while self._links:
            self._alone.clear()
            await self._alone.wait()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Waits until the server has stopped; whether that took longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._terminated.wait()
        except TimeoutError:
            return True
        return False


def _unsent_of(link: Link) -> int:
    return link.unsent
