"""Makes events of the lines that native libraries write to standard error, as gRPC's core does.

Theory of operation. A library in C writes to file descriptor 2, whatever Python's `sys.stderr` is. So descriptor 2
becomes a pipe, a thread reads its lines, and each becomes an event of the log. The log itself, and Python's report of a
crash, keep the old descriptor: they are written also when this process has no thread left that could read. Only the
last words of a library that ends the process may be lost, of which the report names the place. Programs that this
process starts write to the pipe too.

A log for people keeps the lines as they are.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from headwater_server.telemetry.logging import Form, is_text

MAX_LINE = 1_000
"""Characters of a line that are logged."""
READ_BYTES = 64 * 1024
END_SECONDS = 5.0
"""How long the end of the pipe is waited for: a program that was started here may still have it open."""

_GRPC = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ +\d+ (?P<at>[\w.-]+:\d+)\] (?P<what>.*)")
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "error"}

log = structlog.get_logger("headwater.native")


@contextmanager
def native_lines_as_events(form: Form) -> Iterator[None]:
    """Logs the lines that native libraries write in the block, where the log is JSON; to be used once it is set up."""
    if is_text(form):
        yield
        return
    kept = os.dup(2)
    source, sink = os.pipe()
    usual = sys.stderr
    reader = threading.Thread(target=_log_lines, args=(source,), name="native lines", daemon=True)
    with open(kept, "w", 1, encoding="utf-8", errors="backslashreplace") as direct:
        sys.stderr = direct
        faulthandler.enable(direct)
        os.dup2(sink, 2)
        os.close(sink)
        reader.start()
        try:
            yield
        finally:
            os.dup2(kept, 2)
            reader.join(END_SECONDS)
            faulthandler.disable()
            sys.stderr = usual
            with suppress(OSError):  # the reader of the log has left: the rest cannot be written
                direct.close()


def _log_lines(source: int) -> None:
    with open(source, "rb", buffering=READ_BYTES) as lines:
        for line in iter(lambda: lines.readline(READ_BYTES), b""):
            if text := line.decode(errors="replace").strip():
                _log_line(text)


def _log_line(text: str) -> None:
    if found := _GRPC.fullmatch(text):
        getattr(log, _LEVELS[found["level"]])("grpc", at=found["at"], what=found["what"][:MAX_LINE])
    else:
        log.warning("output", what=text[:MAX_LINE])
