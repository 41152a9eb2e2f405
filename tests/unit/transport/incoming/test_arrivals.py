"""Requests that are on their way: which ones may be slow, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.transport.incoming import arrivals
from headwater_server.transport.incoming.arrivals import Arrivals
from headwater_server.transport.incoming.budget import RequestBudget
from headwater_server.transport.incoming.reader import MAX_REQUEST_BYTES
from tests.support.virtual_time import run_in_virtual_time


class FakeContext:
    """A call whose request comes after some seconds."""

    def __init__(self, seconds: float, request: Any = b"hi") -> None:
        self._seconds, self._request = seconds, request
        self.call = self  # as the lean front has it

    def take(self) -> bytes | None:
        return None  # the request comes later

    async def read(self) -> Any:
        await asyncio.sleep(self._seconds)
        return self._request


async def receive(arrivals: Arrivals, *seconds: float) -> list[Any]:
    """The requests that come after so many seconds each, or the errors in their place."""
    contexts: list[Any] = [FakeContext(each) for each in seconds]
    return await asyncio.gather(*(arrivals.receive(context) for context in contexts), return_exceptions=True)


def outcome(found: Any) -> Any:
    return found.reason if isinstance(found, HeadwaterError) else found


def received(most_slow: int, *seconds: float) -> list[Any]:
    budget = RequestBudget(most_slow * MAX_REQUEST_BYTES)

    async def main() -> list[Any]:
        return await receive(Arrivals(budget), *seconds)

    found = run_in_virtual_time(main())
    assert budget.taken == 0
    return [outcome(each) for each in found]


def test_any_number_of_requests_may_come_at_once():
    assert received(1, *[0.9] * 100) == [b"hi"] * 100


def test_no_more_requests_may_be_slow_than_the_budget_has_room_for():
    assert received(2, 5, 0.5, 6, 7) == [b"hi", b"hi", b"hi", Reason.SERVER_OVERLOADED]


def test_where_the_front_counts_what_has_come_any_number_may_be_slow(monkeypatch):
    monkeypatch.setattr(arrivals, "LeanContext", FakeContext)
    assert received(1, 5, 6, 7, 61) == [b"hi", b"hi", b"hi", Reason.INVALID_REQUEST]


def test_the_room_of_a_slow_request_that_has_come_is_free_again():
    async def main() -> list[Any]:
        budget = RequestBudget(MAX_REQUEST_BYTES)
        one = Arrivals(budget)
        return [*await receive(one, 5), *await receive(one, 5)]

    assert run_in_virtual_time(main()) == [b"hi", b"hi"]


def test_a_request_may_not_be_slow_for_ever():
    assert received(1, 59, 200) == [b"hi", Reason.SERVER_OVERLOADED]
    assert received(2, 59, 200) == [b"hi", Reason.INVALID_REQUEST]


def test_a_call_without_a_request_is_an_error_of_its_caller():
    async def main() -> None:
        context: Any = FakeContext(0, grpc.aio.EOF)
        with pytest.raises(HeadwaterError, match="send one message"):
            await Arrivals(RequestBudget(1)).receive(context)

    run_in_virtual_time(main())


@pytest.mark.parametrize("after", [0.1, 5])
def test_a_caller_that_leaves_ends_its_call_and_no_more(after):
    budget = RequestBudget(MAX_REQUEST_BYTES)

    async def main() -> None:
        context: Any = FakeContext(1000)
        work: Coroutine[Any, Any, bytes] = Arrivals(budget).receive(context)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work, after)

    run_in_virtual_time(main())
    assert budget.taken == 0
