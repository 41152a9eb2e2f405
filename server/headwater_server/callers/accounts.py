"""Lets a caller's requests in within its limits, and counts them; the ledger does it, on a thread.

Each request that is let in leaves, whatever ends it: also when its caller leaves while the ledger lets it in. Its
tokens are written before the call ends, so a server that is killed loses those of running requests alone. An end that
cannot be written, as on a full disk, is kept and written with the next one; until then no request with limits is let
in.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from headwater_server.callers.ledger import FILE_NAME, Ledger, Refusal
from headwater_server.callers.limits import CallerLimits
from headwater_server.domain.errors import HeadwaterError, Reason

LONGEST_RETRY_SECONDS = 86_400.0
"""RetryInfo says no more, like a failure of a step: a day."""
MAX_TOKENS = 2**31 - 1
"""Most that one request can be counted with."""

T = TypeVar("T")

log = structlog.get_logger("headwater.callers")


@dataclass(slots=True)
class Entry:
    """A request that was let in.

    Attributes:
        caller: name of its caller.
        limits: those of that caller.
        estimate: about how many tokens its prompt has.
        tokens: those that it has used, to be set before its end.
    """

    caller: str
    limits: CallerLimits
    estimate: int
    tokens: int = 0


class Accounts:
    """The accounts of callers, for one process of a server; `aclose` closes them.

    Args:
        folder: the data directory.
        process: the number of this process.
        processes: how many there are.
    """

    def __init__(self, folder: Path, process: int = 0, processes: int = 1) -> None:
        self._folder = folder
        self._place = process, processes
        self._thread = ThreadPoolExecutor(1, "headwater callers")
        self._ledger: Ledger | None = None  # of the thread, like the next two
        self._ends: list[Entry] = []
        self._trouble = ""

    async def open(self) -> None:
        """Opens the database now and not with the first request. Raises HeadwaterError (JOURNAL_UNAVAILABLE)."""
        await self._do(lambda _: None)

    async def enter(self, caller: str, limits: CallerLimits, estimate: int = 0) -> Entry:
        """Lets a request in, which then must leave.

        Args:
            caller: name of its caller.
            limits: those of that caller.
            estimate: about how many tokens its prompt has.

        Raises HeadwaterError: CALLER_LIMITED, and JOURNAL_UNAVAILABLE when the accounts cannot be read or written.
        """
        caller = caller.encode(errors="backslashreplace").decode()  # a claim of a token may have halves of pairs
        entry = Entry(caller, limits, estimate)
        entering = self._submit(lambda ledger: ledger.enter(caller, limits, estimate))
        try:
            refusal = await asyncio.shield(asyncio.wrap_future(entering))
        except asyncio.CancelledError:
            self._thread.submit(self._leave_unused, entering, entry)
            raise
        if refusal is not None:
            raise _limited(caller, limits, refusal)
        return entry

    async def leave(self, entry: Entry) -> None:
        """Ends a request that was let in."""
        if entry.limits.counts_end:
            entry.tokens = min(max(entry.tokens, 0), MAX_TOKENS)
            leaving = self._thread.submit(self._write, entry)
            await asyncio.shield(asyncio.wrap_future(leaving))

    def _leave_unused(self, entering: Future[Refusal | None], end: Entry) -> None:
        """Gives back the place of a request whose caller left before it had it."""
        if entering.exception() is None and entering.result() is None:
            self._write(end)

    def _write(self, end: Entry) -> None:
        self._ends.append(end)
        with suppress(HeadwaterError):  # it is written later
            self._in_ledger(lambda _: None)

    async def _do(self, work: Callable[[Ledger], T]) -> T:
        return await asyncio.shield(asyncio.wrap_future(self._submit(work)))

    def _submit(self, work: Callable[[Ledger], T]) -> Future[T]:
        return self._thread.submit(self._in_ledger, work)

    def _in_ledger(self, work: Callable[[Ledger], T]) -> T:
        """Does some work after the ends that wait. Raises HeadwaterError (JOURNAL_UNAVAILABLE)."""
        try:
            if self._ledger is None:
                self._ledger = Ledger(self._folder, *self._place)
            while self._ends:
                end = self._ends[0]
                self._ledger.leave(end.caller, end.limits, end.estimate, end.tokens)
                self._ends.pop(0)
            result = work(self._ledger)
        except (OSError, sqlite3.Error) as error:
            self._note(str(error) or type(error).__name__)
            text = "the accounts of callers cannot be read or written; the server's log says why"
            raise HeadwaterError(Reason.JOURNAL_UNAVAILABLE, text, retry_after_seconds=1.0) from error
        self._note("")
        return result

    def _note(self, trouble: str) -> None:
        """Logs that the accounts cannot be used, or can be used again."""
        if trouble and trouble != self._trouble:
            cure = "mend the disk; a damaged file: stop the server and remove it, which forgets the tokens of the month"
            log.error("accounts", file=str(self._folder / FILE_NAME), why=trouble, cure=cure)
        elif self._trouble and not trouble:
            log.info("accounts", file=str(self._folder / FILE_NAME), why="they can be used again")
        self._trouble = trouble

    async def aclose(self) -> None:
        """Closes the database. All requests must have left."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown()

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


def _limited(caller: str, limits: CallerLimits, refusal: Refusal) -> HeadwaterError:
    value, seconds = getattr(limits, refusal.limit), refusal.seconds
    later = f"try again in {max(seconds, 0.1):.1f} s"
    if refusal.limit == "monthly_tokens":
        later = f"it begins again in {seconds / LONGEST_RETRY_SECONDS:.1f} days, with the month by UTC"
    who = caller or "callers without a name"
    text = f"{refusal.limit} of {who} is reached ({value}); {later}, or ask the operator of the server to raise it"
    facts = {"caller": caller, "limit": refusal.limit}
    retry = min(seconds, LONGEST_RETRY_SECONDS)
    return HeadwaterError(Reason.CALLER_LIMITED, text, metadata=facts, retry_after_seconds=retry)
