"""The limits of a stream in time: which one ends it, and how to raise it. Hours pass at once here."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.opening import StreamOpener
from headwater_server.attempts.policy import AttemptSettings
from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import AgentConfig, ChatRequest
from headwater_server.providers.registry import ProviderRegistry
from headwater_server.streaming.answerer import Timeouts
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.source import ReadSource
from tests.support.services.attempts import NO_ACCOUNTS, PlannedProvider
from tests.support.virtual_time import run_in_virtual_time

PING, UNSEEN, END = "ping", "unseen", "end"
"""Bytes that are no event, an event that is no chunk, and the end of the reply; a number is a pause in seconds."""

DEFAULT = Timeouts()


class Plan(ReadSource):
    """A reply of words, pings and pauses; then nothing more comes."""

    request_id = ""

    def __init__(self, *steps: str | float) -> None:
        self._steps = list(steps)
        self.heard = 0.0
        self.closed = False

    async def read(self) -> list[ProviderEvent]:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif step == PING:
                self.heard = asyncio.get_running_loop().time()
            elif step == UNSEEN:
                return [Delta(provider_data="{}")]
            elif step == END:
                return [Finish(FinishReason.STOP)]
            else:
                return [Delta(content=step)]
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


def end_of(plan: Plan, timeouts: Timeouts = DEFAULT, reader_pause: float = 0.0) -> tuple[str, str, float, str]:
    """The text that came, the limit that ended the stream, when that was, and the error's message."""

    class Fake(PlannedProvider):
        def stream(self, request: ChatRequest) -> Plan:  # type: ignore[override]
            return plan

    async def main() -> tuple[str, str, float, str]:
        text, streams = "", RunningStreams()
        provider = Fake("fake")
        registry = ProviderRegistry({"fake": provider}, frozenset())  # type: ignore[dict-item]
        offers = Offers(Offer(registry, timeouts, AttemptSettings(max_attempts=1)))
        opener = StreamOpener(offers, streams, Circuits(5), NO_ACCOUNTS, False)
        async with opener.open_stream(ParsedRequest(AgentConfig(model="fake/m"), ())) as stream:
            try:
                while isinstance(chunk := await stream.next(), Chunk):
                    text += chunk.delta.content
                    await asyncio.sleep(reader_pause)
                limit = message = ""
                assert isinstance(chunk, FinalChunk)
            except HeadwaterError as error:
                assert error.reason is Reason.STREAM_TIMEOUT
                limit, message = error.metadata["limit"], error.message
            ended = asyncio.get_running_loop().time()
        await streams.close()
        assert plan.closed
        return text, limit, round(ended, 3), message

    return run_in_virtual_time(main())


PINGS = [15.0, PING] * 300
"""75 minutes of pings."""


@pytest.mark.parametrize(
    ("plan", "timeouts", "text", "limit", "when"),
    [
        ([], DEFAULT, "", "first_chunk", 300),
        (PINGS, DEFAULT, "", "first_chunk", 300),
        (["a", 100.0, "b"], DEFAULT, "ab", "next_chunk", 220),
        (["a", 100.0, PING], DEFAULT, "a", "next_chunk", 220),
        (["a", *PINGS], DEFAULT, "a", "max_silence", 600),
        (["a", *[15.0, UNSEEN] * 300], DEFAULT, "a", "max_silence", 600),
        (["a", *PINGS[:60], "b", *PINGS], DEFAULT, "ab", "max_silence", 1050),
        (["a", *PINGS[:60], "b", END], DEFAULT, "ab", "", 450),
        (["a", *PINGS], Timeouts(300, 1_000, 600), "a", "max_silence", 1_000),
        ([*["a", 60.0] * 100], DEFAULT, "a" * 60, "total", 3_600),
        ([*["a", 60.0] * 100], Timeouts(total_seconds=90), "aa", "total", 90),
    ],
)
def test_the_limit_that_is_reached_first_ends_the_stream_after_its_text(plan, timeouts, text, limit, when):
    assert end_of(Plan(*plan), timeouts)[:3] == (text, limit, when)


@pytest.mark.parametrize(
    ("plan", "timeouts", "words"),
    [
        ([], DEFAULT, "no first chunk within 300 seconds; allow more with timeouts.first_chunk of the agent"),
        (["a"], DEFAULT, "no next chunk within 120 seconds; allow more with timeouts.next_chunk of the agent"),
        (["a"], DEFAULT, "or next_chunk_seconds of the server or the provider"),
        (["a", *PINGS], DEFAULT, "signs of life, but sent no chunk within 600 seconds; allow more with max_silence_seconds"),
        (["a"], Timeouts(total_seconds=9), "took longer than 9 seconds; allow more with timeouts.total of the agent"),
    ],
)  # fmt: skip
def test_the_error_says_which_limit_it_was_and_how_to_raise_it(plan, timeouts, words):
    assert words in end_of(Plan(*plan), timeouts)[3]


def test_a_reader_that_is_slow_is_no_silence_of_the_provider_but_counts_for_the_whole():
    assert end_of(Plan("a", "b", END), reader_pause=1_000)[:3] == ("ab", "", 2_000)
    assert end_of(Plan("a", "b", "c", "d", END), reader_pause=1_000)[:3] == ("abcd", "total", 4_000)
