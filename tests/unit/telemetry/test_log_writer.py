"""The log's writer makes no thread wait, keeps the order of lines, and reports how many it had to drop."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from headwater_server.telemetry import log_writer
from headwater_server.telemetry.log_writer import LogWriter, text_stream

PAGE = 4096


def full_disk(descriptor: int, data: memoryview) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


class Log:
    """A writer into a small pipe, whose other end is read by the test."""

    def __init__(self) -> None:
        self.source, self.sink = os.pipe()
        fcntl.fcntl(self.sink, fcntl.F_SETPIPE_SZ, PAGE)
        self.reports: list[int] = []
        self.writer = LogWriter(self.sink, self.report)

    def report(self, lines: int) -> None:
        self.reports.append(lines)
        self.writer.write(f"dropped {lines}\n".encode())

    def read_rest(self) -> list[str]:
        """All lines that come until the writer has ended."""
        threading.Thread(target=lambda: (self.writer.close(30), os.close(self.sink))).start()
        with open(self.source, closefd=False) as lines:
            return lines.read().splitlines()

    def close(self) -> None:
        os.close(self.source)  # a write that waits for its reader fails now
        self.writer.close()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.close()


def test_lines_come_in_their_order(log):
    written = [f"line {number}" for number in range(2_000)]
    for line in written:
        log.writer.write(f"{line}\n".encode())
    assert log.read_rest() == written


def test_a_reader_that_has_stopped_is_not_waited_for_and_takes_a_bounded_room(log, monkeypatch):
    monkeypatch.setattr(log_writer, "MAX_BYTES", 10_000)
    for number in range(10_000):
        log.writer.write(f"line {number}\n".encode())
    assert not log.writer.flush(0.01)
    lines = log.read_rest()
    dropped = [int(line.split()[1]) for line in lines if line.startswith("dropped")]
    kept = [int(line.split()[1]) for line in lines if line.startswith("line")]
    assert sum(dropped) == sum(log.reports) == 10_000 - len(kept)
    assert kept == sorted(kept)
    assert len(kept) * len("line 9999\n") < 10_000 + 2 * PAGE + 4_000


def test_the_end_of_the_program_waits_for_a_stopped_reader_a_bounded_time(log):
    for _ in range(1_000):
        log.writer.write(b"a line of the log\n")
    log.writer.close(0.01)
    log.writer.write(b"late\n")  # and no error


def test_lines_for_a_full_disk_are_counted():
    reports: list[int] = []
    with open("/dev/full", "wb") as disk:
        writer = LogWriter(disk.fileno(), reports.append)
        writer.write(b"one\n")
        assert writer.flush()
        writer.write(b"two\n")
        assert writer.flush()
        with open(os.devnull, "wb") as room:
            os.dup2(room.fileno(), disk.fileno())
        writer.write(b"three\n")
        assert writer.flush()
        writer.close()
    assert reports == [2]


def test_a_line_that_was_cut_does_not_take_the_next_one_with_it(tmp_path, monkeypatch):
    write = os.write
    answers = iter((lambda file, data: write(file, data[:3]), full_disk))
    monkeypatch.setattr(os, "write", lambda file, data: next(answers, write)(file, data))
    reports: list[int] = []
    with (tmp_path / "log").open("wb") as file:
        writer = LogWriter(file.fileno(), reports.append)
        for line in (b"first\n", b"second\n"):
            writer.write(line)
            assert writer.flush()
        writer.close()
    assert (tmp_path / "log").read_text() == "fir\nsecond\n"
    assert reports == [1]


def test_a_reader_that_has_gone_is_no_error():
    log = Log()
    os.close(log.source)
    log.writer.write(b"one\n")
    assert log.writer.flush()
    log.writer.close()


def test_a_descriptor_that_another_program_has_made_non_blocking_is_waited_for(log):
    os.set_blocking(log.sink, False)
    written = [f"line {number}" for number in range(2_000)]
    for line in written:
        log.writer.write(f"{line}\n".encode())
    assert log.read_rest() == written


def test_what_is_printed_to_standard_error_comes_in_its_order_and_at_once(log):
    stream = text_stream(log.writer)
    log.writer.write(b"one\n")
    print("two \udcff", file=stream)
    log.writer.write(b"three\n")
    assert log.read_rest() == ["one", "two \\udcff", "three"]


def test_the_last_lines_before_an_error_that_ends_the_program_are_written():
    program = """
from headwater_server.telemetry.logging import configure_logging
import structlog
configure_logging("info", "json")
for number in range(500): structlog.get_logger().info(f"event {number}")
raise ValueError("why")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    *lines, last = done.stderr.splitlines()
    assert [f'"event {number}"' in line for number, line in enumerate(lines[:500])] == [True] * 500
    assert (done.returncode, last) == (1, "ValueError: why")
