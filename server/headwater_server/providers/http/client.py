"""The HTTP client of the providers: httpx's API over aiohttp's transport (docs/adr/0003-http-transport.md)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Self

import aiohttp
import httpx
from aiohttp import EofStream
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp.transport import AiohttpResponseStream, AiohttpTransport

from headwater_server.domain.call_origin import origin
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.http.large_bodies import LARGE_BYTES, Pieces
from headwater_server.providers.http.proxies import proxies
from headwater_server.providers.http.sessions import reused, session
from headwater_server.telemetry.aside import Aside

CONNECT_SECONDS = 10.0

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, HttpProcessingError, EofStream, OSError)
"""The errors of a failed connection: httpx's own, and those of aiohttp that its transport lets through."""

_DEAD_CONNECTION = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@dataclass(frozen=True, slots=True)
class Way:
    """How a provider is reached, where it differs from the others.

    Attributes:
        ca_file: certificates to trust instead of the system's; empty for those.
        proxy: the address of a proxy for every call; `none` for the straight way; empty for the environment's proxies.
        unix_socket: the path of a socket to connect to, whatever the URL's host is.
        connect_seconds: how long a connection may take; None: as the server is set.
    """

    ca_file: str = ""
    proxy: str = ""
    unix_socket: str = ""
    connect_seconds: float | None = None


class HttpClient:
    """Asks providers, within one event loop; to be closed by its owner.

    It follows no redirects, keeps no cookies, and sets no limit on reading: how long a provider may be silent is the
    stream's to say. Proxies come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, but never for this host; logins in
    ~/.netrc are not used, since they would go where a provider's key belongs. A way goes over all of this.

    It speaks to httpx's transports itself. httpx's own client would do all that this one must not, and is a sixth of
    the cost of a short stream.

    Args:
        user_agent: says to providers who asks.
        connect_seconds: how long a connection may take, where neither the way nor the request says.
        way: how they are reached.

    Attributes:
        aside: makes large requests and reads large answers.
    """

    def __init__(self, user_agent: str, connect_seconds: float = CONNECT_SECONDS, way: Way = Way()) -> None:
        # A compressed stream would be held back until the compressor has seen enough of it.
        self.aside = Aside()
        self._headers = {"user-agent": user_agent, "accept": "*/*", "accept-encoding": "identity"}
        self._user_agent = user_agent
        self._others: dict[Way, HttpClient] = {}
        self._connect_seconds = connect_seconds if way.connect_seconds is None else way.connect_seconds
        trusted = ssl.create_default_context(cafile=way.ca_file) if way.ca_file else None
        transport = partial(_Transport, client=partial(session, trusted, way.unix_socket), verify=_unused())
        self._proxies = proxies("none" if way.unix_socket else way.proxy)
        self._direct = transport()
        self._proxied = {scheme: transport(proxy=_proxy(url)) for scheme, url in self._proxies.urls.items()}

    def over(self, way: Way) -> HttpClient:
        """The client for this way: itself for the ordinary one, else another that is closed with it."""
        if way == Way():
            return self
        if way not in self._others:
            self._others[way] = HttpClient(self._user_agent, self._connect_seconds, way)
        return self._others[way]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes its connections."""
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()
        for other in self._others.values():
            await other.aclose()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        connect_seconds: float | None = None,
    ) -> httpx.Request:
        """A request for `send`; `connect_seconds` goes over that of the client."""
        extensions = {"timeout": {"connect": self._connect_seconds if connect_seconds is None else connect_seconds}}
        all_headers = {**self._headers, **origin.get(), **headers}
        body: bytes | Pieces | None = content
        if content is not None and len(content) > LARGE_BYTES:
            body, all_headers["content-length"] = Pieces(content), str(len(content))
        return httpx.Request(method, _url(url), headers=all_headers, content=body, extensions=extensions)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, of which only the head is read; to be closed by the caller. Raises TRANSPORT_ERRORS.

        A kept connection may have been closed by the server at the moment it is used again. Then no byte of an answer
        comes, and the request is sent once more.
        """
        transport = self.transport(request.url)
        reused.set(False)
        try:
            return await transport.handle_async_request(request)
        except TRANSPORT_ERRORS as error:
            if not (reused.get() and isinstance(error.__cause__, _DEAD_CONNECTION)):
                raise
        return await transport.handle_async_request(request)

    def transport(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        """The way to a URL: straight, or through a proxy. Raises HeadwaterError where that is no proxy's address."""
        proxied, mistake = self._proxied.get(url.scheme), self._proxies.mistakes.get(url.scheme, "")
        if not (proxied or mistake) or not self._proxies.are_for(url.host):
            return self._direct
        if proxied is None:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"cannot be reached: {mistake}")
        return proxied


@lru_cache(maxsize=256)
def _url(text: str) -> httpx.URL:
    """Parses each of the few URLs once: parsing is a twentieth of the cost of a short stream."""
    url = httpx.URL(text)
    try:
        _ = url.host  # raises for letters that no name of another script can have
    except ValueError as error:
        raise httpx.InvalidURL(str(error)) from error
    return url


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
