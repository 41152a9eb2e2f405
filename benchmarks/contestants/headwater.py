"""Headwater as a contestant: of this checkout or of another, in several configurations, with two readers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants.base import Upstream
from benchmarks.load.load import Peer
from benchmarks.load.processes import ROOT, first_line, process
from benchmarks.load.wire import KEY

OPTIONS = {
    "lean": "with the front in the event loop",
    "tls": "TLS from caller to upstream",
    "resumable": "resumable streams",
    "unmetered": "without metrics",
    "stub": "read with gRPC's Python stub",
}
"""The options that a name may have, each after a hyphen, and their meaning."""


@dataclass(frozen=True)
class Headwater:
    """How it runs, and how it is read.

    Attributes:
        home: the checkout, with its environment in `.venv`; None for this one.
        options: some of OPTIONS; without any it has metrics, as an operator would have them, and plain streams, and
            is read by a bare protocol as the others are.
        processes: how many of them share the port.
    """

    home: Path | None = None
    options: frozenset[str] = frozenset()
    processes: int = 1

    @property
    def bin(self) -> Path:
        """The programs of its environment."""
        return self.home / ".venv" / "bin" if self.home else Path(sys.executable).parent

    def commit(self) -> str:
        """Of its checkout, and whether files have changed since."""

        def git(*arguments: str) -> str:
            done = subprocess.run(
                ["git", *arguments], cwd=self.home or ROOT, capture_output=True, text=True, check=False
            )
            return done.stdout.strip()

        changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return (git("rev-parse", "--short", "HEAD") or "unknown") + changed

    @contextlib.contextmanager
    def start(self, up: Upstream, folder: Path) -> Iterator[Peer]:
        """Starts it as `headwater serve` does, until the end of the `with`."""
        log, settings = folder / "headwater.log", folder / "headwater.toml"
        settings.write_text(self._settings(up, folder))
        program: list[str | Path] = [self.bin / "headwater"]
        if "unmetered" in self.options:
            program = [self.bin / "python", "-m", "benchmarks.load.without_metrics"]
        command = [*program, "serve", "--config", settings]
        with process(command, log, {"OPENAI_API_KEY": KEY}, stdout=True) as child:
            port = int(first_line(child, log).rpartition(":")[2])
            protocol = "stub" if "stub" in self.options else "grpc"
            yield up.peer(protocol, port, child.pid, resumable="resumable" in self.options)

    def _settings(self, up: Upstream, folder: Path) -> str:
        server: dict[str, object] = {
            "port": 0,
            "data_dir": str(folder / "data"),
            "processes": self.processes,
            "log_level": "warning",
        }
        provider: dict[str, object] = {"base_url": f"{up.url}/v1"}
        if "unmetered" not in self.options:
            server["admin_address"] = "127.0.0.1:0"
        if "lean" in self.options:
            server["front"] = "lean"
        if up.certificates:
            server["tls_cert_file"] = str(up.certificates / "server.pem")
            server["tls_key_file"] = str(up.certificates / "server.key")
            provider["ca_file"] = up.ca_file
        tables: dict[str, dict[str, object]] = {"server": server, "providers.openai": provider}
        # Text, numbers and booleans look alike in JSON and TOML.
        return "".join(
            f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
            for table, values in tables.items()
        )
