"""Google's `streamGenerateContent`, as the Gemini API and Vertex AI speak it.

The reply is a stream of data-only events, each a whole response with the parts that are new. Nothing marks its end: the
reply is whole when the body ends properly after a finish reason. Usage stands in every event and grows, so that the
last counts. Calls come whole. A signature of the model's thought may stand on any part; it goes back with this part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta, FinishReason, Usage
from headwater_server.domain.errors import HeadwaterError, invalid
from headwater_server.domain.json_text import to_json
from headwater_server.domain.limits import MAX_JSON
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
from headwater_server.providers.gemini.errors import error_of_answer, error_of_stream
from headwater_server.providers.model_names import path_piece
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.decoder import (
    Count,
    StreamDecoder,
    require_event_stream,
    token_count,
    total,
)
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.sse import ServerSentEvent, SSEDecoder
from headwater_server.providers.wires.surrogates import without_surrogates

_SAMPLING = {
    "temperature": "temperature",
    "max_tokens": "maxOutputTokens",
    "top_p": "topP",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "stop": "stopSequences",
    "seed": "seed",
    "reasoning_effort": "reasoning_effort",
}
_TOOL_CHOICES = {ToolChoiceMode.AUTO: "AUTO", ToolChoiceMode.NONE: "NONE", ToolChoiceMode.REQUIRED: "ANY"}

_FILTERED = (
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION", "MODEL_ARMOR", "JAILBREAK", "ESCALATION", "PUP_LIMITED_DISABLED",
)  # fmt: skip
_FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    **dict.fromkeys(_FILTERED, FinishReason.CONTENT_FILTER),
}
"""All others are OTHER, such as a call that is malformed or was not allowed."""


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
        return HttpCall(f"/models/{model}:streamGenerateContent?alt=sse", body)

    def decoder(self, content_type: str) -> GeminiDecoder:
        """See Wire."""
        require_event_stream(content_type)
        return GeminiDecoder()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """See Wire."""
        return error_of_answer(status, headers, body)


def _config(request: ChatRequest) -> dict[str, Any]:
    config = bodies.sampling(request, _SAMPLING, "Gemini")
    effort = config.pop("reasoning_effort", "")
    if effort and effort not in models.efforts(request.model):
        raise invalid("reasoning_effort", f"Gemini's model has no {effort.upper()}; leave it out, or take HIGH")
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


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    cached_content_token_count: Count = None
    total_token_count: Count = None


class _Content(msgspec.Struct):
    parts: Any = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: Any = None
    finish_message: Any = None
    index: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: Any = None


class _Response(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    error: Any = None


_RESPONSE = JSONShape(_Response, "a response of streamGenerateContent")


class _Parts:
    """Cuts a body into the parts of the reply, and after those of each event the response that they stood in."""

    def __init__(self) -> None:
        self._events = SSEDecoder()

    def feed(self, data: bytes) -> Iterator[dict[str, Any] | _Response]:
        return self._split(self._events.feed(data))

    def close(self) -> Iterator[dict[str, Any] | _Response]:
        return self._split(self._events.close())

    def _split(self, events: Iterable[ServerSentEvent]) -> Iterator[dict[str, Any] | _Response]:
        for event in events:
            if event.data and not event.data.startswith(b"[DONE]"):
                response = _RESPONSE.decode(event.data)
                if response.error:
                    raise error_of_stream(response.error)
                for candidate in response.candidates or ():
                    parts = candidate.content.parts if candidate.content and not candidate.index else None
                    yield from (part for part in _list(parts) if isinstance(part, dict))
                yield response


class GeminiDecoder(StreamDecoder[dict[str, Any] | _Response]):
    """Decodes one answer."""

    def __init__(self) -> None:
        super().__init__(_Parts())
        self._finish_word = ""
        self._metadata: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._block = 0
        self._kind = ""

    def _read(self, message: dict[str, Any] | _Response) -> Delta | None:
        if isinstance(message, _Response):
            self._note(message)
            return None
        text, signature = message.get("text"), _word(message.get("thoughtSignature"))
        if isinstance(message.get("functionCall"), dict):
            return self._call(message["functionCall"], signature)
        if isinstance(text, str) and text:
            return self._text(text, "thinking" if message.get("thought") is True else "content", signature)
        return _opaque(message) if signature or "text" not in message else None

    def _note(self, response: _Response) -> None:
        """Keeps the facts for the end."""
        if response.usage_metadata is not None:
            self._usage = _usage(response.usage_metadata)
        for candidate in response.candidates or ():
            if not candidate.index:
                self._finish_word = _word(candidate.finish_reason) or self._finish_word
                if _word(candidate.finish_message):
                    self._metadata = {"finish_details": {"message": candidate.finish_message}}
        if response.prompt_feedback is not None and (reason := _word(response.prompt_feedback.block_reason)):
            self._finish_word = reason
            self._metadata = {"finish_details": {"blocked": "prompt"}}

    def _at_end(self) -> None:
        if self._finish_word:
            reason = _FINISH_REASONS.get(self._finish_word.upper(), FinishReason.OTHER)
            self._finish(reason, self._finish_word, self._usage, metadata=self._metadata)

    def _text(self, text: str, kind: str, signature: str) -> Delta:
        """A piece of text or thinking. One with a signature is a block for itself, and so goes back as it came."""
        if kind != self._kind or signature:
            self._block += 1
        self._kind = "" if signature else kind
        delta = Delta(block=self._block, provider_data=_data(thoughtSignature=signature))
        setattr(delta, kind, text)
        return delta

    def _call(self, call: dict[str, Any], signature: str) -> Delta | None:
        self._kind = ""
        id, arguments = _word(call.get("id")), call.get("args")
        text = arguments if isinstance(arguments, str) else to_json(without_surrogates(arguments or {}))
        piece = self._calls.piece(len(self._calls), id=id, name=_word(call.get("name")), arguments=text)
        if piece is None:
            return None
        piece.provider_data = _data(thoughtSignature=signature, id=id)
        return Delta(tool_calls=[piece])


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _data(**fields: str) -> str | None:
    """The provider's data of a part; None where it has none, or too much to be sent back."""
    given = {name: value for name, value in fields.items() if value}
    text = to_json(without_surrogates(given)) if given else ""
    return text if 0 < len(text) <= MAX_JSON else None


def _opaque(part: dict[str, Any]) -> Delta | None:
    """A part that only the provider can read, such as code that it ran, or the signature at the end of a text."""
    text = to_json(without_surrogates({"part": part})) if part else ""
    return Delta(provider_data=text) if 0 < len(text) <= MAX_JSON else None


def _usage(reported: _Usage) -> Usage:
    """The counts: the input includes the results of Google's tools, the output includes thoughts."""
    tokens_in = _sum(reported.prompt_token_count, reported.tool_use_prompt_token_count)
    tokens_out = _sum(reported.candidates_token_count, reported.thoughts_token_count)
    both = total(tokens_in, tokens_out)
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=token_count(reported.total_token_count) if both is None else both,
        cached_input_tokens=token_count(reported.cached_content_token_count),
        reasoning_tokens=token_count(reported.thoughts_token_count),
    )


def _sum(*counts: Count) -> int | None:
    known = [number for count in counts if (number := token_count(count)) is not None]
    return token_count(sum(known)) if known else None
