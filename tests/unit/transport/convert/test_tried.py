"""The attempts that failed, on the first chunk and in the answer of Run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from headwater.v1 import agent_pb2
from headwater_server.domain.attempts import Attempt
from headwater_server.domain.chunks import FinalChunk, Finish, FinishReason, StreamStats
from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure
from headwater_server.streaming.accumulator import ReplyAccumulator
from headwater_server.streaming.answerer import Answerer
from headwater_server.transport.convert import failures, replies

TRIED = Attempt("azure", "gpt-4o", Failure(Reason.PROVIDER_RATE_LIMITED, "busy", retry_delay_seconds=2), 0.25, 2)
ANSWERER = Answerer("openai", model="gpt-4o", tried=[TRIED])
STREAM: Any = SimpleNamespace(id="s-1", resumable=False, answerer=ANSWERER)


def test_the_first_chunk_lists_the_attempts_that_failed() -> None:
    message = agent_pb2.StreamChunk()
    replies.introduce(message, STREAM)
    assert list(message.attempts) == [failures.attempt(TRIED)]


def test_the_answer_of_run_lists_the_attempts_that_failed() -> None:
    final = FinalChunk(1, 0.0, Finish(FinishReason.STOP), StreamStats(None, 1.5, 0, None), [])
    assert list(replies.run_response(STREAM, ReplyAccumulator(), final).attempts) == [failures.attempt(TRIED)]
