"""From the domain to the contract's replies."""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.domain.chunks import (
    Beside,
    Chunk,
    Delta,
    FinalChunk,
    FinishReason,
    StreamStats,
    ToolCallDelta,
    Usage,
)
from headwater_server.domain.citations import Citation, SourceUnit
from headwater_server.domain.costs.amounts import cost_text
from headwater_server.domain.logprobs import TokenKind, TokenLogprob
from headwater_server.domain.messages import Image
from headwater_server.providers.base import Provider, ProviderInfo
from headwater_server.streaming.accumulator import ReplyAccumulator
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.replays import StreamFacts, StreamState
from headwater_server.transport.convert.durations import duration_fields
from headwater_server.transport.convert.failures import attempt
from headwater_server.transport.convert.messages import chat_message, tool_call
from headwater_server.transport.convert.structs import dict_to_struct

MAX_INT32 = 2**31 - 1

FINISH_REASONS: dict[FinishReason, agent_pb2.FinishReason] = {
    reason: agent_pb2.FinishReason.Value(f"FINISH_REASON_{reason.name}")  # type: ignore[misc]
    for reason in FinishReason
}

_SOURCE_UNITS: dict[SourceUnit, agent_pb2.SourceUnit] = {
    unit: agent_pb2.SourceUnit.Value(f"SOURCE_UNIT_{unit.name}")  # type: ignore[misc]
    for unit in SourceUnit
}

_STREAM_STATES: dict[StreamState, agent_service_pb2.StreamState] = {
    state: agent_service_pb2.StreamState.Value(f"STREAM_STATE_{state.name}")  # type: ignore[misc]
    for state in StreamState
}

_TOKEN_KINDS: dict[TokenKind, agent_pb2.TokenKind] = {
    TokenKind.TEXT: agent_pb2.TOKEN_KIND_UNSPECIFIED,
    TokenKind.THINKING: agent_pb2.TOKEN_KIND_THINKING,
    TokenKind.REFUSAL: agent_pb2.TOKEN_KIND_REFUSAL,
}


def stream_chunk(chunk: Chunk) -> agent_pb2.StreamChunk:
    """A chunk as a message; a field that says nothing is not set."""
    delta = chunk.delta
    message = agent_pb2.StreamChunk(content=delta.content, sequence=chunk.sequence)
    # As `timestamp` does it, in place: a message that is passed on is copied.
    seconds, create_time = int(chunk.create_time), message.create_time
    create_time.seconds, create_time.nanos = seconds, int((chunk.create_time - seconds) * 1_000_000) * 1000
    if delta.event_type:
        message.event_type = delta.event_type
    if delta.block:
        message.block_index = delta.block
    rarer = delta.thinking or delta.tool_calls or delta.refusal or delta.thinking_signature or delta.redacted_thinking
    if rarer:
        _add_rarer(message, delta)
    if delta.beside is not None:
        _add_beside(message, delta.beside)
    return message


def _add_rarer(message: agent_pb2.StreamChunk, delta: Delta) -> None:
    message.thinking = delta.thinking
    message.thinking_signature = delta.thinking_signature
    message.redacted_thinking = delta.redacted_thinking
    message.refusal = delta.refusal
    if delta.tool_calls:
        message.tool_call_deltas.extend(_tool_call_delta(call) for call in delta.tool_calls)


def _add_beside(message: agent_pb2.StreamChunk, beside: Beside) -> None:
    message.images.extend(_image(image) for image in beside.images)
    message.citations.extend(_citation(citation) for citation in beside.citations)
    message.logprobs.extend(map(_token, beside.logprobs))


def final_chunk(final: FinalChunk) -> agent_pb2.StreamChunk:
    """The last chunk of a stream as a message."""
    finish = final.finish
    return agent_pb2.StreamChunk(
        sequence=final.sequence,
        create_time=_instant(final.create_time),
        event_type=finish.event_type,
        metadata=dict_to_struct(finish.metadata) if finish.metadata else None,
        is_final=True,
        finish_reason=FINISH_REASONS[finish.reason],
        provider_finish_reason=finish.provider_reason,
        stop_sequence=finish.stop_sequence,
        usage=_counts(finish.usage),
        stats=_stats(final.stats),
        tool_calls=map(tool_call, final.tool_calls),
        provider_request_id=final.provider_request_id,
        message=chat_message(final.message) if final.message and finish.reason is FinishReason.TOOL_CALLS else None,
        citations=map(_citation, finish.citations),
        cost="" if final.cost is None else cost_text(final.cost),
    )


def introduce(message: agent_pb2.StreamChunk, stream: LiveStream) -> None:
    """Adds to the first chunk of a stream who answers, what was tried before, and which parameters were left out."""
    answerer = stream.answerer
    message.stream_id = stream.id
    message.model = answerer.model
    message.provider = answerer.provider
    message.resumable = stream.resumable
    if answerer.dropped:
        message.metadata.update({"dropped_params": list(answerer.dropped)})
    if answerer.tried:
        message.attempts.extend(map(attempt, answerer.tried))


def run_response(stream: LiveStream, reply: ReplyAccumulator, final: FinalChunk) -> agent_service_pb2.RunResponse:
    """A whole reply as a message."""
    finish = final.finish
    dropped = {"dropped_params": list(stream.answerer.dropped)} if stream.answerer.dropped else {}
    metadata: dict[str, Any] = {**finish.metadata, **dropped}
    return agent_service_pb2.RunResponse(
        content=reply.content,
        thinking=reply.thinking,
        refusal=reply.refusal,
        tool_calls=map(tool_call, final.tool_calls),
        finish_reason=FINISH_REASONS[finish.reason],
        provider_finish_reason=finish.provider_reason,
        stop_sequence=finish.stop_sequence,
        usage=_counts(finish.usage),
        stats=_stats(final.stats),
        metadata=dict_to_struct(metadata) if metadata else None,
        stream_id=stream.id,
        model=stream.answerer.model,
        provider=stream.answerer.provider,
        provider_request_id=final.provider_request_id,
        message=chat_message(final.message) if final.message else None,
        images=map(_image, reply.images),
        citations=map(_citation, finish.citations),
        logprobs=map(_token, reply.logprobs),
        attempts=map(attempt, stream.answerer.tried),
        cost=_cost(final),
    )


def stream_info(stream: LiveStream, facts: StreamFacts) -> agent_service_pb2.StreamInfo:
    """A stream as a message."""
    return agent_service_pb2.StreamInfo(
        stream_id=stream.id,
        model=stream.answerer.model,
        provider=stream.answerer.provider,
        create_time=timestamp(stream.created),
        chunk_count=stream.chunk_count,
        labels=stream.labels,
        state=_STREAM_STATES[facts.state],
        resumable=stream.resumable,
        last_sequence=facts.last_sequence,
    )


def provider_info(info: ProviderInfo) -> agent_service_pb2.ProviderInfo:
    """The abilities of a provider as a message."""
    return agent_service_pb2.ProviderInfo(
        name=info.name,
        type=info.type,
        model=info.model,
        supports_streaming=info.supports_streaming,
        supports_tools=info.supports_tools,
        supported_params=info.supported_params,
        api=info.api,
        context_window=info.context_window,
    )


def provider_summary(provider: Provider) -> agent_service_pb2.ProviderSummary:
    """A provider as a message, for a list."""
    return agent_service_pb2.ProviderSummary(
        name=provider.name, type=provider.type, default_model=provider.default_model
    )


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a Timestamp, to the microsecond."""
    return Timestamp(**_instant(seconds))


def _instant(seconds: float) -> dict[str, int]:
    """The fields of a Timestamp."""
    whole = int(seconds)
    return {"seconds": whole, "nanos": int((seconds - whole) * 1_000_000) * 1000}


def _image(image: Image) -> agent_pb2.Image:
    if image.url:
        return agent_pb2.Image(url=image.url)
    return agent_pb2.Image(data=image.data, media_type=image.media_type)


def _citation(citation: Citation) -> agent_pb2.Citation:
    part = citation.source_range
    return agent_pb2.Citation(
        url=citation.url,
        title=citation.title,
        quoted_text=citation.quoted_text,
        source_id=citation.source_id,
        block_index=citation.block,
        start_index=citation.start,
        end_index=citation.end,
        source_range=agent_pb2.SourceRange(unit=_SOURCE_UNITS[part.unit], start=part.start, end=part.end)
        if part is not None
        else None,
    )


def _token(token: TokenLogprob) -> agent_pb2.TokenLogprob:
    return agent_pb2.TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        utf8=token.token_bytes,
        top_logprobs=[agent_pb2.TopLogprob(token=t.token, logprob=t.logprob, utf8=t.token_bytes) for t in token.top],
        kind=_TOKEN_KINDS[token.kind],
    )


def _tool_call_delta(delta: ToolCallDelta) -> agent_pb2.ToolCallDelta:
    return agent_pb2.ToolCallDelta(index=delta.index, id=delta.id, name=delta.name, arguments_json=delta.arguments)


def usage_message(usage: Usage | None) -> agent_pb2.Usage | None:
    """Token counts as a message; None for none."""
    counts = _counts(usage)
    return None if counts is None else agent_pb2.Usage(**counts)


def _counts(usage: Usage | None) -> dict[str, int | None] | None:
    """The fields of a Usage; None for none. A nonsensical count must not fail the whole reply."""
    if usage is None:
        return None
    counts: dict[str, int | None] = msgspec.structs.asdict(usage)
    known = tuple(filter(None, counts.values()))
    if known and (max(known) > MAX_INT32 or min(known) < -MAX_INT32):
        for name, count in counts.items():
            if count is not None:
                counts[name] = min(max(count, -MAX_INT32), MAX_INT32)
    return counts


def _cost(final: FinalChunk) -> str:
    return "" if final.cost is None else cost_text(final.cost)


def _stats(stats: StreamStats) -> dict[str, Any]:
    """The fields of a StreamStats."""
    first = stats.time_to_first_token_seconds
    return {
        "time_to_first_token": None if first is None else duration_fields(first),
        "duration": duration_fields(stats.duration_seconds),
        "chunk_count": stats.chunk_count,
        "tokens_per_second": stats.tokens_per_second,
    }
