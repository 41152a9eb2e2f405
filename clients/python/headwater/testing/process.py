"""The process in which the servers of a test run live, and the way of orders to it.

It is a separate process: a frozen clock, a patched module, a fork or a blocked loop in a test does not reach the
server. It is found by the entry point `headwater.testing`, since the client imports nothing
of the server.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import entry_points
from types import TracebackType
from typing import IO, Any, TypeAlias

from headwater.exceptions import HeadwaterError, ValidationError

ANSWER_SECONDS = 30.0
STOP_SECONDS = 10.0
_LOG_BYTES = 4_000

Answer: TypeAlias = "concurrent.futures.Future[Any]"


class ControlledProcess:
    """A process that makes servers, from `with` to the end of its block. Orders may come from any thread.

    Raises HeadwaterError at the start when the server's packages are not installed, or it ends at once.
    """

    def __enter__(self) -> ControlledProcess:
        self._lock = threading.Lock()
        self._orders = 0
        self._over = False
        self._waiting: dict[int, Answer] = {}
        self._log: IO[bytes] = tempfile.TemporaryFile()
        program = next(iter(entry_points(group="headwater.testing", name="server")))
        self._process = subprocess.Popen(  # noqa: S603  Python itself, with a module of this distribution
            [sys.executable, "-P", "-m", program.value],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, name="headwater-testing", daemon=True)
        try:
            self._check_started()
            self._reader.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def order(self, order: str, **arguments: Any) -> Answer:
        """Sends an order; the future has its answer.

        It raises ValidationError for a wrong argument, and HeadwaterError when the process has ended.
        """
        answer: Answer = concurrent.futures.Future()
        with self._lock:
            self._orders += 1
            number = self._orders
            try:
                if self._over:
                    raise BrokenPipeError
                self._waiting[number] = answer
                self._stdin.write(json.dumps({"id": number, "order": order, **arguments}) + "\n")
                self._stdin.flush()
            except OSError:
                self._waiting.pop(number, None)
                answer.set_exception(self._ended())
        return answer

    @property
    def log(self) -> str:
        """The end of its log."""
        # Not by seeking: the process that writes has the same position.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), _LOG_BYTES, max(0, size - _LOG_BYTES)).decode("utf-8", "replace")

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        return self._process.stdin

    @property
    def _stdout(self) -> IO[str]:
        assert self._process.stdout is not None  # noqa: S101  it is a pipe
        return self._process.stdout

    def _check_started(self) -> None:
        line = self._stdout.readline()
        if not line:
            self._process.wait(STOP_SECONDS)
            raise self._ended()
        missing = json.loads(line)["missing"]
        if missing is not None:
            raise HeadwaterError(
                f"the server of headwater.testing needs the server's packages ({missing} is missing): "
                "install headwater with its extra `server`: pip install '.[server]' in its folder"
            )

    def _read(self) -> None:
        for line in self._stdout:
            answer = json.loads(line)
            with self._lock:
                waiting = self._waiting.pop(answer["id"])
            if not waiting.set_running_or_notify_cancel():
                continue  # an awaiting test was cancelled
            if "refused" in answer:
                waiting.set_exception(ValidationError(answer["refused"]))
            elif "error" in answer:
                waiting.set_exception(HeadwaterError(f"the server of headwater.testing failed: {answer['error']}"))
            else:
                waiting.set_result(answer["value"])
        with self._lock:
            self._over = True
            unanswered = list(self._waiting.values())
            self._waiting.clear()
        for waiting in unanswered:
            if waiting.set_running_or_notify_cancel():
                waiting.set_exception(self._ended())

    def _ended(self) -> HeadwaterError:
        return HeadwaterError(f"the server of headwater.testing has ended; its log: {self.log or 'is empty'}")

    def _stop(self) -> None:
        with contextlib.suppress(OSError):  # it has died, and an order is on its way
            self._stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader.ident is not None:
            self._reader.join()
        self._stdout.close()
        self._log.close()
