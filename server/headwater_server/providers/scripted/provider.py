"""The provider `scripted`: text, pauses and failures as the caller orders them, for tests and demonstrations.

No network and no chance: the same request always gets the same events. A token is a word with the space before it,
for usage, `max_tokens` and the pieces of a reply alike; a tool call counts as one. Thinking comes first, then text,
then tool calls, each piece one delta.
"""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from headwater_server.domain.chunks import Delta, ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason, invalid, invalid_request
from headwater_server.domain.messages import SAMPLING_PARAMS, ChatRequest, Image, ToolChoiceMode
from headwater_server.providers.base import ModelInfo, ProviderInfo, ProviderStream
from headwater_server.providers.scripted.options import MAX_CHARACTERS, ScriptedOptions, violation
from headwater_server.providers.scripted.script import Script, of_round, question, reply, rounds_of_tools
from headwater_server.providers.scripted.words import REPLIES, STORY_DELAY_MS, cut_at_stop
from headwater_server.streaming.source import ReadSource

SUPPORTED_PARAMS = frozenset(SAMPLING_PARAMS)
"""All of them, since it stands in for a model; with no chance in it, only max_tokens and stop change the reply."""


class ScriptedStream(ReadSource):
    """A reply under way; see ProviderStream."""

    request_id = ""
    heard = 0.0

    def __init__(self, script: Script) -> None:
        self._script = script
        self._sent = 0
        self._delta: Delta | None = None
        self._due = 0.0
        self._ended = False

    async def read(self) -> list[ProviderEvent]:
        """The next event, as if each came by itself."""
        if self._ended:
            return []
        if self._delta is None:
            self._delta = next(self._script.deltas, None)
            self._due = asyncio.get_running_loop().time() + self._script.pause_seconds(self._sent)
        if await self._script.breaks_off(self._sent, last=self._delta is None):
            self._ended = True
            return []
        if self._delta is None:
            self._ended = True
            return [self._script.finish]
        # A pause of nothing still lets others run, and is where a cancellation arrives.
        await asyncio.sleep(self._due - asyncio.get_running_loop().time())
        delta, self._delta = self._delta, None
        self._sent += 1
        return [delta]

    async def aclose(self) -> None:
        """Ends the reply."""
        self._ended = True
        await super().aclose()


class ScriptedProvider:
    """The provider `scripted`.

    Its models differ in their replies without the option `text`: `story` tells a story of 141 words at the pace
    of a fast model, `reply` answers with a short text that repeats the question, `echo` says the question itself.
    """

    type = "scripted"
    default_model = "story"
    address = ""

    def __init__(self, name: str = "scripted") -> None:
        self.name = name

    def supported_params(self, request: ChatRequest) -> frozenset[str]:
        """All of them; see SUPPORTED_PARAMS."""
        return SUPPORTED_PARAMS

    def account(self, request: ChatRequest) -> str:
        """Always the same: a script has none."""
        return ""

    def stream(self, request: ChatRequest) -> ProviderStream:
        """Begins a reply.

        Raises HeadwaterError: MODEL_NOT_FOUND, and INVALID_REQUEST for a bad option or what a script cannot express.
        """
        self._check(request)
        return ScriptedStream(self.script(request, self._options(request)))

    async def info(self, model: str) -> ProviderInfo:
        """The abilities of a script. Raises HeadwaterError (MODEL_NOT_FOUND)."""
        model = model or self.default_model
        self._check_model(model)
        return ProviderInfo(
            name=self.name,
            type=self.type,
            model=model,
            supported_params=tuple(sorted(SUPPORTED_PARAMS)),
        )

    async def models(self) -> list[ModelInfo]:
        """The three models."""
        return [ModelInfo(name) for name in REPLIES]

    async def open(self) -> None:
        """Starts nothing: a script runs by itself."""

    async def drain(self, seconds: float) -> None:
        """Waits for nothing: a script runs for its reader alone."""

    async def aclose(self) -> None:
        """Frees nothing: a script holds nothing."""

    def _check(self, request: ChatRequest) -> None:
        self._check_model(request.model)
        for index, message in enumerate(request.messages):
            if any(isinstance(part, Image) for part in message.parts):
                raise invalid(f"messages[{index}].parts", f"{self.name} reads text only; leave the image out")
        if request.response_format is not None and "text" not in request.provider_options:
            raise invalid("response_format", f"{self.name} writes JSON only as its option `text` gives it; set that")
        choice = request.tool_choice
        if choice and choice.mode is ToolChoiceMode.REQUIRED and not request.provider_options.get("tool_calls"):
            raise invalid("tool_choice", f"{self.name} calls only the tools of its option `tool_calls`; set that")

    def _check_model(self, model: str) -> None:
        if model not in REPLIES:
            raise HeadwaterError(
                Reason.MODEL_NOT_FOUND,
                f"{self.name} has no such model; it has {', '.join(REPLIES)}",
                metadata={"provider": self.name, "model": model[:100]},
            )

    def _options(self, request: ChatRequest) -> ScriptedOptions:
        try:
            options = ScriptedOptions.model_validate(request.provider_options)
        except ValidationError as error:
            problems = [violation(self.name, e["loc"], e["type"], e["msg"]) for e in error.errors()]
        else:
            return of_round(options, rounds_of_tools(request))
        raise invalid_request(problems)

    def script(self, request: ChatRequest, options: ScriptedOptions) -> Script:
        """The reply that the options order. Raises HeadwaterError (INVALID_REQUEST) for one that is too long."""
        text = options.text
        if text is None:
            text = "" if options.tool_calls else REPLIES[request.model](question(request))
        if (len(text) + 1) * options.repeat > MAX_CHARACTERS:
            source = "messages" if options.text is None else f"provider_options.{self.name}.text"
            source = f"provider_options.{self.name}.repeat" if options.repeat > 1 else source
            raise invalid(source, f"makes a reply of more than {MAX_CHARACTERS} characters; make it smaller")
        text = " ".join([text] * options.repeat)
        text, stopped_at = cut_at_stop(text, request.sampling.get("stop", ()))
        delay_ms = options.delay_ms
        if delay_ms is None:
            delay_ms = STORY_DELAY_MS if request.model == "story" and options.text is None else 0.0
        deltas, finish = reply(request, options, text, stopped_at)
        reason = options.fail_reason or Reason.PROVIDER_UNAVAILABLE
        failure = HeadwaterError(
            reason,
            "the script orders this failure",
            metadata={"provider": self.name, "model": request.model},
        )
        return Script(deltas, finish, options, delay_ms / 1000, failure)
