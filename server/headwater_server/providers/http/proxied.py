"""Requests through a proxy: httpx's API over aiohttp's transport (docs/adr/0003-http-transport.md).

Only a proxy loads this module, and aiohttp with it. The bounds are on answers that no request waits for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import aiohttp
import httpx
from aiohttp import EofStream
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp.transport import AiohttpResponseStream, AiohttpTransport

from headwater_server.providers.http.large_bodies import LARGE_BYTES, Pieces
from headwater_server.providers.http.transport_errors import STRAIGHT_ERRORS

KEEPALIVE_SECONDS = 15.0

MAX_HEADER_BYTES = 64 * 1024
"""Most bytes of one header line of an answer: proxies send debug headers and policies of 10 KB and more."""

MAX_HEADERS = 128
"""Most headers of an answer."""

READ_BYTES = 16 * 1024
"""Bytes of an answer that wait: no more are read past twice as many. A reader that has stopped took 700 KB with four
times as many, and takes 190."""

MAX_INTERIM = 20
"""Most interim answers (100 Continue, 103 Early Hints) before the answer itself."""

PROXIED_ERRORS = (aiohttp.ClientError, HttpProcessingError, EofStream)
"""The errors of aiohttp that httpx's transport lets through."""

_ERRORS = (*PROXIED_ERRORS, *STRAIGHT_ERRORS)

_DEAD_CONNECTION = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_reused: ContextVar[bool] = ContextVar("reused", default=False)
"""Whether the request that this task sends went out on a kept connection."""


class Proxy:
    """Asks servers through a proxy; to be closed by its owner.

    Args:
        url: the address of the proxy.
        trusted: the certificates to trust; None: the system's.
    """

    def __init__(self, url: str, trusted: ssl.SSLContext | None) -> None:
        self._transport = _Transport(client=partial(_session, trusted), verify=_unused(), proxy=_proxy(url))

    async def ask(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes | None, connect_seconds: float
    ) -> ProxiedAnswer:
        """The answer, of which only the head is read; to be closed by the caller. Raises `transport_errors`.

        A kept connection may have been closed by the server at the moment it is used again. Then no byte of an answer
        comes, and the request is sent once more.
        """
        content: bytes | Pieces | None = body
        if body is not None and len(body) > LARGE_BYTES:
            content, headers = Pieces(body), {**headers, "content-length": str(len(body))}
        timeouts = {"timeout": {"connect": connect_seconds}}
        request = httpx.Request(method, url, headers=headers, content=content, extensions=timeouts)
        _reused.set(False)
        try:
            return ProxiedAnswer(await self._transport.handle_async_request(request))
        except _ERRORS as error:
            if not (_reused.get() and isinstance(error.__cause__, _DEAD_CONNECTION)):
                raise
        return ProxiedAnswer(await self._transport.handle_async_request(request))

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._transport.aclose()


class ProxiedAnswer:
    """An answer that came through a proxy; see answer.Answer."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._error: BaseException | None = None

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end. Raises `transport_errors`."""
        if self._error is not None:
            raise self._error
        content: aiohttp.StreamReader = self._response.extensions["body"]
        try:
            return await content.read(READ_BYTES)
        except _ERRORS as error:
            # aiohttp's reader withholds what had arrived once it has an error.
            if not (left := content._read_nowait(-1)):
                raise
            self._error = error
            return left

    async def aclose(self) -> None:
        """Closes the connection, unless the answer was read to its end."""
        await self._response.aclose()


class _Transport(AiohttpTransport):
    """Hands on aiohttp's own reader of the body as the response's extension `body`."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await super().handle_async_request(request)
        except ValueError as error:  # of a host that no name can be, such as one with an empty or a very long part
            raise httpx.RequestError(str(error)) from error
        stream = response.stream
        if isinstance(stream, AiohttpResponseStream):
            response.extensions["body"] = stream._aiohttp_response.content
        return response


@cache
def _unused() -> ssl.SSLContext:
    """Keeps each transport from reading all certificates once more: the session's own are used."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _proxy(url: str) -> httpx.Proxy:
    """The proxy, its login as the header that aiohttp passes on."""
    proxy = httpx.Proxy(url)
    if proxy.auth is None:
        return proxy
    return httpx.Proxy(proxy.url, headers={"authorization": aiohttp.encode_basic_auth(*proxy.auth)})


def _session(trusted: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """A session that trusts these certificates, None for the system's.

    It has as many connections as there are streams, whose number is limited: here a further one would wait unnoticed.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=trusted or True)
    connector._factory = partial(_Protocol, loop=asyncio.get_running_loop())  # type: ignore[assignment]
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
        read_bufsize=READ_BYTES,
    )


class _Protocol(ResponseHandler):
    """Closes a connection on which answers come that no request waits for, or interim answers without end.

    aiohttp queues them all, and its task that looks for the answer never waits while there are more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Takes the next answer, its head and the reader of its body."""
        if self._should_close and self.transport is None:
            return
        self._interim = self._interim + 1 if 100 <= data[0].code < 200 else 0
        if self._interim > MAX_INTERIM or len(self) > MAX_INTERIM:
            self._buffer.clear()
            self.abort()
            self.set_exception(aiohttp.ServerDisconnectedError("answers without end"))
            return
        super().feed_data(data, size)


async def _note_reuse(*_: object) -> None:
    _reused.set(True)
