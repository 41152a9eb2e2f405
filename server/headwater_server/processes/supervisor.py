"""The parent of several server processes that share one port.

Started as `python -m headwater_server.processes.supervisor DESCRIPTOR`.

Theory of operation. `headwater serve --processes N` reads its settings and then becomes this program (`become`), which
imports little: it serves no calls. It holds the port without listening, and starts N processes, each a new Python,
never a fork of this one. With each it shares a socket pair, the control socket:

- the supervisor writes one line of JSON: which process this is (`index`, `count`), the directory of the processes' Unix
  sockets (`sockets`), the descriptor of the Unix socket that they share, if there is one (`listener`), and the settings
  (`config`);
- the process writes one line of JSON, `{"failure": ""}` when it is ready, else why it cannot start;
- at a reload both do this again: the process has put the settings of the new line in force, or it says why it cannot,
  and has changed nothing. The socket stays open while both live, and the kernel closes it however one of them ends, so
  processes never outlive a supervisor that was killed: they drain and free the port.

Each process has a task here (`_keep`) that starts it, waits for its end and starts it again: at once, and with growing
delays while it dies soon after each start. SIGCHLD says that some process may have ended, so each one is checked.
SIGTERM and SIGINT are passed on as SIGTERM, each time they come. A process whose heartbeat stays away
(`transport.owners.heartbeats`) hangs: it is killed, and so started again. No await stands between the check of
`_stopping` and the entry in `_children`, so a signal finds every process. A process that has not ended in time is
killed, and `run` returns only when every process has ended and was waited for.

SIGHUP is a reload. Another program reads the settings, once for all processes (`reload_check`). When one of them cannot
put them in force, all get those before again.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

import structlog

from headwater_server.domain.process_identity import HEARTBEATS, SECRET_BYTES
from headwater_server.private_files import check_folder
from headwater_server.processes.child_process import ChildProcess
from headwater_server.processes.open_files import raise_open_files
from headwater_server.processes.ready import say_ready
from headwater_server.processes.reloading import Outcome, read_again, reload_on_signal
from headwater_server.processes.systemd import with_signs_of_life
from headwater_server.telemetry.background import in_background
from headwater_server.telemetry.logging import configure_logging
from headwater_server.transport.owners.heartbeats import Heartbeats
from headwater_server.transport.port import PortTakenError, hold_path, hold_port, socket_path, target_of

PYTHON = (sys.executable, "-P")  # -P: nothing is imported from the directory in which the server happens to run
PROCESS = (*PYTHON, "-m", "headwater_server.processes.server_process")

YOUNG_SECONDS = 10.0
"""A process that ends sooner after its start has died young, and the next start waits."""
DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds before a start, by the number of processes that died young in a row before it."""
LOOK_SECONDS = 1.0
"""How often the heartbeats of a process are looked at."""
MOST_MISSED = 5
"""A process hangs that had no heartbeat between so many looks. Looks are counted: both may be suspended meanwhile."""
START_LOOKS = 300
"""A process hangs that is not ready after so many looks. A large model that starts with it may take minutes."""
CLOSING_SECONDS = 10.0
"""How long a process may take to end beyond its draining."""
CONFIG_EXIT = 78
"""The exit code for an address that is a mistake in the settings; `config` needs too much to be imported here."""
INTERRUPTED = 130
"""The exit code of Ctrl-C before there are processes."""
LONGEST_PARENT = 70
"""Bytes; the path of a Unix socket has room for 104 on some systems, and our own names are still to come."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger("headwater.supervisor")


class StartError(Exception):
    """A process cannot start; the message is one line for people.

    Args:
        why: the message.
        exit_code: with which that process ended, and this program is to end.
    """

    def __init__(self, why: str, exit_code: int = 1) -> None:
        super().__init__(why)
        self.exit_code = exit_code


class Supervisor:
    """Keeps a number of processes running, from `run` to the signal that ends it. It owns this process's signals.

    Args:
        command: the program; the number of the descriptor of its control socket is added as the last argument.
        hellos: the first line for each process, by its index; as many processes are started.
        stop_seconds: how long a process may take to end after the first signal, before it is killed.
        heartbeats: of the processes.
        on_ready: called once, when all are ready for the first time.
        on_stopping: called once, at the first signal or failure.
        inherited: descriptors that each process gets, under the same numbers.
        delays: see DELAYS; the last one holds for all further starts.
        young_seconds: see YOUNG_SECONDS.
        look_seconds: see LOOK_SECONDS.
    """

    def __init__(
        self,
        command: Sequence[str],
        hellos: Sequence[bytes],
        stop_seconds: float,
        heartbeats: Heartbeats,
        on_ready: Callable[[], None],
        *,
        on_stopping: Callable[[], None] = lambda: None,
        inherited: Sequence[int] = (),
        delays: Sequence[float] = DELAYS,
        young_seconds: float = YOUNG_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._command = command
        self._hellos = list(hellos)
        self._stop_seconds = stop_seconds
        self._on_ready = on_ready
        self._on_stopping = on_stopping
        self._inherited = inherited
        self._delays = delays
        self._young_seconds = young_seconds
        self._look_seconds = look_seconds
        self._heartbeats = heartbeats
        self._children: dict[int, ChildProcess] = {}
        self._been_ready: set[int] = set()
        self._stopping = asyncio.Event()
        self._failure: StartError | None = None
        self._clean = True

    async def run(self) -> bool:
        """Runs the processes until SIGTERM or SIGINT. Returns whether all of them then ended cleanly by themselves.

        Afterwards both signals are blocked: this program is on its way out. Raises StartError, when all processes have
        ended, for one that could not start and had never been ready.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._look_for_ended)
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(self._hellos)):
                    group.create_task(self._keep(index))
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if self._failure:
            raise self._failure
        return self._clean

    async def _keep(self, index: int) -> None:
        """Runs the process with this index, again and again, until the supervisor stops."""
        loop = asyncio.get_running_loop()
        in_a_row = 0
        while not self._stopping.is_set():
            began = loop.time()
            end = await self._run_once(index)
            if self._stopping.is_set():
                return
            if index not in self._been_ready:
                why = end.get("why") or f"server process {index} ended before it was ready: {_in_words(end)}"
                self._fail(StartError(why, end.get("exit_code") or 1))
                return
            if loop.time() - began >= self._young_seconds:
                in_a_row = 0
            delay = self._delays[min(in_a_row, len(self._delays) - 1)]
            in_a_row += 1
            log.warning("process died", process=index, **end, restart_in_seconds=delay)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _run_once(self, index: int) -> dict[str, Any]:
        """Starts the process and waits for its end. Returns the facts for the log."""
        began = asyncio.get_running_loop().time()
        self._heartbeats.rest(index)
        try:
            child = ChildProcess(self._command, self._inherited)
        except OSError as error:
            return {"why": f"a server process cannot be started: {error.strerror}"}
        self._children[index] = child
        watching = asyncio.create_task(self._watch(index, child))
        try:
            why = await child.greet(self._hellos[index])
            if why == "":
                seconds = round(asyncio.get_running_loop().time() - began, 3)
                log.info("process ready", process=index, pid=child.pid, seconds=seconds)
                self._note_ready(index)
                await self._catch_up(index, child)
            await child.ended.wait()
            if self._stopping.is_set() and not child.ended_cleanly:
                self._clean = False
                log.warning("process died", process=index, **child.end())
            return child.end() | ({"why": why} if why else {})
        finally:
            watching.cancel()
            del self._children[index]
            await child.close()

    async def reload(self, hellos: Sequence[bytes]) -> list[str]:
        """Lets all processes serve by other hellos, or none: then each one's reason is returned.

        Processes that are not ready yet, and those that are started later, get the same.
        """
        before, self._hellos = self._hellos, list(hellos)
        if failures := await self._greet_all():
            self._hellos = before
            await self._greet_all()
        return failures

    async def _catch_up(self, index: int, child: ChildProcess) -> None:
        """Gives a process that has started the settings of a reload that came meanwhile."""
        while child.hello != self._hellos[index]:
            failure = await child.greet(self._hellos[index])
            if failure:
                log.error("not reloaded", process=index, why=[failure])
            if failure != "":
                return

    async def _greet_all(self) -> list[str]:
        ready = [(index, child) for index, child in self._children.items() if child.is_ready]
        answers = await asyncio.gather(*(child.greet(self._hellos[index]) for index, child in ready))
        return sorted({answer for answer in answers if answer})

    async def _watch(self, index: int, child: ChildProcess) -> None:
        """Kills a process that hangs."""
        seen, missed, unready = 0.0, 0, 0
        while missed < MOST_MISSED and unready < START_LOOKS:
            await asyncio.sleep(self._look_seconds)
            last = self._heartbeats.last(index)
            missed = missed + 1 if last and last == seen else 0
            unready = 0 if child.is_ready else unready + 1
            seen = last
        silent = max(missed, unready) * self._look_seconds
        log.error("process hangs", process=index, pid=child.pid, silent_seconds=silent, is_ready=child.is_ready)
        child.send(signal.SIGKILL)

    def _note_ready(self, index: int) -> None:
        waited_for = len(self._been_ready) < len(self._hellos)
        self._been_ready.add(index)
        if waited_for and len(self._been_ready) == len(self._hellos) and not self._stopping.is_set():
            self._on_ready()

    def _fail(self, failure: StartError) -> None:
        self._failure = self._failure or failure
        self._stop()

    def _stop(self) -> None:
        """Asks all to end, each time it is called; the first call sets the limit."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._on_stopping()
            asyncio.get_running_loop().call_later(self._stop_seconds, self._kill)
        for child in self._children.values():
            child.send(signal.SIGTERM)

    def _kill(self) -> None:
        for index, child in self._children.items():
            log.error("process killed", process=index, pid=child.pid, after_seconds=self._stop_seconds)
            child.send(signal.SIGKILL)

    def _look_for_ended(self) -> None:
        for child in self._children.values():
            child.look()


def _in_words(end: dict[str, Any]) -> str:
    return f"killed by {end['signal']}" if "signal" in end else f"exit code {end['exit_code']}"


def become(config: dict[str, Any]) -> NoReturn:
    """Makes this process the supervisor; no loaded module stays in memory.

    Args:
        config: `Config.to_json()`; it goes through a file without a name: any length fits, and no other user reads it.
    """
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(config).encode())
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until `main` has its handlers
        os.execv(sys.executable, [*PYTHON, "-m", "headwater_server.processes.supervisor", str(file.fileno())])  # noqa: S606


def main() -> None:
    """Supervises until a signal; exit code 0 after a clean end, 130 for Ctrl-C before it began, else 1 or 78."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until there are processes to wait for
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    with open(int(sys.argv[1]), "rb") as file:
        config = json.load(file)
    server = config["settings"]["server"]
    configure_logging(server["log_level"], server["log_format"])
    raise_open_files()  # each process that it starts has the same limit
    try:
        clean = _supervise(config)
    except PortTakenError as error:
        print(f"headwater: {error}", file=sys.stderr)
        sys.exit(CONFIG_EXIT if error.is_setting else 1)
    except StartError as error:
        print(f"headwater: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0 if clean else 1)


def _supervise(config: dict[str, Any]) -> bool:
    server = config["settings"]["server"]
    original = deepcopy(config)
    with ExitStack() as stack:
        listening = stack.enter_context(ExitStack())
        inherited: list[int] = []
        if path := socket_path(server["host"]):
            inherited.append(listening.enter_context(hold_path(path)).fileno())
        else:
            held = stack.enter_context(hold_port(server["host"], server["port"]))
            server["port"] = held.getsockname()[1]
        sockets = stack.enter_context(_runtime_directory())
        heartbeats = stack.enter_context(Heartbeats(Path(sockets, HEARTBEATS), server["processes"]))
        listener = inherited[0] if inherited else None
        secret = secrets.token_hex(SECRET_BYTES)
        common = {"count": server["processes"], "sockets": sockets, "listener": listener, "secret": secret}

        def hellos(config: dict[str, Any]) -> list[bytes]:
            config["settings"]["server"]["port"] = server["port"]
            hello = {**common, "config": config}
            return [json.dumps({"index": index, **hello}).encode() for index in range(server["processes"])]

        target = target_of(server["host"], server["port"], tls=bool(server["tls_cert_file"]))

        supervisor = Supervisor(
            PROCESS,
            hellos(config),
            server["drain_seconds"] + CLOSING_SECONDS,
            heartbeats,
            lambda: say_ready(target),
            on_stopping=listening.close,  # a process that ends takes no more connections
            inherited=inherited,
        )
        return asyncio.run(with_signs_of_life(_run(supervisor, original, hellos)))


async def _run(
    supervisor: Supervisor, config: dict[str, Any], hellos: Callable[[dict[str, Any]], Sequence[bytes]]
) -> bool:
    """Runs the supervisor, and reloads on SIGHUP; `hellos` makes those of other settings."""

    async def reload() -> Outcome:
        nonlocal config
        answer = await asyncio.to_thread(read_again, config)
        mistakes = answer["mistakes"] or await supervisor.reload(hellos(deepcopy(answer["config"])))
        if mistakes:
            return Outcome(mistakes=tuple(mistakes))
        config = answer["config"]
        return Outcome(needs_restart=tuple(answer["needs_restart"]))

    data_dir = Path(config["settings"]["server"]["data_dir"])
    reloading = in_background(reload_on_signal(reload, data_dir), "headwater reload")
    try:
        return await supervisor.run()
    finally:
        reloading.cancel()
        await asyncio.wait([reloading])


def _runtime_directory() -> tempfile.TemporaryDirectory[str]:
    """A directory that only this user can enter, with a short path. Raises StartError."""
    usual = tempfile.gettempdir()
    parent = usual if len(os.fsencode(usual)) <= LONGEST_PARENT else "/tmp"  # noqa: S108
    try:
        check_folder(Path(parent), is_shared=True)
        return tempfile.TemporaryDirectory(prefix="headwater-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise StartError(
            f"no directory can be made in {parent}: {error.strerror}; choose another with TMPDIR"
        ) from error


if __name__ == "__main__":
    main()
