"""The errors of a failed connection. Those of aiohttp are among them once a proxy has loaded it.

To load aiohttp takes a tenth of the start of a server, and without a proxy nothing needs it.
"""

from __future__ import annotations

import sys
from typing import Any

import httpx

STRAIGHT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, OSError)
"""Those without a proxy: the system's, and httpx's for an address that is none."""


def transport_errors() -> tuple[type[BaseException], ...]:
    """The errors of a failed connection, to be caught."""
    if _aiohttp() is None:
        return STRAIGHT_ERRORS
    from headwater_server.providers.http.proxied import PROXIED_ERRORS

    return (*STRAIGHT_ERRORS, *PROXIED_ERRORS)


def is_wrapped_tls_error(error: BaseException) -> bool:
    """Whether it is an error of aiohttp that is of ssl's classes and has none of their facts."""
    aiohttp = _aiohttp()
    return aiohttp is not None and isinstance(error, aiohttp.ClientSSLError)


def is_bad_answer(error: BaseException) -> bool:
    """Whether an answer through a proxy was not HTTP."""
    aiohttp = _aiohttp()
    return aiohttp is not None and isinstance(error, aiohttp.http_exceptions.HttpProcessingError)


def is_closed(error: BaseException) -> bool:
    """Whether a connection through a proxy was closed before the answer came."""
    aiohttp = _aiohttp()
    return aiohttp is not None and isinstance(error, aiohttp.ServerDisconnectedError)


def _aiohttp() -> Any:
    """The package, if it is loaded; else no error can be of its classes."""
    return sys.modules.get("aiohttp")
