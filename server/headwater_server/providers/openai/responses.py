"""OpenAI's Responses, as OpenAI itself and llama.cpp speak it: the requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import (
    ALL_EFFORTS,
    ChatRequest,
    Image,
    Message,
    Opaque,
    Part,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from headwater_server.providers import call_ids
from headwater_server.providers.base import HttpCall
from headwater_server.providers.openai import models
from headwater_server.providers.openai.logprobs import ResponsesLogprobsDecoder
from headwater_server.providers.openai.responses_decoder import ResponsesDecoder
from headwater_server.providers.own_data import data_object
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.errors import response_error
from headwater_server.providers.wires.result_images import images_after_results

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "reasoning_effort": "reasoning",
    "logprobs": "top_logprobs",
}
_LOGPROBS = "message.output_text.logprobs"


class OpenAIResponsesWire:
    """Responses.

    Args:
        genuine: OpenAI's own server, whose reasoning models take neither temperature nor top_p. Compatible servers
            know no obfuscation and no effort of reasoning, and any name may be any model.
        hosts_openai: another server with OpenAI's models, which reason there too.
    """

    api = "responses"

    def __init__(self, *, genuine: bool, hosts_openai: bool = False) -> None:
        self._genuine = genuine
        self._hosts_openai = genuine or hosts_openai

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire. This API has no stop sequences, penalties or seed."""
        if not self._hosts_openai:
            return frozenset(_SAMPLING) - {"reasoning_effort"}
        return frozenset(_SAMPLING) - models.refused_params(model)

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire. A reasoning model is asked for any effort: OpenAI says which it has."""
        return ALL_EFFORTS if self._reasons(model) else frozenset()

    def _reasons(self, model: str) -> bool:
        return self._hosts_openai and models.is_reasoning(model)

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
        request = call_ids.with_ids(request, call_ids.RESPONSES)
        body: dict[str, Any] = {"model": request.model}
        if instructions := bodies.instructions(request):
            body["instructions"] = instructions
        takes_reasoning = not self._genuine or self._reasons(request.model)
        body["input"] = [
            item
            for number, message in self._conversation(request)
            if message.role is not Role.SYSTEM
            for item in _items(message, f"messages[{number}]", takes_reasoning)
        ]
        body["stream"] = True
        if self._genuine:
            body["stream_options"] = {"include_obfuscation": False}
        body |= bodies.sampling(request, _SAMPLING, "Responses")
        if "reasoning" in body:
            body["reasoning"] = {"effort": body["reasoning"]}
        if "top_logprobs" in body:
            body["include"] = [_LOGPROBS]
        if request.tools and self._reasons(request.model):
            # Without these the model forgets at each tool call what it thought: we keep the reasoning, OpenAI does not.
            body |= {"include": [*body.get("include", ()), "reasoning.encrypted_content"], "store": False}
        if request.user and self._genuine:
            body["safety_identifier"] = bodies.safety_identifier(request.user)
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.response_format:
            body["text"] = {"format": _format(request.response_format)}
        body = bodies.merge(body, bodies.without_api(request.provider_options))
        included = body.get("include")
        return HttpCall("/responses", body, logprobs=isinstance(included, list) and _LOGPROBS in included)

    def _conversation(self, request: ChatRequest) -> Iterable[tuple[int, Message]]:
        """The messages with their numbers. Compatible servers may take only text as a result: llama.cpp does."""
        return enumerate(request.messages) if self._genuine else images_after_results(request.messages)

    def decoder(self, content_type: str, logprobs: bool = False) -> ResponsesDecoder:
        """See Wire."""
        return ResponsesLogprobsDecoder(content_type) if logprobs else ResponsesDecoder(content_type)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire."""
        return response_error(status, headers, body)


def _items(message: Message, field: str, takes_reasoning: bool) -> Iterator[dict[str, Any]]:
    """The message in items, in the order of its parts: text, tool calls, tool results, and the provider's reasoning."""
    said: list[Text | Image] = []
    for number, part in enumerate(message.parts):
        if isinstance(part, Text | Image):
            said.append(part)
        elif item := _item(part, f"{field}.parts[{number}]", takes_reasoning):
            yield from _said(message, said)
            said = []
            yield item
    yield from _said(message, said)
    if not message.parts:
        yield _message_item(message, "")


def _item(part: Part, field: str, takes_reasoning: bool) -> dict[str, Any] | None:
    match part:
        case ToolResult():
            output = [_content_part(item) for item in part.parts] or part.content
            return {"type": "function_call_output", "call_id": part.tool_call_id, "output": output}
        case ToolCall():
            arguments = part.arguments or "{}"
            return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments}
        case Opaque() if takes_reasoning:
            item = data_object(part, field)
            return item if item.get("type") == "reasoning" else None
        case _:
            return None


def _said(message: Message, parts: list[Text | Image]) -> Iterator[dict[str, Any]]:
    if any(isinstance(part, Image) for part in parts):
        yield _message_item(message, [_content_part(part) for part in parts])
    elif text := "".join(part.text for part in parts if isinstance(part, Text)):
        yield _message_item(message, text)


def _message_item(message: Message, content: Any) -> dict[str, Any]:
    # llama.cpp knows no assistant message without a type
    return {"type": "message", "role": str(message.role), "content": content}


def _content_part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    return {"type": "input_image", "image_url": bodies.image_url(part)}


def _tool(tool: Tool) -> dict[str, Any]:
    ours: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        ours["description"] = tool.description
    ours["parameters"] = bodies.tool_parameters(tool)
    if tool.strict is not None:
        ours["strict"] = tool.strict
    return ours


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "name": choice.name} if choice.name else choice.mode.value


def _format(form: ResponseFormat) -> dict[str, Any]:
    if form.type is ResponseFormatType.JSON_OBJECT:
        return {"type": "json_object"}
    ours: dict[str, Any] = {"type": "json_schema", "name": form.name, "schema": form.schema}
    if form.strict is not None:
        ours["strict"] = form.strict
    return ours
