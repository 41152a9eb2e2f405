"""Ends the call of a reader that takes nothing.

Theory of operation. A write waits while the reader's window is full. A reader that has stopped holds a provider's
connection, and memory in the server, for as long as its line stands. At most one timer a call looks for that, as in
`watchdog`: the call says when a write began, and the timer, when it fires, looks whether the same write still waits.
The task of the call is cancelled then, and the cancellation is taken back, so that the call ends by an error. A call
that says nothing has no timer.

Example. The limit is 120 s. A write begins at 50 s: the timer is set for 170 s. Another write begins at 100 s and
waits. The timer fires, finds that, and sets itself for 220 s. If the write still waits then, the call ends. Where the
stream is cancelled at 180 s it has nothing more to say: the limit is 1 s from then on, and the call ends at once.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from headwater_server.domain.errors import HeadwaterError, Reason

IDLE_SECONDS = 120.0
LAST_SECONDS = 1.0
"""How long the reader of a stream that was ended from outside may take none of its rest."""


class IdleWatch:
    """Watches the reader of a call, for the length of a block.

    Args:
        seconds: how long the reader may take nothing.
        detaches: whether the stream continues without the reader, who may come back.
        task: of the call; None: the one that makes this.

    Attributes:
        busy_since: the loop's time since which a write waits for the reader; None while none does. The call sets it to
            None when the write is over.

    Raises HeadwaterError at the end of the block when it has ended the call: STREAM_TIMEOUT, or that of `hurry`.
    """

    __slots__ = ("_detaches", "_ended", "_error", "_loop", "_seconds", "_task", "_timer", "busy_since")

    def __init__(self, seconds: float, *, detaches: bool, task: asyncio.Task[None] | None = None) -> None:
        task = task or asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        self._loop = task.get_loop()
        self.busy_since: float | None = None
        self._task: asyncio.Task[Any] | None = task
        self._seconds = seconds
        self._detaches = detaches
        self._ended = False
        self._error: HeadwaterError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A write begins."""
        since = self.busy_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(since + self._seconds, self._look)

    def rest(self) -> None:
        """No write is to come for long."""
        self.busy_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self.rest()
        task, self._task = self._task, None
        if self._ended and kind is asyncio.CancelledError and task is not None and not task.uncancel():
            found, self._error = self._error or self._idle(), None
            try:
                raise found from None
            finally:
                del found  # this frame, to which the traceback refers, would keep the error

    def hurry(self, error: HeadwaterError) -> None:
        """The stream was ended with this error: a reader that takes nothing is not waited for any longer."""
        if self._ended or self._task is None:
            return
        self._seconds, self._error = min(self._seconds, LAST_SECONDS), error
        if self._timer is not None:
            self._timer.cancel()
        self._look()

    def _look(self) -> None:
        since, self._timer = self.busy_since, None
        if since is None:
            return
        if since + self._seconds > self._loop.time():
            self._timer = self._loop.call_at(since + self._seconds, self._look)
        elif self._task is not None:
            self._ended = True
            self._task.cancel()

    def _idle(self) -> HeadwaterError:
        cure = "resume after the last chunk that came" if self._detaches else "ask for a stream that can be resumed"
        text = f"nothing was read for {self._seconds:g} seconds; {cure}, or raise idle_reader_seconds of the server"
        detached = {"detached": "true"} if self._detaches else {}
        return HeadwaterError(Reason.STREAM_TIMEOUT, text, metadata={"limit": "idle_reader", **detached})
