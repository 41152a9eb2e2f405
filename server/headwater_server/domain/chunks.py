"""The events of a provider's reply: deltas, then one finish.

A provider's stream is any number of `Delta` and then exactly one `Finish`. A stream that ends without a `Finish` was
cut, whatever the connection said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from headwater_server.domain.citations import Citation
from headwater_server.domain.logprobs import TokenLogprob
from headwater_server.domain.messages import Image, Message, ToolCall


class FinishReason(StrEnum):
    """Why a model stopped; the names are those of the contract."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    OTHER = "other"


class Usage(msgspec.Struct, gc=False):
    """Token counts as reported: None is "not reported", which is not zero.

    `total_tokens` is all input, cached or not, plus output.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class ToolCallDelta(msgspec.Struct, gc=False):
    """A piece of a call: `index` counts the calls of a reply from 0; `name` is the next piece of the tool's name.

    Attributes:
        provider_data: the data that the provider wants back with the call, as JSON text.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    provider_data: str | None = None


class Beside(msgspec.Struct, gc=False):
    """The parts of a delta beside its text: most deltas have none, and are asked for all of them at once.

    Attributes:
        citations: sources that came here.
        images: pictures that came here. A delta with pictures has no text.
        logprobs: tokens that came here.
    """

    citations: list[Citation] = []
    images: list[Image] = []
    logprobs: list[TokenLogprob] = []


class Delta(msgspec.Struct, gc=False):
    """One increment as the provider sent it. At least one of the content fields or `provider_data` is set.

    Attributes:
        content: text of the reply.
        thinking: text of the model's thinking.
        thinking_signature: ends a thinking block; opaque.
        redacted_thinking: a whole encrypted thinking block; opaque.
        refusal: words of a refusal, where they come apart from the text.
        tool_calls: pieces of tool calls.
        event_type: the provider's name of the event, where it names events.
        block: which content block of the reply, where the provider counts them; text of two blocks is never merged.
        beside: sources, pictures and tokens that came here; None for nothing.
        provider_data: the data that the provider wants back with this text or thinking, or as an item of the reply when
            nothing else is set, as JSON text. It is for the assistant message alone, no chunk has it.
    """

    content: str = ""
    thinking: str = ""
    thinking_signature: str = ""
    redacted_thinking: str = ""
    refusal: str = ""
    tool_calls: list[ToolCallDelta] | None = None
    event_type: str = ""
    block: int = 0
    provider_data: str | None = None
    beside: Beside | None = None

    def is_part(self) -> bool:
        """Whether there is anything in it for a part of the assistant message."""
        marks = self.thinking_signature or self.redacted_thinking or self.tool_calls
        return bool(self.content or self.thinking or self.refusal or marks)

    def says_something(self) -> bool:
        """Whether there is anything in it for a chunk."""
        return self.is_part() or self.beside is not None


class Finish(msgspec.Struct):
    """The provider's own end of a reply.

    Attributes:
        reason: why it stopped, in our words.
        provider_reason: in the provider's word; empty where it gave none.
        stop_sequence: the sequence that was met, where the provider names it.
        usage: token counts; None where the provider reported none at all.
        event_type: the provider's name of the event, where it names events.
        metadata: further facts in the provider's words; JSON values.
        citations: all sources of the reply.
    """

    reason: FinishReason
    provider_reason: str = ""
    stop_sequence: str | None = None
    usage: Usage | None = None
    event_type: str = ""
    metadata: dict[str, Any] = {}
    citations: list[Citation] = []


ProviderEvent: TypeAlias = Delta | Finish


@dataclass(frozen=True, slots=True)
class ReplyFacts:
    """The facts of a whole reply, apart from its text."""

    reason: FinishReason
    usage: Usage | None
    model: str
    provider: str


def total_usage(usages: Iterable[Usage | None]) -> Usage | None:
    """The sum of token counts: each of those that were reported. None when none was reported."""
    reported = [usage for usage in usages if usage is not None]
    if not reported:
        return None
    counts = {name: [getattr(usage, name) for usage in reported] for name in Usage.__struct_fields__}
    known = {name: [count for count in column if count is not None] for name, column in counts.items()}
    return Usage(**{name: sum(column) for name, column in known.items() if column})


class Chunk(msgspec.Struct, gc=False):
    """One message of a stream: a delta, or several that were merged because the reader was behind.

    Attributes:
        sequence: number of the last delta in it, from 1.
        create_time: when its first delta came, in seconds since the epoch.
        delta: its content.
        merged: it stands for several deltas.
    """

    sequence: int
    create_time: float
    delta: Delta
    merged: bool = False


class StreamStats(msgspec.Struct, gc=False):
    """Measurements of a stream; `time_to_first_token_seconds` is None when only the final chunk came."""

    time_to_first_token_seconds: float | None
    duration_seconds: float
    chunk_count: int
    tokens_per_second: float | None


class Pace(msgspec.Struct, frozen=True, gc=False):
    """The time between two chunks of a stream, in seconds; that in which its reader was busy is part of it."""

    mean_gap_seconds: float
    longest_gap_seconds: float


class FinalChunk(msgspec.Struct):
    """The last message of a stream that ended well.

    Attributes:
        tool_calls: the complete calls.
        message: the reply as far as it was collected (see `accumulator.MessageAccumulator`); None for nothing.
        cost: of the reply and of the attempts before it; None where that is not known.
    """

    sequence: int
    create_time: float
    finish: Finish
    stats: StreamStats
    tool_calls: list[ToolCall]
    provider_request_id: str = ""
    message: Message | None = None
    cost: Decimal | None = None
