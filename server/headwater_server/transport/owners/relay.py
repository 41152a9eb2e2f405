"""Passes a call on to another process of this server, and its answer back.

Theory of operation. Each process takes the calls of the others on a Unix socket; this module is the calling side. A
call has two directions, and each has its own loop: a task writes the caller's requests to the owner, and the handler
writes the owner's answers to the caller. Each loop awaits its write before it reads again, so a slow reader holds up
the writer on the far side, and between the two waits no more than gRPC's windows hold.

Every kind of call is many requests and many answers here: on the wire a single message is a stream of one. Bytes go
through as they are. Only a request that this process had to read, to find its owner, is written again.

How a call ends, and what is done about it:
- the owner ends it: its status goes to the caller with all details (`interceptors.status_mapping`), and nothing more
  is read of the caller;
- the caller leaves, or its deadline passes: gRPC cancels the handler, which cancels the call to the owner;
- the owner dies: gRPC says UNAVAILABLE without details, as it does to a caller whose own connection is lost;
- the owner cannot be reached, because it is starting again: the call waits for it, but not long;
- the owner hangs: a call that it has not begun to answer ends at once, and others when the supervisor ends the owner;
- this process ends before the owner has ended the call: `drain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from headwater_server.callers.caller import caller
from headwater_server.callers.sealed_caller import NOT_PASSED_ON, CallerSeal
from headwater_server.domain.call_origin import PARENT, STATE, origin
from headwater_server.domain.errors import draining, restarting
from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.transport.handlers import Context
from headwater_server.transport.owners.heartbeats import Heartbeats
from headwater_server.transport.status import is_passable

REACH_SECONDS = 5.0
"""How long a call waits for an owner that cannot be reached; a start takes about one second."""
SILENT_SECONDS = 1.0
"""An owner without a heartbeat for so long hangs; a busy one is late by a tenth of that."""
LOOK_SECONDS = 0.25

OPTIONS = (
    # Both sides have checked what is too large.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A window that grows would take in megabytes of a call that is not read.
    ("grpc.http2.bdp_probe", 0),
    # A process that starts again is found soon.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

Call = grpc.aio.StreamStreamCall[bytes, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """A method that is passed on.

    Attributes:
        path: `/package.Service/Method`.
        parse: makes an answer of bytes; None: it stays bytes.
    """

    path: str
    parse: Callable[[bytes], Any] | None = None


class Relay:
    """The calls from this process to its siblings. `close` it at the end, when no call is left.

    Args:
        identity: which process this is.
    """

    def __init__(self, identity: ProcessIdentity) -> None:
        self._channels = {
            index: grpc.aio.insecure_channel(f"unix:{identity.socket(index)}", options=OPTIONS)
            for index in identity.siblings
        }
        self._heartbeats = Heartbeats(identity.heartbeats, identity.count)
        self._seal = CallerSeal(identity.secret)
        self._calls: set[Call] = set()
        self._unanswered: dict[asyncio.Timeout, int] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = False

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def has_ended(self) -> bool:
        """Whether this process ends, and passes on no more calls."""
        return self._ended

    async def ask(
        self, owner: int, method: Method, request: Message, seconds: float, context: Context | None = None
    ) -> Any:
        """A sibling's answer to a question of this process's own, asked for the caller of a call if there is one.

        Raises AioRpcError, and HeadwaterError (SERVER_DRAINING) when the sibling hangs.
        """
        self._check(owner)
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, Any]
        ask = self._channels[owner].unary_unary(method.path, None, method.parse)
        return await ask(
            request.SerializeToString(), timeout=seconds, metadata=self._metadata(context) if context else ()
        )

    async def pass_on(
        self,
        owner: int,
        method: Method,
        requests: AsyncIterator[Any] | Message,
        context: Context,
        write: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Passes one call on, to its end.

        Args:
            owner: the sibling that answers.
            method: the method of the call.
            requests: the caller's requests, as they come or all at once.
            context: the caller's call.
            write: takes each answer.

        Raises AioRpcError, the owner's own, and HeadwaterError (SERVER_DRAINING) when the owner hangs or cannot be
        reached, or this process ends.
        """
        if self._ended:
            raise draining()
        self._check(owner)
        add_facts(owner=owner)
        call = self._begin(owner, method, context)
        writing = asyncio.create_task(_write_requests(requests, call))
        try:
            headers = await self._reach(owner, call)
            await _pass_back(call, headers, context, write)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # the caller has left
                raise
            if writing.done() and not writing.cancelled():
                writing.result()
            raise draining() from None
        finally:
            call.cancel()
            writing.cancel()
            try:
                await asyncio.wait([writing])
            finally:
                self._end(call)

    def _begin(self, owner: int, method: Method, context: Context) -> Call:
        connect: grpc.aio.StreamStreamMultiCallable[bytes, Any]
        connect = self._channels[owner].stream_stream(method.path, None, method.parse)
        call = connect(timeout=context.time_remaining(), metadata=self._metadata(context), wait_for_ready=True)
        self._calls.add(call)
        self._idle.clear()
        return call

    async def _reach(self, owner: int, call: Call) -> grpc.aio.Metadata:
        """Waits until the owner begins to answer; its headers. Raises HeadwaterError (SERVER_DRAINING)."""
        try:
            async with asyncio.timeout(REACH_SECONDS) as limit:
                self._unanswered[limit] = owner
                if self._looking is None:
                    self._look()
                try:
                    await call.wait_for_connection()
                    limit.reschedule(None)
                    return await call.initial_metadata()
                finally:
                    del self._unanswered[limit]
        except TimeoutError:
            raise restarting() from None

    def _metadata(self, context: Context) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of the caller's call, and whose it is: the owner needs no token or certificate. Where there are
        traces, this one continues below the span of the call here.
        """
        found = _passable(context.invocation_metadata() or ())
        passed = (entry for entry in found if entry[0] not in (*NOT_PASSED_ON, PARENT, STATE))
        trace = ((key, value) for key, value in origin.get().items() if key in (PARENT, STATE))
        return (*passed, *trace, self._seal.sealed(caller.get()))

    def _check(self, owner: int) -> None:
        """Raises HeadwaterError (SERVER_DRAINING) when the owner hangs."""
        if self._heartbeats.silence(owner) > SILENT_SECONDS:
            raise restarting()

    def _look(self) -> None:
        """Ends the waiting for owners that hang, as long as there is any."""
        loop = asyncio.get_running_loop()
        for limit, owner in self._unanswered.items():
            if self._heartbeats.silence(owner) > SILENT_SECONDS and not limit.expired():
                limit.reschedule(loop.time())
        self._looking = loop.call_later(LOOK_SECONDS, self._look) if self._unanswered else None

    def _end(self, call: Call) -> None:
        self._calls.discard(call)
        if not self._calls:
            self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Waits up to `seconds` until the owners have ended the calls, ends those that are left, and takes no more."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            for call in list(self._calls):
                call.cancel()
        self._ended = True

    async def close(self) -> None:
        """Closes the connections."""
        if self._looking:
            self._looking.cancel()
        self._heartbeats.close()
        for channel in self._channels.values():
            await channel.close()


async def _pass_back(
    call: Call, headers: grpc.aio.Metadata, context: Context, write: Callable[[Any], Awaitable[None]]
) -> None:
    """Writes what the owner says. Raises AioRpcError; CancelledError when the call was cancelled from here."""
    # Empty headers go out with the next message, as they do from the owner.
    if passable := _passable(headers):
        await context.send_initial_metadata(passable)
    while (message := await call.read()) is not grpc.aio.EOF:
        await write(message)
    if trailers := _passable(await call.trailing_metadata()):
        context.set_trailing_metadata(trailers)


async def _write_requests(requests: AsyncIterator[Any] | Message, call: Call) -> None:
    """Writes what the caller says, until it has said all or the call has ended."""
    try:
        await call.wait_for_connection()
        if isinstance(requests, Message):
            await _write(call, requests.SerializeToString())
        else:
            async for message in requests:
                await _write(call, message)
        await call.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.InternalError):
        pass  # the call has ended; `_pass_back` has its status
    except Exception:
        call.cancel()  # otherwise the error would be lost
        raise


async def _write(call: Call, message: bytes) -> None:
    """Writes one message. Raises grpc.aio.InternalError when the call has ended.

    `call.write` would then invent a status INTERNAL, before the owner's status and its last answers have been read, and
    `call.read` would believe it.
    """
    await call._cython_call.send_serialized_message(message)  # type: ignore[attr-defined]


def _passable(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in metadata if is_passable(key, value))
