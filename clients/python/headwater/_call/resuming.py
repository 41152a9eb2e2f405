"""How a stream outlives its connection, and how it is ended.

Theory of operation. The server reads a resumable stream into a log, whether its caller is there or not. So when the
connection is lost, the client asks for the chunks after the last one that came, on any connection, until a server
answers: one that has the log continues, another one says that the stream is gone. Its own leaving the client must say,
by CancelStream: to the server, a call that is cancelled and a line that is cut look the same. The id stands in the
headers of the call's answer; a call that is left before they came waits for them, for a moment. A call that is lost
before they came has given its caller nothing, so it is begun again, a few times at most.

Example. After chunk 40 the connection is lost. ResumeStream after 40 finds no server, again after 0.05 s, and after
0.1 s it gives chunk 47, which has what came in between. The reader sees the chunks 40 and 47.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from headwater._grpc.channels import Leaving, OpenChannel, open_channel
from headwater._grpc.errors import reason_and_metadata
from headwater._grpc.loading import grpc
from headwater._grpc.unary import answer
from headwater.exceptions import HeadwaterError

if TYPE_CHECKING:
    from headwater._call.request import PreparedCall
    from headwater._grpc.server import Server
    from headwater.v1.agent_pb2 import StreamChunk as WireChunk
    from headwater.v1.agent_service_pb2 import ResumeStreamRequest, StreamRequest

    Call = grpc.aio.UnaryStreamCall[StreamRequest, WireChunk] | grpc.aio.UnaryStreamCall[ResumeStreamRequest, WireChunk]

STREAM_ID_HEADER = "headwater-stream-id"
STATUS_SECONDS = 5.0
"""How long the status of a call may take after its final chunk."""
RESUME_SECONDS = 20.0
"""How long a server is looked for that continues a stream."""
MAX_BEGINNINGS = 4
"""How often a stream is begun whose call is lost before the server's answer to it: after three losses once more.

A lost connection costs one, and not two, because `OpenChannel.notice_loss` comes before the next beginning. Without it,
the order of events in gRPC (1.85, its log of `http` and `subchannel`) can be this:

1. gRPC's thread reads the end of the connection. It ends all calls with "Stream removed (Socket closed)", and begins to
   write the RST_STREAM of each. A transport that writes is closed after the write: the channel remains READY.
2. The event loop has the end of the call, and begins the stream again at once. The channel gives the call to the same
   transport, as its stream 3, and that transport still takes it.
3. The write fails. All calls are ended again, now with "Stream removed (sendmsg: Broken pipe)": the second beginning.
4. The transport is closed, and the channel becomes IDLE. The next call makes a new connection.
"""
_NOT_CONNECTED = "failed to connect"
"""gRPC's words for a server that was not reached; it is tried a second time, unless that was slow."""
_SLOW = "timed out"
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_HEADERS_SECONDS = 1.0
_LEAVE_SECONDS = 5.0
_NO_ROUND = ("INVALID_REQUEST", "STREAM_NOT_FOUND", "STREAM_EXPIRED")
_BUSY = ("SERVER_OVERLOADED", "CALLER_LIMITED")
_LOST = ("UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED")


class Resumption:
    """The state of one stream between its connections.

    Args:
        wanted: whether its caller wants it to be resumed.

    Attributes:
        is_possible: whether the server keeps the stream; known with its first chunk, and assumed before.
        count: how often it was resumed.
        lost: the end of the connection that is being replaced; None otherwise.
    """

    def __init__(self, wanted: bool) -> None:
        self.is_possible = wanted
        self.count = 0
        self.lost: grpc.aio.AioRpcError | None = None
        self._sequence = -1
        self._since = 0.0
        self._tried = 0.0
        self._pause = 0.0
        self._beginnings = 0
        self._was_missed = False

    def pause_before_beginning(self, error: grpc.aio.AioRpcError) -> float | None:
        """How long to wait before a stream without an id is begun again; None when that is of no use.

        Args:
            error: the end of its call.
        """
        if error.code() is not grpc.StatusCode.UNAVAILABLE or reason_and_metadata(error)[0] is not None:
            return None
        self._beginnings += 1
        words, missed = error.details() or "", self._was_missed
        self._was_missed = _NOT_CONNECTED in words
        is_gone = self._was_missed and (missed or _SLOW in words)
        return None if is_gone or self._beginnings >= MAX_BEGINNINGS else self._next_pause()

    def lacks_round(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether a server that was asked to resume a round has not begun it, or has lost its log."""
        return self.lost is not None and reason_and_metadata(error)[0] in _NO_ROUND

    def failure(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The error to show for the end of a call: of a server that cannot resume, the loss of the connection."""
        if self.lost is not None and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return self.lost
        return error

    def heard(self, message: WireChunk, stream_id: str | None, after: int) -> str:
        """Take note of the first chunk that a server gives when it was asked to resume.

        Returns the fault of that chunk in words; empty for a right one.
        """
        self.lost = None
        self.count += 1
        if message.stream_id not in ("", stream_id):
            return f"stream {message.stream_id[:100]} when asked to resume {stream_id}"
        if 0 < message.sequence <= after:
            return f"chunk {message.sequence} when asked for those after chunk {after}"
        return ""

    def pause_after(self, error: grpc.aio.AioRpcError, sequence: int, now: float) -> float | None:
        """How long to wait before the stream is asked for again; None when that is of no use.

        Args:
            error: the end of its call.
            sequence: of the last chunk that came.
            now: the loop's time.
        """
        if not self.is_possible:
            return None
        reason, metadata = reason_and_metadata(error)
        is_lost = reason is None and error.code().name in _LOST
        # A server that is too busy to resume. Where nothing was lost, it has refused the stream by that reason.
        is_busy = reason in _BUSY and self.lost is not None
        if not is_lost and not is_busy and metadata.get("detached") != "true":
            return None
        if sequence != self._sequence:  # it has come on since the last time
            self._sequence, self._since = sequence, now
            if now - self._tried > _LONGEST_PAUSE_SECONDS:  # and not for a moment only
                self._pause = 0.0
        elif now - self._since > RESUME_SECONDS:
            return None
        self.lost, self._tried = self.lost or error, now
        return self._next_pause()

    def _next_pause(self) -> float:
        pause, self._pause = self._pause, min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  callers that lost one server come back spread out


def has_ended(error: grpc.aio.AioRpcError) -> bool:
    """Whether a server says by this error that it has ended the stream; else it may read it on."""
    reason, metadata = reason_and_metadata(error)
    return reason is not None and reason not in _BUSY and metadata.get("detached") != "true"


async def resume(prepared: PreparedCall, stream_id: str, after: int, timeout: float | None) -> tuple[Call, OpenChannel]:
    """A call for the rest of a stream, and its channel."""
    from headwater.v1.agent_service_pb2 import ResumeStreamRequest

    request = ResumeStreamRequest(stream_id=stream_id, after_sequence=after)
    if prepared.request.HasField("heartbeat_interval"):
        request.heartbeat_interval.CopyFrom(prepared.request.heartbeat_interval)
    headers = await prepared.headers()
    channel = await open_channel(prepared.server)
    return channel.agents.ResumeStream(request, timeout=timeout, metadata=headers), channel


def leave(server: Server, call: Call | None, stream_id: str | None, channel: OpenChannel | None) -> Leaving:
    """The work that ends a stream for its server; to be begun on the stream's loop.

    Args:
        server: has the stream.
        call: reads it; None between two connections.
        stream_id: None before it is known.
        channel: carries the call. When it is closed with the loop, it does the work first.
    """

    async def say() -> None:
        found = stream_id
        if call is not None:
            if found is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_HEADERS_SECONDS):
                        found = await id_of(call)
            call.cancel()
        if found:
            await _cancel(server, found, channel)

    return Leaving(say, channel)


async def read_status(call: Call) -> None:
    """Wait for the status of a call whose final chunk has come, and leave a call that sends none."""
    with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError):
        async with asyncio.timeout(STATUS_SECONDS):
            await call.read()
    call.cancel()  # changes nothing when it has ended


async def id_of(call: Call) -> str | None:
    """The id of a stream, when the headers of its answer come; None when they do not have it."""
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):  # reading the call raises them
        for key, value in await call.initial_metadata():
            if key == STREAM_ID_HEADER:
                return str(value)
    return None


async def _cancel(server: Server, stream_id: str, channel: OpenChannel | None) -> None:
    from headwater.v1.agent_service_pb2 import CancelStreamRequest

    request = CancelStreamRequest(stream_id=stream_id)
    with contextlib.suppress(HeadwaterError):  # it may have ended, or its server
        await answer(server, lambda channel: channel.agents.CancelStream, request, _LEAVE_SECONDS, channel=channel)
