"""The process of the embedded model, seen from the server: how it is started, watched and ended.

It is ended with SIGKILL only: llama.cpp's orderly end waits for the streams under way, up to 30 seconds. Should the
server itself be killed, the process ends by itself (see `process`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import speaks_of_a_key
from headwater_server.providers.local.share import Address

START_SECONDS = 120.0
"""How long the model may take to load, from a cold disk too."""

PROGRAM = "headwater_server.providers.local.process"

LOG_LINES = 3

Pipe = TypeVar("Pipe", asyncio.StreamReader, asyncio.StreamWriter)


class ModelProcess:
    """A process that serves the model. Made by `start`; `stop` must be called, also when it has died."""

    def __init__(self, process: asyncio.subprocess.Process, address: Address) -> None:
        self.address = address
        self.pid = process.pid
        self._process = process

    @classmethod
    async def start(cls, settings: Mapping[str, object]) -> ModelProcess:
        """Starts it and waits until the model is loaded. Raises HeadwaterError (PROVIDER_UNAVAILABLE) if it is not."""
        key = secrets.token_urlsafe(32)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # nothing is imported from the directory in which the server happens to run
                "-m",
                PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if not speaks_of_a_key(name)},
                start_new_session=True,  # Ctrl-C on the terminal is for the server, which drains first
            )
        except OSError as error:
            raise _failed(f"its process cannot be made ({error.strerror})", []) from error
        _pipe(process.stdin).write(msgspec.json.encode({**settings, "api_key": key}) + b"\n")
        log = asyncio.create_task(_last_lines(_pipe(process.stderr)))
        try:
            async with asyncio.timeout(START_SECONDS):
                answer = await _pipe(process.stdout).readline()
            if not answer:
                await process.wait()
                raise _failed(f"its process ended with code {process.returncode}", await log)
            url = msgspec.json.decode(answer, type=dict[str, str])["url"]
        except TimeoutError as error:
            await _end(process)
            raise _failed(f"it did not load within {START_SECONDS:g} seconds", await log) from error
        except BaseException:
            await _end(process)
            raise
        finally:
            log.cancel()
        return cls(process, Address(url, key))

    @property
    def alive(self) -> bool:
        """Whether it runs at this moment, not only as far as the event loop has heard."""
        if self._process.returncode is not None:
            return False
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return ended is None

    async def watch(self, seconds: float) -> bool:
        """Waits until it has ended, or has given no sign of life for so long; returns whether it is that.

        One half of the time without a sign is not enough: the server itself may have stood still meanwhile.
        """
        beats, silent = _pipe(self._process.stdout), 0
        while silent < 2:
            try:
                async with asyncio.timeout(seconds / 2):
                    beat = await beats.read(4096)
            except TimeoutError:
                silent += 1
                continue
            if not beat:
                await self._process.wait()
                return False
            silent = 0
        return True

    async def wait(self) -> None:
        """Waits until it has ended."""
        await self._process.wait()

    async def stop(self) -> None:
        """Ends it at once."""
        await _end(self._process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    _pipe(process.stdin).close()
    await process.wait()


def _pipe(pipe: Pipe | None) -> Pipe:
    if pipe is None:
        raise RuntimeError("the process was made without its pipes")
    return pipe


async def _last_lines(log: asyncio.StreamReader) -> list[str]:
    """The last lines of the log up to its end; no prompt has been sent yet that it could hold."""
    lines: deque[str] = deque(maxlen=LOG_LINES)
    rest = b""
    while data := await log.read(4096):
        *whole, rest = (rest + data).split(b"\n")
        lines.extend(line.decode("utf-8", "replace")[:200] for line in whole if line.strip())
        rest = rest[-4096:]
    return list(lines)


def _failed(what: str, log: list[str]) -> HeadwaterError:
    last = f"; its last words: {' | '.join(log)}" if log else ""
    return HeadwaterError(
        Reason.PROVIDER_UNAVAILABLE,
        f"the embedded model did not start: {what}; check the model file and the free memory{last}",
    )
