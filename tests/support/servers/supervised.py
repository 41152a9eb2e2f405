"""A supervisor of tiny processes, each with a part to play.

`python -m tests.support.servers.supervised JSON`: supervises this same program as its processes. The JSON has `parts`, one a
process, and options of Supervisor. It prints `ready` when all are, logs to standard error, and exits 0 after a clean
end; 1 after another; 2 for a StartError, which it prints. SIGHUP lets it reload, and print the failures. With `--process` it is one of the processes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path


def play(control: socket.socket) -> None:
    """Plays the part that the supervisor says."""
    with control.makefile("rb") as lines:
        line = lines.readline()
    hello = json.loads(line)
    part = hello["part"]
    if part == "crash":
        os._exit(3)
    if part == "silent":
        signal.pause()
    if part == "refuse":
        answer(control, f"refused after {len(line)} bytes")
        os._exit(1)
    if part == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if part == "stuck":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(json.dumps({"event": "stuck"}), file=sys.stderr, flush=True)
        control.recv(1)
    if part == "hang":
        from headwater_server.transport.owners.heartbeats import Heartbeats

        with Heartbeats(Path(hello["heartbeats"]), hello["count"]) as heartbeats:
            heartbeats.beat(hello["index"])
    if part == "told":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        answer(control, "")
        with control.makefile("rb") as lines:
            for line in lines:
                settings = json.loads(line)["settings"]
                print(
                    json.dumps({"event": "told", "process": hello["index"], "settings": settings}),
                    file=sys.stderr,
                    flush=True,
                )
                answer(control, "cannot" if settings == f"bad for {hello['index']}" else "")
        os._exit(0)
    if part in ("serve", "patient"):
        heard: list[int] = []

        def hear(number: int, _: object) -> None:
            heard.append(number)
            os.write(2, b'{"event": "heard"}\n')
            if part == "serve" or len(heard) == 2:
                os._exit(0)

        signal.signal(signal.SIGTERM, hear)
    answer(control, "")
    if part == "brief":
        os._exit(5)
    control.recv(1)  # nothing comes but the end of the supervisor
    os._exit(0)


def answer(control: socket.socket, failure: str) -> None:
    """Tells the supervisor."""
    control.sendall(json.dumps({"failure": failure}).encode() + b"\n")


def supervise(
    parts: list[str], padding: int = 0, stop_seconds: float = 30.0, reload: str = "", **options: object
) -> int:
    """Supervises one process for each part; the exit code."""
    import asyncio

    from headwater_server.processes.supervisor import StartError, Supervisor
    from headwater_server.telemetry.logging import configure_logging
    from headwater_server.transport.owners.heartbeats import Heartbeats

    configure_logging("info", "json")
    command = [sys.executable, *(() if "hang" in parts else ("-S",)), __file__, "--process"]

    async def run(path: Path) -> bool:
        common = {"padding": "x" * padding, "count": len(parts), "heartbeats": str(path)}

        def hellos(settings: str) -> list[bytes]:
            each = [{"part": part, "index": index, "settings": settings} for index, part in enumerate(parts)]
            return [json.dumps({**hello, **common}).encode() for hello in each]

        async def reload_all() -> None:
            print(await supervisor.reload(hellos(reload)), flush=True)

        with Heartbeats(path, len(parts)) as heartbeats:
            supervisor = Supervisor(
                command, hellos("first"), stop_seconds, heartbeats, lambda: print("ready", flush=True), **options
            )  # type: ignore[arg-type]
            tasks: list[asyncio.Task[None]] = []
            asyncio.get_running_loop().add_signal_handler(
                signal.SIGHUP, lambda: tasks.append(asyncio.create_task(reload_all()))
            )
            return await supervisor.run()

    with tempfile.TemporaryDirectory() as folder:
        try:
            return 0 if asyncio.run(run(Path(folder, "heartbeats"))) else 1
        except StartError as error:
            print(error, flush=True)
            return 2


if __name__ == "__main__":
    if sys.argv[1] == "--process":
        with socket.socket(fileno=int(sys.argv[2])) as control:
            play(control)
    else:
        sys.exit(supervise(**json.loads(sys.argv[1])))
