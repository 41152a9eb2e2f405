"""Failures of a provider over HTTP, in words for callers and without the provider's key."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress

import aiohttp
import httpx

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.base import Wire
from headwater_server.providers.http.client import CONNECT_SECONDS, TRANSPORT_ERRORS

MAX_ERROR_BODY = 64 * 1024
ERROR_BODY_SECONDS = 5.0
REDACTED = "***"
SHORTEST_KEY = 8


def is_success(response: httpx.Response) -> bool:
    """Whether the answer is to be read: any 2xx with content. A 202 says "later", unless it streams."""
    status = response.status_code
    if status == httpx.codes.ACCEPTED:
        return str(response.headers.get("content-type", "")).startswith("text/event-stream")
    return httpx.codes.is_success(status) and status not in (httpx.codes.NO_CONTENT, httpx.codes.RESET_CONTENT)


async def refusal(response: httpx.Response, wire: Wire, secrets: Sequence[str], cure: str) -> HeadwaterError:
    """The error that an answer without success stands for, from as much of its body as comes in time.

    `cure` says what to do when the key is refused; empty where the caller knows.
    """
    body = bytearray()
    with suppress(TimeoutError, *TRANSPORT_ERRORS):
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            async for data in response.aiter_bytes():
                body += data
                if len(body) > MAX_ERROR_BODY:
                    break
    text = bytes(body[:MAX_ERROR_BODY])
    for secret in secrets:
        if len(secret) >= SHORTEST_KEY:
            text = text.replace(secret.encode(), REDACTED.encode())
    error = redacted(wire.error(response.status_code, response.headers, text), secrets)
    if cure and error.reason is Reason.PROVIDER_AUTH_FAILED:
        error.message += f" ({cure})"
        error.args = (error.message,)
    return error


def unreachable(error: BaseException) -> HeadwaterError:
    """The error of a connection that could not be made."""
    return HeadwaterError(
        Reason.PROVIDER_UNAVAILABLE,
        f"cannot be reached ({why(error)}); check its base URL and that it is running",
    )


def why(error: BaseException | None) -> str:
    """The fault in the system's words, or else the kind of the innermost error. The outer ones are mapped, and the
    transport maps a refused connection to a timeout.
    """
    name = ""
    while error is not None:
        if isinstance(error, aiohttp.ClientSSLError):
            error = error.__cause__  # aiohttp's own error looks like one of ssl, but does not say the fault
            continue
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {error.verify_message}; the setting ca_file names others to trust"
        if isinstance(error, ssl.SSLError):
            return f"TLS: {error.reason}"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return "the server has too many files open; raise its limit, ulimit -n"
        if isinstance(error, OSError) and error.errno:
            return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        if isinstance(error, TimeoutError):
            return f"no connection within {CONNECT_SECONDS:g} seconds"
        name, error = type(error).__name__, error.__cause__
    return name


def redacted(error: HeadwaterError, secrets: Sequence[str]) -> HeadwaterError:
    """The error without the keys, which some providers repeat in their messages."""
    if any(secrets):
        error.message = without(secrets, error.message)
        error.args = (error.message,)
        error.metadata = {name: without(secrets, value) for name, value in error.metadata.items()}
    return error


def without(secrets: Sequence[str], text: str) -> str:
    """The text without the secrets, nor a beginning of one where the text was cut."""
    for secret in secrets:
        text = _without(secret, text)
    return text


def _without(key: str, text: str) -> str:
    if len(key) < SHORTEST_KEY:
        return text  # no key of a provider's, and its letters stand in any sentence
    text = text.replace(key, REDACTED)
    bare = text.rstrip("….")
    for length in range(min(len(key), len(bare)), 5, -1):
        if bare.endswith(key[:length]):
            return bare[:-length] + REDACTED
    return text
