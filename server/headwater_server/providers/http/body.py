"""The body of an answer, as it comes: inflated piece by piece where the provider compresses though it was asked not to.

Each read gives at most MOST_READ bytes, and nothing is inflated before it is read, so a small body that stands for a
gigabyte takes no memory. A body that grows more than any real one is refused. Of encodings only gzip and deflate are
read, one of them at a time: none is asked for, and servers are seen to send these all the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import aiohttp
import httpx

from headwater_server.domain.errors import HeadwaterError, Reason

BodyReader: TypeAlias = Callable[[], Awaitable[bytes]]
"""Reads a body as it comes; empty at its end."""

MOST_READ = 16 * 1024
"""Bytes that a BodyReader gives at most."""

MAX_GROWTH = 200
"""A body may inflate to so many times its length. Events that repeat themselves grow 20 to 50 times."""

FREE_GROWTH = 16 * 1024 * 1024
"""Bytes that a body of any length may inflate to."""

_READ = {"gzip": zlib.MAX_WBITS + 16, "x-gzip": zlib.MAX_WBITS + 16, "deflate": zlib.MAX_WBITS}
_REFUSED = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "bzip2", "lz4", "xz"})


def body_reader(response: httpx.Response) -> BodyReader:
    """Reads the body of a response. Raises HeadwaterError for an encoding that was not asked for and is not read here.

    The reader raises TRANSPORT_ERRORS, and HeadwaterError for data that is not what its encoding says. aiohttp's own
    reader is used: httpx's iterators around it, three of them, cost 10 % of all CPU a chunk.
    """
    content: aiohttp.StreamReader = response.extensions["body"]
    read = partial(content.read, MOST_READ)
    if "content-encoding" not in response.headers:
        return read
    encodings = [each.strip().lower() for each in response.headers["content-encoding"].split(",")]
    compressed = [each for each in encodings if each in _READ or each in _REFUSED]
    if not compressed:
        return read
    if len(compressed) > 1 or compressed[0] in _REFUSED:
        shown = ", ".join(compressed)[:100]
        raise _refused(f"has the encoding {shown}, which was not asked for; turn it off there")
    return _Inflated(read, compressed[0]).read


def left_over(response: httpx.Response) -> bytes:
    """The bytes that had arrived before the connection broke: aiohttp's reader withholds them once it has an error."""
    content: aiohttp.StreamReader | None = response.extensions.get("body")
    if content is None or "content-encoding" in response.headers:
        return b""
    return content._read_nowait(-1)


class _Inflated:
    """Inflates the data of a reader; bytes behind the end of the compressed data are left unread."""

    def __init__(self, read: BodyReader, encoding: str) -> None:
        self._read = read
        self._encoding = encoding
        self._inflater = zlib.decompressobj(_READ[encoding])
        self._has_more = False
        self._taken = 0
        self._given = 0

    async def read(self) -> bytes:
        """See BodyReader."""
        while not self._inflater.eof:
            data = self._inflater.unconsumed_tail
            if not data and not self._has_more:
                data = await self._read()
                if not data:
                    return b""
                if self._taken == 0 and self._encoding == "deflate" and data[0] & 0x0F != 8:
                    self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # without zlib's header, as some send it
                self._taken += len(data)
            if inflated := self._inflate(data):
                return inflated
        return b""

    def _inflate(self, data: bytes) -> bytes:
        try:
            inflated = self._inflater.decompress(data, MOST_READ)
        except zlib.error:
            inflated = None  # refused outside the handler, whose exception may quote the data
        if inflated is None:
            raise _refused(f"is not {self._encoding}, as its header says")
        self._has_more = len(inflated) >= MOST_READ
        self._given += len(inflated)
        if self._given > max(FREE_GROWTH, MAX_GROWTH * self._taken):
            raise _refused(f"inflates to more than {MAX_GROWTH} times its length")
        return inflated


def _refused(what: str) -> HeadwaterError:
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"the provider's answer {what}")
