"""The HTTP client of the providers: one request at a time over a connection of the pool, or through a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, Self

import httpx
import structlog

from headwater_server.domain.call_origin import origin
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.http.proxies import proxies
from headwater_server.providers.http1.connection import Site
from headwater_server.providers.http1.heads import request_head
from headwater_server.providers.http1.pool import Pool, speaks_http1
from headwater_server.telemetry.aside import Aside

if TYPE_CHECKING:
    from headwater_server.providers.http.proxied import Proxy

CONNECT_SECONDS = 10.0
_PORTS = {"http": 80, "https": 443}


class Answer(Protocol):
    """An answer of a provider whose head has come; to be closed.

    Attributes:
        status: of the answer.
        headers: names in lower case, or a mapping that ignores case.
    """

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end. Raises `transport_errors`."""
        ...

    async def aclose(self) -> None:
        """Closes the connection, unless the answer was read to its end."""
        ...


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


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, with the parts of it that a request needs.

    Attributes:
        url: the URL.
        scheme: http or https.
        host: the name or IP address in it.
        path: the path in it, decoded.
        netloc: its name and port, as they stand in it.
        target: its path and query, encoded.
        site: the place that connections to it lead to.
    """

    url: httpx.URL
    scheme: str
    host: str
    path: str
    netloc: str
    target: bytes
    site: Site


class HttpClient:
    """Asks providers, within one event loop; to be closed by its owner.

    It follows no redirects, keeps no cookies, and sets no limit on reading: how long a provider may be silent is the
    stream's to say. Proxies come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, but never for this host; logins in
    ~/.netrc are not used, since they would go where a provider's key belongs. A way goes over all of this.

    Args:
        user_agent: says to providers who asks.
        connect_seconds: how long a connection may take, where neither the way nor the request says.
        way: how they are reached.

    Attributes:
        aside: makes large requests and reads large answers.
        log: for lines about requests; bound once, for that takes longer than a line that is not written.
    """

    def __init__(self, user_agent: str, connect_seconds: float = CONNECT_SECONDS, way: Way = Way()) -> None:
        # A compressed stream would be held back until the compressor has seen enough of it.
        self.aside = Aside()
        self.log = structlog.get_logger("headwater.providers").bind()
        self._headers = {"user-agent": user_agent, "accept": "*/*", "accept-encoding": "identity"}
        self._user_agent = user_agent
        self._others: dict[Way, HttpClient] = {}
        self._connect_seconds = connect_seconds if way.connect_seconds is None else way.connect_seconds
        trusted = speaks_http1(ssl.create_default_context(cafile=way.ca_file)) if way.ca_file else None
        self._pool = Pool(trusted, way.unix_socket)
        self._proxies = proxies("none" if way.unix_socket else way.proxy)
        self._proxied = _proxied(self._proxies.urls, trusted)
        self._has_proxies = bool(self._proxies.urls or self._proxies.mistakes)

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
        await self._pool.aclose()
        for proxy in self._proxied.values():
            await proxy.aclose()
        for other in self._others.values():
            await other.aclose()

    async def send(
        self,
        method: str,
        address: Address,
        headers: Mapping[str, str],
        body: bytes | None = None,
        connect_seconds: float | None = None,
    ) -> Answer:
        """The answer to a request, of which only the head is read; to be closed by the caller.

        `connect_seconds` goes over that of the client. Raises `transport_errors`, and HeadwaterError where the setting
        of a proxy is none.
        """
        headers = {**self._headers, **origin.get(), **headers}
        seconds = self._connect_seconds if connect_seconds is None else connect_seconds
        if self._has_proxies and (proxy := self.proxy(address)) is not None:
            return await proxy.ask(method, address.url, headers, body, seconds)
        try:
            length = None if body is None else len(body)
            head = request_head(method, address.netloc, address.target, headers, length)
            return await self._pool.ask(address.site, head, body or b"", seconds)
        except ValueError as error:  # of a host that no name can be, such as one with an empty or a very long part
            raise httpx.RequestError(str(error)) from error

    def proxy(self, address: Address) -> Proxy | None:
        """The proxy that requests to an address go through; None for the straight way.

        Raises HeadwaterError where the setting is no proxy's address.
        """
        scheme = address.scheme
        proxied, mistake = self._proxied.get(scheme), self._proxies.mistakes.get(scheme, "")
        if not (proxied or mistake) or not self._proxies.are_for(address.host):
            return None
        if proxied is None:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"cannot be reached: {mistake}")
        return proxied


def _proxied(urls: Mapping[str, str], trusted: ssl.SSLContext | None) -> dict[str, Proxy]:
    """The proxy for each scheme that has one. Only these load aiohttp."""
    if not urls:
        return {}
    from headwater_server.providers.http.proxied import Proxy

    return {scheme: Proxy(url, trusted) for scheme, url in urls.items()}


@lru_cache(maxsize=256)
def parsed_url(text: str) -> Address:
    """Parses each of the few URLs once: parsing is a twentieth of the cost of a short stream.

    Raises httpx.InvalidURL.
    """
    url = httpx.URL(text)
    try:
        host = url.host  # raises for letters that no name of another script can have
    except ValueError as error:
        raise httpx.InvalidURL(str(error)) from error
    site = Site(url.raw_host.decode("ascii"), url.port or _PORTS.get(url.scheme, 0), url.scheme == "https")
    return Address(url, url.scheme, host, url.path, url.netloc.decode("ascii"), url.raw_path, site)
