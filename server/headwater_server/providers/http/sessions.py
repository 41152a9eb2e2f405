"""The connections to providers: aiohttp's sessions, with bounds on answers that no request waits for."""

from __future__ import annotations

import asyncio
import ssl
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

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

reused: ContextVar[bool] = ContextVar("reused", default=False)
"""Whether the request that this task sends went out on a kept connection."""


def session(trusted: ssl.SSLContext | None, unix_socket: str) -> aiohttp.ClientSession:
    """A session that trusts these certificates, None for the system's; at a Unix socket, if one is named.

    It has as many connections as there are streams, whose number is limited: here a further one would wait unnoticed.
    """
    connector: aiohttp.BaseConnector
    if unix_socket:
        connector = aiohttp.UnixConnector(unix_socket, limit=0, keepalive_timeout=KEEPALIVE_SECONDS)
    else:
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
    reused.set(True)
