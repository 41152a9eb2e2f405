"""Frames that cost a server more than their sender, and how many of them a connection may send.

Theory of operation. Most frames are a part of a call, and calls have limits. Others ask for work without one: a ping
and settings ask for an answer, and a stream that is opened and reset asks for a call that has no reader. A few are
normal, thousands in a row are an attack. So each kind has an allowance: a frame takes one of it, and time fills it.

Worked example. A caller may reset 500 calls that had no answer yet at once, and then 100 a second. A program that ends
2,000 such calls because its user has left is cut off, and connects again. A call that had an answer costs nothing, and
gives one back at its end.
"""

from __future__ import annotations

from collections.abc import Callable

from headwater_server.transport.http2.frames import ConnectionFaultError, ErrorCode

SMALL_DATA = 5
"""Bytes of the smallest message; a frame of DATA with fewer costs more than its bytes."""
SMALL_STEP = 64
"""A window that was used up and grows by less lets out frames that cost more than their bytes."""


class Allowance:
    """How many frames of one kind a peer may send.

    Args:
        kind: of frames, for people.
        most: at once.
        per_second: how many are given back in a second.
        now: the time in seconds.
    """

    __slots__ = ("_at", "_kind", "_left", "_most", "_now", "_per_second")

    def __init__(self, kind: str, most: float, per_second: float, now: Callable[[], float]) -> None:
        self._kind = kind
        self._most = self._left = most
        self._per_second = per_second
        self._now = now
        self._at = now()

    def spend(self) -> None:
        """Uses one up. Raises ConnectionFaultError where none is left."""
        if self._left < 1:
            at = self._now()
            self.give((at - self._at) * self._per_second)
            self._at = at
            if self._left < 1:
                raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, f"too many {self._kind}")
        self._left -= 1

    def give(self, count: float) -> None:
        """Gives some back."""
        self._left = min(self._left + count, self._most)


class Floods:
    """The allowances of one connection.

    Args:
        now: the time in seconds.

    Attributes:
        resets: streams that end before their answer, by the peer or for its fault.
        questions: frames that ask for an answer.
        empties: frames without a purpose, or with less than a message.
        windows: settings that change the windows of open streams.
    """

    __slots__ = ("empties", "questions", "resets", "windows")

    def __init__(self, now: Callable[[], float]) -> None:
        self.resets = Allowance("streams that are reset", 500, 100, now)
        self.questions = Allowance("pings and settings", 5_000, 1_000, now)
        self.empties = Allowance("empty frames", 500, 100, now)
        self.windows = Allowance("settings that change windows", 100, 10, now)
