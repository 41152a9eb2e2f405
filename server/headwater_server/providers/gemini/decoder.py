"""Reads the replies of Google's `streamGenerateContent`.

The reply is a stream of data-only events, each a whole response with the parts that are new. Nothing marks its end: the
reply is whole when the body ends properly after a finish reason. Usage stands in every event and grows, so that the
last counts. Calls come whole. A signature of the model's thought may stand on any part; it goes back with this part.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headwater_server.domain.chunks import Beside, Delta, FinishReason, Usage
from headwater_server.domain.json_text import to_json
from headwater_server.domain.limits import MAX_JSON
from headwater_server.providers.wires import finish_words
from headwater_server.providers.wires.beside_text.grounding import Grounding
from headwater_server.providers.wires.decoder import Count, EventDecoder, token_count, total
from headwater_server.providers.wires.errors import stream_error
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.surrogates import without_surrogates
from headwater_server.providers.wires.tool_calls import arguments_text


class _Usage(msgspec.Struct, rename="camel", gc=False):
    prompt_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    cached_content_token_count: Count = None
    total_token_count: Count = None


class _Content(msgspec.Struct, gc=False):
    parts: list[Any] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    grounding_metadata: Any = None
    citation_metadata: Any = None
    url_context_metadata: Any = None
    index: Count = None


class _Feedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None


class _Response(msgspec.Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    error: Any = None


_RESPONSE = JSONShape(_Response, "a response of streamGenerateContent")


class GeminiDecoder(EventDecoder):
    """Decodes one answer."""

    def __init__(self, content_type: str = "") -> None:
        super().__init__(content_type)
        self._metadata: dict[str, Any] = {}
        self._is_blocked = False
        self._usage: Usage | None = None
        self._block = 0
        self._kind = ""
        self._grounding = Grounding()

    def _object(self, event: ServerSentEvent) -> Delta | None:
        response = _RESPONSE.decode(event.data)
        if response.error:
            raise stream_error(response.error)
        if response.candidates is None and response.prompt_feedback is None and response.usage_metadata is None:
            self._unknown(event.data)
        for candidate in response.candidates or ():
            if not candidate.index:  # of several candidates, which only options ask for, the first is read
                self._candidate(candidate)
        self._note(response)
        return None

    def _candidate(self, candidate: _Candidate) -> None:
        content = candidate.content or _Content()
        for part in content.parts or ():
            if isinstance(part, dict) and (delta := self._part(part)) is not None:
                self._more.append(delta)
        if candidate.grounding_metadata or candidate.citation_metadata or candidate.url_context_metadata:
            self._list_citations(candidate)
        if not finish_words.says_nothing(candidate.finish_reason):
            self._reason_word = candidate.finish_reason or ""
        if candidate.finish_message:
            self._metadata = {"finish_details": {"message": candidate.finish_message}}

    def _list_citations(self, candidate: _Candidate) -> None:
        found = self._grounding.read(
            candidate.grounding_metadata, candidate.citation_metadata, candidate.url_context_metadata
        )
        if cited := self._new_citations(found):
            self._more.append(Delta(block=self._block, beside=Beside(citations=cited)))

    def _note(self, response: _Response) -> None:
        """Keeps the facts for the end."""
        if response.usage_metadata is not None:
            self._usage = _usage(response.usage_metadata)
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
            self._reason_word = response.prompt_feedback.block_reason
            self._is_blocked = True

    def _part(self, part: dict[str, Any]) -> Delta | None:
        text, signature = part.get("text"), _word(part.get("thoughtSignature"))
        if isinstance(part.get("functionCall"), dict):
            return self._call(part["functionCall"], signature)
        if isinstance(text, str) and text:
            return self._text(text, "thinking" if part.get("thought") is True else "content", signature)
        opaque = _opaque(part) if signature or "text" not in part else None
        if ("inlineData" in part or "fileData" in part) and part.get("thought") is not True:
            return self._picture(part, opaque)
        return opaque

    def _picture(self, part: dict[str, Any], opaque: Delta | None) -> Delta | None:
        """A picture, with the part that goes back; the first of these is the picture's."""
        images = self._new_images(part)
        if images:
            self._kind = ""
            data = opaque.provider_data if opaque else None
            return Delta(block=self._block, provider_data=data, beside=Beside(images=images))
        return opaque

    def _text(self, text: str, kind: str, signature: str) -> Delta:
        """A piece of text or thinking. One with a signature is a block for itself, and so goes back as it came."""
        if kind != self._kind or signature:
            self._block += 1
        self._kind = "" if signature else kind
        if kind == "content":
            self._grounding.add_text(text, self._block)
        delta = Delta(block=self._block, provider_data=_data(thoughtSignature=signature) if signature else None)
        setattr(delta, kind, text)
        return delta

    def _call(self, call: dict[str, Any], signature: str) -> Delta:
        self._kind = ""
        id, arguments = _word(call.get("id")), call.get("args")
        text = arguments_text(without_surrogates(arguments if arguments is not None else {}))
        piece = self._calls.whole(id=id, name=_word(call.get("name")), arguments=text)
        piece.provider_data = _data(thoughtSignature=signature, id=id)
        return Delta(tool_calls=[piece])

    def _at_end(self) -> None:
        word = self._reason_word
        if word:
            reason = FinishReason.CONTENT_FILTER if self._is_blocked else finish_words.finish_reason(word)
            self._finish(reason, word, self._usage, metadata=self._metadata)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


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
