"""Whole replies, put together from a stream."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from headwater._call.reply_type import ReplyType
from headwater._values.images import Image
from headwater._values.logprobs import TokenLogprob
from headwater.streaming import StreamChunk

_OF_A_SINGLE_CHUNK = (
    "sequence",
    "event_type",
    "thinking",
    "thinking_signature",
    "redacted_thinking",
    "refusal",
    "tool_call_deltas",
    "tool_results",
    "images",
    "logprobs",
)


@dataclass
class AgentResponse:
    """A whole reply; `str()` is its text.

    Attributes:
        content: the text.
        reasoning: the model's thinking; None where it showed none.
        tool_calls: all calls that the model asked for, in order, each with `id`, `name` and `arguments`: those that the
            agent's tools have answered and, without tools, those that are left to the caller.
        metadata: facts of the first chunk, and over them those of the final one, as in `StreamChunk`, less what belongs
            to one chunk only; `refusal`, whole, where the provider sends such words apart from the text.
        agent_id: `id` of the agent.
        created_at: when the reply was complete, in UTC.
        parse: makes `parsed`, of the text after the last results of tools.
    """

    content: str
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    agent_id: str = ""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    parse: Callable[[], Any] | None = field(default=None, repr=False, compare=False)

    @property
    def images(self) -> list[Image]:
        """The pictures of the reply: bytes with their `media_type`, or a `url`."""
        return list(self.metadata.get("images", ()))

    @property
    def logprobs(self) -> list[TokenLogprob]:
        """The tokens of the reply, where the call asks for them with `logprobs=`."""
        return list(self.metadata.get("logprobs", ()))

    @property
    def citations(self) -> list[dict[str, Any]]:
        """The sources that the provider named, with the keys that `StreamChunk` lists."""
        return list(self.metadata.get("citations", ()))

    @property
    def parsed(self) -> Any:
        """The reply as the type that the call gave as `response_format`; None where it gave none.

        Raises:
            HeadwaterError: the reply is not one; the message says where, and how the reply ended.
        """
        return None if self.parse is None else self.parse()

    def __str__(self) -> str:
        return self.content


async def collect_response(
    stream: AsyncIterable[StreamChunk], agent_id: str, parser: ReplyType | None = None
) -> AgentResponse:
    """Read a stream to its end."""
    content: list[str] = []
    thinking: list[str] = []
    refusal: list[str] = []
    images: list[Image] = []
    logprobs: list[TokenLogprob] = []
    calls: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    answered_from = 0
    async for chunk in stream:
        if not content or chunk.is_final:
            metadata.update(chunk.metadata)
        content.append(chunk.content)
        if "tool_results" in chunk.metadata:
            answered_from = len(content)
        thinking.append(chunk.metadata.get("thinking", ""))
        refusal.append(chunk.metadata.get("refusal", ""))
        images += chunk.images
        logprobs += chunk.logprobs
        calls += chunk.metadata.get("tool_calls", ())
    for name in _OF_A_SINGLE_CHUNK:
        metadata.pop(name, None)
    if any(refusal):
        metadata["refusal"] = "".join(refusal)
    if images:
        metadata["images"] = images
    if logprobs:
        metadata["logprobs"] = logprobs
    if calls:
        metadata["tool_calls"] = calls
    parse = None
    if parser is not None:
        parse = functools.partial(parser.parse, "".join(content[answered_from:]), metadata.get("finish_reason"))
    return AgentResponse("".join(content), "".join(thinking) or None, calls, metadata, agent_id, parse=parse)
