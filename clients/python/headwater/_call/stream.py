"""One streamed call: an async iterator over its chunks that never outlives the caller's interest.

Not a native async generator on purpose. Python closes those some time after `break` (the event loop schedules it), or
at the end of the loop when they are only dropped; a plain object is freed with its last reference, and its `__del__`
cancels the RPC there and then.

A call is several RPCs: with tools one a round (`_tools.rounds`), and one each time that a lost connection is replaced
(`_call.resuming`). The work of the moment, the look-up of a provider, an RPC or the tools, is `_work`, which a
cancellation from any thread ends. That thread first sets `_ended` and then looks at `_work`; the loop first sets
`_work` and then looks at `_ended`: so one of them sees the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from headwater._call.chunks import to_chunk
from headwater._call.failures import Begun, failure_of, not_accepted
from headwater._call.history import Exchange, Reply, closed
from headwater._call.request import PreparedCall, check_size, merge_struct
from headwater._call.resuming import Resumption, has_ended, id_of, leave, read_status, resume
from headwater._grpc.channels import OpenChannel, open_channel
from headwater._grpc.errors import reason_and_metadata
from headwater._grpc.loading import grpc
from headwater._grpc.other_servers import explain
from headwater._grpc.wrong_server import UNREADABLE, wrong_text
from headwater._tools.calls import run_calls
from headwater._tools.rounds import ToolRounds
from headwater._values.background import on_loop, soon_on_loop
from headwater.exceptions import HeadwaterError, StreamInterruptedError, StreamTimeoutError
from headwater.streaming import CANCELLED_WAIT, StreamChunk

if TYPE_CHECKING:
    from headwater._call.resuming import Call
    from headwater.v1.agent_pb2 import ChatMessage
    from headwater.v1.agent_pb2 import StreamChunk as WireChunk

CLOSED = "the stream was closed before its final chunk"
TOOLS_STILL_RAN = "no complete answer within {:g} seconds, in which its tools still ran; allow more with timeout="
FindProvider = Callable[[PreparedCall], Coroutine[Any, Any, str]]
T = TypeVar("T")


class AgentStream:
    """The chunks of a reply, as they come. `Agent.stream` makes it.

    Nothing is sent before the first chunk is asked for. Leaving the loop early, dropping the object, `aclose()` and
    leaving an `async with` all end the call at once, also while tools run: async ones are cancelled, the thread of a
    sync one runs on to its own end. So does a cancellation while a chunk is awaited, as by `asyncio.wait_for`: the next
    wait then raises StreamInterruptedError. It belongs to the event loop that asked for the first chunk.

    Attributes:
        stream_id: the server's id of the stream, known once the server has accepted it; None before.
    """

    def __init__(self, call: PreparedCall, exchange: Exchange | None, find_provider: FindProvider) -> None:
        self.stream_id: str | None = call.resumes[0] if call.resumes else None
        self._prepared = call
        self._exchange = exchange
        self._find_provider = find_provider
        self._reply = Reply()
        self._started = False  # a chunk has come
        self._sequence = call.resumes[1] if call.resumes else 0  # of the chunk before
        self._complete = False  # the final chunk has come
        self._ended = False
        self._cut: StreamInterruptedError | None = None  # was ended before its final chunk, and not by its reader
        self._reading = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadline: float | None = None
        self._call: Call | None = None
        self._channel: OpenChannel | None = None  # of the call
        self._work: asyncio.Task[Any] | Call | None = None
        self._is_running = False  # in the server: a round has begun and not ended
        self._resumption = Resumption(call.request.resumable)
        self._rounds = ToolRounds(call.toolbox) if call.toolbox is not None else None

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
            if self._cut is not None:
                raise self._cut
            raise StopAsyncIteration
        if self._reading:
            raise RuntimeError("another task already waits for the next chunk of this stream")
        self._reading = True
        try:
            self._enter_loop()
            if self._rounds is not None and self._rounds.calls:
                return await self._run_tools(self._rounds)
            if self._complete:
                await self._read_to_end()
            elif (message := await self._read()) is not None:
                return self._take(message)
        except grpc.aio.AioRpcError as error:
            failure = self._failed(error, await self._what_answers(error))
            raise failure from failure.__cause__
        except asyncio.CancelledError:
            self.cancel()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                if not self._complete:
                    self._cut = StreamInterruptedError(CANCELLED_WAIT, self._text())
                raise
            raise StreamInterruptedError("the stream was closed while it was read", self._text()) from None
        except BaseException:
            self.cancel()
            raise
        finally:
            self._reading = False
        self._ended = True
        if self._complete:
            raise StopAsyncIteration
        self._keep_partial()
        raise StreamInterruptedError("the stream ended without its final chunk", self._text())

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            timeout = self._prepared.timeout
            self._deadline = None if timeout is None else loop.time() + timeout
        elif loop is not self._loop:
            raise RuntimeError("this stream was begun on another event loop; read it there")

    async def _read(self) -> WireChunk | None:
        """The next message that is no heartbeat; None at the end."""
        while True:
            try:
                message: Any = await (self._call or await self._start()).read()
            except grpc.aio.AioRpcError as error:
                await self._reconnect(error)
                continue
            if message is None:  # gRPC's way to say that it cannot be read
                raise self._wrong(UNREADABLE)
            if message is grpc.aio.EOF or message.sequence or message.ByteSize():  # a heartbeat is empty
                return None if message is grpc.aio.EOF else cast("WireChunk", message)

    async def _reconnect(self, error: grpc.aio.AioRpcError) -> None:
        """Ask for the rest of the stream on another connection. Raises the error when that is of no use."""
        self._call = None
        if not self._is_running or self._ended:
            raise error
        resumption, rounds = self._resumption, self._rounds
        if self.stream_id is None:
            pause = resumption.pause_before_beginning(error)
        elif rounds is not None and self._sequence == rounds.sequence and resumption.lacks_round(error):
            return  # so it is begun again
        else:
            pause = resumption.pause_after(error, self._sequence, asyncio.get_running_loop().time())
        left = self._seconds_left()
        if pause is None or (left is not None and left <= pause):
            raise resumption.failure(error)
        if self._channel is not None and reason_and_metadata(error)[0] is None:  # else a server has answered
            await self._do(self._channel.notice_loss())
        self._channel = None
        await self._do(asyncio.sleep(pause))
        if self.stream_id is not None:
            await self._resume(self.stream_id)

    async def _resume(self, stream_id: str) -> Call:
        """Ask for the rest of the stream."""
        call, channel = await self._do(resume(self._prepared, stream_id, self._sequence, self._seconds_left()))
        self._follow(call, channel)
        return call

    async def _start(self) -> Call:
        """Begin the first round, or the next."""
        prepared = self._prepared
        if prepared.resumes is not None:
            (stream_id, _), prepared.resumes, self._is_running = prepared.resumes, None, True
            return await self._resume(stream_id)
        if prepared.options is not None:
            provider = await self._do(self._find_provider(prepared))
            merge_struct(prepared.request.agent.provider_options[provider], prepared.options)
            prepared.options = None
            check_size(prepared.request)
        elif self._started:  # the results of tools came to it
            check_size(prepared.request)
        headers = await self._do(prepared.headers())
        call = self._begin(await open_channel(prepared.server), headers)
        # gRPC ends a call whose waiting task is cancelled. The id of the stream must still come over it.
        self.stream_id = await asyncio.shield(asyncio.create_task(id_of(call))) or self.stream_id
        return call

    def _begin(self, channel: OpenChannel, headers: Sequence[tuple[str, str]]) -> Call:
        call = channel.agents.Stream(self._prepared.request, timeout=self._seconds_left(), metadata=headers)
        self._is_running, self._resumption.lost = True, None
        self._follow(call, channel)
        return call

    def _follow(self, call: Call, channel: OpenChannel) -> None:
        """Read this call from now on."""
        self._work = self._call = call
        self._channel = channel
        channel.streams.add(self)
        if self._ended:  # closed just now
            self._leave(call)

    def _seconds_left(self) -> float | None:
        if self._deadline is None or self._loop is None:
            return None
        return max(self._deadline - self._loop.time(), 0.0)

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work that ends with the stream."""
        self._work = task = asyncio.create_task(work)
        if self._ended:
            task.cancel()
        result = await task
        if self._ended:  # closed when it was all but done
            raise asyncio.CancelledError
        return result

    def _take(self, message: WireChunk) -> StreamChunk:
        number, resumption = message.sequence, self._resumption
        if resumption.lost is not None and (fault := resumption.heard(message, self.stream_id, self._sequence)):
            raise self._wrong(fault)
        if number < self._sequence and number and not self._may_begin_with(number):  # 0: it is none of the provider's
            raise self._wrong(f"chunk {number} after chunk {self._sequence}")
        self._reply.add(message)
        if message.stream_id:
            self.stream_id = message.stream_id
            resumption.is_possible = self._prepared.request.resumable and message.resumable and number > 0
            if self._started:  # facts that only the first chunk of a stream has
                for name in ("stream_id", "model", "provider"):
                    message.ClearField(name)
        self._started = True
        chunk = to_chunk(message, self._sequence)
        self._sequence = number or self._sequence
        if message.is_final:
            self._is_running = False
            if resumption.count:
                chunk.metadata["resumes"] = resumption.count
            if self._rounds is not None:
                self._rounds.end_round(message, chunk, self._text())
            if chunk.is_final:
                self._complete = True
                self._keep(interrupted=False)
        return chunk

    def _may_begin_with(self, number: int) -> bool:
        """Whether it can be the number of a later round's first chunk: a server may count each round from 1."""
        return number > 0 and self._rounds is not None and self._sequence == self._rounds.sequence

    async def _run_tools(self, rounds: ToolRounds) -> StreamChunk:
        """Run the calls with which a round has ended, and prepare the next; the chunk with their results."""
        reply = self._reply.message(interrupted=False)
        if reply is None or not any(part.HasField("tool_call") for part in reply.parts):
            raise self._wrong("tool calls without the message to send back with their results")
        await self._read_to_end()
        assert self._loop is not None  # noqa: S101  for mypy
        began = self._loop.time()
        try:
            async with asyncio.timeout_at(self._deadline):
                results = await self._do(run_calls(rounds.toolbox, rounds.calls))
        except TimeoutError:
            self.cancel()
            raise StreamTimeoutError(TOOLS_STILL_RAN.format(self._prepared.timeout), self._text()) from None
        ended, self._reply = self._reply, Reply()
        chunk = rounds.add_results(reply, ended.text, results, self._loop.time() - began)
        self._sequence = rounds.sequence
        self._call = self._channel = None
        request = self._prepared.request
        request.messages.extend(rounds.messages[-2:])
        request.continues_stream_id = self.stream_id or ""
        request.continues_sequence = rounds.sequence if self.stream_id else 0
        return chunk

    async def _read_to_end(self) -> None:
        """Wait for the status of a round: by then the server has closed it, and its id is free for the next.

        The reply is whole, so neither a status nor anything else that follows matters. A server that continues or sends
        no status is left.
        """
        if self._call is not None:
            await read_status(self._call)

    def _wrong(self, what: str) -> StreamInterruptedError:
        """The error for something that no right server sends."""
        return StreamInterruptedError(wrong_text(what), self._text())

    async def _what_answers(self, error: grpc.aio.AioRpcError) -> str:
        """The server that answers there instead of Headwater, in words for the failure."""
        if self._started:
            return ""
        if self.stream_id is None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return not_accepted(self._prepared.server.target)
        try:
            return await explain(error, self._prepared.server)
        except asyncio.CancelledError:
            self._cut = StreamInterruptedError(CANCELLED_WAIT)
            self.cancel()
            raise

    def _failed(self, error: grpc.aio.AioRpcError, answers: str) -> HeadwaterError:
        if not has_ended(error):
            self._leave(None)
        self._ended = True
        self._call = self._channel = self._work = None
        lost, self._resumption.lost = self._resumption.lost, None
        is_later_round = self._rounds is not None and bool(self._rounds.messages)
        begun = Begun(self._started, is_later_round, was_lost=lost is not None)
        failure = failure_of(error, self._prepared, self._text(), begun, answers)
        if isinstance(failure, StreamInterruptedError):
            self._keep_partial()
        return failure

    def _text(self) -> str:
        """The text so far, of all rounds."""
        return self._reply.text if self._rounds is None else self._rounds.text + self._reply.text

    def _keep(self, *, interrupted: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        reply = self._reply.message(interrupted=interrupted)
        said: Sequence[ChatMessage] = [] if self._rounds is None else self._rounds.messages
        said = [*said, reply] if reply is not None else closed(said)
        if said:
            exchange.end(said, interrupted=interrupted)

    def _keep_partial(self) -> None:
        if not self._complete:
            self._keep(interrupted=True)

    def interrupt(self) -> None:
        """End the call for its reader, who gets StreamInterruptedError; from any thread."""
        if not self._ended and not self._complete and self._started:
            self._cut = StreamInterruptedError(CLOSED, self._text())
        self.cancel()

    def cancel(self) -> None:
        """End the call at once; from any thread. The part of the reply that has come stays in the history, marked."""
        if self._ended:
            return
        self._ended = True
        self._keep_partial()
        work, call, loop = self._work, self._call, self._loop
        if loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are its calls
            if work is not None and work is not call and not work.done():
                on_loop(loop, work.cancel)
            self._leave(call)

    def _leave(self, call: Call | None) -> None:
        """End the call, and the stream in the server where that would keep it. Raises RuntimeError on a closed loop."""
        assert self._loop is not None  # noqa: S101  for mypy
        is_kept, self._is_running = self._is_running and self._resumption.is_possible, False
        if is_kept:
            leaving = leave(self._prepared.server, call, self.stream_id, self._channel)
            soon_on_loop(self._loop, leaving.begin)
        if call is not None and not (is_kept and self.stream_id is None):  # the id comes over that call
            on_loop(self._loop, call.cancel)

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
