"""Envoy as a contestant: a plain HTTP proxy that parses nothing of the stream."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contestants.base import TOOLS, Upstream
from benchmarks.load.load import Peer
from benchmarks.load.processes import free_port, process, wait_for_http

PYTHON = TOOLS / "envoy" / "bin" / "python"
_EXTENSIONS = "type.googleapis.com/envoy.extensions."


@contextlib.contextmanager
def start(up: Upstream, folder: Path) -> Iterator[Peer]:
    """Envoy with one worker."""
    log, settings, port = folder / "envoy.log", folder / "envoy.json", free_port()
    settings.write_text(json.dumps(_settings(port, up)))
    command: list[str | Path] = [PYTHON.parent / "envoy", "-c", settings, "--concurrency", "1"]
    with process([*command, "--log-level", "warning", "--disable-hot-restart"], log) as child:
        wait_for_http(port, "/v1/models", child, log, 20, up.ca_file)
        yield up.peer("http", port, child.pid)


def _settings(port: int, up: Upstream) -> dict[str, Any]:
    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    manager = {
        "@type": _EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "stream_idle_timeout": "0s",
        "http_filters": [{"name": "router", "typed_config": {"@type": _EXTENSIONS + "filters.http.router.v3.Router"}}],
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
    endpoint = {"endpoint": {"address": address(up.port)}}
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    cluster: dict[str, Any] = {
        "name": "upstream",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if up.certificates:
        leaf = {
            "certificate_chain": {"filename": str(up.certificates / "server.pem")},
            "private_key": {"filename": str(up.certificates / "server.key")},
        }
        chain["transport_socket"] = _tls("Downstream", {"tls_certificates": [leaf]})
        trusted = {"trusted_ca": {"filename": up.ca_file}}
        cluster["transport_socket"] = _tls("Upstream", {"validation_context": trusted})
    return {
        "static_resources": {
            "listeners": [{"address": address(port), "filter_chains": [chain]}],
            "clusters": [cluster],
        }
    }


def _tls(side: str, context: dict[str, object]) -> dict[str, object]:
    kind = _EXTENSIONS + f"transport_sockets.tls.v3.{side}TlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": context}}
