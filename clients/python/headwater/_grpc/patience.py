"""How calls that may be repeated outlive a lost connection.

Theory of operation. A run of a workflow belongs to the server and continues without its watchers, so a lost connection
costs nothing but time: the call is made again and, for a watch, continues after the last event that came. Starting is
safe to repeat because the request has a `request_id`. Only a server that was never reached is reported at once; one
that was there is waited for, up to PATIENCE_SECONDS without any answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from headwater.exceptions import HeadwaterError, ServerUnavailableError

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_LOST = {"UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED"}


class Patience:
    """How long to try again without an answer, with growing pauses.

    Args:
        advice: for the error at its end: the fate of the run.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._loop = asyncio.get_running_loop()
        self.heard()

    def heard(self) -> None:
        """An answer has come; start again."""
        self._since: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    async def wait(self, failure: HeadwaterError) -> None:
        """A pause before the next try. Raises ServerUnavailableError when it has lasted too long."""
        now = self._loop.time()
        self._since = now if self._since is None else self._since
        if now - self._since >= PATIENCE_SECONDS:
            raise ServerUnavailableError(
                f"no answer for {PATIENCE_SECONDS:g} seconds: {failure}; {self._advice}",
                reason=failure.reason,
                code=failure.code,
                retry_after=failure.retry_after,
            )
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)


def may_pass(failure: HeadwaterError) -> bool:
    """Whether a failure says no more than that the server cannot answer just now."""
    if failure.reason is None:
        return failure.code is not None and failure.code.name in _LOST
    return failure.reason in ("SERVER_DRAINING", "JOURNAL_UNAVAILABLE", "SERVER_OVERLOADED", "CALLER_LIMITED")


async def answer_patiently(ask: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """The answer of a call that may be repeated."""
    while True:
        try:
            return await ask()
        except HeadwaterError as failure:
            if not may_pass(failure):
                raise
            await patience.wait(failure)
