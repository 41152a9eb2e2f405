"""Reads the replies of Ollama's chat, and of proxies that resemble it.

A reply is one JSON object a line; the last has `done` true. Tool calls come whole. An error after the first line is a
separate line. Proxies send the text of a chat as `response`, as Ollama's other endpoint does.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta, ToolCallDelta, Usage
from headwater_server.providers.wires import finish_words
from headwater_server.providers.wires.content import read_content, words
from headwater_server.providers.wires.decoder import Count, EventDecoder, token_count, total, whole_number
from headwater_server.providers.wires.errors import stream_error
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.surrogates import without_surrogates


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: Any = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None
    id: str | None = None


class _Said(msgspec.Struct, gc=False):
    content: Any = None
    thinking: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: list[_ToolCall] | None = None


class _Line(msgspec.Struct, gc=False):
    message: _Said | None = None
    response: Any = None
    thinking: Any = None
    done: bool = False
    done_reason: str | None = None
    error: Any = None
    prompt_eval_count: Count = None
    eval_count: Count = None
    total_duration: Count = None
    load_duration: Count = None
    prompt_eval_duration: Count = None
    eval_duration: Count = None


_LINE = JSONShape(_Line, "a line of Ollama's chat")
_TIMINGS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


class ChatDecoder(EventDecoder):
    """Decodes one answer."""

    def _object(self, event: ServerSentEvent) -> Delta | None:
        line = _LINE.decode(event.data)
        if line.error:
            raise stream_error(event.data)
        delta = self._delta(line.message) if line.message else None
        if delta is None and (line.response or line.thinking):
            delta = self._delta(_Said(content=line.response, thinking=line.thinking))
        if line.done:
            word = line.done_reason or ""
            timings = {name: value for name in _TIMINGS if (value := whole_number(getattr(line, name))) is not None}
            self._finish(finish_words.finish_reason(word), word, _usage(line), metadata=timings)
        elif line.message is None and line.response is None and delta is None:
            self._unknown(event.data)
        return delta

    def _at_mark(self) -> None:
        self._end_without_reason(None)

    def _delta(self, said: _Said) -> Delta | None:
        content = said.content
        text, thinking, _ = (content, "", "") if content.__class__ is str else read_content(content)
        if field := said.thinking or said.reasoning_content or said.reasoning:
            thinking += words(field)
        pieces = [self._call(call) for call in said.tool_calls or ()]
        if not (text or thinking or pieces):
            return None
        return Delta(content=text, thinking=thinking, tool_calls=pieces or None)

    def _call(self, call: _ToolCall) -> ToolCallDelta:
        # Each is a complete call: older servers number none, and no call comes in pieces.
        function = call.function or _Function()
        arguments = function.arguments
        if isinstance(arguments, str):
            text = arguments
        else:
            cleaned = without_surrogates(arguments or {})
            text = json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))
        return self._calls.whole(id=call.id or "", name=function.name, arguments=text)


def _usage(line: _Line) -> Usage | None:
    tokens_in, tokens_out = token_count(line.prompt_eval_count), token_count(line.eval_count)
    if tokens_in is None and tokens_out is None:
        return None
    return Usage(input_tokens=tokens_in, output_tokens=tokens_out, total_tokens=total(tokens_in, tokens_out))
