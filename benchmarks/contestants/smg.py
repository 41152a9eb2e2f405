"""smg as a contestant: a gateway in Rust, which reads the stream and passes it on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contestants.base import TOOLS, Upstream
from benchmarks.load.load import Peer
from benchmarks.load.processes import free_port, process, wait_for_http

PYTHON = TOOLS / "smg" / "bin" / "python"


@contextlib.contextmanager
def start(up: Upstream, folder: Path) -> Iterator[Peer]:
    """smg in front of one server of OpenAI's kind; it keeps no history and does not probe that server."""
    log, port = folder / "smg.log", free_port()
    options: dict[str, object] = {
        "--backend": "openai",
        "--worker-urls": up.url,
        "--host": "127.0.0.1",
        "--port": port,
        "--prometheus-host": "127.0.0.1",
        "--prometheus-port": free_port(),
        "--policy": "round_robin",
        "--history-backend": "none",
        "--log-level": "error",
        "--shutdown-grace-period-secs": 1,
    }
    if up.certificates:
        options |= {
            "--tls-cert-path": up.certificates / "server.pem",
            "--tls-key-path": up.certificates / "server.key",
            "--ca-cert-paths": up.ca_file,
        }
    command: list[str | Path] = [PYTHON.parent / "smg", "launch", "--disable-health-check"]
    for option, value in options.items():
        command += [option, str(value)]
    with process(command, log) as child:
        wait_for_http(port, "/liveness", child, log, 60, up.ca_file)
        yield up.peer("http", port, child.pid)
