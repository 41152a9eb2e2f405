"""Checks of the arguments of a workflow and its steps; each raises ValidationError that names the argument."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypedDict

from headwater._call.request import add_choices, build_agent
from headwater._values.json_values import checked_json
from headwater._values.names import advice
from headwater._values.replies import CUT_REASONS, FINISH_REASON_NUMBERS
from headwater._values.validation import invalid, seconds, text
from headwater.v1 import agent_pb2

LONGEST_SECONDS = 365 * 86_400


class StepSettings(TypedDict, total=False):
    """Settings of the agent for one action; the names and values are those of `Agent.run`."""

    model: str
    provider: str
    instructions: str
    temperature: float
    max_tokens: int
    top_p: float
    stop: str | Sequence[str]
    seed: int
    reasoning_effort: str
    response_format: Any


_SAMPLING = ("temperature", "max_tokens", "top_p", "stop", "seed")


class RunIf(StrEnum):
    """When a step runs. A step that was skipped because of a failure counts as failed."""

    ALL_SUCCEEDED = "all_succeeded"
    NONE_FAILED = "none_failed"
    ALL_DONE = "all_done"
    ANY_FAILED = "any_failed"


def limit(name: str, value: Any) -> float:
    """Seconds, at most 365 days."""
    limit = seconds(name, value)
    if limit > LONGEST_SECONDS:
        raise invalid(name, f"must be at most {LONGEST_SECONDS:,} seconds")
    return limit


def optional(name: str, value: Any) -> str:
    """A text; empty for None."""
    return "" if value is None else text(name, value)


def names_of(name: str, value: Any) -> tuple[str, ...]:
    """Names, or one name; empty for None."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (text(name, value),)
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise invalid(name, f"must be a list of names of steps, not {type(value).__name__}")
    return tuple(text(f"{name}[{position}]", item) for position, item in enumerate(value))


def json_object(value: Any) -> Mapping[str, Any]:
    """A copy of a dict of JSON values; empty for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid("metadata", f"must be a dict, not {type(value).__name__}")
    checked_json("metadata", dict(value))
    return copy.deepcopy(dict(value))


def finish_reasons(name: str, value: Any) -> tuple[str, ...]:
    """Finish reasons from an argument. Raises ValidationError."""
    reasons = names_of(name, value)
    for reason in reasons:
        if reason not in FINISH_REASON_NUMBERS:
            raise invalid(
                name, f"{reason!r} is not a finish reason; those of a cut reply are {', '.join(sorted(CUT_REASONS))}"
            )
    return reasons


def to_run_if(value: Any) -> RunIf | None:
    """The rule from the argument of `add_step`. Raises ValidationError."""
    if value is None:
        return None
    try:
        return RunIf(value)
    except ValueError:
        raise invalid("run_if", f"must be one of {', '.join(RunIf)}, not {value!r}") from None


def step_agent(settings: StepSettings, others: Iterable[str]) -> agent_pb2.AgentConfig | None:
    """The settings of a step as a message; None for none.

    Args:
        settings: the keywords of `add_step` that are settings.
        others: its other arguments, for advice.

    Raises:
        TypeError: a name is neither; the message names the nearest.
        ValidationError: a bad value.
    """
    values: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    known = StepSettings.__annotations__
    for name in values:
        if name not in known:
            raise TypeError(f"add_step() has no argument {name!r}{advice(name, [*others, *known])}")
    if not values:
        return None
    config = build_agent(
        instructions=values.get("instructions", ""),
        model=values.get("model"),
        provider=values.get("provider"),
        sampling_values={name: values.get(name) for name in _SAMPLING},
        reasoning_effort=values.get("reasoning_effort"),
    )
    add_choices(
        config,
        response_format=values.get("response_format"),
        unsupported_params=None,
        provider_options=None,
        toolbox=None,
        parallel_tool_calls=None,
    )
    return config
