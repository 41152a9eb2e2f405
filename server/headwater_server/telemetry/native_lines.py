"""Makes events of the lines that native libraries write to standard error, as gRPC's core does.

Theory of operation. A library in C writes to file descriptor 2, whatever Python's `sys.stderr` is. So descriptor 2
becomes a pipe, a thread reads its lines, and each becomes an event of the log. The pipe takes what it has room for and
drops the rest: no library waits. The log itself keeps the old descriptor, and so does Python's report of a crash, which
is written also when this process has no thread left that could read. Only the last words of a library that ends the
process may be lost, of which the report names the place. Programs that this process starts write to the pipe too.

A log for people keeps the lines as they are.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import structlog

from headwater_server.telemetry.log_writer import start_thread
from headwater_server.telemetry.logging import Form, is_text

MAX_LINE = 1_000
"""Characters of a line that are logged."""
PIPE_BYTES = 1024 * 1024
"""The size of the pipe, where the system allows it."""
READ_BYTES = 64 * 1024
END_SECONDS = 2.0
"""How long the end of the pipe is waited for: a program that was started here may still have it open."""

_GRPC = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ +\d+ (?P<at>[\w.-]+:\d+)\] (?P<what>.*)")
_OF_CALLERS = re.compile(r"Error parsing '[^']*' metadata: |No match found for server name: ")
"""gRPC's errors that any caller can cause."""
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "error"}

log = structlog.get_logger("headwater.native")


@contextmanager
def native_lines_as_events(form: Form) -> Iterator[None]:
    """Logs the lines that native libraries write in the block; to be used once the log is set up."""
    usual = os.dup(2)
    crashes = _without_waiting(usual)
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    with suppress(OSError):
        fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    show = _print_line if is_text(form) else _log_line
    faulthandler.enable(crashes)
    os.dup2(sink, 2)
    os.close(sink)
    reader = start_thread(partial(_read_lines, source, show), "headwater native lines")
    try:
        yield
    finally:
        os.dup2(usual, 2)
        reader.join(END_SECONDS)
        faulthandler.disable()
        os.close(crashes)
        os.close(usual)


def _without_waiting(descriptor: int) -> int:
    """A descriptor for the same output, where a write to a full pipe fails instead of waiting for its reader."""
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.dup(descriptor)


def _read_lines(source: int, show: Callable[[str], None]) -> None:
    with open(source, "rb", buffering=READ_BYTES) as lines:
        for line in iter(lambda: lines.readline(READ_BYTES), b""):
            if text := line.decode(errors="replace").strip():
                show(text)


def _print_line(text: str) -> None:
    print(text, file=sys.stderr)


def _log_line(text: str) -> None:
    if found := _GRPC.fullmatch(text):
        level = "info" if _OF_CALLERS.match(found["what"]) else _LEVELS[found["level"]]
        getattr(log, level)("grpc", at=found["at"], what=found["what"][:MAX_LINE])
    else:
        log.warning("output", what=text[:MAX_LINE])
