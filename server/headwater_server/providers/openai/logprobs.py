"""The decoders of OpenAI's wires for requests that ask for log probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta
from headwater_server.providers.openai.chat_decoder import ChatDecoder
from headwater_server.providers.openai.responses_decoder import ResponsesDecoder
from headwater_server.providers.wires.beside_text.logprobs import add_tokens
from headwater_server.providers.wires.decoder import Count, event_type
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import JSONShape


class _Choice(msgspec.Struct):
    index: Count = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


class ChatLogprobsDecoder(ChatDecoder):
    """Reads Chat Completions with the tokens of the choice that is read."""

    def _object(self, event: ServerSentEvent) -> Delta | None:
        first = len(self._more)
        said = super()._object(event)
        choices = [each for each in _CHUNK.decode(event.data).choices or () if each.logprobs is not None]
        if self._numbers_from_zero:
            choices = [each for each in choices if not each.index]
        add_tokens([each.logprobs for each in choices], said, self._more, first)
        return said


class _Part(msgspec.Struct):
    logprobs: Any = None


class _Item(msgspec.Struct):
    content: list[_Part] | None = None


class _Response(msgspec.Struct):
    output: list[_Item] | None = None


class _Event(msgspec.Struct):
    """Any event that may have tokens, or the whole response."""

    logprobs: Any = None
    part: _Part | None = None
    item: _Item | None = None
    response: _Response | None = None
    output: list[_Item] | None = None


_CHUNK = JSONShape(_Chunk, "a chat completion chunk")
_EVENT = JSONShape(_Event, "an event of a response")

_EVENTS = (
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
)
"""The events that may have tokens, in the order in which they come; after them the whole response."""


class ResponsesLogprobsDecoder(ResponsesDecoder):
    """Reads Responses with the tokens of its texts.

    They come with the deltas, and once more with each whole. So the first kind of event that has them counts.
    """

    def __init__(self, content_type: str = "") -> None:
        super().__init__(content_type)
        self._first = len(_EVENTS)

    def _object(self, event: ServerSentEvent) -> Delta | None:
        first = len(self._more)
        said = super()._object(event)
        name = event_type(event, _EVENTS)
        place = _EVENTS.index(name) if name in _EVENTS else len(_EVENTS)
        if place <= self._first and (found := list(_in_event(_EVENT.decode(event.data)))):
            self._first = place
            add_tokens(found, said, self._more, first)
        return said


def _in_event(event: _Event) -> Iterator[Any]:
    response = event.response or _Response(event.output)
    items = [event.item or _Item(), *(response.output or ())]
    parts = [_Part(event.logprobs), event.part or _Part(), *(part for item in items for part in item.content or ())]
    yield from (part.logprobs for part in parts if part.logprobs)
