"""The answer to a request that is none of gRPC: somebody has opened the port with a browser."""

from __future__ import annotations

from headwater_server.transport.http2.headers import literal
from headwater_server.transport.http2.stream import Stream

ENOUGH_BYTES = 16 * 1024
"""A request with more of them is answered before its end."""
WORDS = b"This port speaks gRPC.\n"


class NoCall:
    """The user of a stream that answers when the request has come.

    Args:
        stream: its stream.
        status: of HTTP.
        has_body: whether the answer may have one; to HEAD it may not.
    """

    def __init__(self, stream: Stream, status: int, *, has_body: bool) -> None:
        self._stream, self._has_body = stream, has_body
        self._head = literal(b":status", b"%d" % status) + literal(b"content-type", b"text/plain")
        self._read = 0
        self._has_answered = False

    def received(self, data: bytes) -> None:
        """Bytes have come; they are not kept."""
        self._read += len(data)
        if self._read > ENOUGH_BYTES:
            self.ended()

    def ended(self) -> None:
        """Answers, once."""
        if self._has_answered:
            return
        self._has_answered = True
        if self._has_body:
            self._stream.send_headers(self._head)
            self._stream.send(WORDS)
            self._stream.finish(b"")
        else:
            self._stream.finish(self._head)

    def was_reset(self) -> None:
        """The caller has gone."""

    def writable(self) -> None:
        """The words have gone out."""
