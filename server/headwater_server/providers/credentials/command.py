"""A token from a command: `gcloud auth print-access-token` and its like."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import without_secrets
from headwater_server.providers.credentials.base import checked_token
from headwater_server.providers.credentials.single_flight import SingleFlight

COMMAND_SECONDS = 30.0
KILL_SECONDS = 5.0
MAX_OUTPUT = 64 * 1024
LONGEST_MARGIN = 60.0
"""A token is fetched again so long before it expires, or a tenth of its life if that is less."""

_log = structlog.get_logger("headwater.credentials")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    lifetime: float


class CommandToken:
    """The source of a token that a command prints.

    The output is the token, or a JSON object with `token` and, where the token says so itself, `expires_in` (seconds)
    or `expiry` (RFC 3339, or seconds since 1970). The command runs without a shell, in the server's environment, with
    nothing to read. Its standard error is dropped, since it may quote secrets.

    Args:
        command: the program and its arguments.
        lifetime_seconds: how long a token holds that does not say so itself.
        provider: said in the log.
        timeout_seconds: how long the command may take.
    """

    def __init__(
        self,
        command: Sequence[str],
        lifetime_seconds: float,
        provider: str = "",
        timeout_seconds: float = COMMAND_SECONDS,
    ) -> None:
        self._shown = without_secrets(command[0])
        self.cure = f"check what token_command ({self._shown}) prints"
        self.identity = " ".join(("command", *command))
        self._command = tuple(command)
        self._lifetime = lifetime_seconds
        self._provider = provider
        self._timeout = timeout_seconds
        self._fetch = SingleFlight(self._refresh)
        self._token = ""
        self._fresh_until = -math.inf

    async def token(self) -> str:
        """See TokenSource."""
        if asyncio.get_running_loop().time() < self._fresh_until:
            return self._token
        return await self._fetch()

    async def refused(self, token: str) -> bool:
        """See TokenSource: the refused token is not used again; another caller may have a new one already."""
        if token == self._token:
            self._fresh_until = -math.inf
        return True

    async def _refresh(self) -> str:
        loop = asyncio.get_running_loop()
        began = loop.time()
        token = _parsed(await self._run(), self._lifetime)
        if token is None:
            raise self._failed("printed no token: one word, or a JSON object with token")
        self._token = token.text
        self._fresh_until = began + token.lifetime - min(LONGEST_MARGIN, token.lifetime / 10)
        seconds = round(loop.time() - began, 3)
        _log.info("token fetched", provider=self._provider, lifetime_seconds=round(token.lifetime), seconds=seconds)
        return token.text

    async def _run(self) -> bytes:
        """The output of the command. It has ended when this returns or raises."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # so that its children can be killed with it
            )
        except OSError as error:
            raise self._failed(f"cannot be started ({error.strerror})") from error
        output = b""
        try:
            async with asyncio.timeout(self._timeout):
                while process.stdout and (data := await process.stdout.read(MAX_OUTPUT)):
                    output += data
                    if len(output) > MAX_OUTPUT:
                        raise self._failed("prints more than 64 KiB")
                code = await process.wait()
        except TimeoutError as error:
            await _kill(process)
            raise self._failed(f"did not end within {self._timeout:g} seconds") from error
        except BaseException:
            await _kill(process)
            raise
        finally:
            # asyncio closes it only when the pipe ends too, which a child in another session may hold open.
            process._transport.close()  # type: ignore[attr-defined]
        if code:
            raise self._failed(f"ended with {f'exit code {code}' if code > 0 else f'signal {-code}'}")
        return output

    def _failed(self, what: str) -> HeadwaterError:
        cure = "run it by hand as the server's user, or correct token_command"
        return HeadwaterError(Reason.PROVIDER_AUTH_FAILED, f"the token's command {self._shown} {what}; {cure}")


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Ends the command and its children."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group that has ended
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # a child in another session may hold the pipe; it is not waited for
        async with asyncio.timeout(KILL_SECONDS):
            await process.wait()


def _parsed(output: bytes, lifetime: float) -> _Token | None:
    """The token in the output; None where there is none."""
    text = output.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        token = checked_token(text)
        return _Token(token, lifetime) if token else None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = said.get("token")
    token = checked_token(found) if isinstance(found, str) else None
    if token is None:
        return None
    remaining = _remaining(said)
    return _Token(token, lifetime if remaining is None else max(0.0, remaining))


def _remaining(said: dict[str, Any]) -> float | None:
    """How many seconds the token still holds; None where it does not say or it cannot be read."""
    with suppress(ValueError, TypeError, OverflowError):
        if said.get("expires_in") is not None:
            seconds = float(said["expires_in"])
            return seconds if math.isfinite(seconds) else None
        expiry = said.get("expiry")
        if isinstance(expiry, str):
            at = datetime.fromisoformat(expiry)
            return at.timestamp() - time.time() if at.tzinfo else None
        if expiry is not None:
            seconds = float(expiry) - time.time()
            return seconds if math.isfinite(seconds) else None
    return None
