"""One connection to a server: a request at a time, its answer parsed as it comes.

Theory of operation. The event loop reads the socket into one buffer that all connections share, and calls
`buffer_updated`. llhttp parses it there and calls back for each piece: head, body, end. Pieces of a body that came in
one read are joined and handed over at once, for each hand-over costs as much as a hundred such pieces. No task is
woken. A call of the receiver within that callback (`pause`, `abort`) takes effect at once.

A connection is idle (`_exchange` is None) or in an exchange, which ends once: by the end of the answer, by a fault, or
because the asker has left. After a whole answer the connection goes back to its pool, if both sides keep it.

Example. A read brings a head, two pieces of a chunked body and its end. llhttp calls `on_header` for each header,
`on_headers_complete`, `on_body` twice, `on_message_complete`. The asker's future gets the Answer, which gets 1 piece of
body and its end, and the connection is idle again before the asker's task runs.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import NamedTuple, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from headwater_server.providers.http1.answer import PushedAnswer
from headwater_server.providers.http1.errors import BadAnswerError, ClosedError, CutError

MAX_HEAD_BYTES = 256 * 1024
"""Most bytes of a head, and of all else without a byte of body. Proxies send policies of 10 KB and more."""

MAX_HEADERS = 128
MAX_INTERIM = 20
"""Most interim answers (100 Continue, 103 Early Hints) before the answer itself."""

PIECE_BYTES = 256 * 1024
"""A longer body is sent in pieces of so many bytes, so that other connections are served between two of them."""

_FIRST_ANSWER = 200
_USUAL = (
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "server",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "via",
    "x-content-type-options",
    "x-request-id",
)
_NAMES = {written.encode(): name for name in _USUAL for written in (name, name.title())}
"""The names that most answers have, as servers write them."""
_BUFFER = bytearray(16 * 1024)
_VIEW = memoryview(_BUFFER)


class Site(NamedTuple):
    """A place that connections lead to; `host` is an IP address or a name in ASCII."""

    host: str
    port: int
    is_tls: bool


class Owner(Protocol):
    """The side of a pool that a connection sees."""

    def take_back(self, connection: Connection) -> None:
        """The connection is idle, and can be used again."""
        ...

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        ...


class Connection(asyncio.BufferedProtocol):
    """A connection, made by the event loop.

    Args:
        owner: keeps it.
        site: the place that it leads to.

    Attributes:
        has_received: whether a byte of the answer of this exchange has come.
        idle_since: the loop's time since which it is idle.
    """

    __slots__ = (
        "_exchange",
        "_is_full",
        "_loop",
        "_owner",
        "_room",
        "has_received",
        "idle_since",
        "site",
        "transport",
    )

    transport: asyncio.Transport

    # See asyncio.BufferedProtocol. It is called before each read, so it is no function in Python. All connections have
    # one buffer: its content is parsed before anything else is received.
    get_buffer = defaultdict[int, memoryview](lambda: _VIEW).__getitem__  # type: ignore[assignment]

    def __init__(self, owner: Owner, site: Site) -> None:
        self.site = site
        self.has_received = False
        self.idle_since = 0.0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._exchange: _Exchange | None = None
        self._room: asyncio.Future[None] | None = None
        self._is_full = False

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return not self.transport.is_closing()

    async def ask(self, head: bytes, body: bytes) -> PushedAnswer:
        """The answer to a request, once its head has come. Raises OSError where the connection breaks."""
        self.has_received = False
        answered: asyncio.Future[PushedAnswer] = self._loop.create_future()
        exchange = self._exchange = _Exchange(self, answered)
        try:
            if len(body) <= PIECE_BYTES:
                self.transport.write(head + body)
            else:
                exchange.is_sent = False
                await self._send_pieces(exchange, answered, head, body)
            return await answered
        except BaseException:
            if self._exchange is exchange:
                self.abort()
            raise

    async def _send_pieces(
        self, exchange: _Exchange, answered: asyncio.Future[PushedAnswer], head: bytes, body: bytes
    ) -> None:
        """Sends a long body, until it is answered: a server that refuses it need not read it all."""
        self.transport.write(head)
        for start in range(0, len(body), PIECE_BYTES):
            while self._is_full and not answered.done():
                self._room = self._loop.create_future()
                await self._room
            if answered.done():
                return
            self.transport.write(body[start : start + PIECE_BYTES])
        exchange.is_sent = True

    def pause(self) -> None:
        """Stops reading the socket."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Reads the socket again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Closes the connection. An exchange that runs gets no end."""
        exchange, self._exchange = self._exchange, None
        self.transport.abort()
        if exchange is not None:
            exchange.free()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self.transport = cast("asyncio.Transport", transport)

    def buffer_updated(self, nbytes: int) -> None:
        """Parses the bytes that have come, and hands the body over."""
        exchange = self._exchange
        if exchange is None:  # no request waits
            self.abort()
            return
        self.has_received = True
        fault, pieces = None, exchange.pieces
        try:
            exchange.parse(_VIEW[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            fault = exchange.fault_of(error)
        else:
            if len(pieces) == 1 and not exchange.is_complete and exchange.answer is not None:  # as nearly always
                exchange.bytes_without_body = 0
                exchange.answer.arrived(pieces.pop())
                return
        if exchange.is_complete:
            exchange.drop_surplus()
        if pieces:
            exchange.bytes_without_body = 0
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if exchange.answer is not None:
                exchange.answer.arrived(data)
            if self._exchange is not exchange:
                return  # the receiver has left
        elif fault is None:
            fault = exchange.count_without_body(nbytes)
        if fault is not None:
            self._finish(fault)
        elif exchange.is_complete:
            self._finish(None)

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._is_full = True

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._is_full = False
        self.wake_sender()

    def wake_sender(self) -> None:
        """There is room for the next piece of a request, or no need of it."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def eof_received(self) -> bool:
        """The server has said all: the end of a body that has no other."""
        if self._exchange is not None and self._exchange.reads_to_end:
            self._finish(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed: an exchange that runs is broken."""
        self._owner.forget(self)
        exchange = self._exchange
        if exchange is not None:
            if exc is None and not exchange.reads_to_end:
                exc = CutError() if self.has_received else ClosedError()
            self._finish(exc)

    def _finish(self, error: BaseException | None) -> None:
        """Ends the exchange."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if error is None and exchange.keeps_connection and not self.transport.is_closing():
            self._owner.take_back(self)
        else:
            self.transport.abort()
        exchange.end(error)
        exchange.free()
        if self._room is not None:
            self.wake_sender()


class _Exchange:
    """A request and its answer; the parser's callbacks.

    Attributes:
        answered: gets the answer when its head has come; None from then on.
        answer: the same.
        pieces: of the body, those that this read has brought.
        bytes_without_body: bytes of the head, or since the last piece of the body.
        parse: parses bytes.
        on_body: adds one of them; the parser calls it without a step in Python between.
        is_complete: whether the answer is at its end.
        is_sent: whether the whole request was written.
        reads_to_end: whether the end of the connection is the end of the answer.
    """

    __slots__ = (
        "_connection",
        "_count",
        "_has_surplus",
        "_headers",
        "_interim",
        "_is_kept",
        "_parser",
        "_piece_count",
        "answer",
        "answered",
        "bytes_without_body",
        "is_complete",
        "is_sent",
        "on_body",
        "parse",
        "pieces",
        "reads_to_end",
    )

    def __init__(self, connection: Connection, answered: asyncio.Future[PushedAnswer]) -> None:
        self.answered: asyncio.Future[PushedAnswer] | None = answered
        self.answer: PushedAnswer | None = None
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.is_complete = False
        self.is_sent = True
        self.reads_to_end = False
        self._connection = connection
        self._headers: dict[str, str] = {}
        self._count = 0
        self._interim = 0
        self.bytes_without_body = 0
        self._piece_count = 0
        self._has_surplus = self._is_kept = False
        self._parser = HttpResponseParser(self)
        self.parse = self._parser.feed_data
        # As the parsers of browsers: lines may end with a bare line feed.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    @property
    def keeps_connection(self) -> bool:
        """Whether the next request can use the connection."""
        return self._is_kept and self.is_sent and not self._has_surplus

    def fault_of(self, error: Exception) -> BaseException | None:
        """The fault in the answer, where the parser has met one; None where only the bytes behind it are wrong."""
        if self.is_complete:
            self._has_surplus = True
            return None
        return error.__context__ if isinstance(error.__context__, ClosedError) else BadAnswerError(str(error))

    def count_without_body(self, size: int) -> BaseException | None:
        """Counts bytes that had no piece of the body in them; the fault, where there are too many."""
        self.bytes_without_body += size
        if self.bytes_without_body > MAX_HEAD_BYTES and not self.is_complete:
            return BadAnswerError(f"the head of the answer is over {MAX_HEAD_BYTES} bytes")
        return None

    def drop_surplus(self) -> None:
        """The answer is at its end: pieces that came behind it are none of its body."""
        del self.pieces[self._piece_count :]

    def end(self, error: BaseException | None) -> None:
        """Tells the asker how the exchange ended."""
        if self.answer is not None:
            self.answer.ended(error)
        elif self.answered is not None and not self.answered.done():
            self.answered.set_exception(error or ClosedError())

    def free(self) -> None:
        """Drops the parser: it and the exchange refer to each other, and would wait for the collector."""
        self.answer = None
        del self._parser, self.parse

    def on_message_begin(self) -> None:
        """Notes an answer without a request."""
        self._has_surplus = self._has_surplus or self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header of the head; trailers are of no interest."""
        self._count += 1
        if self._count > MAX_HEADERS:
            raise BadAnswerError(f"the answer has more than {MAX_HEADERS} headers")
        if self.answer is None:
            key = _NAMES.get(name) or name.decode("latin-1").lower()
            text = value.decode("utf-8", "replace")
            self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Makes the answer; an interim one is passed over."""
        status = self._parser.get_status_code()
        headers, self._headers, self._count = self._headers, {}, 0
        if status < _FIRST_ANSWER:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise ClosedError(f"there are more than {MAX_INTERIM} interim answers")
            return
        if self.answer is not None:
            return
        chunked = headers.get("transfer-encoding", "").lower().rstrip().endswith("chunked")
        self.reads_to_end = "content-length" not in headers and not chunked
        self.answer = PushedAnswer(self._connection, status, headers)
        answered, self.answered = self.answered, None
        if answered is not None and not answered.done():
            answered.set_result(self.answer)
        if not self.is_sent:
            self._connection.wake_sender()

    def on_message_complete(self) -> None:
        """The answer is at its end, unless it was an interim one."""
        if self.answer is not None and not self.is_complete:
            self.is_complete, self.reads_to_end = True, False
            self._piece_count = len(self.pieces)
            self._is_kept = self._parser.should_keep_alive()
