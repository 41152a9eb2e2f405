"""The accounts of callers: each request that is let in leaves, whatever ends it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater_server.callers.accounts import Accounts, Entry
from headwater_server.callers.ledger import FILE_NAME, Ledger, monthly_use
from headwater_server.callers.limits import CallerLimits
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.usage_command import usage

ONE = CallerLimits(max_concurrent=1, monthly_tokens=1_000)


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    made = Accounts(tmp_path)
    yield made
    await made.aclose()


@asynccontextmanager
async def let_in(accounts: Accounts, caller: str, limits: CallerLimits) -> AsyncIterator[Entry]:
    """A request for the length of a block."""
    entry = await accounts.enter(caller, limits)
    try:
        yield entry
    finally:
        await accounts.leave(entry)


async def test_a_limit_says_whose_it_is_and_when_to_come_again(accounts):
    async with let_in(accounts, "alice", ONE):
        with pytest.raises(HeadwaterError) as caught:
            async with let_in(accounts, "alice", ONE):
                raise AssertionError
    assert caught.value.reason is Reason.CALLER_LIMITED
    assert caught.value.metadata == {"caller": "alice", "limit": "max_concurrent"}
    assert caught.value.retry_after_seconds == 1.0
    assert caught.value.message == (
        "max_concurrent of alice is reached (1); try again in 1.0 s, or ask the operator of the server to raise it"
    )


async def test_a_spent_month_says_no_more_than_a_day(accounts):
    limits = CallerLimits(monthly_tokens=1)
    async with let_in(accounts, "", limits) as entry:
        entry.tokens = 1
    with pytest.raises(
        HeadwaterError, match=r"monthly_tokens of callers without a name is reached \(1\); it"
    ) as caught:
        async with let_in(accounts, "", limits):
            raise AssertionError
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds <= 86_400


async def test_a_request_leaves_by_an_error_and_by_a_cancellation(accounts):
    with pytest.raises(ValueError, match="odd"):
        async with let_in(accounts, "alice", ONE):
            raise ValueError("odd")
    running = asyncio.Event()

    async def hold() -> None:
        async with let_in(accounts, "alice", ONE):
            running.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await running.wait()
    task.cancel()
    await asyncio.wait([task])
    async with let_in(accounts, "alice", ONE):
        pass


async def test_a_caller_that_leaves_while_it_is_let_in_keeps_no_place(accounts, monkeypatch):
    entered = 0
    enter = Ledger.enter

    def counted(*args, **kwargs):
        nonlocal entered
        entered += 1
        return enter(*args, **kwargs)

    monkeypatch.setattr(Ledger, "enter", counted)

    async def hold() -> None:
        async with let_in(accounts, "alice", ONE):
            raise AssertionError

    for _ in range(20):
        task = asyncio.create_task(hold())
        await asyncio.sleep(0)  # the ledger is at it
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    async with let_in(accounts, "alice", ONE):
        assert entered == 21


async def test_odd_names_are_names_and_do_nothing_to_a_terminal(accounts, tmp_path):
    names = ["", "a b", "\udc80", "'; DROP TABLE month; --", "\x1b]0;x\x07", "ö" * 5_000, "a\0b"]
    for name in names:
        async with let_in(accounts, name, ONE) as entry:
            entry.tokens = 1
    assert len(monthly_use(tmp_path)) == len(names)
    shown = CliRunner().invoke(usage, ["--data-dir", str(tmp_path)])
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) == len(names)
    assert all(line.isprintable() for line in shown.output.splitlines())


async def test_odd_counts_neither_give_anything_nor_overflow(accounts, tmp_path):
    limits = CallerLimits(monthly_tokens=2**52)
    for tokens in (10, -1_000_000, 2**80):
        async with let_in(accounts, "alice", limits) as entry:
            entry.tokens = tokens
    assert [use.tokens for use in monthly_use(tmp_path)] == [10 + 2**31 - 1]


async def test_an_end_that_cannot_be_written_is_written_later_and_nothing_is_let_in_before(tmp_path, monkeypatch):
    monkeypatch.setattr("headwater_server.callers.ledger.BUSY_SECONDS", 0.01)
    async with aclosing(Accounts(tmp_path)) as accounts:
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
            async with let_in(accounts, "alice", ONE) as entry:
                entry.tokens = 7
                other.execute("BEGIN IMMEDIATE")
            with pytest.raises(HeadwaterError) as caught:
                async with let_in(accounts, "alice", ONE):
                    raise AssertionError
            assert caught.value.reason is Reason.JOURNAL_UNAVAILABLE
            assert caught.value.retry_after_seconds == 1.0
            other.execute("ROLLBACK")
        async with let_in(accounts, "alice", ONE) as entry:
            entry.tokens = 5
    assert [use.tokens for use in monthly_use(tmp_path)] == [12]
