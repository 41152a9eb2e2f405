"""The helper process as the server sees it: how it is started, asked and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

from headwater_server.workflows.expressions.messages import (
    FROM_HELPER,
    LENGTH_BYTES,
    Answer,
    Job,
    Needs,
    Values,
    frame,
)

_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""The variables that the process gets: no keys of providers are among them."""

Pipe = TypeVar("Pipe", asyncio.StreamReader, asyncio.StreamWriter)


class HelperEndedError(Exception):
    """The process ended before it answered. `code` is its exit code; a negative one is a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the helper process ended with code {code}")
        self.code = code


class HelperProcess:
    """A process that evaluates expressions. Made by `start`; `stop` must be called, also when it has ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process

    @classmethod
    async def start(cls, seconds: float) -> HelperProcess:
        """Starts it. `seconds`: the most computing time of a job. Raises OSError when the system makes no process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing is imported from the directory in which the server happens to run
            "-m",
            "headwater_server.workflows.expressions.helper",
            str(seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a library that fails may quote a value there
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            start_new_session=True,  # Ctrl-C on the terminal is for the server, which drains first
        )
        return cls(process)

    async def ask(self, job: Job, values: Mapping[str, str]) -> Answer:
        """The answer to a job, which may read these values. Raises HelperEndedError."""
        sink, source = _pipe(self._process.stdin), _pipe(self._process.stdout)
        try:
            sink.write(frame(job))
            while True:
                await sink.drain()
                length = int.from_bytes(await source.readexactly(LENGTH_BYTES), "big")
                message = FROM_HELPER.decode(await source.readexactly(length))
                if not isinstance(message, Needs):
                    return message
                keys = values if message.keys is None else [key for key in message.keys if key in values]
                sink.write(frame(Values({key: values[key] for key in keys})))
        except (EOFError, ConnectionError) as error:
            raise HelperEndedError(await self._process.wait()) from error

    async def stop(self) -> None:
        """Ends it at once."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        _pipe(self._process.stdin).close()
        await self._process.wait()


def _pipe(pipe: Pipe | None) -> Pipe:
    if pipe is None:
        raise RuntimeError("the process was made without its pipes")
    return pipe
