"""OpenAI's Chat Completions, as OpenAI itself and as compatible servers speak it: the requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import (
    ALL_EFFORTS,
    ChatRequest,
    Image,
    Message,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from headwater_server.providers.base import HttpCall
from headwater_server.providers.openai import models, reasoning
from headwater_server.providers.openai.chat_decoder import ChatDecoder
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.errors import response_error
from headwater_server.providers.wires.result_images import images_after_results

MODELS_PATH = "/models"

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stop": "stop",
    "seed": "seed",
    "parallel_tool_calls": "parallel_tool_calls",
}


class OpenAIChatWire:
    """Chat Completions.

    Args:
        genuine: OpenAI's own server, whose reasoning models refuse some parameters. Compatible servers know
            `max_tokens` instead of `max_completion_tokens`, no obfuscation and no effort of reasoning, and any name may
            be any model.
    """

    api = "chat_completions"

    def __init__(self, *, genuine: bool) -> None:
        self._genuine = genuine
        own = {"max_tokens": "max_completion_tokens", "reasoning_effort": "reasoning_effort"}
        self._sampling = _SAMPLING | (own if genuine else {"max_tokens": "max_tokens"})

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire."""
        if not self._genuine:
            return frozenset(self._sampling)
        return frozenset(self._sampling) - models.refused_params(model)

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire. A reasoning model is asked for any effort: OpenAI says which it has."""
        return ALL_EFFORTS if self._genuine and models.is_reasoning(model) else frozenset()

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
        stream_options = {"include_usage": True} | ({"include_obfuscation": False} if self._genuine else {})
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [
                item
                for number, message in images_after_results(request.messages)
                for item in _message(message, f"messages[{number}]")
            ],
            "stream": True,
            "stream_options": stream_options,
        }
        body |= bodies.sampling(request, self._sampling, "Chat Completions")
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.response_format:
            body["response_format"] = _response_format(request.response_format)
        if request.user and self._genuine:
            body["safety_identifier"] = bodies.safety_identifier(request.user)
        return HttpCall("/chat/completions", bodies.merge(body, bodies.without_api(request.provider_options)))

    def decoder(self, content_type: str) -> ChatDecoder:
        """See Wire."""
        return ChatDecoder(content_type)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire."""
        return response_error(status, headers, body)


def _message(message: Message, field: str) -> Iterator[dict[str, Any]]:
    """The message, and each tool result as a separate message."""
    for result in bodies.parts(message, ToolResult):
        yield {"role": "tool", "tool_call_id": result.tool_call_id, "content": result.content}
    images = any(isinstance(part, Image) for part in message.parts)
    ours: dict[str, Any] = {"role": str(message.role)}
    if images:
        ours["content"] = [_content_part(part) for part in message.parts if isinstance(part, Text | Image)]
    elif message.text:
        ours["content"] = message.text
    calls = [
        _tool_call(part, f"{field}.parts[{number}]")
        for number, part in enumerate(message.parts)
        if isinstance(part, ToolCall)
    ]
    if calls:
        ours["tool_calls"] = calls
    if len(ours) > 1:
        yield ours | reasoning.fields_of_message(message, field)
    elif message.role is not Role.TOOL and not message.parts:
        yield ours | {"content": ""}


def _content_part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": bodies.image_url(part)}}


def _tool_call(call: ToolCall, field: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function} | reasoning.fields_of_call(call, field)


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = bodies.tool_parameters(tool)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "function": {"name": choice.name}} if choice.name else choice.mode.value


def _response_format(form: ResponseFormat) -> dict[str, Any]:
    if form.type is ResponseFormatType.JSON_OBJECT:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": form.name, "schema": form.schema}
    if form.strict is not None:
        schema["strict"] = form.strict
    return {"type": "json_schema", "json_schema": schema}
