"""Log probabilities of a reply from the domain to the contract."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from headwater.v1 import agent_pb2
from headwater_server.domain.chunks import Beside, Chunk, Delta, FinalChunk, Finish, FinishReason, StreamStats
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.domain.logprobs import TokenKind, TokenLogprob, TopLogprob, size_of
from headwater_server.providers.wires.beside_text.logprobs import MAX_SIZE, MAX_TOKEN
from headwater_server.streaming.accumulator import ReplyAccumulator
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.merging import MAX_DELTA_CHARACTERS
from headwater_server.transport.convert import replies

STREAM: Any = SimpleNamespace(id="s-1", answerer=Answerer("openai", model="gpt-4o"))
TOKEN = TokenLogprob("Hé", -0.5, "Hé".encode(), (TopLogprob("Ho", -1.25, b"Ho"), TopLogprob("x", -3)))
SENT = agent_pb2.TokenLogprob(
    token="Hé",
    logprob=-0.5,
    utf8="Hé".encode(),
    top_logprobs=[
        agent_pb2.TopLogprob(token="Ho", logprob=-1.25, utf8=b"Ho"),
        agent_pb2.TopLogprob(token="x", logprob=-3),
    ],
)
CHUNK = Chunk(1, 0, Delta(content="Hé", beside=Beside(logprobs=[TOKEN])))
END = FinalChunk(1, 0, Finish(FinishReason.STOP), StreamStats(None, 1, 0, None), [])


def test_a_chunk_has_the_tokens_that_came_with_it() -> None:
    message = replies.stream_chunk(CHUNK)
    assert (message.content, list(message.logprobs)) == ("Hé", [SENT])


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (TokenKind.TEXT, agent_pb2.TOKEN_KIND_UNSPECIFIED),
        (TokenKind.THINKING, agent_pb2.TOKEN_KIND_THINKING),
        (TokenKind.REFUSAL, agent_pb2.TOKEN_KIND_REFUSAL),
    ],
)
def test_the_text_that_a_token_belongs_to(kind: TokenKind, number: int) -> None:
    delta = Delta(beside=Beside(logprobs=[TokenLogprob("a", -1, kind=kind)]))
    [token] = replies.stream_chunk(Chunk(1, 0, delta)).logprobs
    assert token.kind == number


def test_a_whole_reply_has_all_and_counts_their_size() -> None:
    reply = ReplyAccumulator()
    reply.add_chunk(CHUNK)
    reply.add_chunk(CHUNK)
    assert reply.size == 2 * (len("Hé") + TOKEN.size)
    assert list(replies.run_response(STREAM, reply, END).logprobs) == [SENT, SENT]


def test_the_largest_text_with_the_most_tokens_fits_into_a_message() -> None:
    wide = "\N{GRINNING FACE}" * MAX_TOKEN
    token = TokenLogprob(wide, -1, b"x" * MAX_TOKEN, (TopLogprob(wide, -1, b"x" * MAX_TOKEN),) * 20)
    tokens = [token] * (MAX_SIZE // token.size)
    assert size_of(tokens) <= MAX_SIZE
    delta = Delta("\N{GRINNING FACE}" * MAX_DELTA_CHARACTERS, beside=Beside(logprobs=tokens))
    assert replies.stream_chunk(Chunk(1, 0, delta)).ByteSize() < MAX_MESSAGE_BYTES


@pytest.mark.parametrize("count", [0, 20])
def test_the_size_of_tokens_bounds_the_bytes_that_they_take_in_a_message(count: int) -> None:
    token = TokenLogprob("a", -1.5, b"a", (TopLogprob("a", -1.5, b"a"),) * count, TokenKind.THINKING)
    message = replies.stream_chunk(Chunk(1, 0, Delta(beside=Beside(logprobs=[token] * 100))))
    assert message.ByteSize() <= 100 * token.size
