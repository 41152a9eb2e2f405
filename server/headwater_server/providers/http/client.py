"""The HTTP client of the providers: httpx's API over aiohttp's transport (docs/adr/0003-http-transport.md)."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.util import find_spec
from typing import Self, TypeAlias
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import aiohttp
import httpx
from httpx_aiohttp.transport import AiohttpResponseStream, AiohttpTransport

from headwater_server.domain.call_origin import origin
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.http.loopback import is_loopback

CONNECT_SECONDS = 10.0
MAX_CONNECTIONS = 10_000
KEEPALIVE_SECONDS = 15.0

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)
"""The errors of a failed connection: httpx's own, and those of aiohttp that its transport lets through."""

BodyReader: TypeAlias = Callable[[], Awaitable[bytes]]
"""Reads a body as it comes; empty at its end."""

MOST_READ = 16 * 1024
"""Bytes that a BodyReader gives at most."""

MAX_HEADER_BYTES = 64 * 1024
"""Most bytes of one header line of an answer: proxies send debug headers and policies of 10 KB and more."""

_DEAD_CONNECTION = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)

_COMPRESSORS = {"br": ("brotli", "brotlicffi"), "zstd": ("zstandard",), "compress": (), "x-compress": ()}
"""The encodings that httpx decodes only where one of these libraries is installed."""

_reused: ContextVar[bool] = ContextVar("reused", default=False)
"""Whether the request that this task sends went out on a kept connection."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a provider is reached, where it differs from the others.

    Attributes:
        ca_file: certificates to trust instead of the system's; empty for those.
        proxy: the address of a proxy for every call; `none` for the straight way; empty for the environment's proxies.
        unix_socket: the path of a socket to connect to, whatever the URL's host is.
        connect_seconds: how long a connection may take.
    """

    ca_file: str = ""
    proxy: str = ""
    unix_socket: str = ""
    connect_seconds: float = CONNECT_SECONDS


class HttpClient:
    """Asks providers, within one event loop; to be closed by its owner.

    It follows no redirects, keeps no cookies, and sets no limit on reading: how long a provider may be silent is the
    stream's to say. Proxies come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, but never for this host; logins in
    ~/.netrc are not used, since they would go where a provider's key belongs. A way goes over all of this.

    It speaks to httpx's transports itself. httpx's own client would do all that this one must not, and is a sixth of
    the cost of a short stream.

    Args:
        user_agent: says to providers who asks.
        way: how they are reached.
    """

    def __init__(self, user_agent: str, way: Way = Way()) -> None:
        # A compressed stream would be held back until the compressor has seen enough of it.
        self._headers = {"user-agent": user_agent, "accept": "*/*", "accept-encoding": "identity"}
        self._user_agent = user_agent
        self._others: dict[Way, HttpClient] = {}
        self._connect_seconds = way.connect_seconds
        self._proxies = _proxies()
        transport = partial(_Transport, client=partial(_session, way), verify=_trusted())
        self._direct = transport()
        self._proxied = {scheme: transport(proxy=proxy) for scheme, proxy in _by_scheme(self._proxies, way)}
        self._is_forced = bool(way.proxy)

    def over(self, way: Way) -> HttpClient:
        """The client for this way: itself for the ordinary one, else another that is closed with it."""
        if way == Way():
            return self
        if way not in self._others:
            self._others[way] = HttpClient(self._user_agent, way)
        return self._others[way]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()
        for other in self._others.values():
            await other.__aexit__()

    def request(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None) -> httpx.Request:
        """A request for `send`."""
        extensions = {"timeout": {"connect": self._connect_seconds}}
        return httpx.Request(
            method,
            _url(url),
            headers={**self._headers, **origin.get(), **headers},
            content=content,
            extensions=extensions,
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, of which only the head is read; to be closed by the caller. Raises TRANSPORT_ERRORS.

        A kept connection may have been closed by the server at the moment it is used again. Then no byte of an answer
        comes, and the request is sent once more.
        """
        transport = self.transport(request.url)
        _reused.set(False)
        try:
            return await transport.handle_async_request(request)
        except TRANSPORT_ERRORS as error:
            if not (_reused.get() and isinstance(error.__cause__, _DEAD_CONNECTION)):
                raise
        return await transport.handle_async_request(request)

    def transport(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        """The way to a URL: straight, or through a proxy."""
        proxied = self._proxied.get(url.scheme)
        if proxied is None or self._is_forced:
            return proxied or self._direct
        if is_loopback(url.host) or proxy_bypass_environment(url.host, self._proxies):
            return self._direct
        return proxied


@lru_cache(maxsize=256)
def _url(text: str) -> httpx.URL:
    """Parses each of the few URLs once: parsing is a twentieth of the cost of a short stream."""
    return httpx.URL(text)


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

    Raises HeadwaterError for an encoding that cannot be decoded here. The aiohttp reader is used directly: httpx's
    iterators around it, three of them, cost 10 % of all CPU a chunk.
    """
    content: aiohttp.StreamReader | None = response.extensions.get("body")
    if content is None or "content-encoding" in response.headers:
        _require_decodable(response.headers.get("content-encoding", ""))
        iterator = response.aiter_bytes()  # a size would hold back what was flushed until so much is there
        return lambda: anext(iterator, b"")
    return partial(content.read, MOST_READ)


def _require_decodable(encodings: str) -> None:
    for encoding in (each.strip().lower() for each in encodings.split(",")):
        libraries = _COMPRESSORS.get(encoding, ("zlib",))
        if not any(find_spec(library) for library in libraries):
            cure = f"install {libraries[0]}, or turn it off there" if libraries else "turn it off there"
            message = f"the provider's answer has the encoding {encoding}, which was not asked for; {cure}"
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)


def left_over(response: httpx.Response) -> bytes:
    """The bytes that had arrived before the connection broke: aiohttp's reader withholds them once it has an error."""
    content: aiohttp.StreamReader | None = response.extensions.get("body")
    if content is None or "content-encoding" in response.headers:
        return b""
    return content._read_nowait(-1)


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted, read once for all transports of the process: that takes 25 ms."""
    return httpx.create_ssl_context()


def _session(way: Way) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if way.unix_socket:
        connector = aiohttp.UnixConnector(way.unix_socket, limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS)
    else:
        trusted = ssl.create_default_context(cafile=way.ca_file) if way.ca_file else True
        connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS, ssl=trusted)
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


async def _note_reuse(*_: object) -> None:
    _reused.set(True)


def _proxies() -> dict[str, str]:
    """The proxies of the environment, and under `no` who is reached without, as `proxy_bypass_environment` reads it."""
    found = getproxies_environment()
    without_brackets = str.maketrans("", "", "[]")  # as IPv6 addresses are compared
    excluded = found.get("no", "").translate(without_brackets)
    found["no"] = "*" if "*" in map(str.strip, excluded.split(",")) else excluded
    return found


def _by_scheme(found: dict[str, str], way: Way) -> Iterator[tuple[str, httpx.Proxy]]:
    """The proxy of each scheme that has one."""
    if way.proxy == "none" or way.unix_socket:
        return
    for scheme in ("http", "https"):
        if url := way.proxy or found.get(scheme) or found.get("all"):
            yield scheme, _proxy(url if "://" in url else f"http://{url}")


def _proxy(url: str) -> httpx.Proxy:
    """The proxy, its login as the header that aiohttp passes on."""
    proxy = httpx.Proxy(url)
    if proxy.auth is None:
        return proxy
    return httpx.Proxy(proxy.url, headers={"authorization": aiohttp.encode_basic_auth(*proxy.auth)})
