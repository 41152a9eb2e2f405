"""The server's settings: read once from defaults, a TOML file, the environment and flags, then passed in.

A later layer overrides an earlier one, key by key. Every mistake is named with the key as its author wrote it: the key
in the file, the variable or the flag. Keys of providers are never written down here: a setting names the variable or
the file that holds one, or the command that prints one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationError,
)
from pydantic_core import core_schema

from headwater_server.providers.presets import PRESETS
from headwater_server.providers.setting_values import variables
from headwater_server.providers.settings import HttpSettings, ProviderSettings
from headwater_server.providers.types import TYPES

Layer: TypeAlias = dict[tuple[str, ...], Any]
"""Settings by the path of their keys."""


ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _default_data_dir() -> str:
    """Where programs keep their data for a user, by the XDG Base Directory Specification."""
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "headwater")


def _check_host(host: str) -> str:
    if host.startswith(("unix-abstract:", "vsock:", "dns:", "ipv4:", "ipv6:")):
        raise ValueError("must be the name or the address of a host, or unix:PATH")
    if host in ("unix:", "unix://"):
        raise ValueError(f"{host} needs the path of a socket, unix:PATH")
    return host


class ServerSettings(_Settings):
    """`[server]`: the port, the log, the data, and what holds for all providers.

    `processes`: how many processes of the server share the port. `max_concurrent_streams`: how many calls a connection
    may have at once; 0 for no limit. `worker_timeout_seconds`: a worker that hosts handlers is taken for dead when it
    was not heard for so long. `retention_days`: how long runs that have ended are kept.
    """

    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    port: int = Field(50051, ge=0, le=65535)
    processes: int = Field(1, ge=1, le=64)
    max_concurrent_streams: int = Field(0, ge=0, lt=2**31)
    default_model: str = ""
    allow_caller_api_keys: bool = False
    first_chunk_seconds: float = Field(300.0, gt=0, le=86_400)
    next_chunk_seconds: float = Field(120.0, gt=0, le=86_400)
    drain_seconds: float = Field(10.0, ge=0, le=3_600)
    data_dir: Annotated[str, AfterValidator(os.path.expanduser)] = Field(
        default_factory=_default_data_dir, min_length=1
    )
    retention_days: float = Field(30.0, gt=0, le=36_500)
    worker_timeout_seconds: float = Field(10.0, ge=0.1, le=3_600)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"


class _ByType:
    """Makes `type` decide which class of settings a provider has."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schemas = {name: handler.generate_schema(kind.settings) for name, kind in TYPES.items()}
        return core_schema.tagged_union_schema(schemas, discriminator="type")


class Settings(_Settings):
    """All settings."""

    server: ServerSettings
    providers: dict[ProviderName, Annotated[ProviderSettings, _ByType]]


ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "HEADWATER_HOST": ("server", "host"),
    "HEADWATER_PORT": ("server", "port"),
    "HEADWATER_PROCESSES": ("server", "processes"),
    "HEADWATER_MAX_CONCURRENT_STREAMS": ("server", "max_concurrent_streams"),
    "HEADWATER_DEFAULT_MODEL": ("server", "default_model"),
    "HEADWATER_ALLOW_CALLER_API_KEYS": ("server", "allow_caller_api_keys"),
    "HEADWATER_FIRST_CHUNK_SECONDS": ("server", "first_chunk_seconds"),
    "HEADWATER_NEXT_CHUNK_SECONDS": ("server", "next_chunk_seconds"),
    "HEADWATER_DRAIN_SECONDS": ("server", "drain_seconds"),
    "HEADWATER_DATA_DIR": ("server", "data_dir"),
    "HEADWATER_RETENTION_DAYS": ("server", "retention_days"),
    "HEADWATER_WORKER_TIMEOUT_SECONDS": ("server", "worker_timeout_seconds"),
    "HEADWATER_LOG_LEVEL": ("server", "log_level"),
    "HEADWATER_LOG_FORMAT": ("server", "log_format"),
}
"""Which variable sets which key of the server. An empty variable is as good as none."""


_PREFIX = "HEADWATER_"
_OTHER_VARIABLES = ("HEADWATER_CONFIG", "HEADWATER_TARGET", "HEADWATER_TOKEN", "HEADWATER_COMPLETE")
_ALIKE = 0.8  # of 1; PORTS and PORT are 0.89, SERVICE_PORT and PORT 0.5


CONFIG_EXIT = 78
"""The exit code of a program whose settings have mistakes: EX_CONFIG of sysexits.h."""


class ConfigError(Exception):
    """The configuration has mistakes; `mistakes` are lines for people, each with its key."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Config:
    """The settings and keys in force.

    Attributes:
        settings: the settings.
        keys: the providers' API keys, by the name of the provider; only those that are set.
        variables: the variables that settings of providers name in `${…}`.
        origins: where each setting comes from, by its path; those not named are defaults.
    """

    settings: Settings
    keys: dict[str, str] = field(repr=False)
    origins: dict[tuple[str, ...], str]
    variables: dict[str, str] = field(default_factory=dict, repr=False)

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
        return {"settings": self.settings.model_dump(mode="json"), "origins": origins}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Config:
        """Reads the text of `to_json`. Raises ConfigError if a key of the environment is no longer there or right."""
        settings = Settings.model_validate(data["settings"])
        origins = {tuple(path): origin for path, origin in data["origins"]}
        return cls(settings, *_secrets(settings, environment, origins))


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
    if mistakes := sorted(_misspelt(environment)):
        raise ConfigError(mistakes)
    values: Layer = {}
    origins: dict[tuple[str, ...], str] = {}
    for name, kind in TYPES.items():
        defaults = {"type": name, **kind.defaults}
        values.update({("providers", name, key): value for key, value in defaults.items()})
    if file is not None:
        for path, value in _flat(_read(file)).items():
            values[path] = value
            origins[path] = f"{'.'.join(path)} in {file}"
    for variable, path, read in _variables():
        if (text := environment.get(variable)) and not _is_service_link(variable, text):
            values[path] = read(text)
            origins[path] = variable
    for path, value in (flags or {}).items():
        values[path] = value
        origins[path] = f"--{path[1] if path[0] == 'providers' else path[-1].replace('_', '-')}"
    _add_presets(values, environment, origins)
    _check_text(values, origins)
    settings = _validate(values, origins)
    return Config(settings, *_secrets(settings, environment, origins))


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
    """Raises ConfigError for bytes of the environment or the command line that are not UTF-8; paths may have any."""
    mistakes = []
    for path, value in values.items():
        if isinstance(value, str) and not path[-1].endswith(("dir", "path", "file")):
            try:
                value.encode()
            except UnicodeEncodeError:
                mistakes.append(f"{origins[path]}: is not UTF-8")
    if mistakes:
        raise ConfigError(mistakes)


def _variables() -> Iterator[tuple[str, tuple[str, ...], Callable[[str], str]]]:
    """The variables, each with the path of its key and how its text is read."""
    for variable, path in ENVIRONMENT.items():
        yield variable, path, str
    for name, kind in TYPES.items():
        for one in kind.environment:
            yield one.name, ("providers", name, one.key), one.read


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
        raise ConfigError(sorted(_mistake(e["loc"], e, origins) for e in error.errors())) from error


def _mistake(location: tuple[int | str, ...], error: Any, origins: Mapping[tuple[str, ...], str]) -> str:
    keys = [str(key) for key in location]
    if keys[-1] == "[key]" and len(keys) > 3:
        del keys[-1]
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
        known = (ServerSettings if table[0] == "server" else TYPES[str(table[2])].settings).model_fields
    close = difflib.get_close_matches(key[:100], known, n=1)
    return f"; did you mean {'.'.join(str(each) for each in (*table[:2], close[0]))}?" if close else ""


def _misspelt(environment: Mapping[str, str]) -> Iterator[str]:
    """A mistake for each variable that is almost one of Headwater's. Others are not ours: Kubernetes sets many."""
    known = {*(variable for variable, _, _ in _variables()), *_OTHER_VARIABLES}
    endings = [name.removeprefix(_PREFIX) for name in known if name.startswith(_PREFIX)]
    for variable, text in environment.items():
        if text and variable.startswith(_PREFIX) and variable not in known:
            ending = variable.removeprefix(_PREFIX)[:100]
            if close := difflib.get_close_matches(ending, endings, n=1, cutoff=_ALIKE):
                yield f"{variable}: there is no such variable; did you mean {_PREFIX}{close[0]}?"


def _secrets(
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
            mistakes.append(f"{origin}: names {variable}, which is not set")
        for path, value in provider.texts_with_variables():
            origin = origins.get(("providers", name, *path)) or ".".join(("providers", name, *path))
            for variable in variables([value]):
                found[variable] = text = environment.get(variable, "").strip()
                if not text:
                    mistakes.append(f"{origin}: names {variable}, which is not set")
                elif not (text.isascii() and text.isprintable()):
                    mistakes.append(f"{variable}: has characters other than printable ASCII")
    if mistakes:
        raise ConfigError(mistakes)
    return keys, origins, found


def _is_service_link(variable: str, text: str) -> bool:
    """Kubernetes sets HEADWATER_PORT=tcp://… for any service that is called headwater; that is not ours."""
    return variable == "HEADWATER_PORT" and text.startswith(("tcp://", "udp://"))
