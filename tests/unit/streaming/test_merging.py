"""Merging: order, what goes together, bounds."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.chunks import Beside, Chunk, Delta, ToolCallDelta
from headwater_server.domain.citations import Citation
from headwater_server.domain.logprobs import TokenLogprob, size_of
from headwater_server.domain.messages import Image
from headwater_server.streaming import merging
from headwater_server.streaming.merging import MAX_DELTA_CHARACTERS, MAX_MERGED_CHARACTERS, merge, merge_ahead

FIELDS = ("content", "thinking", "refusal", "thinking_signature", "redacted_thinking")


def merged(*deltas: Delta) -> list[Chunk]:
    return list(merge(deltas, 0, 10.0))


def test_a_delta_that_came_alone_is_a_chunk_of_its_own():
    [chunk] = merge([Delta(content="a")], 7, 10.0)
    assert (chunk.sequence, chunk.create_time, chunk.delta.content, chunk.merged) == (8, 10.0, "a", False)


def test_text_that_came_together_is_merged_and_the_sequence_counts_all_of_it():
    [chunk] = merged(Delta(content="a"), Delta(content="b"), Delta(content="c"))
    assert (chunk.sequence, chunk.delta.content, chunk.merged) == (3, "abc", True)


@pytest.mark.parametrize(
    "other",
    [
        Delta(thinking="t"),
        Delta(content="b", block=1),
        Delta(content="b", event_type="other"),
        Delta(content="b", thinking="t"),
        Delta(refusal="no"),
        Delta(thinking_signature="sig"),
        Delta(redacted_thinking="data"),
        Delta(tool_calls=[ToolCallDelta(0, "id", "name", "{}")]),
        Delta(beside=Beside(citations=[Citation("https://example.org")])),
        Delta(content="b", beside=Beside(citations=[Citation("https://example.org")])),
        Delta(beside=Beside(images=[Image(b"png", "image/png")])),
    ],
)
def test_nothing_is_merged_over_a_delta_that_says_something_else(other):
    chunks = merged(Delta(content="a"), other, Delta(content="c"))
    assert [c.delta for c in chunks] == [Delta(content="a"), other, Delta(content="c")]
    assert not any(c.merged for c in chunks)


def test_tool_call_deltas_are_never_merged():
    call = Delta(tool_calls=[ToolCallDelta(0, arguments="1")])
    assert len(merged(call, call, call)) == 3


def test_a_merged_chunk_stays_within_its_limit():
    chunks = merged(*[Delta(content="x" * 1000) for _ in range(40)])
    assert max(len(c.delta.content) for c in chunks) <= MAX_MERGED_CHARACTERS
    assert sum(len(c.delta.content) for c in chunks) == 40_000
    assert chunks[-1].sequence == 40


def scored(text: str, **fields: Any) -> Delta:
    return Delta(content=text, beside=Beside(logprobs=[TokenLogprob(text, -0.5, text.encode())]), **fields)


def test_merged_texts_keep_the_tokens_of_all():
    [chunk] = merged(Delta(content="a"), scored("b"), scored("c"), Delta(content="d"))
    assert chunk.delta.content == "abcd"
    assert [token.token for token in chunk.delta.beside.logprobs] == ["b", "c"]


def test_the_tokens_of_a_merged_chunk_stay_within_its_limit_too():
    chunks = merged(*[scored("x") for _ in range(2000)])
    assert max(size_of(c.delta.beside.logprobs) for c in chunks) <= MAX_MERGED_CHARACTERS
    assert sum(len(c.delta.beside.logprobs) for c in chunks) == 2000
    assert len(chunks) < 10


def test_a_huge_delta_is_cut_into_pieces_that_fit_a_message():
    text = "é" * 1_000_000
    chunks = merged(Delta(content=text))
    assert "".join(c.delta.content for c in chunks) == text
    assert all(len(c.delta.content.encode()) < 3 * 1024 * 1024 for c in chunks)
    assert [c.sequence for c in chunks] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "delta",
    [
        Delta(refusal="no" * 500_000),
        Delta(thinking="t" * 600_000, content="c" * 600_000),
        Delta(content="c" * 600_000, beside=Beside(citations=[Citation("https://example.org")])),
        Delta(content="c" * 600_000, beside=Beside(images=[Image(b"png", "image/png")])),
        Delta(tool_calls=[ToolCallDelta(0, "id", "name", "1" * 1_500_000), ToolCallDelta(1, "b", "other")]),
    ],
)
def test_whatever_is_huge_is_cut_into_pieces_that_fit_a_message(delta):
    chunks = [chunk.delta for chunk in merged(delta)]
    calls = [call for chunk in chunks for call in chunk.tool_calls or ()]
    for field in ("content", "thinking", "refusal"):
        assert "".join(getattr(chunk, field) for chunk in chunks) == getattr(delta, field)
        assert max(len(getattr(chunk, field)) for chunk in chunks) <= MAX_DELTA_CHARACTERS
    assert [(call.id, call.name) for call in calls if call.id] == [(c.id, c.name) for c in delta.tool_calls or ()]
    assert "".join(call.arguments for call in calls) == "".join(c.arguments for c in delta.tool_calls or ())
    assert all(len(call.arguments) <= MAX_DELTA_CHARACTERS for call in calls)
    assert [chunk.beside for chunk in chunks if chunk.beside] == ([delta.beside] if delta.beside else [])


texts = st.text(max_size=8)
tokens = st.builds(TokenLogprob, token=texts, logprob=st.just(-1.0))
deltas = st.builds(
    Delta,
    content=texts,
    thinking=texts,
    refusal=st.just("") | texts,
    tool_calls=st.none() | st.lists(st.builds(ToolCallDelta, index=st.integers(0, 2), arguments=texts), max_size=2),
    event_type=st.sampled_from(["", "a"]),
    block=st.integers(0, 1),
    beside=st.none() | st.builds(Beside, logprobs=st.lists(tokens, max_size=2)),
)


@given(st.lists(deltas, min_size=1, max_size=30), st.sampled_from([3, 10, MAX_MERGED_CHARACTERS]), st.data())
def test_readers_of_one_log_lose_nothing_however_far_each_is_behind(said, limit, chance):
    """A reader gets the chunks that wait for it, merged; another one still gets each of them."""
    log = [Chunk(number, 0.0, delta) for number, delta in enumerate(said, 1)]
    before, place, chunks = copy.deepcopy(log), 0, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "MAX_MERGED_CHARACTERS", limit)
        while place < len(log):
            there = chance.draw(st.integers(place + 1, len(log)))
            chunk, count = merge_ahead(iter(log[place:there]))
            chunks.append(chunk)
            place += count
            assert chunk.sequence == place
    assert log == before
    for field in FIELDS:
        assert "".join(getattr(c.delta, field) for c in chunks) == "".join(getattr(d, field) for d in said)
    assert [c.delta.tool_calls for c in chunks if c.delta.tool_calls] == [d.tool_calls for d in said if d.tool_calls]
    assert logprobs_of(c.delta for c in chunks) == logprobs_of(said)


def logprobs_of(said: Iterable[Delta]) -> list[TokenLogprob]:
    return [token for delta in said if delta.beside for token in delta.beside.logprobs]


@given(st.lists(deltas, max_size=30), st.sampled_from([-1, 3, 10, MAX_MERGED_CHARACTERS]))
def test_merging_loses_nothing_and_changes_no_order(said, limit):
    """A limit below 0 is merging switched off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "MAX_MERGED_CHARACTERS", limit)
        chunks = merged(*copy.deepcopy(said))
    for field in FIELDS:
        assert "".join(getattr(c.delta, field) for c in chunks) == "".join(getattr(d, field) for d in said)
    assert [c.delta.tool_calls for c in chunks if c.delta.tool_calls] == [d.tool_calls for d in said if d.tool_calls]
    assert logprobs_of(c.delta for c in chunks) == logprobs_of(said)
    assert [c.sequence for c in chunks] == sorted({c.sequence for c in chunks})
    assert (chunks[-1].sequence if chunks else 0) == len(said)
    if limit < 0:
        assert [c.delta for c in chunks] == said
