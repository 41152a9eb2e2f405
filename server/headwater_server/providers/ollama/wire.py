"""Ollama's chat, and its answers to other questions: its models, where they run, its version.

`decoder` reads the replies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Tool,
    ToolCall,
    ToolChoiceMode,
    ToolResult,
)
from headwater_server.providers.base import HttpCall
from headwater_server.providers.ollama.decoder import ChatDecoder
from headwater_server.providers.ollama.logprobs import LogprobsDecoder
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.decoder import token_count
from headwater_server.providers.wires.errors import response_error
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.result_images import images_after_results

TAGS_PATH, PS_PATH, SHOW_PATH, VERSION_PATH = "/api/tags", "/api/ps", "/api/show", "/api/version"

_SAMPLING = {
    "temperature": "temperature",
    "max_tokens": "num_predict",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stop": "stop",
    "seed": "seed",
    "reasoning_effort": "think",
    "logprobs": "logprobs",
}
_EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
}

_TOP_LEVEL = frozenset(
    {"think", "keep_alive", "format", "truncate", "shift", "logprobs", "top_logprobs", "tools", "options"}
)
"""The provider's options that stand beside the model's parameters; all others are among them."""

_QUOTED_MODEL = re.compile(r"model ['\"]([^'\"\s]{1,200})['\"]")


class OllamaWire:
    """Ollama's chat."""

    api = "chat"

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire: the same for every model."""
        return frozenset(_SAMPLING)

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire."""
        return frozenset(_EFFORTS)

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": _messages(request),
            "stream": True,
        }
        if tools := _tools(request):
            body["tools"] = tools
        if request.response_format:
            body["format"] = _format(request.response_format)
        ours = {"options": bodies.sampling(request, _SAMPLING, "Ollama")}
        if effort := ours["options"].pop("think", None):
            body["think"] = _think(effort)
        if (count := ours["options"].pop("logprobs", None)) is not None:
            body |= {"logprobs": True} | ({"top_logprobs": count} if count else {})
        options = bodies.without_api(request.provider_options)
        beside = {key: value for key, value in options.items() if key in _TOP_LEVEL}
        among = {"options": {key: value for key, value in options.items() if key not in _TOP_LEVEL}}
        merged = bodies.merge(body | bodies.merge(ours, among), beside)
        if not merged["options"]:
            del merged["options"]
        return HttpCall("/api/chat", merged, logprobs=bool(merged.get("logprobs")))

    def decoder(self, content_type: str, logprobs: bool = False) -> ChatDecoder:
        """See Wire. An answer of one line (a model was only loaded) is JSON."""
        return LogprobsDecoder(content_type) if logprobs else ChatDecoder(content_type)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire. For a model that is not there the message says how to get it."""
        error = response_error(status, headers, body)
        if error.reason is Reason.MODEL_NOT_FOUND:
            named = _QUOTED_MODEL.search(error.message)
            cure = f"{error.message}; get it with `ollama pull {named.group(1) if named else 'NAME'}`"
            return HeadwaterError(error.reason, cure, metadata=error.metadata)
        return error


def _messages(request: ChatRequest) -> list[dict[str, Any]]:
    _refuse_image_urls(request)
    names = bodies.names_of_calls(request)
    return [
        item
        for number, message in images_after_results(request.messages)
        for item in _message(message, f"messages[{number}]", names)
    ]


def _refuse_image_urls(request: ChatRequest) -> None:
    for field, part in bodies.images(request):
        if part.url:
            raise invalid(f"{field}.url", "Ollama takes no image URLs; send the image's data")


def _message(message: Message, field: str, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The message, and each tool result as a separate message; thinking is not sent back."""
    for result in bodies.parts(message, ToolResult):
        name = result.name or names.get(result.tool_call_id, "")
        yield {"role": "tool", "tool_name": name, "content": result.content}
    images, calls = [], []
    for number, part in enumerate(message.parts):
        place = f"{field}.parts[{number}]"
        if isinstance(part, Image):
            images.append(bodies.base64_text(part))
        elif isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": bodies.arguments_object(part, place)}
            calls.append({"id": part.id, "function": function} if part.id else {"function": function})
    ours: dict[str, Any] = {"role": str(message.role), "content": message.text}
    if images:
        ours["images"] = images
    if calls:
        ours["tool_calls"] = calls
    if message.role is not Role.TOOL and (message.text or len(ours) > 2 or not message.parts):
        yield ours


def _tools(request: ChatRequest) -> list[dict[str, Any]]:
    """The tools. Ollama has no choice of tools, but can be told of none."""
    choice = request.tool_choice
    if choice is not None and choice.mode is ToolChoiceMode.REQUIRED:
        field = "tool_choice.function" if choice.name else "tool_choice.mode"
        raise invalid(field, "Ollama cannot force a tool call; use AUTO, or leave tool_choice out")
    if choice is not None and choice.mode is ToolChoiceMode.NONE:
        return []
    return [_tool(tool, f"tools[{number}]") for number, tool in enumerate(request.tools)]


def _think(effort: str) -> bool | str:
    if effort not in _EFFORTS:
        raise invalid("reasoning_effort", f"Ollama has no {effort.upper()}; take HIGH or MAX")
    return _EFFORTS[effort]


def _tool(tool: Tool, field: str) -> dict[str, Any]:
    if tool.strict is not None:
        raise invalid(f"{field}.function.strict", "Ollama has no strict tools; leave it out")
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = bodies.tool_parameters(tool)
    return {"type": "function", "function": function}


def _format(form: ResponseFormat) -> Any:
    """A schema, or "json". Ollama always holds a reply to its schema, so that `strict` asks for nothing more."""
    return "json" if form.type is ResponseFormatType.JSON_OBJECT else form.schema


_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Loaded(msgspec.Struct):
    name: str
    size: _Bytes = 0
    size_vram: _Bytes = 0


class _LoadedModels(msgspec.Struct):
    models: list[_Loaded] | None = None


class _Show(msgspec.Struct):
    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None


class _Version(msgspec.Struct):
    version: str


_LOADED = JSONShape(_LoadedModels, "Ollama's list of loaded models")
_SHOW = JSONShape(_Show, "Ollama's description of a model")
_VERSION = JSONShape(_Version, "Ollama's version")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Ollama's facts about a model: its abilities in Ollama's words, and the tokens of its context window."""

    capabilities: tuple[str, ...]
    context_length: int | None


def parse_ps(body: bytes, model: str) -> dict[str, Any] | None:
    """Where a model runs, from /api/ps: `size` and `size_vram` in bytes, `placement` gpu, cpu or split.

    None when it is not loaded. Raises HeadwaterError for another answer.
    """
    wanted = _with_tag(model)
    for loaded in _LOADED.decode_answer(body).models or ():
        if _with_tag(loaded.name) == wanted:
            placement = "cpu" if loaded.size_vram <= 0 else "gpu" if loaded.size_vram >= loaded.size else "split"
            return {"size": loaded.size, "size_vram": loaded.size_vram, "placement": placement}
    return None


def parse_show(body: bytes) -> ModelFacts:
    """The abilities of a model, from /api/show. Raises HeadwaterError for another answer."""
    shown = _SHOW.decode_answer(body)
    info = shown.model_info or {}
    length = info.get(f"{info.get('general.architecture')}.context_length")
    context_length = token_count(length) if isinstance(length, int | float) else None
    return ModelFacts(tuple(shown.capabilities or ()), context_length)


def parse_version(body: bytes) -> str:
    """Ollama's version, from /api/version. Raises HeadwaterError for another answer."""
    return _VERSION.decode_answer(body).version


def _with_tag(name: str) -> str:
    """The full name: without a tag Ollama means `latest`."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
