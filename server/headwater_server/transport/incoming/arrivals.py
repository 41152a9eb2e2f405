"""The requests that are on their way: how long one may take, and how many may be slow.

gRPC keeps what has arrived of a message until its end, up to 32 MiB, and says nothing of it before. A caller that sends
all of a message but its last byte takes that memory for as long as it likes. So a request that is not there within a
second is slow, and takes as much of the budget as it may have bytes. Where the budget has no room it is refused.

The lean front counts what has come itself, and refuses those who hoard. There a slow request takes nothing of the
budget: a few calls that say nothing could use it up.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

import grpc

from headwater_server.domain.errors import HeadwaterError, Reason, overloaded
from headwater_server.transport.handlers import Context
from headwater_server.transport.http2.calls.context import Context as LeanContext
from headwater_server.transport.incoming.budget import RequestBudget
from headwater_server.transport.incoming.reader import MAX_REQUEST_BYTES

LOOK_SECONDS = 0.5
SLOW_LOOKS = 2
LONGEST_LOOKS = 120


class _State(Enum):
    QUICK = auto()
    SLOW = auto()
    REFUSED = auto()
    LATE = auto()


class _Arrival:
    """A request on its way: its share of the budget when it is slow, how often it was looked at, and its state."""

    __slots__ = ("looks", "state", "takes")

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.looks = 0
        self.state = _State.QUICK


class Arrivals:
    """Receives the requests of the calls that have one.

    All are looked at together every half second, so that a request that is there at once costs no timer.

    Args:
        budget: of the bytes of all requests.
    """

    def __init__(self, budget: RequestBudget) -> None:
        self._budget = budget
        self._arriving: dict[asyncio.Task[object], _Arrival] = {}
        self._looking = False

    async def receive(self, context: Context) -> bytes:
        """Waits for the request of a call. Raises HeadwaterError: SERVER_OVERLOADED, INVALID_REQUEST."""
        takes = 0 if isinstance(context, LeanContext) else MAX_REQUEST_BYTES
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  gRPC runs each call in a task
        arrival = self._arriving[task] = _Arrival(takes)
        if not self._looking:
            self._looking = True
            self._look_later()
        try:
            request = await context.read()
        except asyncio.CancelledError:
            if arrival.state in (_State.REFUSED, _State.LATE) and task.uncancel() == 0:
                raise _refusal(arrival.state) from None
            raise
        finally:
            del self._arriving[task]
            if arrival.state is _State.SLOW:
                self._budget.give_back(arrival.takes)
        if request is grpc.aio.EOF:
            raise HeadwaterError(Reason.INVALID_REQUEST, "the call has no request; send one message")
        return bytes(request)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        # The loop first does all that is ready: after it was held up, requests that have come meanwhile are not slow.
        loop.call_later(LOOK_SECONDS, loop.call_soon, loop.call_soon, self._look)

    def _look(self) -> None:
        for task, arrival in self._arriving.items():
            arrival.looks += 1
            if arrival.state is _State.QUICK and arrival.looks > SLOW_LOOKS:
                has_room = not arrival.takes or self._budget.take(arrival.takes)
                arrival.state = _State.SLOW if has_room else _State.REFUSED
            elif arrival.state is _State.SLOW and arrival.looks > LONGEST_LOOKS:
                self._budget.give_back(arrival.takes)
                arrival.state = _State.LATE
            else:
                continue
            if arrival.state is not _State.SLOW:
                task.cancel()
        self._looking = bool(self._arriving)
        if self._looking:
            self._look_later()


def _refusal(state: _State) -> HeadwaterError:
    if state is _State.REFUSED:
        return overloaded("the request is slow to arrive, and too many others are already; send it again, at once")
    seconds = LOOK_SECONDS * LONGEST_LOOKS
    return HeadwaterError(
        Reason.INVALID_REQUEST, f"the request did not arrive whole within {seconds:g} s; send it faster, or less"
    )
