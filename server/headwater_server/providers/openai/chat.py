"""OpenAI's Chat Completions, as OpenAI itself and as compatible servers speak it: the requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import (
    ALL_EFFORTS,
    ChatRequest,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
)
from headwater_server.providers import call_ids
from headwater_server.providers.base import HttpCall
from headwater_server.providers.openai import models
from headwater_server.providers.openai.chat_decoder import ChatDecoder
from headwater_server.providers.openai.conversation import conversation, filled, question
from headwater_server.providers.openai.logprobs import ChatLogprobsDecoder
from headwater_server.providers.openai.profiles import COMPATIBLE, Profile
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.errors import response_error

MODELS_PATH = "/models"

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stop": "stop",
    "seed": "seed",
    "parallel_tool_calls": "parallel_tool_calls",
    "logprobs": "logprobs",
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
        efforts = {"reasoning_effort": "reasoning_effort"} if genuine or profile.efforts else {}
        known = {**_SAMPLING, **profile.renamed, **efforts}
        known = {name: field for name, field in known.items() if name not in profile.lacks}
        limit = max_tokens_field or ("max_completion_tokens" if genuine else profile.max_tokens)
        self._fields_of_plain = self._taken(known | {"max_tokens": limit or "max_tokens"})
        self._fields_of_reasoning = self._taken(known | {"max_tokens": limit or "max_completion_tokens"})

    def _shapes(self, model: str) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
        """The shapes of ids of tool calls: the service's own calls, and those of others."""
        if self._genuine:
            return call_ids.OPENAI, None
        if of_model := call_ids.shape_for_model(model):
            return of_model, None
        return self._profile.call_ids, self._profile.foreign_ids

    def _taken(self, fields: dict[str, str]) -> dict[str, str]:
        return {name: field for name, field in fields.items() if field not in self._profile.omit}

    def _fields(self, model: str) -> dict[str, str]:
        """The parameters by their names there."""
        return self._fields_of_reasoning if models.is_reasoning(model) else self._fields_of_plain

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
        messages = question(request.messages)
        if messages is None:
            request = call_ids.with_ids(request, *self._shapes(request.model))
            messages = self._messages(request)
        stream_options = {"include_usage": True} | ({"include_obfuscation": False} if self._genuine else {})
        body: dict[str, Any] = {
            "model": request.model,
            "messages": messages,
            "stream": True,
            "stream_options": stream_options,
        }
        if request.sampling:
            body |= bodies.sampling(request, self._fields(request.model), "Chat Completions")
        if self._profile.no_effort and body.get("reasoning_effort") == ReasoningEffort.NONE:
            del body["reasoning_effort"]
            body |= self._profile.no_effort
        if "logprobs" in body:
            body |= self._logprobs(body["logprobs"])
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
        if request.provider_options:
            body = bodies.merge(body, bodies.without_api(request.provider_options))
        return HttpCall("/chat/completions", body, logprobs=bool(body.get("logprobs")))

    def _logprobs(self, count: int) -> dict[str, Any]:
        if self._profile.counts_logprobs:
            return {"logprobs": max(count, 1)}
        return {"logprobs": True} | ({"top_logprobs": count} if count else {})

    def _messages(self, request: ChatRequest) -> list[dict[str, Any]]:
        messages = conversation(
            request,
            strict=not self._genuine,
            names_results=self._profile.names_results,
            unsigned_call=self._profile.unsigned_call,
            cache_marks=self._profile.takes_cache_marks,
        )
        return messages if self._genuine else filled(messages, self._profile, request.model)

    def decoder(self, content_type: str, logprobs: bool = False) -> ChatDecoder:
        """See Wire."""
        kind = ChatLogprobsDecoder if logprobs else ChatDecoder
        return kind(content_type, marks_calls=self._profile.foreign_ids is not None and not self._genuine)

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
