"""The measures of a stream: the wait for its first delta, the gaps between deltas, the pace of its tokens."""

from __future__ import annotations

import time

from headwater_server.domain.chunks import Pace, StreamStats, Usage

SHORTEST_PACE_SECONDS = 0.05  # below it a pace says more about buffers than about the model


class Measures:
    """The times of one stream, from now on.

    Attributes:
        first_token_seconds: how long the caller waited for the first delta; None before it.
        thought: whether the model's thinking was streamed.
    """

    __slots__ = ("_began", "_first", "_last", "_longest_gap", "first_token_seconds", "thought")

    def __init__(self) -> None:
        self._began = self._first = self._last = time.monotonic()
        self.first_token_seconds: float | None = None
        self._longest_gap = 0.0
        self.thought = False

    def note(self) -> bool:
        """Deltas have come. Whether they are the first."""
        now = time.monotonic()
        is_first = self.first_token_seconds is None
        if is_first:
            self._first = now
            self.first_token_seconds = now - self._began
        elif now - self._last > self._longest_gap:
            self._longest_gap = now - self._last
        self._last = now
        return is_first

    def pace(self, count: int) -> Pace | None:
        """The gaps between so many deltas; None before the second."""
        if self.first_token_seconds is None or count < 2:
            return None
        return Pace((self._last - self._first) / (count - 1), self._longest_gap)

    def stats(self, count: int, usage: Usage | None) -> StreamStats:
        """The figures of a reply that ends now, with so many deltas."""
        return StreamStats(
            time_to_first_token_seconds=self.first_token_seconds,
            duration_seconds=time.monotonic() - self._began,
            chunk_count=count,
            tokens_per_second=self._tokens_per_second(usage),
        )

    def _tokens_per_second(self, usage: Usage | None) -> float | None:
        """The pace of the writing: from the first delta to the last, without thinking that was not streamed."""
        if usage is None or usage.output_tokens is None or self.first_token_seconds is None:
            return None
        hidden = 0 if self.thought else usage.reasoning_tokens or 0
        tokens, seconds = usage.output_tokens - hidden, self._last - self._first
        return (tokens - 1) / seconds if tokens > 1 and seconds >= SHORTEST_PACE_SECONDS else None
