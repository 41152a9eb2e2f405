"""From the contract's chunk to the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from headwater._values.durations import seconds_of
from headwater._values.failures import to_attempts
from headwater._values.images import Image
from headwater._values.json_values import json_object
from headwater._values.logprobs import to_tokens
from headwater.streaming import StreamChunk
from headwater.v1 import agent_pb2

_FINISH_PREFIX = "FINISH_REASON_"
_FINISH_REASONS: dict[int, str] = {
    value.number: value.name.removeprefix(_FINISH_PREFIX).lower()
    for value in agent_pb2.FinishReason.DESCRIPTOR.values
    if value.number
}
_UNIT_PREFIX = "SOURCE_UNIT_"
_SOURCE_UNITS: dict[int, str] = {
    value.number: value.name.removeprefix(_UNIT_PREFIX).lower()
    for value in agent_pb2.SourceUnit.DESCRIPTOR.values
    if value.number
}
_OWN = frozenset(field.name for field in agent_pb2.StreamChunk.DESCRIPTOR.fields) | {"rounds", "tool_results"}
"""Keys that only the fields of the contract and this client set."""
_WHOLE = 2**53  # beyond it a double no longer holds every whole number


def to_chunk(message: agent_pb2.StreamChunk, before: int) -> StreamChunk:
    """The caller's chunk. Fields that say nothing leave no trace in its metadata.

    Args:
        message: the chunk as it came.
        before: `sequence` of the chunk before it, 0 for the first: only a chunk of one delta has a `token`.
    """
    metadata: dict[str, Any] = {}
    if message.HasField("metadata"):
        metadata = {key: value for key, value in struct_to_dict(message.metadata).items() if key not in _OWN}
    metadata["sequence"] = message.sequence
    if message.event_type:
        metadata["event_type"] = message.event_type
    if message.block_index:
        metadata["block_index"] = message.block_index
    if message.thinking:
        metadata["thinking"] = message.thinking
    if message.thinking_signature:
        metadata["thinking_signature"] = message.thinking_signature
    if message.redacted_thinking:
        metadata["redacted_thinking"] = message.redacted_thinking
    if message.refusal:
        metadata["refusal"] = message.refusal
    if message.tool_call_deltas:
        metadata["tool_call_deltas"] = [
            {"index": delta.index, "id": delta.id, "name": delta.name, "arguments": delta.arguments_json}
            for delta in message.tool_call_deltas
        ]
    if message.citations:
        metadata["citations"] = [_citation(citation) for citation in message.citations]
    if message.images:
        metadata["images"] = [Image(image.data, image.media_type, image.url) for image in message.images]
    if message.logprobs:
        metadata["logprobs"] = to_tokens(message.logprobs)
    if message.stream_id:
        metadata["stream_id"] = message.stream_id
    if message.model:
        metadata["model"] = message.model
    if message.provider:
        metadata["provider"] = message.provider
    if message.attempts:
        metadata["attempts"] = to_attempts(message.attempts)
    if message.is_final:
        _add_final_facts(message, metadata)
    content = message.content
    token = content if content and message.sequence == before + 1 else None
    return StreamChunk(content, token, metadata, message.is_final)


def _add_final_facts(message: agent_pb2.StreamChunk, metadata: dict[str, Any]) -> None:
    if message.finish_reason:
        metadata["finish_reason"] = _FINISH_REASONS.get(message.finish_reason, "other")
    if message.provider_finish_reason:
        metadata["provider_finish_reason"] = message.provider_finish_reason
    if message.HasField("stop_sequence"):
        metadata["stop_sequence"] = message.stop_sequence
    if message.HasField("usage"):
        metadata["usage"] = {field.name: count for field, count in message.usage.ListFields()}
    if message.cost:
        metadata["cost"] = message.cost
    if message.HasField("stats"):
        metadata["stats"] = _stats(message.stats)
    if message.tool_calls:
        metadata["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.provider_request_id:
        metadata["provider_request_id"] = message.provider_request_id


def _citation(citation: agent_pb2.Citation) -> dict[str, Any]:
    """The facts of a citation that are known."""
    facts = {field.name: value for field, value in citation.ListFields()}
    if "source_range" in facts:
        part = citation.source_range
        facts["source_range"] = {"unit": _SOURCE_UNITS.get(part.unit, ""), "start": part.start, "end": part.end}
    return facts


def _call(call: agent_pb2.ToolCall) -> dict[str, Any]:
    return {"id": call.id, "name": call.name, "arguments": _arguments(call.arguments_json)}


def _stats(stats: agent_pb2.StreamStats) -> dict[str, Any]:
    facts: dict[str, Any] = {"duration": seconds_of(stats.duration), "chunk_count": stats.chunk_count}
    if stats.HasField("time_to_first_token"):
        facts["time_to_first_token"] = seconds_of(stats.time_to_first_token)
    if stats.HasField("tokens_per_second"):
        facts["tokens_per_second"] = stats.tokens_per_second
    return facts


def _arguments(text: str) -> dict[str, Any] | str:
    """Arguments of a tool call; as the model wrote them when they are not a JSON object."""
    arguments = json_object(text)
    return text if arguments is None else arguments


def struct_to_dict(struct: Struct) -> dict[str, Any]:
    """The entries of a Struct as JSON values; numbers without a fraction are ints."""
    return _entries(struct.fields)


def _entries(fields: Mapping[str, Value]) -> dict[str, Any]:
    return {key: _value(value) for key, value in fields.items()}


def _value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _WHOLE else number
    if kind == "struct_value":
        return _entries(value.struct_value.fields)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return getattr(value, kind) if kind not in (None, "null_value") else None
