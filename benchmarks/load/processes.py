"""The processes of a run: started in separate groups, measured with their children, ended on every path."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
_OPEN_FILES = 20_000
_CONFIGURED_BY = (
    "OPENAI_",
    "ANTHROPIC_",
    "OLLAMA_",
    "HEADWATER_",
    "LITELLM_",
    "SMG_",
    "PYTHON",  # without its kept bytecode a program is larger from the start
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)


def raise_file_limit() -> None:
    """Lets this process and its children open thousands of connections, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def environment(**variables: str) -> dict[str, str]:
    """The environment without anything that configures a contestant, and with these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_CONFIGURED_BY)}
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def process(
    command: Sequence[str | Path], log: Path, variables: Mapping[str, str] | None = None, stdout: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A process with its children, from `with` to its end; its output goes to `log`.

    Its standard input stays open: closing it is how the benchmark's own processes learn to end.
    """
    with log.open("a") as said:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if stdout else said,
            stderr=said,
            text=True,
            env=environment(**(variables or {})),
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
            break
    with contextlib.suppress(ProcessLookupError):  # children that outlived it
        os.killpg(child.pid, signal.SIGKILL)
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def first_line(child: subprocess.Popen[str], log: Path) -> str:
    """The first line it prints. RuntimeError with its log when it ends before."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the benchmark did not start:\n{log.read_text()[-2000:]}")
    return line.strip()


def wait_for_http(
    port: int, path: str, child: subprocess.Popen[str], log: Path, seconds: float, ca_file: str = ""
) -> None:
    """Returns when a path of the port answers 200, over TLS where there is an authority to trust.

    RuntimeError with the process's log when there is no such answer in time, or the process ends.
    """
    url = f"{'https' if ca_file else 'http'}://127.0.0.1:{port}{path}"
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca_file:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
    opener = urllib.request.build_opener(*handlers)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError), opener.open(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"no answer from {url}:\n{log.read_text()[-2000:]}")


def get_json(url: str) -> dict[str, Any]:
    """The JSON object at a URL of this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        value: dict[str, Any] = json.load(answer)
        return value


def job(module: str, description: object, log: Path, seconds: float, python: str | Path = sys.executable) -> Any:
    """The answer of a program of the benchmark to a job: JSON in, JSON out, in a new process."""
    script = ROOT / "benchmarks" / "load" / f"{module}.py"
    command = [python, script] if python != sys.executable else [python, "-m", f"benchmarks.load.{module}"]
    with process(command, log, stdout=True) as child:
        try:
            answer, _ = child.communicate(json.dumps(description), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{module} did not finish {description} in {seconds:.0f} s") from None
        if child.returncode:
            raise RuntimeError(f"{module} failed with {child.returncode}:\n{log.read_text()[-3000:]}")
    return json.loads(answer)


def family(pid: int | None) -> list[psutil.Process]:
    """A process and its descendants; none for None."""
    if pid is None:
        return []
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU time that they have used, in user and system mode, by the scheduler's clock, finer than /proc/PID/stat."""
    return sum(time.clock_gettime(_cpu_clock(one.pid)) for one in processes)


def _cpu_clock(pid: int) -> int:
    """The id of a process's CPU clock, as clock_getcpuclockid(3) makes it on Linux."""
    return (~pid << 3) | 2


@dataclass(frozen=True)
class Memory:
    """Memory of a family of processes, in bytes: `rss` counts shared pages in each, `pss` shares them out."""

    rss: int
    pss: int


def memory(processes: Sequence[psutil.Process]) -> Memory:
    """Their memory now."""
    infos = [one.memory_full_info() for one in processes]
    return Memory(sum(info.rss for info in infos), sum(info.pss for info in infos))
