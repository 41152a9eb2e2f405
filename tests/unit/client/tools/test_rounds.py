"""The facts of all rounds on the one final chunk."""

from __future__ import annotations

from typing import Any

from headwater._call.chunks import to_chunk
from headwater._tools.calls import Toolbox
from headwater._tools.rounds import ToolRounds
from headwater.streaming import StreamChunk
from headwater.v1 import agent_pb2

FIRST, SECOND = agent_pb2.Citation(url="https://a.org"), agent_pb2.Citation(url="https://b.org")
CALL = agent_pb2.ToolCall(id="1", name="f", arguments_json="{}")


def end(rounds: ToolRounds, **fields: Any) -> StreamChunk:
    message = agent_pb2.StreamChunk(sequence=1, is_final=True, **fields)
    chunk = to_chunk(message, 0)
    rounds.end_round(message, chunk, "")
    return chunk


def test_the_final_chunk_has_the_citations_of_all_rounds() -> None:
    rounds = ToolRounds(Toolbox({}, None, 5))
    assert "citations" not in end(rounds, tool_calls=[CALL], citations=[FIRST]).metadata
    assert end(rounds, citations=[SECOND]).metadata["citations"] == [{"url": "https://a.org"}, {"url": "https://b.org"}]


def test_the_cost_is_the_exact_sum_of_all_rounds_and_absent_where_one_is_not_known() -> None:
    rounds = ToolRounds(Toolbox({}, None, 5))
    end(rounds, tool_calls=[CALL], cost="0.1")
    final = end(rounds, cost="0.20000000000000000001")
    assert final.metadata["cost"] == "0.30000000000000000001"
    assert [facts["cost"] for facts in final.metadata["rounds"]] == ["0.1", "0.20000000000000000001"]
    rounds = ToolRounds(Toolbox({}, None, 5))
    end(rounds, tool_calls=[CALL])
    assert "cost" not in end(rounds, cost="0.2").metadata


def test_rounds_without_citations_have_none() -> None:
    assert "citations" not in end(ToolRounds(Toolbox({}, None, 5))).metadata
