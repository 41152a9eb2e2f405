"""The provider `scripted`: text, pauses and failures as the caller orders them, for tests and demonstrations.

No network and no chance: the same request always gets the same events. A token is a word with the space before it,
for usage, `max_tokens` and the pieces of a reply alike; a tool call counts as one. Thinking comes first, then text,
then tool calls, each piece one delta.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater_server.domain import chunks
from headwater_server.domain.chunks import Delta, Finish, FinishReason, ProviderEvent, ToolCallDelta
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason, invalid, invalid_request
from headwater_server.domain.messages import SAMPLING_PARAMS, ChatRequest, Image, Role, Text, ToolChoiceMode, ToolResult
from headwater_server.providers.base import ModelInfo, ProviderInfo

SUPPORTED_PARAMS = frozenset(SAMPLING_PARAMS)
"""All of them, since it stands in for a model; with no chance in it, only max_tokens and stop change the reply."""

MAX_CHARACTERS = 4 * 1024 * 1024
"""Most characters of text in one reply, repetitions included."""

STORY_DELAY_MS = 20.0

STORY = (
    "This is a scripted reply, not the words of a model. "
    "High above the valley a spring fills a small stone basin, drop by drop. Nobody carries the water away in buckets. "
    "As soon as the basin is full, it runs over, and a thread of water finds its own way down between the roots. "
    "Other threads join it. The brook does not wait until all the rain of the year has fallen; it brings what it has, "
    "the moment it has it. At the mill a boy holds his hand into the current. When he has felt enough, he takes the "
    "hand away, and the miller, who sees it, closes the gate at once. Not a drop runs for nobody. That is all a stream "
    "has to do: begin early, keep its order, and stop when it is asked to."
)

_WORD = re.compile(r"\s*\S+|\s+")

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Milliseconds = Annotated[float, Field(ge=0, le=3_600_000, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ScriptedToolCall(_Strict):
    """A call to make; arguments that are text are sent as they are, even when they are no JSON."""

    name: str = Field(min_length=1)
    arguments: dict[str, Any] | str = {}


class ScriptedUsage(_Strict):
    """Counts to report instead of the real ones."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    total_tokens: Count | None = None
    cached_input_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class ScriptedOptions(_Strict):
    """The fields of `provider_options`.

    Attributes:
        text: the reply. Default: the model's own.
        repeat: how often the text comes, with a space between.
        chunk_size: characters of a delta. Default: words.
        first_delay_ms: pause before the first delta, in milliseconds.
        delay_ms: pause between two deltas, in milliseconds. Default: the model's own.
        thinking: thinking that comes before the text.
        tool_calls: calls that come after the text; without `text` there is none.
        finish_reason: instead of the real one, in the words of the contract (`content_filter`).
        usage: counts to report instead of the real ones; with none in it, no usage is reported.
        fail_after: fails with `fail_reason` after so many deltas, or at the end when there are fewer.
        fail_reason: name of the error. Default: PROVIDER_UNAVAILABLE. Alone: it fails before the first delta.
        truncate_after: breaks off after so many deltas, as a connection that is cut.
        hang_after: sends nothing more after so many deltas.
        after_tools: the options of the next round, when the results of the tool calls have come; it may have an
            `after_tools` of its own. Default: the same options again.
    """

    text: str | None = None
    repeat: int = Field(default=1, ge=1, le=MAX_CHARACTERS)
    chunk_size: int | None = Field(default=None, ge=1)
    first_delay_ms: Milliseconds = 0.0
    delay_ms: Milliseconds | None = None
    thinking: str = ""
    tool_calls: list[ScriptedToolCall] = Field(default=[], max_length=1000)
    finish_reason: Annotated[FinishReason, Field(strict=False)] | None = None
    usage: ScriptedUsage | None = None
    fail_after: Count | None = None
    fail_reason: Annotated[Reason, Field(strict=False)] | None = None
    truncate_after: Count | None = None
    hang_after: Count | None = None
    after_tools: ScriptedOptions | None = None


@dataclass(frozen=True, slots=True)
class _Script:
    """All that will happen: the deltas, the pauses between them, and how it ends."""

    deltas: Iterator[Delta]
    finish: Finish
    options: ScriptedOptions
    delay_seconds: float
    failure: HeadwaterError = field(repr=False)

    async def play(self) -> AsyncGenerator[ProviderEvent]:
        """The events. Raises the failure where the options ask for one."""
        sent = 0
        for delta in self.deltas:
            if await self._breaks_off(sent):
                return
            # A pause of nothing still lets others run, and is where a cancellation arrives.
            await asyncio.sleep(self.delay_seconds if sent else self.options.first_delay_ms / 1000)
            yield delta
            sent += 1
        if not await self._breaks_off(sent, last=True):
            yield self.finish

    async def _breaks_off(self, sent: int, *, last: bool = False) -> bool:
        def due(after: int | None) -> bool:
            return after is not None and (sent >= after or last)

        options = self.options
        if due(options.fail_after) or (options.fail_reason and options.fail_after is None):
            raise self.failure
        if due(options.hang_after):
            await asyncio.get_running_loop().create_future()
        return due(options.truncate_after)


class ScriptedStream:
    """A reply under way; see ProviderStream."""

    request_id = ""

    def __init__(self, script: _Script) -> None:
        self._events = script.play()

    async def read(self) -> list[ProviderEvent]:
        """The next event, as if each came by itself."""
        event = await anext(self._events, None)
        return [] if event is None else [event]

    async def aclose(self) -> None:
        """Ends the reply."""
        await self._events.aclose()


class ScriptedProvider:
    """The provider `scripted`.

    Its models differ in what they say when the option `text` does not: `story` tells a story of 141 words at the pace
    of a fast model, `reply` answers with a short text that repeats the question, `echo` says the question itself.
    """

    type = "scripted"
    default_model = "story"

    def __init__(self, name: str = "scripted") -> None:
        self.name = name

    def supported_params(self, request: ChatRequest) -> frozenset[str]:
        """All of them; see SUPPORTED_PARAMS."""
        return SUPPORTED_PARAMS

    def stream(self, request: ChatRequest) -> ScriptedStream:
        """Begins a reply.

        Raises HeadwaterError: MODEL_NOT_FOUND, and INVALID_REQUEST for a bad option or what a script cannot express.
        """
        self._check(request)
        return ScriptedStream(self._script(request, self._options(request)))

    async def info(self, model: str) -> ProviderInfo:
        """What a script can do."""
        return ProviderInfo(
            name=self.name,
            type=self.type,
            model=model or self.default_model,
            supported_params=tuple(sorted(SUPPORTED_PARAMS)),
        )

    async def models(self) -> list[ModelInfo]:
        """The three models."""
        return [ModelInfo(name) for name in _REPLIES]

    async def open(self) -> None:
        """Starts nothing: a script runs by itself."""

    async def drain(self, seconds: float) -> None:
        """Waits for nothing: a script runs for its reader alone."""

    async def aclose(self) -> None:
        """Frees nothing: a script holds nothing."""

    def _check(self, request: ChatRequest) -> None:
        if request.model not in _REPLIES:
            raise HeadwaterError(
                Reason.MODEL_NOT_FOUND,
                f"{self.name} has no such model; it has {', '.join(_REPLIES)}",
                metadata={"provider": self.name, "model": request.model[:100]},
            )
        for index, message in enumerate(request.messages):
            if any(isinstance(part, Image) for part in message.parts):
                raise invalid(f"messages[{index}].parts", f"{self.name} reads text only; leave the image out")
        if request.response_format is not None and "text" not in request.provider_options:
            raise invalid("response_format", f"{self.name} writes JSON only as its option `text` gives it; set that")
        choice = request.tool_choice
        if choice and choice.mode is ToolChoiceMode.REQUIRED and not request.provider_options.get("tool_calls"):
            raise invalid("tool_choice", f"{self.name} calls only the tools of its option `tool_calls`; set that")

    def _options(self, request: ChatRequest) -> ScriptedOptions:
        try:
            options = ScriptedOptions.model_validate(request.provider_options)
        except ValidationError as error:
            problems = [_violation(self.name, e["loc"], e["type"], e["msg"]) for e in error.errors()]
        else:
            return _of_round(options, _rounds_of_tools(request))
        raise invalid_request(problems)

    def _script(self, request: ChatRequest, options: ScriptedOptions) -> _Script:
        text = options.text
        if text is None:
            text = "" if options.tool_calls else _REPLIES[request.model](_question(request))
        if (len(text) + 1) * options.repeat > MAX_CHARACTERS:
            source = "messages" if options.text is None else f"provider_options.{self.name}.text"
            source = f"provider_options.{self.name}.repeat" if options.repeat > 1 else source
            raise invalid(source, f"makes a reply of more than {MAX_CHARACTERS} characters; make it smaller")
        text = " ".join([text] * options.repeat)
        text, stopped_at = _cut_at_stop(text, request.sampling.get("stop", ()))
        delay_ms = options.delay_ms
        if delay_ms is None:
            delay_ms = STORY_DELAY_MS if request.model == "story" and options.text is None else 0.0
        deltas, finish = _reply(request, options, text, stopped_at)
        reason = options.fail_reason or Reason.PROVIDER_UNAVAILABLE
        failure = HeadwaterError(
            reason,
            "the script orders this failure",
            metadata={"provider": self.name, "model": request.model},
        )
        return _Script(deltas, finish, options, delay_ms / 1000, failure)


def _story(question: str) -> str:
    return STORY


def _short_reply(question: str) -> str:
    return f"This is a scripted reply, not the words of a model. You said: {question}"


def _echo(question: str) -> str:
    return question


_REPLIES = {"story": _story, "reply": _short_reply, "echo": _echo}


def _reply(
    request: ChatRequest, options: ScriptedOptions, text: str, stopped_at: str | None
) -> tuple[Iterator[Delta], Finish]:
    """The deltas of a reply within `max_tokens`, and its end."""
    thinking, calls = options.thinking, [] if stopped_at else options.tool_calls
    limit = request.sampling.get("max_tokens")
    output = reasoning = _count(thinking)
    output += _count(text) + len(calls)
    reason = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
    if limit is not None and limit < output:
        reason, output, reasoning = FinishReason.LENGTH, limit, min(limit, reasoning)
        thinking = _first_words(thinking, reasoning)
        text = _first_words(text, limit - reasoning)
        calls = calls[: limit - reasoning - _count(text)]
    reason = options.finish_reason or reason
    finish = Finish(reason, provider_reason=reason.value, usage=_usage(request, options, reasoning, output))
    if reason is FinishReason.STOP:
        finish.stop_sequence = stopped_at
    return _deltas(thinking, text, calls, options.chunk_size), finish


def _deltas(thinking: str, text: str, calls: list[ScriptedToolCall], size: int | None) -> Iterator[Delta]:
    for piece in _pieces(thinking, size):
        yield Delta(thinking=piece)
    for piece in _pieces(text, size):
        yield Delta(content=piece)
    for index, call in enumerate(calls):
        arguments = call.arguments
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        yield Delta(tool_calls=[ToolCallDelta(index, id=f"call_{index}", name=call.name)])
        for piece in _pieces(arguments, size or len(arguments)):
            yield Delta(tool_calls=[ToolCallDelta(index, arguments=piece)])


def _usage(request: ChatRequest, options: ScriptedOptions, thinking: int, output: int) -> chunks.Usage | None:
    if options.usage is not None:
        counts = options.usage.model_dump()
        return chunks.Usage(**counts) if any(count is not None for count in counts.values()) else None
    parts = [part for message in request.messages for part in message.parts]
    texts = [p.text if isinstance(p, Text) else p.content for p in parts if isinstance(p, Text | ToolResult)]
    read = sum(map(_count, texts))
    return chunks.Usage(read, output, read + output, reasoning_tokens=thinking or None)


def _question(request: ChatRequest) -> str:
    """The text of the last message of the user."""
    return next((message.text for message in reversed(request.messages) if message.role is Role.USER), "")


def _rounds_of_tools(request: ChatRequest) -> int:
    """How often results of tools have come since the user spoke."""
    roles = [message.role for message in request.messages]
    last = max((index for index, role in enumerate(roles) if role is Role.USER), default=0)
    return roles[last:].count(Role.TOOL)


def _of_round(options: ScriptedOptions, rounds: int) -> ScriptedOptions:
    while rounds and options.after_tools is not None:
        options = options.after_tools
        rounds -= 1
    return options


def _count(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def _first_words(text: str, count: int) -> str:
    return "".join(match[0] for match in islice(_WORD.finditer(text), count))


def _pieces(text: str, size: int | None) -> Iterator[str]:
    """The text in pieces of so many characters, or of words; joined they are the text."""
    if size is None:
        return (match[0] for match in _WORD.finditer(text))
    return (text[at : at + size] for at in range(0, len(text), size or 1))


def _cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    """The text before the first stop sequence in it, and that sequence; of two at one place the longer."""
    found = [(at, -len(sequence), sequence) for sequence in stop if (at := text.find(sequence)) >= 0]
    if not found:
        return text, None
    at, _, sequence = min(found)
    return text[:at], sequence


def _violation(provider: str, location: tuple[int | str, ...], kind: str, message: str) -> FieldViolation:
    path = f"provider_options.{provider}"
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step[:100]}"
    if kind == "extra_forbidden":
        message = f"there is no such option; there are {', '.join(ScriptedOptions.model_fields)}"
    return FieldViolation(path, message)
