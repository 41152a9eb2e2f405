"""A server process as the supervisor has it: started, spoken to over its control socket, and ended."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Sequence
from typing import Any


class ChildProcess:
    """One process and our end of its control socket; `close` must be called. Raises OSError if it cannot be made.

    Attributes:
        ended: is set when it has ended.
        is_ready: whether it has said that it serves.
        hello: the hello that it has taken last.
    """

    def __init__(self, command: Sequence[str], inherited: Sequence[int]) -> None:
        self.ended = asyncio.Event()
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603  our own program
                    [*command, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(), *inherited),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C on the terminal reaches us alone, and we pass it on
                )
        except BaseException:
            self._control.close()
            raise
        self._control.setblocking(False)
        self.pid = self._process.pid
        self.is_ready = False
        self.hello = b""
        self._asking = asyncio.Lock()

    async def greet(self, hello: bytes) -> str | None:
        """Sends a hello and takes the answer: "" if it serves by it, else why it cannot, None if it has ended."""
        async with self._asking:
            failure = await self._ask(hello)
        if failure == "":
            self.is_ready, self.hello = True, hello
        return failure

    async def _ask(self, hello: bytes) -> str | None:
        loop = asyncio.get_running_loop()
        answer = b""
        try:
            await loop.sock_sendall(self._control, hello + b"\n")
            while not answer.endswith(b"\n"):
                if not (data := await loop.sock_recv(self._control, 65_536)):
                    return None
                answer += data
        except ConnectionError:
            return None
        return str(json.loads(answer)["failure"])

    def look(self) -> None:
        """Sees whether it has ended."""
        if self._process.poll() is not None:
            self.ended.set()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        self._process.send_signal(number)

    def end(self) -> dict[str, Any]:
        """How it has ended: pid, and exit_code or signal."""
        code = self._process.returncode
        names = {number.value: number.name for number in signal.Signals}
        how = {"signal": names.get(-code, -code)} if code < 0 else {"exit_code": code}
        return {"pid": self.pid, **how}

    @property
    def ended_cleanly(self) -> bool:
        """Whether it ended as one does that was asked to; before it is ready, SIGTERM may simply kill it."""
        return self._process.returncode == 0 or (not self.is_ready and self._process.returncode == -signal.SIGTERM)

    async def close(self) -> None:
        """Closes the socket, and ends the process where it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        async with self._asking:  # an answer that is waited for ends with the process
            self._control.close()
