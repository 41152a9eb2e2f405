"""Reads the replies of Anthropic's Messages, as Anthropic and servers that resemble it send them.

The reply is a stream of named events; each repeats its name as `type` in its JSON. Content comes in blocks, numbered
from 0 over all kinds; a tool call is a block, but its number among the calls is another. `message_delta` says why the
model stopped and holds the final counts, which replace those of `message_start`; `message_stop` is the end. A server
that ignores `stream` answers with the message itself, whose blocks are whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta, Usage
from headwater_server.providers.wires import finish_words
from headwater_server.providers.wires.content import words
from headwater_server.providers.wires.decoder import Count, EventDecoder, event_type, token_count, total
from headwater_server.providers.wires.errors import stream_error
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.tool_calls import arguments_text


class _Block(msgspec.Struct, gc=False):
    """A content block, the start of one, or a delta of one."""

    type: str | None = None
    id: str | None = None
    name: str | None = None
    text: Any = None
    thinking: Any = None
    signature: str | None = None
    partial_json: Any = None
    input: Any = None
    data: Any = None  # text in redacted thinking
    citation: Any = None
    citations: Any = None
    content: Any = None  # the results of a search
    source: Any = None  # of a picture, which some proxies send


class _BlockEvent(msgspec.Struct, gc=False):
    content_block: _Block | None = None
    delta: _Block | None = None
    index: Count = 0


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    output_tokens_details: _OutputDetails | None = None


class _StopDetails(msgspec.Struct, gc=False):
    category: str | None = None
    explanation: str | None = None


class _Stop(msgspec.Struct, gc=False):
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class _Message(_Stop, gc=False):
    content: list[_Block] | str | None = None
    usage: _Usage | None = None


class _MessageStart(msgspec.Struct, gc=False):
    message: _Message | None = None


class _MessageDelta(msgspec.Struct, gc=False):
    delta: _Stop | None = None
    usage: _Usage | None = None


_MESSAGE = JSONShape(_Message, "a message")
_MESSAGE_START = JSONShape(_MessageStart, "the start of a message")
_BLOCK = JSONShape(_BlockEvent, "an event of a content block")
_MESSAGE_DELTA = JSONShape(_MessageDelta, "the end of a message")

_START, _DELTA = "content_block_start", "content_block_delta"


class MessagesDecoder(EventDecoder):
    """Decodes one answer."""

    def __init__(self, content_type: str = "") -> None:
        super().__init__(content_type)
        self._usage: Usage | None = None
        self._stop = _Stop()
        self._tool_blocks: set[int | float | None] = set()
        self._whole_blocks: list[_Block] = []

    def _object(self, event: ServerSentEvent) -> Delta | None:
        reader = _READERS.get(event.event)
        if reader is not None:
            return reader(self, event.data)
        name = event_type(event, _READERS)
        if (reader := _READERS.get(name)) is not None:
            return reader(self, event.data)
        if not name:
            if _MESSAGE.decode(event.data).content is None:
                self._unknown(event.data)
            else:
                self._message(event.data)
        return None

    def _odd(self, message: ServerSentEvent) -> Delta | None:
        return None if message.event and message.event not in _READERS else super()._odd(message)

    def _message_start(self, data: bytes) -> None:
        self._take_message(_MESSAGE_START.decode(data).message or _Message())

    def _message(self, data: bytes) -> None:
        """The whole message, in place of a stream."""
        self._take_message(_MESSAGE.decode(data))
        self._message_stop(data)

    def _take_message(self, message: _Message) -> None:
        content = message.content or []
        self._count(message.usage)
        self._take_stop(message)
        self._whole_blocks = [_Block("text", text=content)] if isinstance(content, str) else content

    def _block_start(self, data: bytes) -> Delta | None:
        event = _BLOCK.decode(data)
        return None if event.content_block is None else self._begin(event.content_block, event.index)

    def _begin(self, block: _Block, index: Count) -> Delta | None:
        number = int(index or 0)
        if block.type == "tool_use":
            self._tool_blocks.add(index)
            self._calls.begin(index)
            piece = self._calls.piece(index, id=block.id or "", name=block.name or "")
            self._calls.keep(index, arguments_text(block.input))
            return Delta(tool_calls=[piece], event_type=_START, block=number) if piece else None
        if block.type == "redacted_thinking" and isinstance(block.data, str) and block.data:
            return Delta(redacted_thinking=block.data, event_type=_START, block=number)
        if block.type in ("text", "thinking"):
            if cited := self._cite(block.citations, _START, number):
                self._more.append(cited)
            return _text_delta(block, _START, number)
        if block.type == "image":
            self._show({"source": block.source}, _START, number)
        elif block.type is not None and block.type.startswith("web_"):
            return self._cite(block.content, _START, number)
        return None

    def _block_delta(self, data: bytes) -> Delta | None:
        event = _BLOCK.decode(data)
        delta = event.delta
        if delta is None:
            return None
        index = event.index
        if delta.partial_json is None:
            number = index if index.__class__ is int else int(index or 0)
            said = _text_delta(delta, _DELTA, number)
            if said is None:
                return self._cite(delta.citation, _DELTA, number)
            # A text that was joined of parts may stand elsewhere in the event in one piece.
            if said.content and said.content is delta.text and not (said.thinking or said.thinking_signature):
                self._alone = said
            return said
        # Tools that Anthropic runs itself stream their input too; they are no calls for the caller.
        if index not in self._tool_blocks:
            return None
        piece = self._calls.piece(index, arguments=arguments_text(delta.partial_json))
        return Delta(tool_calls=[piece], event_type=_DELTA, block=int(index or 0)) if piece else None

    def _message_delta(self, data: bytes) -> None:
        event = _MESSAGE_DELTA.decode(data)
        self._take_stop(event.delta)
        self._count(event.usage)

    def _take_stop(self, stop: _Stop | None) -> None:
        if stop is not None and stop.stop_reason and not finish_words.says_nothing(stop.stop_reason):
            self._stop = stop
            self._reason_word = stop.stop_reason

    def _message_stop(self, _data: bytes) -> None:
        self._say_whole_blocks()
        if self._usage is not None:
            usage = self._usage
            cached, written = usage.cached_input_tokens, usage.cache_write_tokens
            usage.total_tokens = total(usage.input_tokens, cached, written, usage.output_tokens)
        if not self._reason_word:
            self._said = self._said or bool(self._more)
            self._end_without_reason(self._usage)
            self._ended = True
            return
        stop = self._stop
        details = {
            name: word for name, word in msgspec.structs.asdict(stop.stop_details or _StopDetails()).items() if word
        }
        self._finish(
            finish_words.finish_reason(self._reason_word),
            self._reason_word,
            self._usage,
            stop_sequence=stop.stop_sequence,
            event_type="message_stop",
            metadata={"stop_details": details} if details else None,
        )

    def _at_end(self) -> None:
        if self._reason_word:
            self._message_stop(b"")

    def _at_mark(self) -> None:
        self._message_stop(b"")

    def _say_whole_blocks(self) -> None:
        """The blocks that came whole with the message, where none came in pieces."""
        if not self._said:
            for number, block in enumerate(self._whole_blocks):
                if (delta := self._begin(block, number)) is not None:
                    self._more.append(delta)

    def _error(self, data: bytes) -> None:
        raise stream_error(data)

    def _count(self, reported: _Usage | None) -> None:
        """Takes over the counts that are reported; the others keep what was reported before."""
        if reported is None:
            return
        usage = self._usage = self._usage or Usage()
        details = reported.output_tokens_details or _OutputDetails()
        for name, count in (
            ("input_tokens", reported.input_tokens),
            ("output_tokens", reported.output_tokens),
            ("cached_input_tokens", reported.cache_read_input_tokens),
            ("cache_write_tokens", reported.cache_creation_input_tokens),
            ("reasoning_tokens", details.thinking_tokens),
        ):
            if (tokens := token_count(count)) is not None:
                setattr(usage, name, tokens)


def _text_delta(block: _Block, event_type: str, index: int) -> Delta | None:
    text, thinking, signature = block.text or "", block.thinking or "", block.signature or ""
    if text.__class__ is not str:
        text = words(text)
    if thinking.__class__ is not str:
        thinking = words(thinking)
    if not (text or thinking or signature):
        return None
    return Delta(content=text, thinking=thinking, thinking_signature=signature, event_type=event_type, block=index)


_READERS: dict[str, Callable[[MessagesDecoder, bytes], Delta | None]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    "content_block_delta": MessagesDecoder._block_delta,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
    "message": MessagesDecoder._message,
    "error": MessagesDecoder._error,
}
