"""The fields of `provider_options`: the orders of the caller."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from headwater_server.domain.chunks import FinishReason
from headwater_server.domain.errors import FieldViolation, Reason

MAX_CHARACTERS = 4 * 1024 * 1024
"""Most characters of text in one reply, repetitions included."""

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
            `after_tools` too. Default: the same options again.
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


def violation(provider: str, location: tuple[int | str, ...], kind: str, message: str) -> FieldViolation:
    """The mistake in an option, made of pydantic's message."""
    path = f"provider_options.{provider}"
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step[:100]}"
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(location[-1])[:100], ScriptedOptions.model_fields, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(ScriptedOptions.model_fields)}"
        message = f"there is no such option; {advice}"
    return FieldViolation(path, message)
