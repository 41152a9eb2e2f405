"""The harm that an attack does to a server: the memory it takes, and how long other callers wait meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.server import ServerProcess

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share a connection
)
PAUSE = 0.05


class OtherCaller:
    """Another caller, from `with` to the end of its block: a small call every 50 ms.

    Attributes:
        longest: the longest wait for an answer so far, in seconds.
        failures: the codes with which calls ended that should have been answered.
        calls: how many of its calls have ended.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self.longest = 0.0
        self.failures: list[grpc.StatusCode] = []
        self.calls = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(90)

    def _call(self) -> None:
        request = agent_service_pb2.RunRequest(prompt="hi", agent={"model": "scripted/echo"})
        with grpc.insecure_channel(self._target, options=OPTIONS) as channel:
            stub = AgentServiceStub(channel)
            stub.Run(request, timeout=60)  # the first call also makes the connection, which is not a wait
            while not self._ended.is_set():
                began = time.monotonic()
                try:
                    stub.Run(request, timeout=60)
                except grpc.RpcError as error:
                    self.failures.append(error.code())
                self.longest = max(self.longest, time.monotonic() - began)
                self.calls += 1
                self._ended.wait(PAUSE)


@contextmanager
def others_wait_at_most(seconds: float, attacked: ServerProcess, control: ServerProcess) -> Iterator[None]:
    """Fails when another caller waits longer during the block, or is refused.

    The time for which a busy machine has no processor for the server is not counted, nor the longest wait at a server
    that is not attacked.

    Args:
        seconds: the longest wait.
        attacked: the server that is attacked.
        control: the other one.
    """
    before = _starved_seconds(attacked.process.pid)
    with OtherCaller(attacked.target) as other, OtherCaller(control.target) as alone:
        yield
    starved = max(_starved_seconds(attacked.process.pid) - before, 0.0)
    assert not other.failures, other.failures
    facts = f"at a server without an attack {alone.longest:.3f} s; no processor for {starved:.3f} s"
    assert other.longest - alone.longest - starved <= seconds, f"another caller waited {other.longest:.3f} s; {facts}"


def _starved_seconds(pid: int) -> float:
    """How long the threads of a process have waited for a processor, all together."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            nanoseconds += int(task.read_text("ascii").split()[1])
    return nanoseconds / 1e9


def memory(pid: int, field: str = "VmRSS") -> int:
    """The resident memory of a process in MB; the field VmHWM is its peak."""
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:"))
