"""The real server as a separate process, and the replay server on a thread, for tests that share them."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.upstream.replay import ReplayServer
from tests.support.warm.copies import CopiedProcess

T = TypeVar("T")

OWN_VARIABLES = ("OPENAI_", "ANTHROPIC_", "OLLAMA_", "HEADWATER_")

QUICK = {"HEADWATER_RETRY_WAIT_SECONDS": "0.01", "HEADWATER_MAX_RETRY_WAIT_SECONDS": "0.5"}
"""Attempts follow each other fast; a provider that asks for a longer wait gets none."""

READ_EARLY = ("PYTHON", "GRPC_")
"""How variables begin that Python and gRPC read before the program runs."""

FRONT = os.environ.get("TEST_FRONT", "grpcio")
"""The front of all servers that do not ask for another: `TEST_FRONT=lean pytest tests/integration` tries all on it."""

_DATA = tempfile.TemporaryDirectory(prefix="headwater-")
atexit.register(_DATA.cleanup)


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without anything that would configure Headwater, and with these variables.

    Each call names another data folder, so that servers can run side by side. The file of all public authorities is not
    read, a tenth of the start of a server; their folder is there for those that need one. COLUMNS is left out: without a
    terminal readline, which pytest imports, sets it for the workers of xdist.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith((*OWN_VARIABLES, "COLUMNS"))}
    data = os.path.join(_DATA.name, uuid.uuid4().hex)
    own = {"SSL_CERT_FILE": os.devnull, "HEADWATER_DATA_DIR": data}
    if FRONT != "grpcio":
        own["HEADWATER_FRONT"] = FRONT
    return {**kept, **own, **variables}


class ServerProcess:
    """`headwater serve` on a free port, from `with` to the end of its block.

    A server of one process is a copy of a process that has imported it (`warm.copies`): that saves a second.

    Args:
        args: further flags.
        variables: further variables of its environment.
        processes: how many processes share the port.
        program: the program that Python runs instead of `headwater`.
        log_to: a descriptor that gets its log, which is not read here then.
        folder: where it runs; None: here.
        fresh: starts a new Python; for tests about the start, signals, and the facts that the system has about a process.

    Attributes:
        target: the address for clients.
        expected_code: the exit code with which the process must end.
    """

    expected_code = 0

    def __init__(
        self,
        *args: str,
        variables: Mapping[str, str] | None = None,
        processes: int = 1,
        program: Sequence[str] = ("-m", "headwater.cli"),
        log_to: int = subprocess.PIPE,
        folder: Path | None = None,
        fresh: bool = False,
    ) -> None:
        read_early = any(name.startswith(READ_EARLY) for name in variables or ())
        can_be_copy = sys.platform == "linux" and processes == 1 and program[0] == "-m"
        self._is_copy = can_be_copy and not (fresh or read_early)
        self._folder = folder
        self._args = ("--processes", str(processes), *args)
        self._program = program
        self._variables = dict(variables or {})
        self._log_to = log_to
        self._log: list[str] = []
        self.target = ""
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        options = ["serve", "--port", "0", "--log-format", "json", *self._args]
        start = CopiedProcess if self._is_copy else subprocess.Popen[str]
        self.process = start(
            [sys.executable, *self._program, *options],
            stdout=subprocess.PIPE,
            stderr=self._log_to,
            text=True,
            env=clean_environment(**{**QUICK, **self._variables}),
            cwd=self._folder,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._log.extend, args=(self.process.stderr or (),), daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError("the server did not start:\n" + "".join(self._log))
        self.target = line.split()[-1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        code = self.stop()
        if kind is None:
            assert code == self.expected_code, f"the server ended with {code}:\n{self.log}"
            assert "fault" not in [event.get("event") for event in self.events], self.log

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process and waits for it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def close_log(self) -> None:
        """Stops reading its log: its later writes meet a closed pipe."""
        assert self.process.stderr is not None
        # The reader blocks in a read; a second handle lets the pipe itself be closed under it.
        os.dup2(os.open(os.devnull, os.O_RDONLY), self.process.stderr.fileno())

    @property
    def log(self) -> str:
        """Its log so far."""
        return "".join(self._log)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log, parsed. Fails on a line that is not one event."""
        return [self._event(line) for line in list(self._log)]

    def _event(self, line: str) -> dict[str, Any]:
        try:
            event: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            raise AssertionError(f"{line!r} is no event; the whole log:\n{self.log}") from None
        return event


class OwnThread:
    """A server on a thread and an event loop for itself, from `with` to the end of its block."""

    def __init__(self, server: AbstractAsyncContextManager[object]) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._server.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._server.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)


class ReplayThread(OwnThread):
    """A ReplayServer on a separate event loop, from `with` to the end of its block."""

    def __init__(self) -> None:
        self.replay = ReplayServer()
        super().__init__(self.replay)

    @property
    def url(self) -> str:
        """The base URL."""
        return self.replay.url


def provider_variables(url: str) -> dict[str, str]:
    """Variables that point all three providers at one HTTP server."""
    return {
        "OPENAI_API_KEY": "sk-test-openai",
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_API_KEY": "sk-test-anthropic",
        "ANTHROPIC_BASE_URL": url,
        "OLLAMA_HOST": url,
    }


def proxied_variables(url: str) -> dict[str, str]:
    """The same, with the HTTP server as the proxy that the way to them goes through."""
    return {**provider_variables("http://provider.example"), "HTTP_PROXY": url}


def run_cli(
    *args: str, variables: Mapping[str, str] | None = None, stdin: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`headwater ARGS` with nothing configured but these variables."""
    return subprocess.run(
        [sys.executable, "-m", "headwater.cli", *args],
        capture_output=True,
        text=True,
        input=stdin,
        env=clean_environment(**(variables or {})),
        timeout=60,
        cwd=cwd,
        check=False,
    )
