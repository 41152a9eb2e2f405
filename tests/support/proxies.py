"""Real proxies with the configurations of examples/proxies, in front of a server, from `with` to the end of its block.

Ports and the files of the certificate are exchanged in the text; everything else is as a reader of the examples has it.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers.certificates import Authority

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "proxies"
ENVOY = ROOT / ".tools" / "bench" / "envoy" / "bin" / "envoy"
NAMES = ("envoy", "nginx")


def program(name: str) -> str | None:
    """The path of the proxy's program; None where it is missing."""
    if name == "envoy":
        return str(ENVOY) if ENVOY.exists() else None
    return shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin")


@contextlib.contextmanager
def proxy(name: str, target: str, authority: Authority, folder: Path) -> Iterator[str]:
    """Starts it in front of the server at `target`; its address for clients. Its files are in `folder`."""
    path = program(name)
    assert path is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder.mkdir()
    settings = folder / ("envoy.yaml" if name == "envoy" else "nginx.conf")
    settings.write_text(_adapted(settings.name, port, target, authority, folder))
    if name == "envoy":
        command = [path, "-c", str(settings), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    else:
        command = [path, "-p", str(folder), "-c", str(settings), "-e", "stderr", "-g", "daemon off;"]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_until_it_listens(port, process, log)
            yield f"https://127.0.0.1:{port}"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _adapted(file: str, port: int, target: str, authority: Authority, folder: Path) -> str:
    pair = authority.issue(f"proxy-{port}")
    exchanged = {
        "/etc/headwater/server.pem": str(pair.cert),
        "/etc/headwater/server.key": str(pair.key),
        "listen 8443": f"listen 127.0.0.1:{port}",
        "address: 0.0.0.0, port_value: 8443": f"address: 127.0.0.1, port_value: {port}",
        "127.0.0.1:50051;": f"{target};",
        "address: 127.0.0.1, port_value: 50051": f"address: 127.0.0.1, port_value: {target.rpartition(':')[2]}",
        "/run/nginx.pid": str(folder / "pid"),
        "http {": "http {" + "".join(f"\n    {kind}_temp_path {folder}/{kind};" for kind in _TEMPORARY),
        "worker_processes auto": "worker_processes 1",
    }
    text = (EXAMPLES / file).read_text()
    for old, new in exchanged.items():
        text = text.replace(old, new)
    for old in ("8443", "50051;", "port_value: 50051", "/etc/headwater"):
        active = [line for line in text.splitlines() if old in line.partition("#")[0]]
        assert not active, f"{file}: not exchanged: {active}"
    return text


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the proxy does not listen:\n{log.read_text()}")
