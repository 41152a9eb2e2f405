"""`[callers.NAME]`: the certificates and scopes of a caller, the models that it may ask, and how much it may ask them.

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

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from headwater_server.callers.caller import SCOPES, is_scope
from headwater_server.callers.certificates.certificate_names import certificate_name
from headwater_server.callers.limits import CallerLimits, LimitsOfCallers
from headwater_server.domain.limits import MAX_NAME

MAX_VALUES = 1_000
EACH = "*"
"""The table of this name holds for each caller."""


def _scope(value: str) -> str:
    if not is_scope(value):
        raise ValueError(f"there is no such scope; there are {', '.join(SCOPES)}")
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not 0 < len(value) <= MAX_VALUES:
        raise ValueError(f"must have 1 to {MAX_VALUES:,} values; leave the setting out for none")
    return value


CallerName = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
Scopes = Annotated[tuple[Annotated[str, AfterValidator(_scope)], ...], AfterValidator(_some)]
Certificates = Annotated[tuple[Annotated[str, AfterValidator(certificate_name)], ...], AfterValidator(_some)]
Names = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=1_000)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Tokens = Annotated[int, Field(ge=1, lt=2**53)]


class CallerSettings(BaseModel):
    """The settings of one caller; a key that is not set is that of `[callers."*"]`, and without one there is no limit.

    `certificates`: a connection with a certificate that has one of these names is this caller's
    (`callers.certificates`). `scopes`: those that it has with a certificate, and beside those of a JWT.
    `models`: those that it may ask, by name, as `provider/model`, or by the name of an alias, which stands for that
    alias's models; `*` in it stands for any text. `providers`: those that it may ask. `requests_per_minute`,
    `tokens_per_minute` and `max_concurrent` limit its streams, runs of agents and prompts of workflows together, over
    all processes. `monthly_tokens`: the tokens of prompts and replies that it may use in a month, by UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificates: Certificates | None = None
    scopes: Scopes | None = None
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
    callers: Mapping[str, CallerSettings],
    providers: Mapping[str, Any],
    origins: Mapping[tuple[str, ...], str],
    *,
    asks_for_certificates: bool,
) -> list[str]:
    """A mistake for each provider that is not here, and for certificates that name no caller."""
    mistakes = []
    seen: dict[str, str] = {}
    for name, caller in callers.items():
        where = origins.get(("callers", name, "certificates"), f"callers.{name}.certificates")
        if caller.certificates and name == EACH:
            mistakes.append(f"{where}: a certificate is one caller's; name it in the table of that caller")
        elif caller.certificates and not asks_for_certificates:
            mistakes.append(f"{where}: needs tls_client_ca_file, without which callers show no certificate")
        for certificate in caller.certificates or ():
            if (first := seen.setdefault(certificate, name)) != name:
                mistakes.append(f"{where}: {certificate} stands in callers.{first}.certificates too")
    for name, caller in callers.items():
        named = origins.get(("callers", name, "providers"), f"callers.{name}.providers")
        for provider in caller.providers or ():
            if provider not in providers:
                mistakes.append(f"{named}: there is no provider {provider[:100]!r}; there are {', '.join(providers)}")
    return mistakes


NO_SETTINGS = CallerSettings()
