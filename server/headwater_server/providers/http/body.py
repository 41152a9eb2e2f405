"""The body of an answer, as it comes: inflated piece by piece where the provider compresses though it was asked not to.

Each read gives at most MOST_READ bytes, and nothing is inflated before it is read, so a small body that stands for a
gigabyte takes no memory. A body that grows more than any real one is refused. Of encodings only gzip and deflate are
read, one of them at a time: none is asked for, and servers are seen to send these all the same.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.http.client import Answer
from headwater_server.providers.http.transport_errors import transport_errors
from headwater_server.providers.http1.answer import BodyReceiver, PushedAnswer

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


def body_reader(answer: Answer) -> BodyReader:
    """Reads the body of an answer. Raises HeadwaterError for an encoding that was not asked for and is not read here.

    The reader raises `transport_errors`, and HeadwaterError for data that is not what its encoding says.
    """
    encoding = _encoding(answer)
    return _Inflated(answer.read, encoding).read if encoding else answer.read


def body(answer: Answer) -> Body:
    """The body of an answer, to be followed. Raises HeadwaterError, as `body_reader` does."""
    if isinstance(answer, PushedAnswer) and ("content-encoding" not in answer.headers or not _encoding(answer)):
        return answer
    return ReadBody(body_reader(answer), answer)


class Body(Protocol):
    """A body that is handed over as it comes."""

    def follow(self, receiver: BodyReceiver) -> None:
        """Gives the receiver every piece, and the end."""
        ...

    def pause(self) -> None:
        """Stops the pieces that have not come yet."""
        ...

    def resume(self) -> None:
        """Lets it come again."""
        ...

    async def aclose(self) -> None:
        """Ends it, and closes its answer."""
        ...


class ReadBody:
    """A body that a task reads for its receiver: one that came through a proxy, or is compressed."""

    def __init__(self, read: BodyReader, answer: Answer) -> None:
        self._read, self._answer = read, answer
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._task: asyncio.Task[None] | None = None

    def follow(self, receiver: BodyReceiver) -> None:
        """See Body."""
        self._task = asyncio.create_task(self._pass_on(receiver), name="headwater body")

    def pause(self) -> None:
        """See Body."""
        self._wanted.clear()

    def resume(self) -> None:
        """See Body."""
        self._wanted.set()

    async def aclose(self) -> None:
        """See Body."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._answer.aclose()

    async def _pass_on(self, receiver: BodyReceiver) -> None:
        try:
            while data := await self._read():
                receiver.body_arrived(data)
                if len(data) >= MOST_READ:
                    await asyncio.sleep(0)  # reading on at once would keep everybody else from running
                await self._wanted.wait()
        except HeadwaterError as error:
            receiver.body_ended(error)
        except transport_errors() as error:
            receiver.body_ended(error)
        else:
            receiver.body_ended(None)


def _encoding(answer: Answer) -> str:
    """The encoding of the body; empty for none. Raises HeadwaterError for one that is not read here."""
    if "content-encoding" not in answer.headers:
        return ""
    encodings = [each.strip().lower() for each in answer.headers["content-encoding"].split(",")]
    compressed = [each for each in encodings if each in _READ or each in _REFUSED]
    if not compressed:
        return ""
    if len(compressed) > 1 or compressed[0] in _REFUSED:
        shown = ", ".join(compressed)[:100]
        raise _refused(f"has the encoding {shown}, which was not asked for; turn it off there")
    return compressed[0]


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
