"""Has imported what `headwater serve` imports, and becomes one server after another: `python -m tests.support.warm.program`.

Theory of operation. To start Python and to import a server takes a second, and the tests start hundreds of them. This
program does it once. It has no thread, no event loop and no channel of gRPC, so a fork of it is like a new Python
after the same imports. `copies` asks for one over a Unix socket, which is standard input. The answer is its process id.

The process that asks is to be the parent of the server, for it waits for its end. So the fork makes another fork and
ends. The kernel then gives the orphan to the process that asks (PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

MAX_REQUEST = 1 << 20


def import_server() -> None:
    """In the order of `headwater serve`; then the modules that a server imports for its settings and its first calls."""
    import headwater_server.cli

    # isort: split
    from headwater_server.processes import prepare_imports  # noqa: F401  before the others

    # isort: split
    import uvloop  # noqa: F401

    import headwater_server.bootstrap
    import headwater_server.processes.reload_here
    import headwater_server.telemetry.native_lines  # noqa: F401
    from headwater_server import callers, providers, transport, workflows

    for room in (callers, providers, transport, workflows):
        for module in walk_packages(room.__path__, f"{room.__name__}."):
            import_module(module.name)


def wait_for_request(requests: socket.socket) -> dict[str, Any]:
    """Returns in a copy of this process, which is to follow the request; this one ends with the process that asks."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST, 3)
        if not data:
            os._exit(0)
        first = os.fork()
        if first:
            os.waitpid(first, 0)
            requests.send(b"the first fork has ended")
            for descriptor in descriptors:
                os.close(descriptor)
        elif second := os.fork():
            requests.send(b"%d" % second)
            os._exit(0)
        else:
            requests.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            request: dict[str, Any] = json.loads(data)
            return request


def become(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Runs a module as `python -m` does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  open as long as the process
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.path[0] = folder
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_server()
    assert len(list(Path("/proc/self/task").iterdir())) == 1
    gc.collect()
    gc.freeze()
    become(**wait_for_request(socket.socket(fileno=os.dup(0))))
