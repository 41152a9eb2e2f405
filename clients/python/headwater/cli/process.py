"""The process that a command runs in: its standard streams, and Ctrl-C while it waits."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from headwater.cli.output import WRONG_USAGE, fail

T = TypeVar("T")

_ASCII = "headwater_ascii"


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end. Ctrl-C cancels it, and raises KeyboardInterrupt when it has cleaned up."""
    with asyncio.Runner() as runner:
        runner.get_loop()  # nothing is open until here, so Ctrl-C still ends the process at once
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return runner.run(work)
        finally:
            signal.signal(signal.SIGINT, before)


def prepare_streams() -> None:
    """Makes the standard streams safe to use.

    One that is closed becomes the null device. Output replaces each character that its encoding lacks, which must not
    end a reply. Input that is no terminal is UTF-8, whatever the locale says.
    """
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115  open as long as the process
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=_encoding(stream), errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper) and not sys.stdin.isatty():
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")


def read_input() -> str:
    """All of standard input. Ends the process when it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        refuse_input()


def refuse_input() -> NoReturn:
    """Ends the process: standard input is not UTF-8."""
    fail("standard input is not UTF-8; convert it, for example with iconv", WRONG_USAGE)


def _encoding(stream: io.TextIOWrapper) -> str:
    """The encoding of an output; ASCII under another name, because click writes UTF-8 to a stream that has ASCII."""
    if codecs.lookup(stream.encoding).name != "ascii":
        return stream.encoding
    codecs.register(_find_ascii)
    return _ASCII


def _find_ascii(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_.encode, ascii_.decode, ascii_.streamreader, ascii_.streamwriter,
        ascii_.incrementalencoder, ascii_.incrementaldecoder, name=_ASCII,
    )  # fmt: skip
