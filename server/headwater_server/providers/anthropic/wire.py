"""Anthropic's Messages, as Anthropic itself and llama.cpp speak it.

The reply is a stream of named events; each repeats its name as `type` in its JSON. Content comes in blocks, numbered
from 0 over all kinds; a tool call is a block, but its number among the calls is another. `message_delta` says why the
model stopped and holds the final counts, which replace those of `message_start`; `message_stop` is the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta, FinishReason, Usage
from headwater_server.domain.errors import HeadwaterError, invalid
from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    Opaque,
    Part,
    ReasoningEffort,
    RedactedThinking,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from headwater_server.providers.anthropic import models
from headwater_server.providers.base import HttpCall
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.decoder import (
    Count,
    StreamDecoder,
    event_type,
    require_event_stream,
    token_count,
    total,
)
from headwater_server.providers.wires.errors import response_error, stream_error
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.sse import ServerSentEvent, SSEDecoder

MODELS_PATH = "/v1/models?limit=1000"

VERSION = "2026-10-21"
VERSION_WITH_SAMPLING = "2023-06-01"
"""The last version under which models that take temperature, top_p and top_k still get them."""

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "stop": "stop_sequences",
    "reasoning_effort": "reasoning_effort",
    "parallel_tool_calls": "parallel_tool_calls",
}
_TOOL_CHOICES = {ToolChoiceMode.AUTO: "auto", ToolChoiceMode.NONE: "none", ToolChoiceMode.REQUIRED: "any"}

_STOP_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.PAUSE,
    "refusal": FinishReason.REFUSAL,
}


class AnthropicWire:
    """Messages.

    Args:
        default_max_tokens: for requests that set none, since the API wants one.
    """

    api = "messages"

    def __init__(self, default_max_tokens: int = 8192) -> None:
        self._default_max_tokens = default_max_tokens

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire. This API has no penalties and no seed; newer models take no sampling parameters at all."""
        refused = set() if models.takes_sampling(model) else {"temperature", "top_p"}
        return frozenset(_SAMPLING) - refused - (set() if self.efforts(model) else {"reasoning_effort"})

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire."""
        return models.efforts(model)

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
        body: dict[str, Any] = {"model": request.model, "max_tokens": self._default_max_tokens}
        if system := bodies.instructions(request):
            body["system"] = system
        body["messages"] = _messages(request)
        body["stream"] = True
        sampling = bodies.sampling(request, _SAMPLING, "Anthropic")
        effort, parallel = sampling.pop("reasoning_effort", None), sampling.pop("parallel_tool_calls", None)
        body |= sampling
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        if choice := _tool_choice(request.tool_choice, parallel):
            body["tool_choice"] = choice
        if effort:
            body |= _effort(effort, request.model)
        if request.user:
            body["metadata"] = {"user_id": request.user}
        if form := request.response_format:
            if form.type is ResponseFormatType.JSON_OBJECT:
                raise invalid("response_format.type", "Anthropic has no JSON object form; give a schema (JSON_SCHEMA)")
            # Anthropic always holds a reply to its schema, so that `strict` asks for nothing more.
            schema = {"format": {"type": "json_schema", "schema": form.schema}}
            body["output_config"] = body.get("output_config", {}) | schema
        body = bodies.merge(body, bodies.without_api(request.provider_options))
        sampled = not body.keys().isdisjoint({"temperature", "top_p", "top_k"})
        version = VERSION_WITH_SAMPLING if sampled else VERSION
        return HttpCall("/v1/messages", body, {"anthropic-version": version})

    def decoder(self, content_type: str) -> MessagesDecoder:
        """See Wire."""
        require_event_stream(content_type)
        return MessagesDecoder()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire."""
        return response_error(status, headers, body)


def _messages(request: ChatRequest) -> list[dict[str, Any]]:
    """The conversation, in which roles alternate: messages of one role that follow each other are merged.

    Anthropic refuses text of white space only, and white space at the end of the last message when that is the
    assistant's. It wants the results of tools before the text of their message.
    """
    merged: list[dict[str, Any]] = []
    for number, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        content = _content(message, f"messages[{number}]")
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += content
        elif content:
            merged.append({"role": role, "content": content})
    for turn in merged:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    if merged and merged[-1]["role"] == "assistant" and "text" in (last := merged[-1]["content"][-1]):
        last["text"] = last["text"].rstrip()
    return merged


def _content(message: Message, field: str) -> list[dict[str, Any]]:
    blocks = (_block(part, f"{field}.parts[{number}]") for number, part in enumerate(message.parts))
    return [block for block in blocks if block is not None]


def _block(part: Part, field: str) -> dict[str, Any] | None:
    """A part as a content block; None for parts that Anthropic refuses: blank text, thinking that is not signed."""
    match part:
        case Text():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Image():
            return {"type": "image", "source": _image_source(part)}
        case Thinking():
            signed = {"type": "thinking", "thinking": part.text, "signature": part.signature}
            return signed if part.signature else None
        case RedactedThinking():
            return {"type": "redacted_thinking", "data": part.data}
        case Opaque():
            return None
        case ToolCall():
            arguments = bodies.arguments_object(part, field)
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
        case ToolResult():
            content = [_block(item, field) for item in part.parts] or part.content
            block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.tool_call_id, "content": content}
            return block | {"is_error": True} if part.is_error else block


def _image_source(image: Image) -> dict[str, Any]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": bodies.base64_text(image)}


def _tool(tool: Tool) -> dict[str, Any]:
    ours: dict[str, Any] = {"name": tool.name}
    if tool.description:
        ours["description"] = tool.description
    ours["input_schema"] = bodies.tool_parameters(tool)
    if tool.strict is not None:
        ours["strict"] = tool.strict
    return ours


def _tool_choice(choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any] | None:
    """The choice, which also says whether several calls may come at once: they may unless it forbids them."""
    ours = None
    if choice is not None:
        ours = {"type": "tool", "name": choice.name} if choice.name else {"type": _TOOL_CHOICES[choice.mode]}
    if parallel is False and (ours is None or ours["type"] != "none"):
        return (ours or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return ours


def _effort(effort: str, model: str) -> dict[str, Any]:
    if effort == ReasoningEffort.NONE:
        return {"thinking": {"type": "disabled"}}
    least = "low" if effort == ReasoningEffort.MINIMAL else effort
    thinking = {"thinking": {"type": "adaptive"}} if models.thinks_when_asked(model) else {}
    return thinking | {"output_config": {"effort": least}}


class _Block(msgspec.Struct):
    """The start of a content block, or a delta of one."""

    type: str | None = None
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    data: Any = None  # text in redacted thinking


class _BlockStart(msgspec.Struct):
    content_block: _Block
    index: int = 0


class _BlockDelta(msgspec.Struct):
    delta: _Block
    index: int = 0


class _OutputDetails(msgspec.Struct):
    thinking_tokens: Count = None


class _Usage(msgspec.Struct):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    output_tokens_details: _OutputDetails | None = None


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _MessageStart(msgspec.Struct):
    message: _Message


class _StopDetails(msgspec.Struct):
    category: str | None = None
    explanation: str | None = None


class _Stop(msgspec.Struct):
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class _MessageDelta(msgspec.Struct):
    delta: _Stop
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    error: Any = None
    request_id: str | None = None


_MESSAGE_START = JSONShape(_MessageStart, "the start of a message")
_BLOCK_START = JSONShape(_BlockStart, "the start of a content block")
_BLOCK_DELTA = JSONShape(_BlockDelta, "a delta of a content block")
_MESSAGE_DELTA = JSONShape(_MessageDelta, "the end of a message")
_ERROR = JSONShape(_Error, "an error event")


class MessagesDecoder(StreamDecoder[ServerSentEvent]):
    """Decodes one answer."""

    def __init__(self) -> None:
        super().__init__(SSEDecoder())
        self._usage: Usage | None = None
        self._stop = _Stop()
        self._tool_blocks: set[int] = set()

    def _read(self, message: ServerSentEvent) -> Delta | None:
        name = event_type(message)
        reader = _READERS.get(name)
        return reader(self, message.data) if reader is not None and message.data else None

    def _message_start(self, data: bytes) -> None:
        self._count(_MESSAGE_START.decode(data).message.usage)

    def _block_start(self, data: bytes) -> Delta | None:
        event = _BLOCK_START.decode(data)
        block = event.content_block
        if block.type == "tool_use":
            self._tool_blocks.add(event.index)
            piece = self._calls.piece(event.index, id=block.id or "", name=block.name or "")
            calls = [piece] if piece else None
            return Delta(tool_calls=calls, event_type="content_block_start", block=event.index) if calls else None
        if block.type == "redacted_thinking" and isinstance(block.data, str) and block.data:
            return Delta(redacted_thinking=block.data, event_type="content_block_start", block=event.index)
        if block.type in ("text", "thinking"):
            return _text_delta(block, "content_block_start", event.index)
        return None

    def _block_delta(self, data: bytes) -> Delta | None:
        event = _BLOCK_DELTA.decode(data)
        if event.delta.type != "input_json_delta":
            return _text_delta(event.delta, "content_block_delta", event.index)
        # Tools that Anthropic runs itself stream their input too; they are no calls for the caller.
        if event.index not in self._tool_blocks:
            return None
        piece = self._calls.piece(event.index, arguments=event.delta.partial_json or "")
        return Delta(tool_calls=[piece], event_type="content_block_delta", block=event.index) if piece else None

    def _message_delta(self, data: bytes) -> None:
        event = _MESSAGE_DELTA.decode(data)
        self._stop = event.delta
        self._count(event.usage)

    def _message_stop(self, _data: bytes) -> None:
        stop = self._stop
        reason = _STOP_REASONS.get(stop.stop_reason or "", FinishReason.OTHER)
        details = {
            name: word for name, word in msgspec.structs.asdict(stop.stop_details or _StopDetails()).items() if word
        }
        if self._usage is not None:
            usage = self._usage
            cached, written = usage.cached_input_tokens, usage.cache_write_tokens
            usage.total_tokens = total(usage.input_tokens, cached, written, usage.output_tokens)
        self._finish(
            reason,
            stop.stop_reason or "",
            self._usage,
            stop_sequence=stop.stop_sequence,
            event_type="message_stop",
            metadata={"stop_details": details} if details else None,
        )

    def _error(self, data: bytes) -> None:
        event = _ERROR.decode(data)
        raise stream_error(event.error, request_id=event.request_id)

    def _count(self, reported: _Usage | None) -> None:
        """Takes over the counts that are reported; the others keep what was reported before."""
        if reported is None:
            return
        usage = self._usage = self._usage or Usage()
        details = reported.output_tokens_details or _OutputDetails()
        for name, count in (
            ("input_tokens", reported.input_tokens),
            ("output_tokens", reported.output_tokens),
            ("cached_input_tokens", reported.cache_read_input_tokens),
            ("cache_write_tokens", reported.cache_creation_input_tokens),
            ("reasoning_tokens", details.thinking_tokens),
        ):
            if (tokens := token_count(count)) is not None:
                setattr(usage, name, tokens)


def _text_delta(block: _Block, event_type: str, index: int) -> Delta | None:
    text, thinking, signature = block.text or "", block.thinking or "", block.signature or ""
    if not (text or thinking or signature):
        return None
    return Delta(content=text, thinking=thinking, thinking_signature=signature, event_type=event_type, block=index)


_READERS: dict[str, Callable[[MessagesDecoder, bytes], Delta | None]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    "content_block_delta": MessagesDecoder._block_delta,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
    "error": MessagesDecoder._error,
}
