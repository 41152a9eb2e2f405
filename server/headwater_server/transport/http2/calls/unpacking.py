"""Decompresses messages: small ones at once, large ones on a thread, one at a time, so that other calls have the loop.

A few bytes can stand for very many. So nothing is decompressed before its handler asks for it, and never more than a
message may have.
"""

from __future__ import annotations

import asyncio
import zlib
from functools import partial
from typing import Any

import grpc

from headwater_server.transport.http2.calls.messages import WINDOW_BITS, RefusedError

AT_ONCE_BYTES = 64 * 1024
"""So many bytes are decompressed in a fifth of a millisecond; a thread costs as much."""


class Unpacker:
    """Decompresses the messages of one server.

    Args:
        most_bytes: of a message; 0: no limit.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._turn = asyncio.Lock()

    async def unpack(self, message: bytes, encoding: str) -> bytes:
        """The message as it was before it was compressed. Raises RefusedError."""
        inflater = zlib.decompressobj(WINDOW_BITS[encoding])
        read = _inflated(inflater, message, AT_ONCE_BYTES)
        if not inflater.eof and len(read) == AT_ONCE_BYTES:
            inflater = zlib.decompressobj(WINDOW_BITS[encoding])  # again, so that no two parts are put together
            async with self._turn:
                read = await _on_a_thread(partial(_inflated, inflater, message, self._most + 1 if self._most else 0))
        if self._most and len(read) > self._most:
            why = f"SERVER: Received message larger than max (decompressed, more than {self._most})"
            raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        if not inflater.eof:
            raise RefusedError(grpc.StatusCode.INTERNAL, "a compressed message has no end")
        return read


def _inflated(inflater: Any, message: bytes, most: int) -> bytes:
    try:
        read: bytes = inflater.decompress(message, most)
    except zlib.error:
        raise RefusedError(grpc.StatusCode.INTERNAL, "a message cannot be decompressed") from None
    return read


async def _on_a_thread(work: partial[bytes]) -> bytes:
    """The result of the work. A task that is cancelled meanwhile waits for its end: no two are done at once."""
    doing = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        doing.exception()  # its error is of no interest any more
        raise
