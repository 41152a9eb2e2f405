"""The HTTP client of the providers: httpx's API over aiohttp's transport (docs/adr/0003-http-transport.md)."""

from __future__ import annotations

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

CONNECT_SECONDS = 10.0
MAX_CONNECTIONS = 10_000
KEEPALIVE_SECONDS = 15.0

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)
"""What a failed connection raises: httpx's own errors, and those of aiohttp that its transport lets through."""


def new_client(user_agent: str) -> httpx.AsyncClient:
    """A client for one event loop, to be closed by its owner.

    It follows no redirects, keeps no cookies, honours the proxy settings of the environment, and sets no limit on
    reading: how long a provider may be silent is the stream's to say.
    """

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True)

    return httpx.AsyncClient(
        transport=AiohttpTransport(client=session),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        # A compressed stream would be held back until the compressor has seen enough of it.
        headers={"user-agent": user_agent, "accept-encoding": "identity"},
    )
