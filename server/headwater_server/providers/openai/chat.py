"""OpenAI's Chat Completions, as OpenAI itself and as compatible servers speak it.

The reply is a stream of data-only events that ends with `[DONE]`. `finish_reason` comes before the usage, so the end
is held back until `[DONE]` or the proper end of the body. Without a `finish_reason` there is no end: the reply was cut.
Some servers ignore `stream` and answer with one JSON completion, which is read as a stream of one chunk. Of several
choices (`n` in the provider's options) only the first is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta, FinishReason, ToolCallDelta, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import (
    ALL_EFFORTS,
    ChatRequest,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
)
from headwater_server.providers.base import HttpCall
from headwater_server.providers.openai import models, reasoning
from headwater_server.providers.openai.conversation import conversation
from headwater_server.providers.openai.profiles import COMPATIBLE, Profile
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.decoder import (
    Count,
    Framing,
    StreamDecoder,
    media_type,
    require_event_stream,
    token_count,
    total,
)
from headwater_server.providers.wires.errors import response_error, stream_error
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.sse import MAX_EVENT_BYTES, ServerSentEvent, SSEDecoder

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

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


class OpenAIChatWire:
    """Chat Completions.

    Args:
        genuine: OpenAI's own server, whose reasoning models refuse some parameters. Compatible servers know no
            obfuscation, and any name may be any model.
        profile: the fields that a compatible server takes.
        max_tokens_field: the name of the limit, where it is not that of the profile.
    """

    api = "chat_completions"

    def __init__(self, *, genuine: bool, profile: Profile = COMPATIBLE, max_tokens_field: str = "") -> None:
        self._genuine = genuine
        self._profile = profile
        self._limit = max_tokens_field or ("max_completion_tokens" if genuine else profile.max_tokens)
        efforts = {"reasoning_effort": "reasoning_effort"} if genuine or profile.efforts else {}
        known = {**_SAMPLING, **profile.renamed, **efforts}
        self._sampling = {name: field for name, field in known.items() if name not in profile.lacks}

    def _fields(self, model: str) -> dict[str, str]:
        """The parameters by their names there."""
        by_model = "max_completion_tokens" if models.is_reasoning(model.rpartition("/")[2]) else "max_tokens"
        fields = self._sampling | {"max_tokens": self._limit or by_model}
        return {name: field for name, field in fields.items() if field not in self._profile.omit}

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire."""
        fields = frozenset(self._fields(model))
        return fields - models.refused_params(model) if self._genuine else fields

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire. A reasoning model is asked for any effort: OpenAI says which it has."""
        if not self._genuine:
            return self._profile.efforts
        return ALL_EFFORTS if models.is_reasoning(model) else frozenset()

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
        stream_options = {"include_usage": True} | ({"include_obfuscation": False} if self._genuine else {})
        body: dict[str, Any] = {
            "model": request.model,
            "messages": conversation(request, strict=not self._genuine, names_results=self._profile.names_results),
            "stream": True,
            "stream_options": stream_options,
        }
        body |= bodies.sampling(request, self._fields(request.model), "Chat Completions")
        if self._profile.no_effort and body.get("reasoning_effort") == ReasoningEffort.NONE:
            del body["reasoning_effort"]
            body |= self._profile.no_effort
        if request.tools:
            body["tools"] = [_tool(tool, self._profile.takes_strict) for tool in request.tools]
        if request.tool_choice:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.response_format:
            body["response_format"] = _response_format(request.response_format)
        if request.user and self._genuine:
            body["safety_identifier"] = bodies.safety_identifier(request.user)
        for field in self._profile.omit:
            body.pop(field, None)
        return HttpCall("/chat/completions", bodies.merge(body, bodies.without_api(request.provider_options)))

    def decoder(self, content_type: str) -> ChatDecoder:
        """See Wire. Takes a JSON completion too."""
        if media_type(content_type) == "application/json":
            return ChatDecoder(_WholeBody())
        require_event_stream(content_type)
        return ChatDecoder(SSEDecoder())

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire."""
        return response_error(status, headers, body)


def _tool(tool: Tool, takes_strict: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = bodies.tool_parameters(tool)
    if tool.strict is not None and takes_strict:
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


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None
    # Errors of some servers are flat, with `object` "error".
    message: Any = None
    type: Any = None
    code: Any = None


_CHUNK = JSONShape(_Chunk, "a chat completion chunk")


class ChatDecoder(StreamDecoder[ServerSentEvent]):
    """Decodes one answer."""

    def __init__(self, framing: Framing[ServerSentEvent]) -> None:
        super().__init__(framing)
        self._finish_reason = ""
        self._usage: Usage | None = None
        self._last_call: object = None
        self._details: reasoning.ReasoningDetails | None = None

    def _read(self, message: ServerSentEvent) -> Delta | None:
        if not message.data:
            return None
        if message.data.startswith(b"[DONE]"):
            self._at_end()
            self._ended = True
            return None
        chunk = _CHUNK.decode(message.data)
        if chunk.error:
            raise stream_error(chunk.error)
        if chunk.object == "error":
            raise stream_error({"message": chunk.message, "type": chunk.type, "code": chunk.code})
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if not choice.index:
                self._finish_reason = choice.finish_reason or self._finish_reason
                said = choice.delta or choice.message
                return self._delta(said) if said is not None else None
        return None

    def _at_end(self) -> None:
        if self._finish_reason:
            reason = _FINISH_REASONS.get(self._finish_reason, FinishReason.OTHER)
            self._finish(reason, self._finish_reason, self._usage)
            self._kept = self._details.data_json() if self._details else None

    def _delta(self, said: _Delta) -> Delta | None:
        # Servers that send both fields of thinking repeat the one in the other.
        thinking = said.reasoning_content or said.reasoning or ""
        content, refusal = said.content or "", said.refusal or ""
        calls = [piece for call in said.tool_calls if (piece := self._piece(call))] if said.tool_calls else None
        self._refused = self._refused or bool(refusal)
        if said.reasoning_details:
            self._details = self._details or reasoning.ReasoningDetails()
            self._details.add(said.reasoning_details)
        if not (content or thinking or refusal or calls):
            return None
        wanted = reasoning.WANTED_BACK if said.reasoning_content and self._details is None else None
        return Delta(content, thinking, refusal=refusal, tool_calls=calls or None, provider_data=wanted)

    def _piece(self, call: _ToolCall) -> ToolCallDelta | None:
        function = call.function or _Function()
        if call.index is not None:
            key: object = call.index
        elif call.id:
            key = call.id
        else:  # neither index nor id: a name begins a call, anything else continues the last
            key = ("unnumbered", len(self._calls)) if function.name else self._last_call
        self._last_call = key
        piece = self._calls.piece(key, id=call.id or "", name=function.name or "", arguments=function.arguments or "")
        if piece is not None and call.extra_content:
            piece.provider_data = reasoning.extra_content_data(call.extra_content)
        return piece


class _WholeBody:
    """The framing of an answer that is one JSON text."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_EVENT_BYTES:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "The provider sent a reply of more than 32 MiB")
        return []

    def close(self) -> list[ServerSentEvent]:
        return [ServerSentEvent("", b"".join(self._pieces))]


def _usage(usage: _Usage) -> Usage:
    prompt = usage.prompt_tokens_details or _InputDetails()
    completion = usage.completion_tokens_details or _OutputDetails()
    tokens_in, tokens_out = token_count(usage.prompt_tokens), token_count(usage.completion_tokens)
    both = total(tokens_in, tokens_out)
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=token_count(usage.total_tokens) if both is None else both,
        cached_input_tokens=token_count(prompt.cached_tokens),
        cache_write_tokens=token_count(prompt.cache_write_tokens),
        reasoning_tokens=token_count(completion.reasoning_tokens),
    )
