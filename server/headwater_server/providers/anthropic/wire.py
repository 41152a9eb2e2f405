"""Anthropic's Messages, as Anthropic itself and llama.cpp speak it: the requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from headwater_server.providers import call_ids
from headwater_server.providers.anthropic import caching, models
from headwater_server.providers.anthropic.binding import binding
from headwater_server.providers.anthropic.decoder import MessagesDecoder
from headwater_server.providers.base import HttpCall
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.errors import response_error

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


class AnthropicWire:
    """Messages.

    Args:
        default_max_tokens: for requests that set none, since the API wants one.
        takes_drop: whether the service knows what Anthropic's newest models take (see `binding`).
    """

    api = "messages"

    def __init__(self, default_max_tokens: int = 8192, *, takes_drop: bool = False) -> None:
        self._default_max_tokens = default_max_tokens
        self._takes_drop = takes_drop

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire. This API has no penalties and no seed; newer models take no sampling parameters at all."""
        refused = set() if models.takes_sampling(model) else {"temperature", "top_p"}
        return frozenset(_SAMPLING) - refused - (set() if self.efforts(model) else {"reasoning_effort"})

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire."""
        return models.efforts(model)

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
        request = call_ids.with_ids(request, call_ids.ANTHROPIC)
        body: dict[str, Any] = {"model": request.model, "max_tokens": self._default_max_tokens}
        if system := caching.system(request):
            body["system"] = system
        bound = binding(request, self._takes_drop)
        body["messages"] = _messages(request, bound.first)
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
        if bound.thinking:
            body["thinking"] = bound.thinking
        if request.user:
            body["metadata"] = {"user_id": request.user}
        if form := request.response_format:
            if form.type is ResponseFormatType.JSON_OBJECT:
                raise invalid("response_format.type", "Anthropic has no JSON object form; give a schema (JSON_SCHEMA)")
            # Anthropic always holds a reply to its schema, so that `strict` asks for nothing more.
            schema = {"format": {"type": "json_schema", "schema": form.schema}}
            body["output_config"] = body.get("output_config", {}) | schema
        caching.keep_within_limits(body)
        body = bodies.merge(body, bodies.without_api(request.provider_options))
        sampled = not body.keys().isdisjoint({"temperature", "top_p", "top_k"})
        version = VERSION_WITH_SAMPLING if sampled else VERSION
        return HttpCall("/v1/messages", body, {"anthropic-version": version, **bound.headers})

    def decoder(self, content_type: str, logprobs: bool = False) -> MessagesDecoder:
        """See Wire. This API has no log probabilities."""
        return MessagesDecoder(content_type)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire."""
        return response_error(status, headers, body)


_THINKING = ("thinking", "redacted_thinking")


def _messages(request: ChatRequest, first_thinking: int) -> list[dict[str, Any]]:
    """The conversation, in which roles alternate: messages of one role that follow each other are merged.

    Thinking before the message `first_thinking` is left out.

    Anthropic refuses text of white space only, and white space at the end of the last message when that is the
    assistant's. It wants the results of tools before the text of their message.
    """
    merged: list[dict[str, Any]] = []
    for number, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        content = _content(message, f"messages[{number}]")
        if number < first_thinking:
            content = [block for block in content if block["type"] not in _THINKING]
        caching.mark_last(content, message.cache)
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
    return ours | (bodies.cache_mark(tool.cache) if tool.cache else {})


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
