"""Reads the answers of Chat Completions, as OpenAI and many servers that resemble it send them.

The reply is a stream of data-only events that ends with `[DONE]`. `finish_reason` comes before the usage, so the end
is held back until `[DONE]` or the proper end of the body. Some servers ignore `stream` and answer with one JSON
completion, which is read as a stream of one chunk.

Of several choices (`n` in the provider's options) only the one with the number 0 is read. Where no choice has that
number, the server counts otherwise, and all are one reply.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta, ToolCallDelta, Usage
from headwater_server.providers.openai import reasoning
from headwater_server.providers.openai.chat_usage import ChatUsage, usage_of
from headwater_server.providers.wires import finish_words
from headwater_server.providers.wires.beside_text.citations import references_in
from headwater_server.providers.wires.beside_text.images import parts_with_images
from headwater_server.providers.wires.content import read_content, words
from headwater_server.providers.wires.decoder import Count, EventDecoder
from headwater_server.providers.wires.errors import stream_error
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.tool_calls import arguments_text


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _ToolCall(msgspec.Struct, gc=False):
    index: Any = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None
    name: str | None = None  # where a server leaves `function` out
    arguments: Any = None


class _Said(msgspec.Struct, gc=False):
    """A delta, or a whole message. Text is a string for most servers, a list of parts for some."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    refusal: str | None = None
    annotations: Any = None
    citations: Any = None
    context: Any = None
    images: Any = None
    image: Any = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: Count = None
    delta: _Said | None = None
    message: _Said | None = None
    text: Any = None
    finish_reason: str | None = None
    usage: ChatUsage | None = None
    error: Any = None


class _Groq(msgspec.Struct, gc=False):
    usage: ChatUsage | None = None
    error: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: ChatUsage | None = None
    x_groq: _Groq | None = None
    citations: Any = None
    search_results: Any = None
    error: Any = None
    object: str | None = None


_CHUNK = JSONShape(_Chunk, "a chat completion chunk")
_SILENT = _Said()
_EMPTY = _Chunk([_Choice(index=0, delta=_Said())], object="chat.completion.chunk")


class ChatDecoder(EventDecoder):
    """Decodes one answer. With `marks_calls` each call has data, if only an empty object: the mark of its provider."""

    def __init__(self, content_type: str = "", *, marks_calls: bool = False) -> None:
        super().__init__(content_type)
        self._marks_calls = marks_calls
        self._usage: Usage | None = None
        self._last_call: Any = None
        self._details: reasoning.ReasoningDetails | None = None
        self._thinks_in_field = False
        self._numbers_from_zero = False
        self._has_deltas = False
        self._has_messages = False
        self._kind: str | None = None
        self._sources: object = None

    def _object(self, event: ServerSentEvent) -> Delta | None:
        chunk = _CHUNK.decode(event.data)
        choices = chunk.choices
        if choices and (said := choices[0].delta) is not None and said.content.__class__ is str and said.content:
            text, said.content = said.content, None
            if chunk == _EMPTY:  # text and nothing else, as nearly always: one comparison finds that out
                self._numbers_from_zero = self._has_deltas = True
                self._kind = chunk.object
                self._alone = delta = Delta(text)
                return delta
            said.content = text
        if chunk.error:
            raise stream_error(event.data)
        if chunk.usage is not None:
            self._usage = usage_of(chunk.usage, self._usage)
        if chunk.citations or chunk.search_results:
            self._list_sources(chunk)
        if not choices:
            self._without_choices(chunk, event.data)
            return None
        if chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._usage = usage_of(chunk.x_groq.usage, self._usage)
        self._kind = chunk.object
        if len(choices) == 1:
            return self._choice(choices[0])
        return self._choices(choices)

    def _list_sources(self, chunk: _Chunk) -> None:
        """The sources of the whole reply, which some servers repeat in every chunk."""
        sources = [chunk.search_results, chunk.citations]
        if sources != self._sources:
            self._sources = sources
            if cited := self._cite(sources):
                self._more.append(cited)

    def _without_choices(self, chunk: _Chunk, data: bytes) -> None:
        if chunk.x_groq is not None:
            if chunk.x_groq.error:
                raise stream_error(chunk.x_groq.error)
            if chunk.x_groq.usage is not None:
                self._usage = usage_of(chunk.x_groq.usage, self._usage)
        elif chunk.choices is None:
            self._unknown(data)

    def _choices(self, choices: list[_Choice]) -> Delta | None:
        """Several entries: those with one number are one reply; one of another number may hold its tool calls."""
        first = choices[0].index
        has_calls = False
        for choice in choices:
            said = choice.message or choice.delta or _Said()
            only_calls = bool(said.tool_calls) and not said.content and not has_calls
            if choice.index == first or only_calls:
                choice.index = first
                if delta := self._choice(choice):
                    self._more.append(delta)
            has_calls = has_calls or bool(said.tool_calls)
        return None

    def _choice(self, choice: _Choice) -> Delta | None:
        if not choice.index:
            self._numbers_from_zero = True
        elif self._numbers_from_zero:
            return None
        if choice.error:
            raise stream_error(choice.error)
        word = choice.finish_reason
        if word and not finish_words.says_nothing(word):
            self._reason_word = word
        if choice.usage is not None:
            self._usage = usage_of(choice.usage, self._usage)
        if choice.delta is not None and (delta := self._delta(choice.delta)) is not None:
            self._has_deltas = True
            return delta
        if self._has_deltas:
            return None  # a message after deltas repeats them
        said = choice.message or (_Said(content=choice.text) if choice.text else None)
        self._has_messages = self._has_messages or choice.message is not None
        return self._delta(said) if said is not None else None

    def _at_end(self) -> None:
        if self._reason_word:
            self._finish(finish_words.finish_reason(self._reason_word), self._reason_word, self._usage)
        elif self._has_messages and self._kind == "chat.completion":
            self._end_without_reason(self._usage)
        if self._final is not None and self._details:
            self._kept = self._details.data_json()

    def _at_mark(self) -> None:
        self._at_end()
        if self._final is None:
            self._end_without_reason(self._usage)

    def _delta(self, said: _Said) -> Delta | None:
        content, calls = said.content, said.tool_calls
        if content is None or content.__class__ is str:
            said.content = said.tool_calls = None
            if said == _SILENT:  # nearly always text or calls and nothing else, which one comparison finds out
                if calls:
                    return self._with_calls(content or "", calls)
                return Delta(content) if content else None
            text, thinking, refusal = content or "", "", ""
        else:
            text, thinking, refusal = read_content(content)
        # Servers that send several fields of thinking repeat the one in the others.
        if field := said.reasoning_content or said.reasoning or said.thinking:
            thinking += field if isinstance(field, str) else words(field)
            self._thinks_in_field = True
        if said.refusal:
            refusal += said.refusal
        pieces = [piece for call in calls if (piece := self._piece(call))] if calls else []
        if said.function_call is not None and (piece := self._legacy_piece(said.function_call)):
            pieces.append(piece)
        self._refused = self._refused or bool(refusal)
        if said.reasoning_details:
            thinking = self._take_details(said.reasoning_details, thinking)
        if said.annotations or said.citations or said.context or content.__class__ is list:
            self._list_citations(said)
        if said.images or said.image or content.__class__ is list:
            self._show([said.images, said.image, parts_with_images(content)])
        if not (text or thinking or refusal or pieces):
            return None
        wanted = reasoning.WANTED_BACK if said.reasoning_content and self._details is None else None
        return Delta(text, thinking, refusal=refusal, tool_calls=pieces or None, provider_data=wanted)

    def _with_calls(self, text: str, calls: list[_ToolCall]) -> Delta | None:
        pieces = [piece for call in calls if (piece := self._piece(call))]
        return Delta(text, tool_calls=pieces or None) if text or pieces else None

    def _list_citations(self, said: _Said) -> None:
        context = said.context.get("citations") if isinstance(said.context, dict) else None
        if cited := self._cite([said.annotations, said.citations, context, references_in(said.content)]):
            self._more.append(cited)

    def _take_details(self, details: Any, thinking: str) -> str:
        self._details = self._details or reasoning.ReasoningDetails()
        self._details.add(details)
        return thinking if self._thinks_in_field else thinking + words(details)

    def _piece(self, call: _ToolCall) -> ToolCallDelta | None:
        function = call.function or _Function(call.name, call.arguments)
        name, arguments = function.name or "", function.arguments
        text = arguments if arguments.__class__ is str else arguments_text(arguments)
        key = call.index
        if key.__class__ is int and text and not (name or call.id or call.extra_content):
            piece = self._calls.next_arguments(key, text)
            if piece is not None:
                self._last_call = key
                return piece
        if key.__class__ is not int or not (name or self._calls.has_begun(key)):
            key = self._key(call, name, text)
        self._last_call = key
        piece = self._calls.piece(key, id=call.id or "", name=name, arguments=text)
        if piece is not None and call.extra_content:
            piece.provider_data = reasoning.extra_content_data(call.extra_content)
        elif piece is not None and piece.id and self._marks_calls:
            piece.provider_data = "{}"
        return piece

    def _legacy_piece(self, function: _Function) -> ToolCallDelta | None:
        text = arguments_text(function.arguments)
        return self._calls.piece("function_call", name=function.name or "", arguments=text)

    def _key(self, call: _ToolCall, name: str, arguments: str) -> Any:
        """The key of a piece: its index, or where it has none its id, or neither: then a name begins a call.

        Arguments alone under a key that is not known continue the last call, if that is open.
        """
        index, last = call.index, self._last_call
        if index.__class__ is not int:
            index = index if isinstance(index, str | float) and index != "" else None
            index = int(index) if isinstance(index, str) and index.isdecimal() and len(index) < 10 else index
        key = call.id or None if index is None else index
        if name and key is None:
            is_open = last is not None and self._calls.has_arguments(last) and self._calls.is_open(last)
            return last if is_open else ("unnumbered", len(self._calls))
        if name or last is None or (key is not None and (not arguments or self._calls.has_begun(key))):
            return key
        return last if key is None or self._calls.is_open(last) else key
