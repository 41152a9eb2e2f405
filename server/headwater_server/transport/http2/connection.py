"""A connection of HTTP/2 without its socket: bytes of the peer in, streams out (RFC 9113)."""

from __future__ import annotations

from collections.abc import Callable

from headwater_server.transport.http2.blocks import BlockReader, check_parent
from headwater_server.transport.http2.floods import SMALL_DATA, SMALL_STEP, Floods
from headwater_server.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    LAST_ID,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFaultError,
    ErrorCode,
    FrameReader,
    StreamFaultError,
    frame,
    goaway,
    number,
    rst_stream,
    setting_pairs,
    settings,
    unpadded,
)
from headwater_server.transport.http2.headers import Fields, check_request, check_trailers
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.receiving import Receiving
from headwater_server.transport.http2.sending import Sending, Wire
from headwater_server.transport.http2.stream import WINDOW, Stream

SHUTDOWN_PING = b"shutdown"


class Connection:
    """The state of one connection. Its methods do not raise.

    Args:
        wire: its socket.
        accept: called with each new stream and its headers; gives the stream its user, or ends it.
        limits: how much the peer may take.
        now: the time in seconds.

    Attributes:
        streams: those that are open, by their number.
        sending: the sending side.
        has_begun: whether the preface has come, with the first settings.
        is_leaving: whether the peer was sent GOAWAY.
        is_over: whether nothing that comes is read any more.
        idle_since: since when there is no stream; None while there is one.
    """

    def __init__(
        self, wire: Wire, accept: Callable[[Stream, Fields], None], limits: Limits, now: Callable[[], float]
    ) -> None:
        self.streams: dict[int, Stream] = {}
        self.sending = Sending(wire)
        self.has_begun = self.is_leaving = self.is_over = False
        self.idle_since: float | None = now()
        self._wire, self._accept, self._limits, self._now = wire, accept, limits, now
        self._frames = FrameReader()
        self._blocks = BlockReader(limits.max_header_bytes, now)
        self._preface = PREFACE
        self._has_settings = False
        self._last = 0
        self._last_taken = LAST_ID
        self._receiving = Receiving(wire.write)
        self._sent_before = 0
        self._floods = Floods(now)

    # --- the socket

    def begin(self) -> None:
        """Says what the peer may do."""
        pairs = [(INITIAL_WINDOW_SIZE, WINDOW), (MAX_HEADER_LIST_SIZE, self._limits.max_header_bytes)]
        if self._limits.max_streams:
            pairs.append((MAX_CONCURRENT_STREAMS, self._limits.max_streams))
        self._wire.write(settings(pairs) + self._receiving.first_window())

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        if self.is_over:
            return
        try:
            if not self.has_begun:
                data = self._read_preface(data)
            for kind, flags, id, payload in self._frames.read(data):
                try:
                    self._dispatch(kind, flags, id, payload)
                except StreamFaultError as fault:
                    self._fail(id, fault.code)
                if self.is_over:
                    return
        except ConnectionFaultError as fault:
            self._give_up(fault.code, fault.why)

    def pause(self) -> None:
        """The socket takes no more."""
        self.sending.paused = True

    def resume(self) -> None:
        """The socket has room again."""
        self.sending.resume()

    def lost(self) -> None:
        """The socket is closed."""
        self.is_over = True
        for stream in list(self.streams.values()):
            self._reset(stream)

    @property
    def block_since(self) -> float | None:
        """When the header block began that has not ended; None: there is none."""
        return self._blocks.since

    @property
    def is_inside_frame(self) -> bool:
        """Whether a frame has begun whose end is missing, or the preface and the first settings have not come."""
        return self._frames.is_inside or not self._has_settings

    @property
    def frames_read(self) -> int:
        """How many frames have come."""
        return self._frames.count

    # --- the end

    def say_goodbye(self) -> None:
        """Asks the peer to open no more streams. Those on their way are taken, until it has answered."""
        if not self.is_leaving and not self.is_over:
            self.is_leaving = True
            self._wire.write(goaway(LAST_ID, ErrorCode.NO_ERROR) + frame(PING, 0, 0, SHUTDOWN_PING))

    def take_no_more(self) -> None:
        """Says which streams were the last, and closes when they are over."""
        if self.is_over or self._last_taken != LAST_ID:
            return
        self.is_leaving = True
        self._last_taken = self._last
        self._wire.write(goaway(self._last, ErrorCode.NO_ERROR))
        self._close_if_done()

    def ping(self) -> None:
        """Asks for a sign of life."""
        self._wire.write(frame(PING, 0, 0, b"are you?"))

    def _close_if_done(self) -> None:
        if self._last_taken != LAST_ID and not self.streams:
            self.is_over = True
            self._wire.close()

    def _give_up(self, code: ErrorCode, why: str) -> None:
        self._wire.write(goaway(self._last, code, why))
        self.lost()
        self._wire.close()

    # --- frames

    def _read_preface(self, data: bytes) -> bytes:
        """Returns the bytes after the preface."""
        part = data[: len(self._preface)]
        if not self._preface.startswith(part):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2 without an upgrade")
        self._preface = self._preface[len(part) :]
        self.has_begun = not self._preface
        return data[len(part) :]

    def _dispatch(self, kind: int, flags: int, id: int, payload: bytes) -> None:
        if not self._has_settings:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self._has_settings = True
        if self._blocks.since is not None and not (kind == CONTINUATION and self._blocks.continues(id)):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a header block was not ended")
        if kind == DATA:
            self._data(flags, id, payload)
        elif kind == WINDOW_UPDATE:
            self._window_update(id, payload)
        elif kind == HEADERS:
            if not id & 1:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a client opens streams of odd numbers")
            self._headers(id, self._blocks.begin(flags, id, payload))
        elif kind == CONTINUATION:
            self._headers(id, self._blocks.extend(flags, payload))
        elif kind == RST_STREAM:
            self._rst_stream(id, payload)
        elif kind == PRIORITY:
            self._priority(id, payload)
        elif kind == PUSH_PROMISE:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a client cannot push")
        elif kind in (PING, SETTINGS, GOAWAY):
            if id:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the frame belongs to no stream")
            if kind == PING:
                self._ping(flags, payload)
            elif kind == SETTINGS:
                self._settings(flags, payload)
            elif len(payload) < 8:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY has at least 8 bytes")
        else:
            self._floods.empties.spend()  # a type of later days

    def _ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "PING has 8 bytes")
        if not flags & ACK:
            self._answer(frame(PING, ACK, 0, payload))
        elif payload == SHUTDOWN_PING and self.is_leaving:
            self.take_no_more()

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "the acknowledgement has no settings")
            return
        sending = self.sending
        was_paused, sending.paused = sending.paused, True  # the acknowledgement goes first
        initial = sending.initial
        sending.obey(setting_pairs(payload), self.streams.values())
        if sending.initial != initial and self.streams:
            self._floods.windows.spend()
        sending.paused = was_paused
        self._answer(frame(SETTINGS, ACK, 0))
        sending.serve()

    def _answer(self, answer: bytes) -> None:
        """Answers a question of the peer; too many end the connection."""
        sent = self.sending.sent
        self._floods.questions.give(sent - self._sent_before)  # callers ping to measure how fast bytes of streams come
        self._sent_before = sent
        self._floods.questions.spend()
        self.sending.check_unread()
        self.sending.answer(answer)

    def _priority(self, id: int, payload: bytes) -> None:
        if not id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PRIORITY belongs to a stream")
        if len(payload) != 5:
            raise StreamFaultError(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
        self._floods.empties.spend()
        check_parent(id, payload)

    def _window_update(self, id: int, payload: bytes) -> None:
        step = number(payload) & LARGEST_WINDOW
        if not id:
            if step < SMALL_STEP and self.sending.waiting:
                self._floods.empties.spend()
            self.sending.widen(step)
            return
        stream = self._open(id)
        if not step:
            raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "a window cannot grow by 0")
        if stream is not None:
            if step < SMALL_STEP and stream.is_full:
                self._floods.empties.spend()
            stream.widen(step)

    def _open(self, id: int) -> Stream | None:
        """The stream of a frame; None for one that has ended. Raises ConnectionFaultError for one that is idle."""
        stream = self.streams.get(id)
        if stream is None and (not id or id > self._last or not id & 1):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the frame is for a stream that was not opened")
        return stream

    def _rst_stream(self, id: int, payload: bytes) -> None:
        number(payload)
        stream = self._open(id)
        if stream is not None:
            if not stream.answered:
                self._floods.resets.spend()
            stream.peer_ended = True
            self._reset(stream)

    def _data(self, flags: int, id: int, payload: bytes) -> None:
        size = len(payload)
        self._receiving.took(size)
        stream = self.streams.get(id) or self._open(id)
        if stream is None:
            if not self._receiving.ended_early(id):  # otherwise it was on its way when the stream was ended here
                self._answer(rst_stream(id, ErrorCode.STREAM_CLOSED))
            return
        if stream.peer_ended:
            raise StreamFaultError(ErrorCode.STREAM_CLOSED, "the stream has ended")
        stream.took(size)
        content, ends = unpadded(flags, payload) if flags & PADDED else payload, bool(flags & END_STREAM)
        if len(content) < SMALL_DATA and not ends:
            self._floods.empties.spend()
        if stream.content_left is not None:
            stream.count_content(len(content), ends=ends)
        stream.peer_ended = ends
        if (user := stream.user) is not None:
            if size:
                user.received(content)
            if ends and not stream.over:
                user.ended()

    def _headers(self, id: int, found: tuple[bool, Fields] | None) -> None:
        """A frame with headers; `found` is what its block says when it has ended."""
        if found is None:
            return
        ends, fields = found
        stream = self.streams.get(id)
        if stream is not None:
            self._trailers(stream, fields, ends)
        elif id > self._last:
            self._open_stream(id, fields, ends)
        elif (early := self._receiving.ended_early(id)) is None:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the numbers of streams must grow")
        elif not early:
            raise ConnectionFaultError(ErrorCode.STREAM_CLOSED, "the stream has ended")

    def _trailers(self, stream: Stream, fields: Fields, ends: bool) -> None:
        if stream.peer_ended:
            raise StreamFaultError(ErrorCode.STREAM_CLOSED, "the stream has ended")
        if not ends:
            raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "trailers must end the stream")
        check_trailers(fields)
        stream.count_content(0, ends=True)
        stream.peer_ended = True
        if stream.user is not None:
            stream.user.ended()

    def _open_stream(self, id: int, fields: Fields, ends: bool) -> None:
        if self.sending.unread:
            self.sending.check_unread()
        self._last = id
        if id > self._last_taken:
            self._receiving.remember(id, early=True)
            return  # GOAWAY has said that it will not be looked at
        most = self._limits.max_streams
        if most and len(self.streams) >= most:
            self._receiving.remember(id, early=True)
            self._answer(rst_stream(id, ErrorCode.REFUSED_STREAM))
            return
        if not fields.is_request:
            check_request(fields)
        stream = self.streams[id] = Stream(id, self.sending, self._stream_ended, ends)
        self.idle_since = None
        if (announced := fields.content_length) is not None:
            stream.content_left = announced
            stream.count_content(0, ends=ends)
        self._accept(stream, fields)
        if ends and stream.user is not None and not stream.over:
            stream.user.ended()

    # --- streams that end

    def _fail(self, id: int, code: ErrorCode) -> None:
        """Ends a stream for a fault of the peer."""
        try:
            self._floods.resets.spend()
        except ConnectionFaultError as fault:
            self._give_up(fault.code, fault.why)
            return
        stream = self.streams.get(id)
        self._wire.write(rst_stream(id, code))
        if stream is None:
            self._receiving.remember(id, early=True)
        else:
            self._reset(stream)

    def _reset(self, stream: Stream) -> None:
        stream.forget()
        if stream.user is not None:
            stream.user.was_reset()

    def _stream_ended(self, stream: Stream) -> None:
        """A stream is over."""
        self.streams.pop(stream.id, None)
        self._receiving.remember(stream.id, early=not stream.peer_ended)
        if stream.answered:
            self._floods.resets.give(1)
        if not self.streams:
            self.idle_since = self._now()
            if self.is_leaving and not self.is_over:
                self._close_if_done()
