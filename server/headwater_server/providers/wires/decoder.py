"""The common part of the decoders of all wires.

Theory of operation. A framing cuts bytes into messages. A wire reads each message into at most one delta, leaves
further ones in `_more`, and says with `_finish` when a message ends the reply. Where a message says a text and changes
nothing else, it leaves the delta in `_alone` too: the next event of the same pattern is then not parsed (`pattern`).
Round that, this module skips heartbeats, knows the end mark `[DONE]`, joins surrogate halves once a message has escapes
of some, completes tool calls without arguments, yields the one Finish last and ignores the rest.

A reply is whole once the provider has said why it stopped (`_reason_word`), and every fault after that costs nothing:
garbage, an error, a broken connection. A word that stands for a cut (see `finish_words`) is kept until the end, in case
an error with better words follows it, and then raised. A reply whose end mark came without any reason has ended when it
said something.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable
from typing import Any

import msgspec

from headwater_server.domain.chunks import Beside, Delta, Finish, FinishReason, ProviderEvent, ToolCallDelta, Usage
from headwater_server.domain.citations import Citation
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import Image
from headwater_server.providers.wires import errors, finish_words
from headwater_server.providers.wires.beside_text.citations import Citations, read_citations
from headwater_server.providers.wires.beside_text.images import Images
from headwater_server.providers.wires.errors import stream_error
from headwater_server.providers.wires.events.framing import ERROR_EVENT, AnyFraming
from headwater_server.providers.wires.events.framing import not_a_stream as not_a_stream
from headwater_server.providers.wires.events.pattern import TextPattern
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import TOO_MANY, JSONShape, has_too_many_values, read_json
from headwater_server.providers.wires.surrogates import SurrogateJoiner, has_halves, without_surrogates
from headwater_server.providers.wires.tool_calls import ToolCalls

Count = int | float | None
"""A count as servers write it: some write 12.0."""

MAX_COUNT = 2**31 - 1
"""A greater count makes no sense."""
_MAX_NUMBER = 2**63 - 1
MOST_MISSES = 32
"""So often an event of a reply may have another pattern than the one before it; then patterns are not looked for."""


class EventDecoder(ABC):
    """A decoder for one answer, with a body of any framing (see `framing`); see `base.Decoder`.

    Args:
        content_type: of the answer, for the error of one that is no stream.
    """

    def __init__(self, content_type: str = "") -> None:
        self._framing = AnyFraming(content_type)
        # Most replies have neither halves of surrogates nor sources nor pictures.
        self._joiner: SurrogateJoiner | None = None
        self._citations: Citations | None = None
        self._images: Images | None = None
        self._calls = ToolCalls()
        self._more: list[Delta] = []
        self._alone: Delta | None = None
        self._pattern: TextPattern | None = None
        self._misses = 0
        self._event_type, self._block = "", 0
        self._said = False
        self._refused = False
        self._reason_word = ""
        self._final: Finish | None = None
        self._kept: str | None = None
        self._ended = False

    @property
    def is_whole(self) -> bool:
        """See Decoder."""
        return self._ended or (bool(self._reason_word) and finish_words.cut_by(self._reason_word) is None)

    def feed(self, data: bytes, events: list[ProviderEvent], *, ends: bool = False) -> None:
        """Adds the events that these bytes complete, or that the end of the body does."""
        if self._ended:
            return
        if self._pattern is not None:
            if text := self._pattern.text_in(data):
                events.append(Delta(text, event_type=self._event_type, block=self._block))
                return
            self._pattern = None
            self._misses += 1
        self._alone = None
        try:
            for message in self._framing.close() if ends else self._framing.feed(data):
                try:
                    delta = self._read(message)
                except (HeadwaterError, RecursionError):
                    if not self.is_whole:
                        raise
                    self._end(events)
                    return
                if delta is not None:
                    if not self._said:
                        self._said = _says(delta)
                    if self._joiner is None:
                        events.append(delta)
                    else:
                        events.extend(self._joiner.join(delta))
                if self._more:
                    self._add_more(events)
                if self._final is not None or self._ended:
                    self._add_last(events)
                    return
        except RecursionError as error:
            raise _too_deep() from error
        if self._alone is not None and self._misses < MOST_MISSES and self._framing.is_lone:
            self._pattern = TextPattern.of(data, self._alone.content)
            self._event_type, self._block = self._alone.event_type, self._alone.block

    def close(self, events: list[ProviderEvent]) -> None:
        """Adds the events that the proper end of the body completes."""
        self.feed(b"", events, ends=True)
        if not self._ended:
            try:
                self._end(events)
            except RecursionError as error:
                raise _too_deep() from error

    @abstractmethod
    def _object(self, event: ServerSentEvent) -> Delta | None:
        """Reads an event whose data is a JSON object. Raises HeadwaterError."""

    def _at_mark(self) -> None:
        """The end mark `[DONE]` has come. A wire calls `_finish` if that ends its reply."""
        self._at_end()

    def _cite(self, value: Any, event_type: str = "", block: int = 0, *, repeated: bool = False) -> Delta | None:
        """The new ones of the citations in a value; None for none."""
        new = self._new_citations(read_citations(value, block), repeated=repeated)
        return Delta(event_type=event_type, block=block, beside=Beside(citations=new)) if new else None

    def _show(self, value: Any, event_type: str = "", block: int = 0) -> None:
        """Leaves the new ones of the pictures in a value in `_more`, each for itself."""
        for image in self._new_images(value):
            self._more.append(Delta(event_type=event_type, block=block, beside=Beside(images=[image])))

    def _new_citations(self, citations: Iterable[Citation], *, repeated: bool = False) -> list[Citation] | None:
        if self._citations is None:
            self._citations = Citations()
        return self._citations.add(citations, repeated=repeated)

    def _new_images(self, value: Any) -> list[Image]:
        if self._images is None:
            self._images = Images()
        return self._images.new(value)

    def _at_end(self) -> None:  # noqa: B027  for some wires it is never a proper end
        """The body ended without an end by the protocol. A wire that takes this for a proper end calls `_finish`.

        Data that the provider wants back with the whole reply it leaves in `_kept`.
        """

    def _finish(
        self,
        reason: FinishReason,
        provider_reason: str,
        usage: Usage | None,
        *,
        stop_sequence: str | None = None,
        event_type: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Ends the reply. A stop with tool calls is TOOL_CALLS, one with words of a refusal REFUSAL.

        An unknown word for the end of a reply with complete calls is TOOL_CALLS too. Raises HeadwaterError for a word
        that stands for a cut.
        """
        if (cut := finish_words.cut_by(provider_reason)) is not None:
            raise cut
        is_stop = reason is FinishReason.STOP or (reason is FinishReason.OTHER and self._calls.are_complete())
        if is_stop and self._calls.begun:
            reason = FinishReason.TOOL_CALLS
        elif reason is FinishReason.STOP and self._refused:
            reason = FinishReason.REFUSAL
        finish = Finish(reason, provider_reason, stop_sequence, usage, event_type, metadata or {})
        if self._joiner is not None:
            finish.provider_reason = without_surrogates(provider_reason)
            finish.stop_sequence = without_surrogates(stop_sequence)
            finish.event_type = without_surrogates(event_type)
            finish.metadata = without_surrogates(finish.metadata)
        self._final = finish

    def _add_more(self, events: list[ProviderEvent]) -> None:
        for delta in self._more:
            self._said = self._said or _says(delta)
            events.extend((delta,) if self._joiner is None else self._joiner.join(delta))
        self._more.clear()

    def _end(self, events: list[ProviderEvent]) -> None:
        self._at_end()
        if self._more:
            self._add_more(events)
        self._add_last(events)

    def _add_last(self, events: list[ProviderEvent]) -> None:
        self._ended = True
        if self._joiner is not None:
            events.extend(self._joiner.flush())
        if self._final is None:
            return
        if self._kept is not None:
            events.append(Delta(provider_data=self._kept))
        if self._calls.begun and (last := self._last_arguments(self._final.reason)):
            events.append(Delta(tool_calls=last, event_type=self._final.event_type))
        if self._citations is not None:
            self._final.citations = self._citations.found
            if self._citations.dropped:
                self._final.metadata["dropped_citations"] = self._citations.dropped
        if self._images is not None and self._images.dropped:
            self._final.metadata["dropped_images"] = self._images.dropped
        events.append(self._final)

    def _last_arguments(self, reason: FinishReason) -> list[ToolCallDelta]:
        kept = self._calls.kept_arguments()
        return kept + self._calls.empty_arguments() if reason is FinishReason.TOOL_CALLS else kept

    def _read(self, message: ServerSentEvent) -> Delta | None:
        data = message.data
        if 0x5C in data and self._joiner is None and has_halves(data):
            self._joiner = SurrogateJoiner()
        if not data or data[0] != 0x7B or message.event == ERROR_EVENT:
            return self._error_event(data) if message.event == ERROR_EVENT else self._odd(message)
        try:
            return self._object(message)
        except HeadwaterError:
            values = _texts_in(data)
            if len(values) < 2:
                raise
        return self._several(message.event, values)

    def _error_event(self, data: bytes) -> Delta | None:
        """An event that is named an error: its data, of any kind, is the words of it."""
        raise stream_error(data)

    def _odd(self, message: ServerSentEvent) -> Delta | None:
        """Reads data that is no object: a heartbeat, the end mark, a list, or garbage."""
        data = message.data.strip(_PADDING)
        while data.startswith(b"data:"):  # a proxy framed the event again
            data = data[5:].lstrip(_PADDING)
        bare = data.strip(b"\"'")
        if bare[:6].upper() == _END_MARK:
            self._at_mark()
            self._ended = True
            return None
        if bare.startswith(b":") or bare.strip(b"[]{}.!").lower() in _HEARTBEATS or message.event in _HEARTBEAT_EVENTS:
            return None
        if data.startswith(b"{"):
            return self._read(ServerSentEvent(message.event, data))
        if data.startswith(b"["):
            return self._several(message.event, [data])
        return self._object(message)

    def _several(self, event: str, texts: list[bytes]) -> Delta | None:
        """Reads several objects that came as one message: lines without a blank one between them, or a list."""
        for text in texts:
            for item in _items(text):
                if self._final is None and not self._ended and (delta := self._object(ServerSentEvent(event, item))):
                    self._more.append(delta)
        self._alone = None  # the event says more than one of them
        return None

    def _unknown(self, data: bytes) -> None:
        """An object that holds no part of a reply: nothing, or an error in any shape, which is raised."""
        try:
            value = read_json(data)
        except (ValueError, RecursionError):
            return
        if isinstance(value, dict) and errors.is_error(value):
            raise stream_error(value)

    def _end_without_reason(self, usage: Usage | None) -> None:
        """Ends a reply whose end mark came without a reason, if it said something."""
        if self._said:
            self._finish(FinishReason.OTHER, "", usage)


def _says(delta: Delta) -> bool:
    """Whether it holds a part of the reply, and not only sources or tokens."""
    return delta.beside is None or bool(delta.beside.images) or delta.is_part()


def _too_deep() -> HeadwaterError:
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "The provider sent JSON that is nested too deeply")


_PADDING = b" \t\r\n\0\xef\xbb\xbf"
_GAP = re.compile(r"[\s,]*")
_END_MARK = b"[DONE]"
_HEARTBEATS = (b"", b"null", b"ping", b"pong", b"keepalive", b"keep-alive", b"keep_alive", b"heartbeat")
_HEARTBEAT_EVENTS = ("ping", "keepalive", "keep-alive", "heartbeat")


def _texts_in(data: bytes) -> list[bytes]:
    """The objects of data in which several stand one after the other, with or without line ends between them."""
    if has_too_many_values(data):
        return []
    text = data.decode("utf-8", "replace")
    decoder = json.JSONDecoder(strict=False)
    found: list[bytes] = []
    position = 0
    try:
        while position < len(text):
            _, end = decoder.raw_decode(text, position)
            found.append(text[position:end].encode("utf-8", "surrogatepass"))
            gap = _GAP.match(text, end)
            position = end if gap is None else gap.end()
    except (ValueError, RecursionError):
        return []
    return found


def _items(text: bytes) -> list[bytes]:
    """The text itself, or the objects of a list."""
    if not text.startswith(b"["):
        return [text]
    if has_too_many_values(text):
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"The provider sent a list that is too long: {TOO_MANY}")
    try:
        items = [bytes(item) for item in msgspec.json.decode(text, type=list[msgspec.Raw])]
        return [item for item in items if item.startswith(b"{")]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "The provider sent a list that is not JSON") from None


class _Typed(msgspec.Struct):
    type: str | None = None


_TYPED = JSONShape(_Typed, "an event with a type")


def event_type(event: ServerSentEvent, known: Container[str] = ()) -> str:
    """The type of an event whose JSON repeats it as `type`; proxies lose the line that names it, or call all `message`.

    Args:
        known: the names of events; for any other the JSON is asked.
    """
    name = event.event
    if name in known or (name and not known) or "." in name:
        return name
    return _TYPED.decode(event.data).type or name


def require_event_stream(content_type: str) -> None:
    """Raises HeadwaterError unless the answer is an event stream; one without a type is taken for one."""
    if content_type.partition(";")[0].strip().lower() not in ("text/event-stream", ""):
        raise not_a_stream(content_type)


def whole_number(value: Count, limit: int = _MAX_NUMBER) -> int | None:
    """A number from 0 to the limit; None where there is none, or none that makes sense."""
    return int(value) if value is not None and 0 <= value <= limit else None


def token_count(value: Count) -> int | None:
    """A count of tokens; None where there is none, or none that makes sense."""
    return int(value) if value is not None and 0 <= value <= MAX_COUNT else None


def total(*counts: int | None) -> int | None:
    """The sum of the counts that were reported; None unless the first (input) and the last (output) were."""
    if counts[0] is None or counts[-1] is None:
        return None
    return min(sum(filter(None, counts)), MAX_COUNT)
