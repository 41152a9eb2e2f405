"""Google's `streamGenerateContent`, as the Gemini API and Vertex AI speak it: the request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headwater_server.domain.errors import HeadwaterError, invalid
from headwater_server.domain.messages import (
    ChatRequest,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.providers.base import HttpCall
from headwater_server.providers.gemini import models
from headwater_server.providers.gemini.contents import contents
from headwater_server.providers.gemini.decoder import GeminiDecoder
from headwater_server.providers.gemini.logprobs import GeminiLogprobsDecoder
from headwater_server.providers.model_names import path_piece
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.errors import response_error

_SAMPLING = {
    "temperature": "temperature",
    "max_tokens": "maxOutputTokens",
    "top_p": "topP",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "stop": "stopSequences",
    "seed": "seed",
    "reasoning_effort": "reasoning_effort",
    "logprobs": "logprobs",
}
_TOOL_CHOICES = {ToolChoiceMode.AUTO: "AUTO", ToolChoiceMode.NONE: "NONE", ToolChoiceMode.REQUIRED: "ANY"}


class GeminiWire:
    """`streamGenerateContent`."""

    api = "generate_content"

    def supported_params(self, model: str) -> frozenset[str]:
        """See Wire."""
        return frozenset(_SAMPLING) - (set() if self.efforts(model) else {"reasoning_effort"})

    def efforts(self, model: str) -> frozenset[str]:
        """See Wire."""
        return models.efforts(model)

    def call(self, request: ChatRequest) -> HttpCall:
        """See Wire."""
        body: dict[str, Any] = {}
        if system := bodies.instructions(request):
            body["systemInstruction"] = {"parts": [{"text": system}]}
        body["contents"] = contents(request, models.has_levels(request.model))
        if request.tools:
            body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in request.tools]}]
        if calling := _calling(request.tool_choice, request.tools):
            body["toolConfig"] = {"functionCallingConfig": calling}
        if config := _config(request):
            body["generationConfig"] = config
        model = path_piece(request.model.removeprefix("models/"))
        body = bodies.merge(body, bodies.without_api(request.provider_options))
        asked = isinstance(sent := body.get("generationConfig"), dict) and bool(sent.get("responseLogprobs"))
        return HttpCall(f"/models/{model}:streamGenerateContent?alt=sse", body, logprobs=asked)

    def decoder(self, content_type: str, logprobs: bool = False) -> GeminiDecoder:
        """See Wire."""
        return GeminiLogprobsDecoder(content_type) if logprobs else GeminiDecoder(content_type)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire."""
        return response_error(status, headers, body)


def _config(request: ChatRequest) -> dict[str, Any]:
    config = bodies.sampling(request, _SAMPLING, "Gemini")
    effort = config.pop("reasoning_effort", "")
    if effort and effort not in models.efforts(request.model):
        raise invalid("reasoning_effort", f"Gemini's model has no {effort.upper()}; leave it out, or take HIGH")
    if (count := config.pop("logprobs", None)) is not None:
        config |= {"responseLogprobs": True} | ({"logprobs": count} if count else {})
    if thinking := models.thinking_config(request.model, effort):
        config["thinkingConfig"] = thinking
    return config | (_format(request.response_format) if request.response_format else {})


def _format(form: ResponseFormat) -> dict[str, Any]:
    """The form of the reply. Gemini always holds a reply to its schema, so that `strict` asks for nothing more."""
    ours: dict[str, Any] = {"responseMimeType": "application/json"}
    return ours if form.type is ResponseFormatType.JSON_OBJECT else ours | {"responseJsonSchema": form.schema}


def _tool(tool: Tool) -> dict[str, Any]:
    ours: dict[str, Any] = {"name": tool.name}
    if tool.description:
        ours["description"] = tool.description
    return ours | {"parametersJsonSchema": bodies.tool_parameters(tool)}


def _calling(choice: ToolChoice | None, tools: Iterable[Tool]) -> dict[str, Any] | None:
    """Whether tools are called. Gemini holds calls to the schemas of all tools, once one of them is strict."""
    if choice is not None and choice.mode is not ToolChoiceMode.AUTO:
        mode = {"mode": _TOOL_CHOICES[choice.mode]}
        return mode | {"allowedFunctionNames": [choice.name]} if choice.name else mode
    if any(tool.strict for tool in tools):
        return {"mode": "VALIDATED"}
    return {"mode": "AUTO"} if choice is not None else None
