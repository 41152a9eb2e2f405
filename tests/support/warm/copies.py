"""Starts `headwater` as a copy of a process that has imported it, instead of a new Python: see `program`."""

from __future__ import annotations

import atexit
import ctypes
import inspect
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.support.warm import program

ROOT = Path(__file__).parents[3]
_PR_SET_CHILD_SUBREAPER = 36


class _Source:
    """The process that is copied, from its first use to the end of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None

    def copy(self, request: dict[str, Any], descriptors: list[int]) -> int:
        """The id of a copy, which is a child of this process."""
        with self._lock:
            self._requests = self._requests or _start()
            _adopt_orphans(True)
            try:
                socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
                pid = int(self._requests.recv(32))
                self._requests.recv(32)  # the fork between has ended
            finally:
                _adopt_orphans(False)
            return pid


def _start() -> socket.socket:
    """Starts the source; where to ask it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        source = subprocess.Popen([sys.executable, "-m", program.__name__], stdin=theirs, cwd=ROOT)
    atexit.register(source.wait, 10)
    atexit.register(ours.close)  # which is what it ends at; the last that is registered runs first
    return ours


def _adopt_orphans(yes: bool) -> None:
    """Whether this process becomes the parent of the processes that its children leave behind."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


_source = _Source()


class CopiedProcess(subprocess.Popen[str]):
    """Does as `subprocess.Popen` for `python -m MODULE ...`; the start is a second shorter.

    It is a child of this process and has its own sockets and environment, as any other program. Only in `/proc` its
    command line and its first environment are those of its source.
    """

    def _execute_child(self, *given: Any) -> None:
        asked = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments
        arguments = asked["args"][2:]  # after `python -m`
        request = {"arguments": arguments, "environment": asked["env"], "folder": str(asked["cwd"] or Path.cwd())}
        ends = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        self.pid = _source.copy(request, [number if end == -1 else end for number, end in enumerate(ends)])
        self._child_created = True
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[name] for name in names))
