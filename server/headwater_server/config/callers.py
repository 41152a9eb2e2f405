"""`[callers.NAME]`: the models that a caller may ask, and how much it may ask them.

The table `[callers."*"]` holds for each caller, also for one that no table names. A key in a caller's table goes over
the same key there, so that a table which names some keys alone opens nothing else. A server without callers is asked by
everybody as one caller without a name, for whom `[callers."*"]` holds.

Example. `"*"` has `requests_per_minute = 60` and `models = ["gpt-*"]`; `alice` has `requests_per_minute = 600`. Alice
may ask 600 times a minute, and only the models of `"*"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from headwater_server.callers.limits import CallerLimits, LimitsOfCallers
from headwater_server.domain.limits import MAX_NAME

EACH = "*"
"""The table of this name holds for each caller."""

CallerName = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
Names = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=1_000)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Tokens = Annotated[int, Field(ge=1, lt=2**53)]


class CallerSettings(BaseModel):
    """The settings of one caller; a key that is not set is that of `[callers."*"]`, and without one there is no limit.

    `models`: those that it may ask, by name, as `provider/model`, or by the name of an alias, which stands for that
    alias's models; `*` in it stands for any text. `providers`: those that it may ask. `requests_per_minute`,
    `tokens_per_minute` and `max_concurrent` limit its streams, runs of agents and prompts of workflows together, over
    all processes. `monthly_tokens`: the tokens of prompts and replies that it may use in a month, by UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Names | None = None
    providers: Names | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_concurrent: Count | None = None
    monthly_tokens: Tokens | None = None

    def over(self, below: CallerSettings) -> CallerSettings:
        """These settings, with those of `below` where they are not set."""
        own = {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}
        return below.model_copy(update=own)


def settings_of(callers: Mapping[str, CallerSettings], name: str) -> CallerSettings:
    """The settings that hold for the caller of this name."""
    below = callers.get(EACH, NO_SETTINGS)
    own = callers.get(name)
    return own.over(below) if own and name != EACH else below


def limits_of(callers: Mapping[str, CallerSettings]) -> LimitsOfCallers:
    """The limits that the settings set."""

    def limits(name: str) -> CallerLimits:
        found = settings_of(callers, name)
        return CallerLimits(**{each.name: getattr(found, each.name) for each in fields(CallerLimits)})

    return LimitsOfCallers({name: limits(name) for name in callers if name != EACH}, limits(EACH))


def mistakes_of_callers(
    callers: Mapping[str, CallerSettings], providers: Mapping[str, Any], origins: Mapping[tuple[str, ...], str]
) -> list[str]:
    """A mistake for each provider that a caller may ask and that is not here."""
    mistakes = []
    for name, caller in callers.items():
        named = origins.get(("callers", name, "providers"), f"callers.{name}.providers")
        for provider in caller.providers or ():
            if provider not in providers:
                mistakes.append(f"{named}: there is no provider {provider[:100]!r}; there are {', '.join(providers)}")
    return mistakes


NO_SETTINGS = CallerSettings()
