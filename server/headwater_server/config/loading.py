"""Reads the layers of the configuration: defaults, presets, a TOML file, the environment, flags."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from headwater_server.config.callers import mistakes_of_callers
from headwater_server.config.doors import mistakes_of_doors
from headwater_server.config.issuers import mistakes_of_issuers
from headwater_server.config.mistakes import ConfigError, misspelt, mistake
from headwater_server.config.resolved import Config, secrets
from headwater_server.config.settings import Settings, variables
from headwater_server.providers.presets import PRESETS
from headwater_server.providers.types import TYPES

Layer: TypeAlias = dict[tuple[str, ...], Any]
"""Settings by the path of their keys."""


def load(
    file: Path | None, environment: Mapping[str, str] = os.environ, flags: Mapping[tuple[str, ...], Any] | None = None
) -> Config:
    """Reads all layers. Raises ConfigError with every mistake.

    Args:
        file: a TOML file; None: the one that HEADWATER_CONFIG names, if any.
        environment: the variables.
        flags: settings from the command line, by the path of their keys.
    """
    if file is None and environment.get("HEADWATER_CONFIG"):
        file = Path(environment["HEADWATER_CONFIG"])
    if mistakes := sorted(misspelt(environment)):
        raise ConfigError(mistakes)
    values: Layer = {}
    origins: dict[tuple[str, ...], str] = {}
    for name, kind in TYPES.items():
        defaults = {"type": name, **kind.defaults}
        values.update({("providers", name, key): value for key, value in defaults.items()})
    if file is not None:
        for path, value in _flat(_read(file)).items():
            if value == {} and path in {("providers", name) for name in TYPES}:
                path, value = (*path, "type"), path[-1]  # its empty table asks for a provider as it is by default
            values[path] = value
            origins[path] = f"{'.'.join(path)} in {file}"
    for variable, path, read in variables():
        if (text := environment.get(variable)) and not _is_service_link(variable, text):
            values[path] = read(text)
            origins[path] = variable
    for path, value in (flags or {}).items():
        values[path] = value
        origins[path] = f"--{path[1] if path[0] == 'providers' else path[-1].replace('_', '-')}"
    _add_presets(values, environment, origins)
    _check_text(values, origins)
    settings = _validate(values, origins)
    found = [
        *mistakes_of_doors(settings.server, origins),
        *mistakes_of_issuers(settings.jwt),
        *mistakes_of_callers(
            settings.callers,
            settings.providers,
            origins,
            asks_for_certificates=bool(settings.server.tls_client_ca_file),
        ),
    ]
    if found:
        raise ConfigError(found)
    return Config(settings, *secrets(settings, environment, origins), file, dict(flags or {}))


def _add_presets(values: Layer, environment: Mapping[str, str], origins: Mapping[tuple[str, ...], str]) -> None:
    """Puts the settings of presets, and of the variable that holds a type's key, behind those that were chosen."""
    names = dict.fromkeys(path[1] for path in values if path[0] == "providers" and len(path) > 2)
    mistakes = []
    for name in names:
        chosen = {path[2]: values[path] for path in origins if path[:2] == ("providers", name) and len(path) > 2}
        asked = chosen.get("preset", name if name in TYPES else "")
        preset = PRESETS.get(asked) if isinstance(asked, str) else None
        named = origins.get(("providers", name, "preset"))
        if preset is None:
            if named:
                mistakes.append(f"{named}: must be one of {', '.join(PRESETS)}")
            continue
        if chosen.get("type", preset.type) != preset.type:
            mistakes.append(f"providers.{name}.type: is {preset.type} for the preset {asked}; leave it out")
        try:
            found = preset.values(environment, chosen)
        except KeyError as error:
            cure = f"set the variable {error.args[0]}, or base_url"
            mistakes.append(f"providers.{name}.base_url: is missing; {cure}")
            continue
        values.update({("providers", name, *path): value for path, value in _flat(found).items()})
    if mistakes:
        raise ConfigError(mistakes)


def _check_text(values: Layer, origins: Mapping[tuple[str, ...], str]) -> None:
    """Raises ConfigError for texts that are not UTF-8, such as bytes of the environment; paths may have all but NUL."""
    mistakes = []
    for path, value in values.items():
        if isinstance(value, str) and path[-1].endswith(("dir", "path", "file")):
            if "\0" in value:
                mistakes.append(f"{origins[path]}: must be the path of a file: it has the character NUL")
        elif isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                mistakes.append(f"{origins[path]}: is not UTF-8")
    if mistakes:
        raise ConfigError(mistakes)


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: is not UTF-8; save the file in that encoding"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: is not TOML: {error}"]) from error


def _flat(tree: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Layer:
    """The leaves of the tree; an empty table is a leaf too, so that it is not lost."""
    leaves: Layer = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves.update(_flat(value, (*prefix, key)))
        else:
            leaves[*prefix, key] = value
    return leaves


def _validate(values: Layer, origins: Mapping[tuple[str, ...], str]) -> Settings:
    tree: dict[str, Any] = {"server": {}, "providers": {}}
    for path, value in values.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ConfigError([f"{'.'.join(path)}: is a setting inside of a setting"])
        node[path[-1]] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(sorted(mistake(e["loc"], e, origins) for e in error.errors())) from error


def _is_service_link(variable: str, text: str) -> bool:
    """Kubernetes sets HEADWATER_PORT=tcp://… for any service that is called headwater; that is not ours."""
    return variable == "HEADWATER_PORT" and text.startswith(("tcp://", "udp://"))
