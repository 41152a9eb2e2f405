"""The configuration in force: the settings, where each comes from, and the keys and variables that they name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headwater_server.config.mistakes import ConfigError, mistake
from headwater_server.config.settings import Settings
from headwater_server.domain.secret_text import named_variable
from headwater_server.providers.setting_values import variables
from headwater_server.providers.settings import HttpSettings
from headwater_server.providers.types import TYPES


@dataclass(frozen=True)
class Config:
    """The settings and keys in force.

    Attributes:
        settings: the settings.
        keys: the providers' API keys, by the name of the provider; only those that are set.
        variables: the variables that settings of providers name in `${…}`.
        origins: where each setting comes from, by its path; those not named are defaults.
        file: the TOML file that was read; None for none.
        flags: the settings of the command line, by their paths.
    """

    settings: Settings
    keys: dict[str, str] = field(repr=False)
    origins: dict[tuple[str, ...], str]
    variables: dict[str, str] = field(default_factory=dict, repr=False)
    file: Path | None = None
    flags: dict[tuple[str, ...], Any] = field(default_factory=dict)

    @property
    def configured(self) -> frozenset[str]:
        """The providers that somebody set up: with a key, an address or a flag."""
        names = set(self.keys)
        for name, provider in self.settings.providers.items():
            chosen = {path[2] for path in self.origins if path[:2] == ("providers", name)}
            if name not in TYPES or provider.is_configured(chosen):
                names.add(name)
        return frozenset(names)

    def to_json(self) -> dict[str, Any]:
        """For `from_json` in another process with the same environment; has no keys, they stay there."""
        origins = [[list(path), origin] for path, origin in self.origins.items()]
        flags = [[list(path), value] for path, value in self.flags.items()]
        file = os.fspath(self.file) if self.file else None
        return {"settings": self.settings.model_dump(mode="json"), "origins": origins, "file": file, "flags": flags}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Config:
        """Reads the text of `to_json`. Raises ConfigError if a key or a file is no longer there or right."""
        origins = {tuple(path): origin for path, origin in data["origins"]}
        try:
            settings = Settings.model_validate(data["settings"])
        except ValidationError as error:
            raise ConfigError(sorted(mistake(e["loc"], e, origins) for e in error.errors())) from None
        file = Path(data["file"]) if data["file"] else None
        flags = {tuple(path): value for path, value in data["flags"]}
        return cls(settings, *secrets(settings, environment, origins), file, flags)


def secrets(
    settings: Settings, environment: Mapping[str, str], origins: dict[tuple[str, ...], str]
) -> tuple[dict[str, str], dict[tuple[str, ...], str], dict[str, str]]:
    """The keys of the providers, the origins, and the variables that settings name. Raises ConfigError."""
    keys: dict[str, str] = {}
    found: dict[str, str] = {}
    mistakes: list[str] = []
    owners: dict[str, str] = {}
    for name, provider in settings.providers.items():
        if not isinstance(provider, HttpSettings):
            continue
        for model in provider.models:
            if model in owners:
                mistakes.append(f"providers.{name}.models: {model} stands in providers.{owners[model]}.models too")
            owners[model] = name
        variable = provider.api_key_env
        if variable and (key := environment.get(variable, "").strip()):
            keys[name] = key
            if not (key.isascii() and key.isprintable()):
                mistakes.append(f"{variable}: is not a key: it has characters other than printable ASCII")
        elif variable and (origin := origins.get(("providers", name, "api_key_env"))):
            named = named_variable(variable)
            cure = "" if named == variable else "; it takes the name of a variable that holds the key, and not the key"
            mistakes.append(f"{origin}: names {named}, which is not set{cure}")
        for path, value in provider.texts_with_variables():
            origin = origins.get(("providers", name, *path)) or ".".join(("providers", name, *path))
            for variable in variables([value]):
                found[variable] = text = environment.get(variable, "").strip()
                if not text:
                    mistakes.append(f"{origin}: names {named_variable(variable)}, which is not set")
                elif not (text.isascii() and text.isprintable()):
                    mistakes.append(f"{variable}: has characters other than printable ASCII")
    if mistakes:
        raise ConfigError(mistakes)
    return keys, origins, found
