"""The HTTP client of the providers: httpx's API over aiohttp's transport (docs/adr/0003-http-transport.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias
from urllib.request import getproxies_environment

import aiohttp
import httpx
from httpx_aiohttp.transport import AiohttpResponseStream, AiohttpTransport

CONNECT_SECONDS = 10.0
MAX_CONNECTIONS = 10_000
KEEPALIVE_SECONDS = 15.0

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)
"""What a failed connection raises: httpx's own errors, and those of aiohttp that its transport lets through."""

BodyReader: TypeAlias = Callable[[], Awaitable[bytes]]
"""Reads a body as it comes; empty at its end."""

MOST_READ = 16 * 1024
"""Bytes that a BodyReader gives at most."""

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def new_client(user_agent: str) -> httpx.AsyncClient:
    """A client for one event loop, to be closed by its owner.

    It follows no redirects, keeps no cookies, and sets no limit on reading: how long a provider may be silent is the
    stream's to say. Proxies come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, but never for this host; logins in
    ~/.netrc are not used, since they would go where a provider's key belongs.
    """
    return httpx.AsyncClient(
        transport=_Transport(client=_session),
        mounts=_proxies(getproxies_environment()),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        # A compressed stream would be held back until the compressor has seen enough of it.
        headers={"user-agent": user_agent, "accept-encoding": "identity"},
    )


class _Transport(AiohttpTransport):
    """Hands on aiohttp's own reader of the body as the response's extension `body`."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        stream = response.stream
        if isinstance(stream, AiohttpResponseStream):
            response.extensions["body"] = stream._aiohttp_response.content
        return response


def body_reader(response: httpx.Response) -> BodyReader:
    """Reads the body of a response, decompressed where the provider compresses though it was asked not to.

    The aiohttp reader is used directly: httpx's iterators around it, three of them, cost 10 % of all CPU a chunk.
    """
    content: aiohttp.StreamReader | None = response.extensions.get("body")
    if content is None or "content-encoding" in response.headers:
        iterator = response.aiter_bytes(MOST_READ)
        return lambda: anext(iterator, b"")
    return partial(content.read, MOST_READ)


def left_over(response: httpx.Response) -> bytes:
    """What had arrived before the connection broke: once aiohttp's reader has its error, it gives it to nobody."""
    content: aiohttp.StreamReader | None = response.extensions.get("body")
    if content is None or "content-encoding" in response.headers:
        return b""
    return content._read_nowait(-1)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _proxies(found: dict[str, str]) -> dict[str, httpx.AsyncBaseTransport | None]:
    """The transports of the proxies, by httpx's patterns of URLs; None is the transport without a proxy."""
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    for scheme in ("http", "https"):
        if url := found.get(scheme) or found.get("all"):
            proxy = httpx.Proxy(url if "://" in url else f"http://{url}")
            mounts[f"{scheme}://"] = _Transport(client=_session, proxy=proxy)
    excluded = [host.strip() for host in found.get("no", "").split(",") if host.strip()]
    if not mounts or "*" in excluded:
        return {}
    mounts.update({f"all://{host}": None for host in _LOOPBACK})
    mounts.update({f"all://{host}" if "://" not in host else host: None for host in map(_pattern, excluded)})
    return mounts


def _pattern(host: str) -> str:
    """An entry of NO_PROXY as httpx writes it: a name stands for its subdomains too, an address for itself."""
    if host.count(":") > 1:
        return f"[{host.strip('[]')}]"
    is_address = host.replace(".", "").isdecimal()
    return host if is_address else f"*{host.lstrip('*')}"
