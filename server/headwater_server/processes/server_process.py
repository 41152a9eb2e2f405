"""One of several server processes: `python -m headwater_server.processes.server_process DESCRIPTOR`.

The supervisor starts it, and sends its index and settings over the control socket; `supervisor` describes the messages.
The end of that socket is the end of the supervisor: then this process drains and ends, as on SIGTERM. A process that is
stopped then continues, and one whose event loop does not answer is killed, so that none keeps the port.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvloop

from headwater_server.processes import prepare_imports  # noqa: F401  before the others

# isort: split
from headwater_server.bootstrap import exit_code_of, serve
from headwater_server.config import Config, ConfigError
from headwater_server.config.reloading import Use
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.processes.large_blocks import give_back_large_blocks
from headwater_server.telemetry.log_writer import start_thread
from headwater_server.telemetry.logging import configure_logging
from headwater_server.telemetry.native_lines import native_lines_as_events
from headwater_server.transport.owners.heartbeats import BEAT_SECONDS, Heartbeats
from headwater_server.transport.port import PortTakenError
from headwater_server.workflows.journal.base import JournalError

ORPHAN_SECONDS = 1.0
"""How long an event loop may take to hear that the supervisor has ended."""
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serves until SIGTERM or the end of the supervisor."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it is passed on
    _continue_when_orphaned()
    give_back_large_blocks()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        control.set_inheritable(False)  # a child of ours must not keep it open
        with control.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            return  # the supervisor has gone before it could say anything
        hello = json.loads(line)
        secret = bytes.fromhex(hello["secret"])
        identity = ProcessIdentity(hello["index"], hello["count"], Path(hello["sockets"]), hello["listener"], secret)
        try:
            config = Config.from_json(hello["config"])
            server = config.settings.server
            configure_logging(server.log_level, server.log_format, identity.index)
            with native_lines_as_events(server.log_format):
                uvloop.run(_serve(control, config, identity))
        except (PortTakenError, JournalError, HeadwaterError, ConfigError) as error:
            _answer(control, str(error))
            sys.exit(exit_code_of(error))


async def _serve(control: socket.socket, config: Config, identity: ProcessIdentity) -> None:
    loop = asyncio.get_running_loop()
    orphaned = asyncio.Event()

    start_thread(partial(_end_with_supervisor, control.fileno(), loop, orphaned), "headwater supervisor")
    with Heartbeats(identity.heartbeats, identity.count) as heartbeats:
        is_ready = asyncio.Event()
        beating = asyncio.create_task(_beat(heartbeats, identity.index, is_ready))

        def say_ready(_: str) -> None:
            is_ready.set()
            _answer(control, "")

        try:
            await serve(config, say_ready, partial(_follow_supervisor, control), identity)
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            heartbeats.rest(identity.index)
            if orphaned.is_set():
                _remove_socket(identity)


async def _follow_supervisor(control: socket.socket, use: Use) -> None:
    """Puts in force the settings that the supervisor sends, until it ends. SIGHUP is for the supervisor."""
    loop = asyncio.get_running_loop()
    supervisor = os.getppid()
    loop.add_signal_handler(signal.SIGHUP, _pass_on_hangup, supervisor)
    control.setblocking(False)
    hello = b""
    while data := await loop.sock_recv(control, 65_536):
        hello += data
        if not hello.endswith(b"\n"):
            continue
        failure = ""
        try:
            await use(Config.from_json(json.loads(hello)["config"]))
        except (ConfigError, HeadwaterError) as error:
            failure = str(error)
        hello = b""
        _answer(control, failure)


def _pass_on_hangup(supervisor: int) -> None:
    """Sends SIGHUP to the supervisor, unless that has ended."""
    if os.getppid() == supervisor:
        os.kill(supervisor, signal.SIGHUP)


async def _beat(heartbeats: Heartbeats, index: int, is_ready: asyncio.Event) -> None:
    await is_ready.wait()
    while True:
        heartbeats.beat(index)
        await asyncio.sleep(BEAT_SECONDS)


def _end_with_supervisor(control: int, loop: asyncio.AbstractEventLoop, orphaned: asyncio.Event) -> None:
    """Waits for the end of the supervisor on a thread, and then ends this process, also where its event loop hangs."""
    ended = select.poll()
    ended.register(control, 0)  # for nothing but the end, which is always reported
    ended.poll()
    heard = threading.Event()

    def end() -> None:
        heard.set()
        orphaned.set()
        os.kill(os.getpid(), signal.SIGTERM)

    with suppress(RuntimeError):  # the loop has ended: this process is on its way out
        loop.call_soon_threadsafe(end)
        if not heard.wait(ORPHAN_SECONDS):
            os.kill(os.getpid(), signal.SIGKILL)


def _continue_when_orphaned() -> None:
    """Lets the kernel continue this process when the supervisor ends, should it be stopped then. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def _remove_socket(identity: ProcessIdentity) -> None:
    """Removes the directory when the supervisor no longer can: the process that ends last succeeds."""
    socket = identity.socket(identity.index)
    with suppress(OSError):
        socket.unlink(missing_ok=True)
        if list(socket.parent.iterdir()) == [identity.heartbeats]:
            identity.heartbeats.unlink()
        socket.parent.rmdir()


def _answer(control: socket.socket, failure: str) -> None:
    with suppress(ConnectionError):  # the supervisor has ended, which its socket tells us too
        control.sendall(json.dumps({"failure": failure}).encode() + b"\n")


if __name__ == "__main__":
    main()
