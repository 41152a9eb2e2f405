"""The plan of a reply: its deltas, its pauses and its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from headwater_server.domain import chunks
from headwater_server.domain.chunks import Beside, Delta, Finish, FinishReason, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.logprobs import TokenKind, TokenLogprob, TopLogprob
from headwater_server.domain.messages import ChatRequest, Role, Text, ToolResult
from headwater_server.providers.scripted.options import ScriptedOptions, ScriptedToolCall
from headwater_server.providers.scripted.words import count, first_words, pieces


@dataclass(frozen=True, slots=True)
class Script:
    """All that will happen: the deltas, the pauses between them, and how it ends."""

    deltas: Iterator[Delta]
    finish: Finish
    options: ScriptedOptions
    delay_seconds: float
    failure: HeadwaterError = field(repr=False)

    def pause_seconds(self, sent: int) -> float:
        """The pause after so many deltas."""
        return self.delay_seconds if sent else self.options.first_delay_ms / 1000

    async def breaks_off(self, sent: int, *, last: bool) -> bool:
        """Whether it ends without its finish after so many deltas. Raises the failure where the options ask for one."""

        def due(after: int | None) -> bool:
            return after is not None and (sent >= after or last)

        options = self.options
        if due(options.fail_after) or (options.fail_reason and options.fail_after is None):
            raise self.failure
        if due(options.hang_after):
            await asyncio.get_running_loop().create_future()
        return due(options.truncate_after)


def reply(
    request: ChatRequest, options: ScriptedOptions, text: str, stopped_at: str | None
) -> tuple[Iterator[Delta], Finish]:
    """The deltas of a reply within `max_tokens`, and its end."""
    thinking, calls = options.thinking, [] if stopped_at else options.tool_calls
    limit = request.sampling.get("max_tokens")
    output = reasoning = count(thinking)
    output += count(text) + len(calls)
    reason = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
    if limit is not None and limit < output:
        reason, output, reasoning = FinishReason.LENGTH, limit, min(limit, reasoning)
        thinking = first_words(thinking, reasoning)
        text = first_words(text, limit - reasoning)
        calls = calls[: limit - reasoning - count(text)]
    reason = options.finish_reason or reason
    finish = Finish(reason, provider_reason=reason.value, usage=_usage(request, options, reasoning, output))
    if reason is FinishReason.STOP:
        finish.stop_sequence = stopped_at
    deltas = _deltas(thinking, text, calls, options.chunk_size)
    asked = request.sampling.get("logprobs")
    return (deltas if asked is None else _with_tokens(deltas, asked)), finish


def _deltas(thinking: str, text: str, calls: list[ScriptedToolCall], size: int | None) -> Iterator[Delta]:
    for piece in pieces(thinking, size):
        yield Delta(thinking=piece)
    for piece in pieces(text, size):
        yield Delta(content=piece)
    for index, call in enumerate(calls):
        arguments = call.arguments
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        yield Delta(tool_calls=[ToolCallDelta(index, id=f"call_{index}", name=call.name)])
        for piece in pieces(arguments, size or len(arguments)):
            yield Delta(tool_calls=[ToolCallDelta(index, arguments=piece)])


def _with_tokens(deltas: Iterator[Delta], count: int) -> Iterator[Delta]:
    """The deltas, each text as a token that is certain: a script has no choice."""
    for delta in deltas:
        if text := delta.content or delta.thinking:
            kind = TokenKind.TEXT if delta.content else TokenKind.THINKING
            top = (TopLogprob(text, 0.0, text.encode()),) if count else ()
            delta.beside = Beside(logprobs=[TokenLogprob(text, 0.0, text.encode(), top, kind)])
        yield delta


def _usage(request: ChatRequest, options: ScriptedOptions, thinking: int, output: int) -> chunks.Usage | None:
    if options.usage is not None:
        counts = options.usage.model_dump()
        return chunks.Usage(**counts) if any(count is not None for count in counts.values()) else None
    parts = [part for message in request.messages for part in message.parts]
    texts = [p.text if isinstance(p, Text) else p.content for p in parts if isinstance(p, Text | ToolResult)]
    read = sum(map(count, texts))
    return chunks.Usage(read, output, read + output, reasoning_tokens=thinking or None)


def question(request: ChatRequest) -> str:
    """The text of the last message of the user."""
    return next((message.text for message in reversed(request.messages) if message.role is Role.USER), "")


def rounds_of_tools(request: ChatRequest) -> int:
    """How often results of tools have come since the user spoke."""
    roles = [message.role for message in request.messages]
    last = max((index for index, role in enumerate(roles) if role is Role.USER), default=0)
    return roles[last:].count(Role.TOOL)


def of_round(options: ScriptedOptions, rounds: int) -> ScriptedOptions:
    """The options of a round; the last ones hold for all further rounds."""
    while rounds and options.after_tools is not None:
        options = options.after_tools
        rounds -= 1
    return options
