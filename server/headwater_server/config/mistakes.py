"""The mistakes of a configuration, in lines for the people who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from headwater_server.config.callers import CallerSettings
from headwater_server.config.issuers import JwtSettings
from headwater_server.config.settings import AliasSettings, PriceSettings, ServerSettings, Settings, variables
from headwater_server.domain.secret_text import without_secrets
from headwater_server.providers.types import TYPES

_PREFIX = "HEADWATER_"
_OF_CLIENTS = ("TARGET", "TOKEN", "CA_FILE", "CERT_FILE", "KEY_FILE", "PLAINTEXT_TOKEN")
_OTHER_VARIABLES = ("HEADWATER_CONFIG", "HEADWATER_COMPLETE", *(f"{_PREFIX}{name}" for name in _OF_CLIENTS))
_TABLES: dict[str, type[BaseModel]] = {
    "server": ServerSettings,
    "models": AliasSettings,
    "jwt": JwtSettings,
    "prices": PriceSettings,
    "callers": CallerSettings,
}
_ALIKE = 0.8  # of 1; PORTS and PORT are 0.89, SERVICE_PORT and PORT 0.5


CONFIG_EXIT = 78
"""The exit code of a program whose settings have mistakes: EX_CONFIG of sysexits.h."""


class ConfigError(Exception):
    """The configuration has mistakes; `mistakes` are lines for people, each with its key, and without secrets."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = [without_secrets(mistake) for mistake in mistakes]
        super().__init__("\n".join(self.mistakes))


def mistake(location: tuple[int | str, ...], error: Any, origins: Mapping[tuple[str, ...], str]) -> str:
    """Returns one error of pydantic as a line that names the key as its author wrote it."""
    keys = [str(key) for key in location]
    if keys[-1] == "[key]" and len(keys) > 3:
        del keys[-1]
    if keys[-1] == "[key]" and keys[0] == "models":
        return f"models.{keys[1]}: a name for models has 1 to 64 letters, digits, ., _, : or -"
    if keys[-1] == "[key]" and keys[0] == "jwt":
        return f"jwt.{keys[1]}: a name for an issuer has 1 to 64 letters, digits, _ or -"
    if keys[-1] == "[key]" and keys[0] == "prices":
        return f"prices.{keys[1]}: a name for prices is PROVIDER/MODEL, and may end in *"
    if keys[-1] == "[key]" and keys[0] == "callers":
        return f"callers.{keys[1][:100]}: the name of a caller has 1 to 256 printable ASCII characters, and no space"
    if keys[-1] == "[key]":
        return f"providers.{keys[1]}: a provider's name has 1 to 64 letters, digits, _ or -"
    if keys[0] == "providers" and len(keys) > 2:
        del keys[2]  # pydantic names the kind of provider there
    path = tuple(keys)
    named = origins.get(path) or origins.get(path[:-1]) or ".".join(path)
    if error["type"] == "extra_forbidden":
        cure = "; name the variable that holds the key in api_key_env" if path[-1] == "api_key" else _meant(location)
        return f"{named}: there is no such setting{cure}"
    if error["type"] == "tuple_type":
        return f"{named}: must be a list"
    if error["type"] == "missing":
        return f"{'.'.join(path)}: is missing"
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"{'.'.join(path)}: needs type, one of {', '.join(TYPES)}"
    return f"{named}: {error['msg'].removeprefix('Value error, ')}"


def _meant(location: tuple[int | str, ...]) -> str:
    """The end of the error for a key of a file that does not exist: the key that it almost is."""
    table, key = location[:-1], str(location[-1])
    if not table and key in ServerSettings.model_fields:
        return f"; did you mean server.{key}?"
    known: Collection[str] = Settings.model_fields
    if table:
        known = (_TABLES.get(str(table[0])) or TYPES[str(table[2])].settings).model_fields
    close = difflib.get_close_matches(key[:100], known, n=1)
    return f"; did you mean {'.'.join(str(each) for each in (*table[:2], close[0]))}?" if close else ""


def misspelt(environment: Mapping[str, str]) -> Iterator[str]:
    """A mistake for each variable that is almost one of Headwater's. Others are not ours: Kubernetes sets many."""
    known = {*(variable for variable, _, _ in variables()), *_OTHER_VARIABLES}
    endings = [name.removeprefix(_PREFIX) for name in known if name.startswith(_PREFIX)]
    for variable, text in environment.items():
        if text and variable.startswith(_PREFIX) and variable not in known:
            ending = variable.removeprefix(_PREFIX)[:100]
            if close := difflib.get_close_matches(ending, endings, n=1, cutoff=_ALIKE):
                yield f"{variable}: there is no such variable; did you mean {_PREFIX}{close[0]}?"
