"""The registration of a type of provider: the one thing that a folder of this room gives to the rest of the server.

Reading the configuration needs all registrations, also in programs that ask no provider. So a registration imports
settings and nothing heavy; its `build` imports the rest when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headwater_server.providers.settings import ProviderSettings

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider
    from headwater_server.providers.http.client import HttpClient


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that sets a key of the provider that has the name of its type.

    Attributes:
        name: of the variable.
        key: of the settings.
        read: turns the variable's text into the setting.
    """

    name: str
    key: str
    read: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class Flag:
    """The switch of `headwater serve` that is called as the type; it sets a key to true."""

    key: str
    help: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The model names that belong to a type of provider.

    The longest prefix of all types decides, so that `gpt-oss` is Ollama's and `gpt-4o` OpenAI's.

    Attributes:
        names: whole names.
        prefixes: beginnings of names without a colon and without a slash.
        tagged: beginnings of names with a colon; the empty one stands for every such name.
    """

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    tagged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The parts that a provider is built from, beside its settings.

    Attributes:
        client: of this provider alone, and closed by its owner.
        key: the provider's key; empty where none is set.
        variables: the variables of the environment that its settings name.
        compatible: builds a provider of another type, for one that is asked as if it were of that type: by the name
            of the type, with its name, settings and key.
    """

    client: HttpClient
    key: str
    variables: Mapping[str, str]
    compatible: Callable[[str, str, Mapping[str, Any], str], Provider]


@dataclass(frozen=True, slots=True)
class ProviderType:
    """A type of provider.

    Attributes:
        name: `type` in the configuration; also the name of the provider that is there without configuration.
        settings: the class of its settings.
        build: makes a provider from its name, its settings and the context.
        defaults: the settings of the provider that is there without configuration.
        environment: the variables that set its keys.
        setup: the variable that sets it up, as errors say it; empty where no variable is needed.
        flag: its switch of the command line.
        routes: the model names that belong to it.
        stands_in: it answers a request that names nothing only where no other provider is set up.
        is_ready: whether a provider with these settings can answer without being set up.
    """

    name: str
    settings: type[ProviderSettings]
    build: Callable[[str, Any, BuildContext], Provider]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    environment: tuple[Variable, ...] = ()
    setup: str = ""
    flag: Flag | None = None
    routes: Routes = Routes()
    stands_in: bool = False
    is_ready: Callable[[Any], bool] = lambda _: False
