"""Reads the replies of OpenAI's Responses, as OpenAI, llama.cpp and gateways send them.

The reply is a stream of named events; each repeats its name as `type` in its JSON. An item of the output (a message,
a reasoning, a function call) is begun by `output_item.added` and known by `output_index`, or where a server sends none
by `item_id`. The last event (`response.completed` or `.incomplete`) holds status and usage; `.failed` and `error` are
errors. Events of other types are skipped unread.

Text and arguments come in deltas, and once more with each `.done` and with the whole response at the end. Gateways
leave some of these out. So each is taken from the first event that has it (see `_Spoken`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from headwater_server.domain.chunks import Delta, FinishReason, ToolCallDelta
from headwater_server.domain.json_text import to_json
from headwater_server.domain.limits import MAX_JSON
from headwater_server.providers.openai.responses_events import (
    DELTA,
    END,
    ITEM,
    PART,
    PIECE,
    REASONING,
    SOURCE,
    WHOLE,
    Item,
    Piece,
    Response,
    usage_of,
)
from headwater_server.providers.wires import finish_words
from headwater_server.providers.wires.beside_text.citations import references_in
from headwater_server.providers.wires.beside_text.images import parts_with_images
from headwater_server.providers.wires.content import words
from headwater_server.providers.wires.decoder import Count, EventDecoder, event_type
from headwater_server.providers.wires.errors import stream_error
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.surrogates import without_surrogates
from headwater_server.providers.wires.tool_calls import arguments_text

_REASONING_FIELDS = ("type", "id", "summary", "content", "encrypted_content")
"""The fields of an item of reasoning that OpenAI takes back."""

_TEXT, _REFUSAL, _THINKING = "text", "refusal", "thinking"
_KINDS = {
    "response.output_text": _TEXT,
    "response.refusal": _REFUSAL,
    "response.reasoning_summary_text": _THINKING,
    "response.reasoning_text": _THINKING,
}
_DELTA_KINDS = {f"{name}.delta": kind for name, kind in _KINDS.items()}
_PART_KINDS = {
    "output_text": _TEXT,
    "text": _TEXT,
    "refusal": _REFUSAL,
    "summary_text": _THINKING,
    "reasoning_text": _THINKING,
}


_WORDS = ("text", "refusal", "output_text")


class _Spoken:
    """The kinds of words that have come: in this part of an item, in this item, in the reply."""

    def __init__(self) -> None:
        self.part: set[str] = set()
        self.item: set[str] = set()
        self.reply: set[str] = set()
        self.place: tuple[object, ...] = ()

    def note(self, kind: str) -> None:
        self.part.add(kind)
        self.item.add(kind)
        self.reply.add(kind)


class ResponsesDecoder(EventDecoder):
    """Decodes one answer."""

    def __init__(self, content_type: str = "") -> None:
        super().__init__(content_type)
        self._place: tuple[object, ...] = ()
        self._block = -1
        self._spoken = _Spoken()
        self._call_ids: set[str] = set()
        self._item_keys: dict[str, object] = {}

    def _object(self, event: ServerSentEvent) -> Delta | None:
        name = event.event
        reader = _READERS.get(name)
        if reader is not None:
            return reader(self, name, event.data)
        name = event_type(event, _READERS)
        if (reader := _READERS.get(name)) is not None:
            return reader(self, name, event.data)
        if not name:
            self._whole(event.data)
        return None

    def _odd(self, message: ServerSentEvent) -> Delta | None:
        return None if message.event and message.event not in _READERS else super()._odd(message)

    def _delta(self, name: str, data: bytes) -> Delta | None:
        event = DELTA.decode(data)
        text = event.delta
        if text.__class__ is not str:
            text = words(text)
        if not text:
            return None
        kind = _DELTA_KINDS[name]
        place = (name, event.item_id or event.output_index, event.content_index, event.summary_index)
        if place != self._place:
            self._spoken.note(kind)
            self._spoken.place = (event.output_index, *place[2:])
        elif kind == _TEXT:
            return Delta(text, event_type=name, block=self._block)
        return self._say(kind, text, name, place)

    def _done(self, name: str, data: bytes) -> Delta | None:
        """The whole of a text, which counts where no delta of it came before."""
        event = PIECE.decode(data)
        kind, _, _ = name.rpartition(".")
        text = words(event.text) or words(event.refusal)
        spoken, place = self._spoken, _place(event)
        is_other = None not in place[:2] and None not in spoken.place[:2] and place != spoken.place
        if not text or (_KINDS[kind] in spoken.part and not is_other):
            return None
        spoken.note(_KINDS[kind])
        spoken.place = place
        return self._say(_KINDS[kind], text, name, (name, *place))

    def _part_added(self, _name: str, _data: bytes) -> None:
        self._spoken.part.clear()
        self._place = ()

    def _part_done(self, name: str, data: bytes) -> Delta | None:
        """The whole of a part, which counts where nothing of it came before."""
        part = PART.decode(data).part
        kind = _PART_KINDS.get(str(part.get("type")), "") if isinstance(part, dict) else ""
        text = words(part, _WORDS)
        said = None
        if kind and text and kind not in self._spoken.part:
            self._spoken.note(kind)
            said = self._say(kind, text, name, (name, data))
        if isinstance(part, dict):
            self._cite_again(part.get("annotations"), name)
        return said

    def _source(self, name: str, data: bytes) -> Delta | None:
        event = SOURCE.decode(data)
        return self._cite([event.annotation, event.results, event.search_results], name, max(self._block, 0))

    def _take_beside(self, item: Item, name: str) -> None:
        """The citations and the pictures of a whole item."""
        self._cite_again(_item_sources(item), name)
        if item.type == "image_generation_call":
            self._show({"result": item.result}, name)
        elif item.type == "message":
            self._show(parts_with_images(item.content), name)

    def _cite_again(self, value: Any, name: str) -> None:
        """Citations of a whole, which have come before where the server sent them as they arose."""
        if value and (cited := self._cite(value, name, max(self._block, 0), repeated=True)):
            self._more.append(cited)

    def _say(self, kind: str, text: str, name: str, place: tuple[object, ...]) -> Delta:
        if place != self._place:  # only what follows at once may be merged, so that one place is all to remember
            self._place, self._block = place, self._block + 1
        if kind == _TEXT:
            return Delta(content=text, event_type=name, block=self._block)
        if kind == _REFUSAL:
            self._refused = True
            return Delta(refusal=text, event_type=name, block=self._block)
        return Delta(thinking=text, event_type=name, block=self._block)

    def _arguments(self, name: str, data: bytes) -> Delta | None:
        event = PIECE.decode(data)
        return _call(self._calls.piece(self._key(event), arguments=arguments_text(event.delta)), name)

    def _arguments_done(self, name: str, data: bytes) -> Delta | None:
        event = PIECE.decode(data)
        key = self._key(event)
        arguments = "" if self._calls.has_arguments(key) else arguments_text(event.arguments)
        return _call(self._calls.piece(key, name=event.name or "", arguments=arguments), name)

    def _key(self, event: Piece) -> object:
        if event.output_index is not None:
            return event.output_index
        return self._item_keys.get(event.item_id or "", event.item_id)

    def _item_event(self, name: str, data: bytes) -> Delta | None:
        event = ITEM.decode(data)
        item = event.item or Item()
        is_done = name == "response.output_item.done"
        said = self._take_item(item, event.output_index, name, is_done=is_done)
        if is_done and item.type == "reasoning":
            said += _reasoning(data)
        if not is_done or item.type != "function_call":
            self._spoken.part.clear()
            self._spoken.item.clear()
            self._place = ()
        self._more.extend(said[1:])
        if is_done:
            self._take_beside(item, name)
        return said[0] if said else None

    def _take_item(self, item: Item, index: Count, name: str, *, is_done: bool) -> list[Delta]:
        if item.type == "function_call":
            piece = _call(self._function_call(item, index, is_done=is_done), name)
            return [piece] if piece else []
        if not is_done or self._spoken.item:
            return []
        return list(self._words_of(item, name))

    def _words_of(self, item: Item, name: str) -> Iterator[Delta]:
        """The words of an item that came whole."""
        for number, (kind, text) in enumerate(_item_words(item)):
            self._spoken.note(kind)
            yield self._say(kind, text, name, (name, item.id, number))

    def _function_call(self, item: Item, index: Count, *, is_done: bool) -> ToolCallDelta | None:
        key: object = index
        if index is None or self._calls.has_begun(item.id):
            key = item.id or item.call_id
        if item.id:
            self._item_keys[item.id] = key
        if item.call_id:
            self._call_ids.add(item.call_id)
        arguments = arguments_text(item.arguments)
        # The whole arguments come again when the item is done; they count where no delta came before.
        whole = arguments if is_done and not self._calls.has_arguments(key) else ""
        piece = self._calls.piece(key, id=item.call_id or "", name=item.name or "", arguments=whole)
        self._calls.keep(key, arguments)
        return piece

    def _last_event(self, name: str, data: bytes) -> None:
        response = END.decode(data).response or WHOLE.decode(data)
        if name == "response.failed":
            raise stream_error(response.error or data)
        self._finish_response(response, name)

    def _whole(self, data: bytes) -> None:
        """The whole response, in place of a stream; or an object that is none."""
        response = WHOLE.decode(data)
        if response.object != "response" and response.output is None and response.output_text is None:
            self._unknown(data)
            return
        if response.error or response.status == "failed":
            raise stream_error(response.error or data)
        self._finish_response(response, "response.completed")

    def _finish_response(self, response: Response, name: str) -> None:
        spoken = frozenset(self._spoken.reply)
        for number, item in enumerate(response.output or ()):
            if item.type == "function_call" and not self._is_known(item, number):
                piece = _call(self._function_call(item, None, is_done=True), name)
                self._more.extend([piece] if piece else [])
            elif spoken.isdisjoint(kind for kind, _ in _item_words(item)):
                self._more.extend(self._words_of(item, name))
            self._take_beside(item, name)
        self._cite_again(response.citations, name)
        if not self._spoken.reply and (text := words(response.output_text)):
            self._more.append(self._say(_TEXT, text, name, (name,)))
        status = response.status or name.removeprefix("response.")
        incomplete = response.incomplete_details.reason if response.incomplete_details else None
        reason = FinishReason.STOP
        if name == "response.incomplete" or status == "incomplete" or incomplete:
            reason = finish_words.finish_reason(incomplete or "")
        usage = usage_of(response.usage) if response.usage else None
        self._finish(reason, incomplete or status, usage, event_type=name)

    def _is_known(self, item: Item, number: int) -> bool:
        return item.call_id in self._call_ids or self._calls.has_begun(number) or self._calls.has_begun(item.id)

    def _at_mark(self) -> None:
        self._end_without_reason(None)

    def _error(self, _name: str, data: bytes) -> None:
        raise stream_error(data)


_READERS: dict[str, Callable[[ResponsesDecoder, str, bytes], Delta | None]] = {
    **{f"{kind}.delta": ResponsesDecoder._delta for kind in _KINDS},
    **{f"{kind}.done": ResponsesDecoder._done for kind in _KINDS},
    "response.content_part.added": ResponsesDecoder._part_added,
    "response.reasoning_summary_part.added": ResponsesDecoder._part_added,
    "response.content_part.done": ResponsesDecoder._part_done,
    "response.reasoning_summary_part.done": ResponsesDecoder._part_done,
    "response.output_text.annotation.added": ResponsesDecoder._source,
    "response.output_text_annotation.added": ResponsesDecoder._source,
    "response.reasoning.search_results": ResponsesDecoder._source,
    "response.function_call_arguments.delta": ResponsesDecoder._arguments,
    "response.function_call_arguments.done": ResponsesDecoder._arguments_done,
    "response.output_item.added": ResponsesDecoder._item_event,
    "response.output_item.done": ResponsesDecoder._item_event,
    "response.completed": ResponsesDecoder._last_event,
    "response.done": ResponsesDecoder._last_event,
    "response.incomplete": ResponsesDecoder._last_event,
    "response.failed": ResponsesDecoder._last_event,
    "response.cancelled": ResponsesDecoder._last_event,
    "error": ResponsesDecoder._error,
}


def _place(event: Piece) -> tuple[object, ...]:
    return event.output_index, event.content_index, event.summary_index


def _item_words(item: Item) -> Iterator[tuple[str, str]]:
    """The words of a message or a reasoning, each with its kind."""
    if item.type == "message" or item.type is None:
        parts = item.content if isinstance(item.content, list) else [item.content]
        for part in parts:
            kind = _PART_KINDS.get(str(part.get("type")), "") if isinstance(part, dict) else _TEXT
            if kind and (text := words(part, _WORDS)):
                yield kind, text
    elif item.type == "reasoning" and (text := words(item.summary) or words(item.content)):
        yield _THINKING, text


def _item_sources(item: Item) -> list[Any]:
    """The citations of a message, or the sources that a search found."""
    if item.type == "message" or item.type is None:
        return references_in(item.content)
    sources = item.action.get("sources") if isinstance(item.action, dict) else None
    return [item.results, sources] if "search" in item.type else []


def _reasoning(data: bytes) -> list[Delta]:
    """The whole item of reasoning to hand back; nothing where the server keeps it, and the item says nothing here."""
    item = REASONING.decode(data).item
    if not item.get("encrypted_content"):
        return []
    text = to_json(without_surrogates({key: item[key] for key in _REASONING_FIELDS if key in item}))
    return [Delta(provider_data=text)] if len(text) <= MAX_JSON else []


def _call(piece: ToolCallDelta | None, event_type: str) -> Delta | None:
    return Delta(tool_calls=[piece], event_type=event_type) if piece else None
