"""Writes lines to standard error without ever holding up the thread that has one.

Theory of operation. A write to a pipe, a terminal or a disk blocks as long as the far side likes: a log collector that
has stopped, a terminal after Ctrl-S, a network disk. So lines go into a queue, and one thread writes them, in order.
The queue is bounded by bytes. A line that finds it full is dropped, as is one that cannot be written because the disk
is full or the reader has left. Dropped lines are counted, and reported when lines are written again.

Nothing here waits for the writing but `flush` and `close`, which wait a bounded time.
"""

from __future__ import annotations

import io
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

MAX_BYTES = 1024 * 1024
"""How much may wait to be written: about 3,000 lines."""
WRITE_BYTES = 4096
"""Lines are joined up to this length (PIPE_BUF): the lines of several processes in one pipe do not mix below it."""
FLUSH_SECONDS = 2.0
"""How long the end of the program waits for the rest of the lines."""


class LogWriter:
    """Writes lines to a descriptor, until `close`. For all threads, for signal handlers and for finalizers.

    Args:
        descriptor: gets the lines; it stays open.
        report: called with the number of lines that were dropped, from the writing thread; may call `write`.

    Attributes:
        descriptor: see there.
    """

    def __init__(self, descriptor: int, report: Callable[[int], object]) -> None:
        self.descriptor = descriptor
        self._report = report
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._writing = False
        self._dropped = 0
        self._is_cut = False
        self._ending = False
        self._changed = threading.Condition()  # its lock may be taken again by the thread that has it
        self._thread = start_thread(self._run, "headwater log")

    def write(self, line: bytes) -> None:
        """Takes a line, with its end, to be written; drops it when too much waits."""
        with self._changed:
            if self._ending or self._bytes + len(line) > MAX_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Waits until all lines so far are written, but not longer than this. Returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Writes what is left, for not longer than this; later lines are dropped."""
        end = time.monotonic() + seconds
        self.flush(seconds)
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(max(0.0, end - time.monotonic()))

    # The rest runs on the writing thread.

    def _run(self) -> None:
        while batch := self._take():
            dropped = self._write_all(b"".join(batch))
            with self._changed:
                self._writing = False
                self._dropped += dropped
                if self._dropped and not dropped and self._bytes <= MAX_BYTES // 2:  # there is room for the report
                    lost, self._dropped = self._dropped, 0
                    self._report(lost)
                self._changed.notify_all()

    def _take(self) -> list[bytes]:
        """The next lines, when there are any; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ending)
            batch: list[bytes] = []
            length = 0
            while self._lines and (not batch or length + len(self._lines[0]) <= WRITE_BYTES):
                batch.append(self._lines.popleft())
                length += len(batch[-1])
            self._bytes -= length
            self._writing = bool(batch)
            return batch

    def _write_all(self, data: bytes) -> int:
        """Writes lines. Returns how many of them could not be written, or not to their end."""
        rest = memoryview(b"\n" + data if self._is_cut else data)
        while rest:
            try:
                rest = rest[os.write(self.descriptor, rest) :]
                self._is_cut = bool(rest)
            except BlockingIOError:  # another program has made the descriptor non-blocking
                room = select.poll()
                room.register(self.descriptor, select.POLLOUT)
                room.poll()
            except OSError:
                return bytes(rest).count(b"\n")
        return 0


class _Stream(io.RawIOBase):
    """Passes what Python itself and libraries print to `sys.stderr` on to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def isatty(self) -> bool:
        """Whether the writer writes to a terminal."""
        return os.isatty(self._writer.descriptor)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Passes it on."""
        whole = bytes(data)
        self._writer.write(whole)
        return len(whole)


def text_stream(writer: LogWriter) -> io.TextIOWrapper:
    """A stream for `sys.stderr` that passes each line on to the writer."""
    stream = io.BufferedWriter(_Stream(writer))
    return io.TextIOWrapper(stream, "utf-8", "backslashreplace", line_buffering=True)


def print_line(line: str) -> None:
    """Prints a line on standard output from a thread, so that the server does not wait for its reader."""

    def write() -> None:
        with suppress(OSError):
            os.write(1, f"{line}\n".encode())

    start_thread(write, "headwater output")


def start_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """Starts a thread that does not keep the program from ending, and that takes no signals.

    A signal that the main thread has blocked would otherwise be taken by this one.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    with signals_blocked():
        thread.start()
    return thread


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Lets the threads that are started in the block take no signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
