"""OpenAI's Responses, as OpenAI itself and llama.cpp speak it.

The reply is a stream of named events; each repeats its name as `type` in its JSON. An item of the output (a message,
a reasoning, a function call) is begun by `output_item.added` and known by `output_index`, or where a server sends none
by `item_id`. The last event (`response.completed` or `.incomplete`) holds status and usage; `.failed` and `error` are
errors. Events of other types are skipped unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta, FinishReason, ToolCallDelta, Usage
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.json_text import to_json
from headwater_server.domain.limits import MAX_JSON
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
from headwater_server.providers.base import HttpCall
from headwater_server.providers.openai import models
from headwater_server.providers.own_data import data_object
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
from headwater_server.providers.wires.result_images import images_after_results
from headwater_server.providers.wires.sse import ServerSentEvent, SSEDecoder
from headwater_server.providers.wires.surrogates import without_surrogates

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "reasoning_effort": "reasoning",
}


class OpenAIResponsesWire:
    """Responses.

    Args:
        genuine: OpenAI's own server, whose reasoning models take neither temperature nor top_p. Compatible servers
            know no obfuscation and no effort of reasoning, and any name may be any model.
    """

    api = "responses"

    def __init__(self, *, genuine: bool) -> None:
        self._genuine = genuine

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire. This API has no stop sequences, penalties or seed."""
        if not self._genuine:
            return frozenset(_SAMPLING) - {"reasoning_effort"}
        return frozenset(_SAMPLING) - models.refused_params(model)

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire. A reasoning model is asked for any effort: OpenAI says which it has."""
        return ALL_EFFORTS if self._reasons(model) else frozenset()

    def _reasons(self, model: str) -> bool:
        return self._genuine and models.is_reasoning(model)

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
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
        if request.tools and self._reasons(request.model):
            # Without these the model forgets at each tool call what it thought: we keep the reasoning, OpenAI does not.
            body |= {"include": ["reasoning.encrypted_content"], "store": False}
        if request.user and self._genuine:
            body["safety_identifier"] = bodies.safety_identifier(request.user)
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.response_format:
            body["text"] = {"format": _format(request.response_format)}
        return HttpCall("/responses", bodies.merge(body, bodies.without_api(request.provider_options)))

    def _conversation(self, request: ChatRequest) -> Iterable[tuple[int, Message]]:
        """The messages with their numbers. Compatible servers may take only text as a result: llama.cpp does."""
        return enumerate(request.messages) if self._genuine else images_after_results(request.messages)

    def decoder(self, content_type: str) -> ResponsesDecoder:
        """See Wire."""
        require_event_stream(content_type)
        return ResponsesDecoder()

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


class _TextDelta(msgspec.Struct):
    """A piece of text, refusal, reasoning or arguments, and where it belongs."""

    delta: str = ""
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None  # text for a function call; items of other types have what they like


class _ReasoningEvent(msgspec.Struct):
    item: dict[str, Any]


class _ItemEvent(msgspec.Struct):
    item: _Item
    output_index: int | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count = None


class _Usage(msgspec.Struct):
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    usage: _Usage | None = None


class _End(msgspec.Struct):
    response: _Response


class _Error(msgspec.Struct):
    """Nested under `error` by the live service, flat by its documentation."""

    error: Any = None
    code: Any = None
    message: Any = None


_TEXT_DELTA = JSONShape(_TextDelta, "a delta of a response")
_REASONING = JSONShape(_ReasoningEvent, "a reasoning item of a response")
_ITEM = JSONShape(_ItemEvent, "an output item of a response")
_END = JSONShape(_End, "the end of a response")
_ERROR = JSONShape(_Error, "an error event of a response")

_REASONING_FIELDS = ("type", "id", "summary", "content", "encrypted_content")
"""The fields of an item of reasoning that OpenAI takes back."""

_INCOMPLETE_REASONS = {
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}


class ResponsesDecoder(StreamDecoder[ServerSentEvent]):
    """Decodes one answer."""

    def __init__(self) -> None:
        super().__init__(SSEDecoder())
        self._place: tuple[object, ...] = ()
        self._block = -1

    def _read(self, message: ServerSentEvent) -> Delta | None:
        name = event_type(message)
        reader = _READERS.get(name)
        return reader(self, name, message.data) if reader is not None and message.data else None

    def _text(self, name: str, data: bytes) -> Delta | None:
        event = _TEXT_DELTA.decode(data)
        if not event.delta:
            return None
        place = (name, event.item_id or event.output_index, event.content_index, event.summary_index)
        if place != self._place:  # only what follows at once may be merged, so that one place is all to remember
            self._place, self._block = place, self._block + 1
        block = self._block
        if name == "response.output_text.delta":
            return Delta(content=event.delta, event_type=name, block=block)
        if name == "response.refusal.delta":
            self._refused = True
            return Delta(refusal=event.delta, event_type=name, block=block)
        return Delta(thinking=event.delta, event_type=name, block=block)

    def _arguments(self, name: str, data: bytes) -> Delta | None:
        event = _TEXT_DELTA.decode(data)
        return _call(self._calls.piece(_key(event.output_index, event.item_id), arguments=event.delta), name)

    def _item_event(self, name: str, data: bytes) -> Delta | None:
        event = _ITEM.decode(data)
        item = event.item
        if item.type == "reasoning" and name == "response.output_item.done":
            return _reasoning(data)
        if item.type != "function_call":
            return None
        key = _key(event.output_index, item.id)
        # The whole arguments come again when the item is done; they count where no delta came before.
        arguments = item.arguments if isinstance(item.arguments, str) and not self._calls.has_arguments(key) else ""
        return _call(self._calls.piece(key, id=item.call_id or "", name=item.name or "", arguments=arguments), name)

    def _end(self, name: str, data: bytes) -> None:
        response = _END.decode(data).response
        status = response.status or name.removeprefix("response.")
        if name == "response.failed":
            raise stream_error(response.error)
        incomplete = response.incomplete_details.reason if response.incomplete_details else None
        reason = FinishReason.STOP
        if name == "response.incomplete":
            reason = _INCOMPLETE_REASONS.get(incomplete or "", FinishReason.OTHER)
        usage = _usage(response.usage) if response.usage else None
        self._finish(reason, incomplete or status, usage, event_type=name)

    def _error(self, _name: str, data: bytes) -> None:
        event = _ERROR.decode(data)
        raise stream_error(event.error or {"code": event.code, "message": event.message})


_READERS: dict[str, Callable[[ResponsesDecoder, str, bytes], Delta | None]] = {
    "response.output_text.delta": ResponsesDecoder._text,
    "response.refusal.delta": ResponsesDecoder._text,
    "response.reasoning_summary_text.delta": ResponsesDecoder._text,
    "response.reasoning_text.delta": ResponsesDecoder._text,
    "response.function_call_arguments.delta": ResponsesDecoder._arguments,
    "response.output_item.added": ResponsesDecoder._item_event,
    "response.output_item.done": ResponsesDecoder._item_event,
    "response.completed": ResponsesDecoder._end,
    "response.incomplete": ResponsesDecoder._end,
    "response.failed": ResponsesDecoder._end,
    "error": ResponsesDecoder._error,
}


def _key(output_index: int | None, item_id: str | None) -> object:
    return item_id if output_index is None else output_index


def _reasoning(data: bytes) -> Delta | None:
    """The whole item of reasoning to hand back; nothing where the server keeps it, and the item says nothing here."""
    item = _REASONING.decode(data).item
    if not item.get("encrypted_content"):
        return None
    text = to_json(without_surrogates({key: item[key] for key in _REASONING_FIELDS if key in item}))
    return Delta(provider_data=text) if len(text) <= MAX_JSON else None


def _call(piece: ToolCallDelta | None, event_type: str) -> Delta | None:
    return Delta(tool_calls=[piece], event_type=event_type) if piece else None


def _usage(usage: _Usage) -> Usage:
    details_in = usage.input_tokens_details or _InputDetails()
    details_out = usage.output_tokens_details or _OutputDetails()
    tokens_in, tokens_out = token_count(usage.input_tokens), token_count(usage.output_tokens)
    both = total(tokens_in, tokens_out)
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=token_count(usage.total_tokens) if both is None else both,
        cached_input_tokens=token_count(details_in.cached_tokens),
        cache_write_tokens=token_count(details_in.cache_write_tokens),
        reasoning_tokens=token_count(details_out.reasoning_tokens),
    )
