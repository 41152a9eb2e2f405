"""One streamed call: an async iterator over its chunks that never outlives the caller's interest.

Not a native async generator on purpose. Python closes those some time after `break` (the event loop schedules it), or
at the end of the loop when they are only dropped; a plain object is freed with its last reference, and its `__del__`
cancels the RPC there and then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
from google.protobuf.struct_pb2 import Struct

from headwater._channels import channels_of_running_loop
from headwater._chunks import to_chunk
from headwater._errors import to_exception
from headwater._history import Exchange, Reply
from headwater._request import PreparedCall, check_size
from headwater.exceptions import HeadwaterError, StreamInterruptedError
from headwater.streaming import StreamChunk

if TYPE_CHECKING:
    from headwater.v1.agent_pb2 import StreamChunk as WireChunk
    from headwater.v1.agent_service_pb2 import StreamRequest

STREAM_ID_HEADER = "headwater-stream-id"

FindProvider = Callable[[PreparedCall], Coroutine[Any, Any, str]]


class AgentStream:
    """The chunks of a reply, as they come. `Agent.stream` makes it.

    Nothing is sent before the first chunk is asked for. Leaving the loop early, dropping the object, `aclose()` and
    leaving an `async with` all end the call at once. It belongs to the event loop that asked for the first chunk.

    Attributes:
        stream_id: the server's id of the stream, known once the server has accepted it; None before.
    """

    def __init__(self, call: PreparedCall, exchange: Exchange | None, find_provider: FindProvider) -> None:
        self.stream_id: str | None = None
        self._prepared = call
        self._exchange = exchange
        self._find_provider = find_provider
        self._reply = Reply()
        self._started = False  # a chunk has come
        self._complete = False  # the final chunk has come
        self._ended = False
        self._reading = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._call: grpc.aio.UnaryStreamCall[StreamRequest, WireChunk] | None = None
        self._lookup: asyncio.Task[str] | None = None

    def __aiter__(self) -> AgentStream:
        return self

    if not TYPE_CHECKING:  # type checkers refuse both mistakes by themselves, as long as they do not see these

        def __await__(self) -> NoReturn:
            raise TypeError(
                "a stream is not awaited: write `async for chunk in agent.stream(...)`, or `await agent.arun(...)` for "
                "the whole reply"
            )

        def __iter__(self) -> NoReturn:
            raise TypeError(
                "a stream is read with `async for chunk in agent.stream(...)`; without async write "
                "`for chunk in agent.stream_sync(...)`"
            )

    async def __anext__(self) -> StreamChunk:
        if self._ended:
            raise StopAsyncIteration
        if self._reading:
            raise RuntimeError("another task already waits for the next chunk of this stream")
        self._reading = True
        try:
            message = await self._read()
        except grpc.aio.AioRpcError as error:
            if self._complete:  # the reply is whole; what happened to the connection after it does not matter
                message = None
            else:
                raise self._failed(error) from None
        except asyncio.CancelledError:
            self.cancel()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise StreamInterruptedError("the stream was closed while it was read", self._reply.text) from None
        except BaseException:
            self.cancel()
            raise
        finally:
            self._reading = False
        if message is not None:
            return self._take(message)
        self._ended = True
        if self._complete:
            raise StopAsyncIteration
        self._keep_partial()
        raise StreamInterruptedError("the stream ended without its final chunk", self._reply.text)

    async def _read(self) -> WireChunk | None:
        """The next message; None at the end."""
        if self._call is None:
            call = await self._start()
        elif asyncio.get_running_loop() is self._loop:
            call = self._call
        else:
            raise RuntimeError("this stream was begun on another event loop; read it there")
        message = await call.read()
        return None if message is grpc.aio.EOF else cast("WireChunk", message)

    async def _start(self) -> grpc.aio.UnaryStreamCall[StreamRequest, WireChunk]:
        self._loop = asyncio.get_running_loop()
        channels = channels_of_running_loop()
        prepared = self._prepared
        timeout = prepared.timeout
        if prepared.options is not None:
            began = self._loop.time()
            self._lookup = self._loop.create_task(self._find_provider(prepared))
            provider = await self._lookup
            if self._ended:  # closed just now
                raise asyncio.CancelledError
            _merge(prepared.request.provider_options[provider], prepared.options)
            check_size(prepared.request)
            timeout = None if timeout is None else max(timeout - (self._loop.time() - began), 0.0)
        stub = channels.stub(prepared.server.target)
        self._call = stub.Stream(prepared.request, timeout=timeout, metadata=prepared.server.headers())
        channels.streams.add(self)
        for key, value in await self._call.initial_metadata():
            if key == STREAM_ID_HEADER:
                self.stream_id = str(value)
        return self._call

    def _take(self, message: WireChunk) -> StreamChunk:
        self._started = True
        self._reply.add(message)
        if message.stream_id:
            self.stream_id = message.stream_id
        if message.is_final:
            self._complete = True
            self._keep(interrupted=False)
        return to_chunk(message)

    def _failed(self, error: grpc.aio.AioRpcError) -> HeadwaterError:
        self._ended = True
        target = self._prepared.server.target
        failure = to_exception(
            error,
            target=target,
            partial_response=self._reply.text,
            started=self._started,
            names=self._prepared.names,
        )
        if isinstance(failure, StreamInterruptedError):
            self._keep_partial()
        return failure

    def _keep(self, *, interrupted: bool) -> None:
        exchange, self._exchange = self._exchange, None
        reply = self._reply.message(interrupted=interrupted) if exchange else None
        if exchange and reply:
            exchange.end(reply, interrupted=interrupted)

    def _keep_partial(self) -> None:
        if not self._complete:
            self._keep(interrupted=True)

    def cancel(self) -> None:
        """End the call at once; from any thread. What has come of the reply stays in the history, marked."""
        if self._ended:
            return
        self._ended = True
        self._keep_partial()
        work, loop = self._call or self._lookup, self._loop
        if work is None or loop is None or work.done():
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are its calls
            if loop.is_running() and not _runs_here(loop):
                loop.call_soon_threadsafe(work.cancel)
            else:
                work.cancel()

    async def aclose(self) -> None:
        """End the call at once; no-op when it has ended."""
        self.cancel()

    def __del__(self) -> None:
        self.cancel()

    async def __aenter__(self) -> AgentStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _merge(into: Struct, options: Struct) -> None:
    for key, value in options.fields.items():
        into.fields[key].CopyFrom(value)
