"""Structured logs on standard error: one event a line, as JSON or for people.

Prompts, replies, keys and providers' messages are never passed to a logger, and what a provider or a caller names is
shown only where it looks like a name (`safe_fields`). Reports of libraries and of Python itself (`logging`, warnings,
exceptions in finalizers and threads) might quote them. Such a report becomes the event `fault` with the place it came
from, and with the beginning of its text, up to the first value in it.

All of it goes through one writer (`log_writer`), which never makes a thread wait for the reader of the log.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from headwater_server.telemetry.call_facts import merge_facts
from headwater_server.telemetry.log_writer import LogWriter, text_stream
from headwater_server.telemetry.safe_fields import hide_unsafe

Form: TypeAlias = Literal["auto", "json", "text"]


def is_text(form: Form) -> bool:
    """Whether the log is for people: `auto` is text on a terminal and JSON elsewhere."""
    return form == "text" or (form == "auto" and sys.stderr.isatty())


def configure_logging(level: str, form: Form, process: int | None = None) -> None:
    """Sets up structlog for the process, and makes `sys.stderr` a stream that never waits; to be called once.

    Args:
        level: the least level that is logged.
        form: see `is_text`.
        process: which of the server's processes this is, said on every line; None: it is the only one.
    """
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=_wants_colours())]
        if is_text(form)
        else [structlog.processors.JSONRenderer()]
    )
    writer = LogWriter(os.dup(2), _show_dropped)
    structlog.configure(
        processors=[
            merge_facts,
            hide_unsafe,
            *([] if process is None else [_process(process)]),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Logger(writer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Foreign()], force=True)
    warnings.showwarning = _show_warning
    sys.unraisablehook = _show_unraisable
    threading.excepthook = _show_thread
    sys.stderr = text_stream(writer)
    atexit.register(writer.close)


def _wants_colours() -> bool:
    """False in a file, on a terminal that has none, and where NO_COLOR (https://no-color.org) is set."""
    is_dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return sys.stderr.isatty() and not is_dumb and not os.environ.get("NO_COLOR")


def _process(index: int) -> structlog.typing.Processor:
    # Not a context variable: gRPC's own threads would not have it.
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": index, **event}

    return add


class _Logger:
    """Passes lines on to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def msg(self, message: str) -> None:
        self._writer.write(f"{message}\n".encode("utf-8", "backslashreplace"))

    debug = info = warning = error = msg


_FAULTS_OF_CALLERS = {
    ("grpc._cython.cygrpc", "Invalid encoding on"),  # metadata of a call that is no UTF-8
    ("grpc._cython.cygrpc", "ExecuteBatchError raised in core by servicer method"),  # its connection is gone
}
"""Lines that gRPC writes at level error, with a traceback, for anything that a caller does."""


class _Foreign(logging.Handler):
    """Logs the records of libraries. asyncio reports here the exceptions that no task of ours has caught."""

    def emit(self, record: logging.LogRecord) -> None:
        what = _beginning(str(record.msg))
        if (record.name, what) in _FAULTS_OF_CALLERS:
            _log.info("grpc", what=what)
            return
        error = record.exc_info[1] if record.exc_info else None
        facts = fault_facts(error) if error else {}
        say = _log.error if record.levelno >= logging.ERROR else _log.warning  # libraries define more levels
        say("fault", logger=record.name, what=what, **facts)


def _show_dropped(lines: int) -> None:
    why = "standard error could not be written, or was read too slowly"
    structlog.get_logger("headwater.log").error("lines dropped", lines=lines, why=why)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    what = _beginning(str(message))
    _log.warning("fault", logger="warnings", error=category.__name__, what=what, at=[f"{filename}:{lineno}"])


def _show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    _show_uncaught("python", unraisable.err_msg or "Exception ignored", unraisable.exc_type, unraisable.exc_value)


def _show_thread(ended: threading.ExceptHookArgs) -> None:
    _show_uncaught("threading", "Exception in a thread", ended.exc_type, ended.exc_value)


def _show_uncaught(logger: str, what: str, kind: type[BaseException], error: BaseException | None) -> None:
    _log.error("fault", logger=logger, what=what, **(fault_facts(error) if error else {"error": kind.__name__}))


def _beginning(text: str) -> str:
    """The part of a library's message that quotes nothing: `Exception in callback <Handle …>` without the handle."""
    return re.split(r"[<({\[:%'\"\n]", text, maxsplit=1)[0].strip()


_log = structlog.get_logger("headwater.foreign")


def fault_facts(error: BaseException) -> dict[str, Any]:
    """The facts of an unexpected exception that may be logged: its type and where it came from, never its message."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
    }
