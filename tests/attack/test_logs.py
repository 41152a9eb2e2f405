"""The log: a reader that has stopped, gone or has no room holds up no call and no end, and misses no line unsaid."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from headwater.v1 import RunRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.attacks import OPTIONS, OtherCaller
from tests.support.servers.server import ServerProcess

SMALL = 4096
"""Bytes of a pipe that is full after some twenty calls."""
CALLS = 200
MOST_SECONDS = 1.0
"""The longest wait of another caller, on a busy machine too; a call that waits for the reader never ends."""


@contextmanager
def unread_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a small pipe that is not read."""
    source, sink = os.pipe()
    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, SMALL)
    try:
        yield source, sink
    finally:
        os.close(source)
        os.close(sink)


def call(target: str, times: int) -> None:
    """Calls that write a line of the log each; each must be answered."""
    request = RunRequest(prompt="x", agent={"model": "scripted/echo"})
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        for _ in range(times):
            AgentServiceStub(channel).Run(request, timeout=5)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end(processes):
    with (
        unread_pipe() as (_, sink),
        ServerProcess("--scripted", processes=processes, log_to=sink) as server,
    ):
        with OtherCaller(server.target) as other:
            call(server.target, CALLS)
        assert (other.failures, other.longest < MOST_SECONDS) == ([], True), other.longest
        assert server.stop() == 0


def test_a_reader_that_returns_gets_the_lines_that_waited_in_their_order():
    with unread_pipe() as (source, sink), ServerProcess("--scripted", log_to=sink) as server:
        call(server.target, CALLS)
        os.set_blocking(source, False)
        lines = b""
        while lines.count(b'"rpc": "Run"') < CALLS:
            with open(source, "rb", closefd=False) as log:
                lines += log.read() or b""
    events = [json.loads(line) for line in lines.splitlines()]
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)


def test_a_log_on_a_full_disk_holds_up_neither_calls_nor_the_end():
    with open("/dev/full", "wb") as disk, ServerProcess("--scripted", log_to=disk.fileno()) as server:
        call(server.target, CALLS)
        assert server.stop() == 0
