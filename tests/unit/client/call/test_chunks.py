"""From the contract's chunk to the caller's: every fact arrives, and none that was not there."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from headwater._call.chunks import to_chunk
from headwater._values.durations import to_duration
from headwater.v1 import agent_pb2


def metadata(**fields: Any) -> dict[str, Any]:
    return to_chunk(agent_pb2.StreamChunk(sequence=1, **fields), 0).metadata


def final(**fields: Any) -> dict[str, Any]:
    return metadata(is_final=True, **fields)


def test_a_chunk_of_text_says_no_more_than_its_text_and_place() -> None:
    before = time.time()
    chunk = to_chunk(agent_pb2.StreamChunk(content="Hi", sequence=7), 6)
    assert (chunk.content, chunk.token, chunk.metadata, chunk.is_final) == ("Hi", "Hi", {"sequence": 7}, False)
    assert before <= chunk.timestamp <= time.time()


@pytest.mark.parametrize(
    ("content", "sequence", "before", "token"),
    [
        ("Hi", 1, 0, "Hi"),  # the first delta
        ("Hi", 2, 0, None),  # two deltas at the beginning
        ("Hi", 8, 7, "Hi"),
        ("Hi there", 9, 7, None),  # merged
        ("", 8, 7, None),  # a delta without text
    ],
)
def test_only_a_chunk_of_one_delta_has_a_token(content: str, sequence: int, before: int, token: str | None) -> None:
    assert to_chunk(agent_pb2.StreamChunk(content=content, sequence=sequence), before).token == token


def test_the_block_is_named_where_it_is_not_the_first() -> None:
    assert metadata(block_index=0) == {"sequence": 1}
    assert metadata(block_index=2) == {"sequence": 1, "block_index": 2}


def test_the_first_chunk_names_stream_model_and_provider() -> None:
    assert metadata(stream_id="w0-1", model="gpt-4o-mini", provider="openai") == {
        "sequence": 1,
        "stream_id": "w0-1",
        "model": "gpt-4o-mini",
        "provider": "openai",
    }


@pytest.mark.parametrize("name", ["event_type", "thinking", "thinking_signature", "redacted_thinking", "refusal"])
def test_what_a_delta_says_beside_text(name: str) -> None:
    assert metadata(**{name: "said"}) == {"sequence": 1, name: "said"}


def test_pieces_of_tool_calls() -> None:
    delta = agent_pb2.ToolCallDelta(index=1, id="call_1", name="add", arguments_json='{"a"')
    assert metadata(tool_call_deltas=[delta])["tool_call_deltas"] == [
        {"index": 1, "id": "call_1", "name": "add", "arguments": '{"a"'}
    ]


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (agent_pb2.FINISH_REASON_STOP, "stop"),
        (agent_pb2.FINISH_REASON_LENGTH, "length"),
        (agent_pb2.FINISH_REASON_TOOL_CALLS, "tool_calls"),
        (agent_pb2.FINISH_REASON_CONTENT_FILTER, "content_filter"),
        (agent_pb2.FINISH_REASON_REFUSAL, "refusal"),
        (agent_pb2.FINISH_REASON_PAUSE, "pause"),
        (agent_pb2.FINISH_REASON_OTHER, "other"),
    ],
)
def test_the_finish_reason_is_a_word(number: agent_pb2.FinishReason, word: str) -> None:
    assert final(finish_reason=number)["finish_reason"] == word


def test_a_finish_reason_of_a_newer_server_is_other() -> None:
    newer = agent_pb2.StreamChunk.FromString(agent_pb2.StreamChunk(is_final=True).SerializeToString() + b"\x80\x01\x63")
    assert to_chunk(newer, 0).metadata["finish_reason"] == "other"


def test_a_count_reported_as_zero_is_zero_and_one_not_reported_is_absent() -> None:
    usage = agent_pb2.Usage(input_tokens=9, output_tokens=0, total_tokens=9)
    assert final(usage=usage)["usage"] == {"input_tokens": 9, "output_tokens": 0, "total_tokens": 9}
    assert "usage" not in final()


def test_stats_are_in_seconds() -> None:
    stats = agent_pb2.StreamStats(
        time_to_first_token=to_duration(0.25), duration=to_duration(1.5), chunk_count=3, tokens_per_second=12.5
    )
    assert final(stats=stats)["stats"] == {
        "time_to_first_token": 0.25,
        "duration": 1.5,
        "chunk_count": 3,
        "tokens_per_second": 12.5,
    }
    assert final(stats=agent_pb2.StreamStats(duration=to_duration(0.002)))["stats"] == {
        "duration": 0.002,
        "chunk_count": 0,
    }


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"b": 1, "a": 9007199254740993}', {"b": 1, "a": 9007199254740993}),
        ("", {}),
        ('{"cut": ', '{"cut": '),
        ("[1]", "[1]"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_of_a_tool_call_are_a_dict_or_what_the_model_wrote(text: str, arguments: Any) -> None:
    call = agent_pb2.ToolCall(id="call_1", name="add", arguments_json=text)
    assert final(tool_calls=[call])["tool_calls"] == [{"id": "call_1", "name": "add", "arguments": arguments}]


def test_the_rest_of_a_final_chunk() -> None:
    facts = final(provider_finish_reason="end_turn", stop_sequence="", provider_request_id="req_1")
    assert facts == {
        "sequence": 1,
        "provider_finish_reason": "end_turn",
        "stop_sequence": "",
        "provider_request_id": "req_1",
    }


def test_the_providers_own_facts_are_there_with_whole_numbers_as_ints() -> None:
    struct = Struct()
    struct.update({"total_duration": 5043500667, "load": 0.5, "gpu": {"layers": [1, None, True]}, "sequence": "theirs"})
    facts = final(metadata=struct)
    assert facts == {
        "total_duration": 5043500667,
        "load": 0.5,
        "gpu": {"layers": [1, None, True]},
        "sequence": 1,
    }
    assert isinstance(facts["total_duration"], int)
    assert isinstance(facts["gpu"]["layers"][0], int)


def test_a_citation_has_the_facts_that_the_provider_gave() -> None:
    sent = agent_pb2.Citation(
        url="https://example.org",
        title="T",
        start_index=0,
        end_index=5,
        source_range=agent_pb2.SourceRange(unit=agent_pb2.SOURCE_UNIT_PAGES, start=3, end=4),
    )
    expected = {
        "url": "https://example.org",
        "title": "T",
        "start_index": 0,
        "end_index": 5,
        "source_range": {"unit": "pages", "start": 3, "end": 4},
    }
    plain = agent_pb2.Citation(source_id="2")
    assert final(citations=[sent, plain])["citations"] == [expected, {"source_id": "2"}]
    assert "citations" not in final()


def test_a_unit_of_a_later_version_is_not_named() -> None:
    part = agent_pb2.SourceRange(start=1, end=2)
    part.unit = 99  # type: ignore[assignment]
    [citation] = metadata(citations=[agent_pb2.Citation(source_range=part)])["citations"]
    assert citation == {"source_range": {"unit": "", "start": 1, "end": 2}}
