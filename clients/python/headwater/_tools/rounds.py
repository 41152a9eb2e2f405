"""The rounds of one call: the caller sees one stream, the provider a conversation that grows.

Theory of operation. Each round is a separate Stream RPC under the id of the first. A round that ends in tool calls
ends with a chunk that is shown as not final, carrying the calls; then comes a chunk that is made here, carrying their
results. Its sequence number is the next one, and the round after it continues from there: to the server it is the
stream's count so far. So the numbers only rise, and those of the caller are those of the server. The facts of final
chunks (usage, stats and so on) are kept by round; the one final chunk of the stream has the sums.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from typing import Any

from headwater._grpc.wrong_server import wrong_text
from headwater._tools.calls import Toolbox
from headwater._tools.sloppy import read_object
from headwater._values.json_values import json_object
from headwater._values.messages import harmless_name, show_result
from headwater.exceptions import StreamInterruptedError, ToolError
from headwater.streaming import StreamChunk
from headwater.v1 import agent_pb2

# A reply that was cut may end in half a call, one that was refused in a call that must not be run, and one that ended
# in a way that the server does not know in either.
_NOT_RUN_AFTER = (
    agent_pb2.FINISH_REASON_LENGTH,
    agent_pb2.FINISH_REASON_CONTENT_FILTER,
    agent_pb2.FINISH_REASON_REFUSAL,
    agent_pb2.FINISH_REASON_PAUSE,
    agent_pb2.FINISH_REASON_OTHER,
)
_KNOWN = agent_pb2.FinishReason.values()
_LAST_NUMBER = 2**31 - 2  # the results have a number too
_OF_THE_CHUNK = ("sequence", "event_type", "stream_id", "model", "provider", "dropped_params", "tool_calls")


class ToolRounds:
    """The results of the rounds of a call so far.

    Args:
        toolbox: the tools that are offered.

    Attributes:
        toolbox: the same.
        calls: those that the round asks for which has just ended; empty while one runs.
        messages: of the rounds that are over: replies with their calls, and results.
        text: the text of those rounds.
        sequence: number of the last chunk of the round before.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self.calls: list[agent_pb2.ToolCall] = []
        self.messages: list[agent_pb2.ChatMessage] = []
        self.text = ""
        self.sequence = 0
        self._facts: list[dict[str, Any]] = []
        self._tool_seconds = 0.0

    def end_round(self, message: agent_pb2.StreamChunk, chunk: StreamChunk, text: str) -> None:
        """Take note of a round's final chunk; sets `calls` if there are any to run, and else completes the chunk.

        Args:
            message: the final chunk as it came.
            chunk: the same for the caller; it is changed.
            text: the text of the stream so far, for the error.

        Raises:
            ToolError: when the model asks once more than it may.
            StreamInterruptedError: no right server ends a round so.
        """
        facts = {key: value for key, value in chunk.metadata.items() if key not in _OF_THE_CHUNK}
        self._facts.append(facts)
        if not message.tool_calls or message.finish_reason in _NOT_RUN_AFTER or message.finish_reason not in _KNOWN:
            self._complete(chunk)
            return
        if message.sequence >= _LAST_NUMBER:
            raise StreamInterruptedError(wrong_text("tool calls in the last chunk that a stream can have"), text)
        if len(self._facts) > self.toolbox.max_rounds:
            raise ToolError(
                f"the model still asks for tools after {self.toolbox.max_rounds} rounds of them; allow more with "
                "Agent(max_tool_rounds=...)",
                text,
            )
        self.calls = list(message.tool_calls)
        self.sequence = message.sequence
        chunk.is_final = False
        for key in facts:
            del chunk.metadata[key]

    def _complete(self, chunk: StreamChunk) -> None:
        rounds = [dict(facts) for facts in self._facts]
        chunk.metadata["rounds"] = rounds
        if cited := [citation for facts in rounds for citation in facts.get("citations", ())]:
            chunk.metadata["citations"] = cited
        if len(rounds) > 1:
            if any("usage" in facts for facts in rounds):
                chunk.metadata["usage"] = _sum(facts.get("usage", {}) for facts in rounds)
            if all("cost" in facts for facts in rounds):
                chunk.metadata["cost"] = _sum_of_costs(facts["cost"] for facts in rounds)
            else:
                chunk.metadata.pop("cost", None)  # that of the last round alone would look like all of it
            if all("stats" in facts for facts in rounds):
                chunk.metadata["stats"] = _stats(rounds, self._tool_seconds)

    def add_results(
        self, reply: agent_pb2.ChatMessage, text: str, results: Sequence[agent_pb2.ToolResult], seconds: float
    ) -> StreamChunk:
        """Take note of the results of the calls; returns the chunk that shows them.

        Args:
            reply: the reply that asked for them.
            text: the text of that reply.
            results: theirs, in order.
            seconds: how long they took in all.
        """
        for part in reply.parts:
            if part.HasField("tool_call"):
                _make_harmless(part.tool_call)
        parts = [agent_pb2.Part(tool_result=result) for result in results]
        self.messages += [reply, agent_pb2.ChatMessage(role=agent_pb2.ROLE_TOOL, parts=parts)]
        self.text += text
        self.calls = []
        self.sequence += 1
        self._tool_seconds += seconds
        return StreamChunk("", None, {"sequence": self.sequence, "tool_results": list(map(show_result, results))})


def _make_harmless(call: agent_pb2.ToolCall) -> None:
    """Make a call such that its provider reads it again: some refuse arguments that are no object, and odd names."""
    call.name = harmless_name(call.name)
    if json_object(call.arguments_json) is None:
        call.arguments_json = json.dumps(read_object(call.arguments_json) or {}, ensure_ascii=False)


def _sum(usages: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for usage in usages:
        for name, count in usage.items():
            total[name] = total.get(name, 0) + count
    return total


def _sum_of_costs(costs: Iterable[str]) -> str:
    """The sum of decimal numbers as text, exactly."""
    with localcontext(prec=60):
        total = f"{sum(map(Decimal, costs), Decimal()):f}"
    return total.rstrip("0").rstrip(".") if "." in total else total


def _stats(rounds: Sequence[dict[str, Any]], tool_seconds: float) -> dict[str, Any]:
    """The measures of all rounds as one: the time to the first token is that of the first."""
    stats = [facts["stats"] for facts in rounds]
    total: dict[str, Any] = {
        "duration": sum(each["duration"] for each in stats) + tool_seconds,
        "chunk_count": sum(each["chunk_count"] for each in stats),
    }
    if "time_to_first_token" in stats[0]:
        total["time_to_first_token"] = stats[0]["time_to_first_token"]
    paced = [
        (facts["usage"]["output_tokens"], facts["stats"]["tokens_per_second"])
        for facts in rounds
        if 0 < facts["stats"].get("tokens_per_second", 0) < math.inf
        and facts.get("usage", {}).get("output_tokens", 0) > 0
    ]
    if paced:
        total["tokens_per_second"] = sum(tokens for tokens, _ in paced) / sum(tokens / pace for tokens, pace in paced)
    return total
