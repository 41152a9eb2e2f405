"""A contestant, the upstream that all of them ask, and the direct way to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.load import Peer
from benchmarks.load.processes import ROOT, first_line, process
from headwater_server.dev_cert import make_certificates

TOOLS = ROOT / ".tools" / "bench"
OPENAI = TOOLS / "openai" / "bin" / "python"


@dataclass(frozen=True)
class Upstream:
    """Where the upstream listens, and its process.

    Attributes:
        port: of 127.0.0.1.
        pid: its process.
        certificates: the folder of ca.pem, server.pem and server.key where it speaks TLS, and a gateway should too.
    """

    port: int
    pid: int
    certificates: Path | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> str:
        """The authority of its certificate, and of a gateway's; empty without TLS."""
        return str(self.certificates / "ca.pem") if self.certificates else ""

    def peer(self, protocol: str, port: int, pid: int | None, *, resumable: bool = False) -> Peer:
        """A gateway in front of it."""
        return Peer(protocol, "127.0.0.1", port, pid, self.pid, self.ca_file, resumable)


@dataclass(frozen=True)
class Contestant:
    """One way from the caller to the upstream.

    Attributes:
        name: on the command line and in the table.
        start: starts it, given the upstream and a folder for its files, until the end of the `with`.
        version: its version for the report.
        product: whose version that is.
        python: the environment it needs; None where the project's own will do.
        client: the Python client that callers have for it, `headwater` or `openai`, and the environment of that.
        tls: whether callers, gateway and upstream speak TLS.
        figures: those that alone are measured; None for all.
    """

    name: str
    start: Callable[[Upstream, Path], AbstractContextManager[Peer]]
    version: Callable[[], str]
    product: str
    python: Path | None = None
    client: tuple[str, Path] | None = None
    tls: bool = False
    figures: tuple[str, ...] | None = None

    @property
    def installed(self) -> bool:
        """Whether it can be started here."""
        return self.python is None or (self.python.parent.parent / ".done").exists()


def installed_version(python: Path, package: str) -> str:
    """The version of a package in another environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def upstream(folder: Path, tls: bool = False) -> Iterator[Upstream]:
    """The upstream, from `with` to its end."""
    log, certificates = folder / "upstream.log", None
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.load.upstream"]
    if tls:
        certificates = folder / "certificates"
        make_certificates(certificates, [], "caller", 1, replace=False)
        command.append(certificates)
    with process(command, log, stdout=True) as child:
        yield Upstream(int(first_line(child, log)), child.pid, certificates)


@contextlib.contextmanager
def start_direct(up: Upstream, folder: Path) -> Iterator[Peer]:
    """The way without a gateway."""
    yield up.peer("http", up.port, None)
