"""Failures of a provider over HTTP, in words for callers and without the provider's key."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Sequence

import httpx

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import HIDDEN, SHORTEST_KEY, without
from headwater_server.providers.base import Wire
from headwater_server.providers.http.body import body_reader
from headwater_server.providers.http.client import Answer
from headwater_server.providers.http.transport_errors import (
    is_bad_answer,
    is_closed,
    is_wrapped_tls_error,
    transport_errors,
)
from headwater_server.providers.http1.errors import BadAnswerError, ClosedError
from headwater_server.providers.http1.tls_faults import tls_fault

MAX_ERROR_BODY = 64 * 1024
ERROR_BODY_SECONDS = 5.0

# As numbers: each answer is held against them, and a member of an Enum is looked up in a slow way.
_ACCEPTED, _NO_CONTENT, _RESET_CONTENT = 202, 204, 205


def is_success(answer: Answer) -> bool:
    """Whether the answer is to be read: any 2xx with content. A 202 says "later", unless it streams."""
    status = answer.status
    if status == _ACCEPTED:
        return str(answer.headers.get("content-type", "")).startswith("text/event-stream")
    return 200 <= status < 300 and status not in (_NO_CONTENT, _RESET_CONTENT)


async def refusal(answer: Answer, wire: Wire, secrets: Sequence[str], cure: str) -> HeadwaterError:
    """The error that an answer without success stands for, from as much of its body as comes in time.

    `cure` says what to do when the key is refused; empty where the caller knows.
    """
    body, unread = bytearray(), ""
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            read = body_reader(answer)
            while len(body) <= MAX_ERROR_BODY and (data := await read()):
                body += data
    except HeadwaterError as fault:
        unread = fault.message
    except transport_errors():
        pass  # its status says enough
    text = bytes(body[:MAX_ERROR_BODY])
    for secret in secrets:
        if len(secret) >= SHORTEST_KEY:
            text = text.replace(secret.encode(), HIDDEN.encode())
    error = redacted(wire.error(answer.status, answer.headers, text), secrets)
    notes = [unread, cure if error.reason is Reason.PROVIDER_AUTH_FAILED else ""]
    error.message += "".join(f" ({note})" for note in notes if note)
    error.args = (error.message,)
    return error


def unreachable(error: BaseException) -> HeadwaterError:
    """The error of a connection that could not be made."""
    return HeadwaterError(
        Reason.PROVIDER_UNAVAILABLE,
        f"cannot be reached ({why(error)}); check its base URL and that it is running",
    )


def why(error: BaseException) -> str:
    """The fault in the system's words and its cure, or else the kind of the innermost error. The outer ones are
    mapped: httpx's transport maps a refused connection to a timeout, and aiohttp's errors are of the classes of ssl
    without having their attributes.
    """
    chain = [error]
    while (inner := chain[-1].__cause__ or getattr(chain[-1], "os_error", None)) is not None and len(chain) < 20:
        chain.append(inner)
    return next(filter(None, map(_words, reversed(chain))), type(chain[-1]).__name__)


def _words(error: BaseException) -> str:
    """The words for one error of a chain; empty for an error that says nothing."""
    if isinstance(error, ssl.SSLError):
        return "" if is_wrapped_tls_error(error) else tls_fault(error)
    if isinstance(error, BadAnswerError) or is_bad_answer(error):
        return "its answer is not HTTP as it should be; check whether its base URL begins with https://"
    if isinstance(error, httpx.InvalidURL | ValueError):
        return "its address is not a URL"
    if isinstance(error, TimeoutError):
        return "no connection within its connect_seconds, or timeouts.connect of the request"
    if isinstance(error, ClosedError) or is_closed(error):
        return "it closed the connection without an answer"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "the server has too many files open; raise its limit, ulimit -n"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return "it closed the connection" if isinstance(error, ConnectionError) else ""


def redacted(error: HeadwaterError, secrets: Sequence[str]) -> HeadwaterError:
    """The error without the keys, which some providers repeat in their messages."""
    if any(secrets):
        error.message = without(secrets, error.message)
        error.args = (error.message,)
        error.metadata = {name: without(secrets, value) for name, value in error.metadata.items()}
    return error
