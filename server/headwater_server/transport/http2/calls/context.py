"""The context of a call, with the interface of `grpc.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc
from grpc import aio

from headwater_server.transport.http2.calls.call import Call
from headwater_server.transport.http2.calls.metadata import Metadata

YIELD_AFTER = 32
"""A handler that writes so many messages to a caller who takes them at once lets other calls have the loop."""


class Context(aio.ServicerContext[Any, Any]):
    """A call, for its handler.

    Args:
        call: the call itself.

    Attributes:
        call: the same, which takes bytes without waiting.
        task: in which the handler runs; None when it has ended.
        callbacks: called with this when the handler has ended.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self._parse: Callable[[bytes], Any] | None = None
        self._serialize: Callable[[Any], bytes] | None = None
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._metadata: Metadata = ()
        self.callbacks: list[Callable[[Any], None]] = []
        self._written = 0
        self.task: asyncio.Task[None] | None = None

    def use(self, handler: Any) -> None:
        """Reads and writes messages as the handler does."""
        self._parse, self._serialize = handler.request_deserializer, handler.response_serializer

    # --- messages

    async def read(self) -> Any:
        """The next request; `grpc.aio.EOF` when the caller has sent all."""
        message = await self.call.read()
        if message is None:
            return aio.EOF
        return message if self._parse is None else self._parse(message)

    async def write(self, message: Any) -> None:
        """Sends a response, and waits until it has gone out. Raises InternalError when the call has ended."""
        writing = self.write_last(message)
        del message  # the caller may take its bytes late
        await writing
        self.call.stream.flush()
        self._written += 1
        if self._written >= YIELD_AFTER:
            self._written = 0
            await asyncio.sleep(0)

    async def write_last(self, message: Any) -> None:
        """As `write`, for a response that the status follows at once: both go out together."""
        data = message if self._serialize is None else self._serialize(message)
        del message
        if not await self.call.send(data):
            raise aio.InternalError("the call has ended")

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Sends the first headers. Raises ValueError when they were sent, and for metadata that cannot be sent."""
        if self.call.has_headers:
            raise ValueError("Initial metadata no longer allowed!")
        self.call.send_headers(initial_metadata)

    # --- the status

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call with this status, by an AbortError."""
        if code is grpc.StatusCode.OK:
            raise ValueError("abort needs another code than OK")
        self._code, self._details = code, details
        if trailing_metadata:
            self._metadata = trailing_metadata
        raise aio.AbortError("Locally aborted.")

    def finish(self) -> None:
        """Ends the call with the status that was set; OK where none was."""
        self.call.finish(self._code or grpc.StatusCode.OK, self._details, self._metadata or ())

    async def abort_with_status(self, status: Any) -> NoReturn:
        """Ends the call with this status, by an AbortError."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Sends this with the status."""
        self._metadata = trailing_metadata

    def trailing_metadata(self) -> Any:
        """The metadata that goes with the status."""
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the code with which the call ends."""
        self._code = code

    def code(self) -> grpc.StatusCode:
        """The code with which the call ends; OK where none was set."""
        return self._code or grpc.StatusCode.OK

    def set_details(self, details: str) -> None:
        """Sets the message with which the call ends."""
        self._details = details

    def details(self) -> str:
        """The message with which the call ends."""
        return self._details

    def set_compression(self, compression: Any) -> None:
        """Does nothing: responses go out as they are, which every caller reads."""

    def disable_next_message_compression(self) -> None:
        """Does nothing: responses go out as they are."""

    # --- the caller

    def invocation_metadata(self) -> Any:
        """The metadata of the caller."""
        return self.call.head.metadata

    def peer(self) -> str:
        """The address of the caller."""
        return self.call.peer.name

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """The facts of the caller's certificate; empty without TLS."""
        return self.call.peer.auth_context

    def peer_identity_key(self) -> str | None:
        """The key in `auth_context` of the names by which the caller is known."""
        return self.call.peer.identity_key

    def peer_identities(self) -> Iterable[bytes] | None:
        """The names by which the caller is known; None for one without a certificate."""
        key = self.peer_identity_key()
        return None if key is None else self.auth_context()[key]

    # --- its time

    def time_remaining(self) -> float | None:  # type: ignore[override]
        """Seconds to the deadline; None: there is none."""
        deadline = self.call.deadline
        return None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())

    def cancel(self) -> None:
        """Ends the call with CANCELLED, and its handler."""
        self.call.finish(grpc.StatusCode.CANCELLED, "the server has cancelled the call")
        if self.task is not None:
            self.task.cancel()

    def cancelled(self) -> bool:
        """Whether the caller has left, or the deadline has passed."""
        return self.call.has_left

    def done(self) -> bool:
        """Whether the call has ended."""
        return self.call.stream.over

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls this with the context when the handler has ended."""
        self.callbacks.append(callback)


class Requests(AsyncIterator[Any]):
    """The requests of a call as an iterator.

    Args:
        context: of the call.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __anext__(self) -> Any:
        message = await self._context.read()
        if message is aio.EOF:
            raise StopAsyncIteration
        return message

    async def aclose(self) -> None:
        """Reads no more; nothing is kept here."""
