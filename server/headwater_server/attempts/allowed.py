"""The models that a caller may ask.

`models` of a caller's limits are patterns, in which `*` stands for any text:

| pattern | allows |
| --- | --- |
| the name of an alias | the models of that alias |
| `openai/gpt-*`, when openai is a provider here, or `*/gpt-4o` | models of these providers |
| any other, such as `gpt-4o*` or `Qwen/*` | models of this name, of each provider |

They are held against the model that is asked in the end, by its provider's own name. So it is all the same whether a
caller names a model itself, by an alias, as a fallback, in a step of a workflow, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import compress
from typing import Any

from headwater_server.callers.limits import CallerLimits
from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.providers.registry import ProviderRegistry, Route

MAX_SHOWN = 500
CHOOSING = frozenset({"model", "models", "fallbacks", "preset", "plugins"})
"""Fields of a request by which providers are known to take another model than the one that it names."""


class Allowed:
    """The models that one caller may ask.

    Args:
        caller: the caller's name.
        limits: its limits.
        providers: the providers that can answer.
    """

    def __init__(self, caller: str, limits: CallerLimits, providers: ProviderRegistry) -> None:
        self._caller = caller
        self._limits = limits
        self._providers = providers

    def allows(self, provider: str, model: str) -> bool:
        """Whether the caller may ask this model of this provider."""
        patterns = self._limits.models
        if not self.allows_provider(provider):
            return False
        return patterns is None or any(self._matches(pattern, provider, model) for pattern in patterns)

    def allows_provider(self, provider: str) -> bool:
        """Whether the caller may ask any model of this provider."""
        return self._limits.providers is None or provider in self._limits.providers

    def check_provider(self, provider: str) -> None:
        """Raises HeadwaterError (CALLER_FORBIDDEN) for a provider of which the caller may ask no model."""
        if not self.allows_provider(provider):
            raise self.forbidden(provider, "")

    def aliases(self) -> dict[str, list[str]]:
        """The aliases that the caller may name, each with those of its models that the caller may ask."""
        found = {}
        for name, alias in self._providers.aliases.items():
            routes, _ = self._providers.routes(name, "")
            allowed = [self.allows(route.provider.name, route.model) for route in routes]
            if any(allowed):
                found[name] = list(compress(alias.targets, allowed))
        return found

    def of(self, routes: Sequence[Route]) -> list[int]:
        """The places of the routes that the caller may take. Raises HeadwaterError (CALLER_FORBIDDEN) for none."""
        found = [i for i, route in enumerate(routes) if self.allows(route.provider.name, route.model)]
        if not found:
            raise self.forbidden(routes[0].provider.name, routes[0].model)
        return found

    def check_options(self, provider: str, options: Mapping[str, Any]) -> None:
        """Raises HeadwaterError for fields of the provider that could choose another model than the one asked."""
        if self._limits.models is None:
            return
        for path in _choosing(options, f"provider_options.{provider}"):
            raise invalid(path, "may choose another model, and your models are limited here; leave it out")

    def forbidden(self, provider: str, model: str) -> HeadwaterError:
        """The error for a model that the caller may not ask."""
        limits = self._limits
        parts = [f"models {', '.join(limits.models)}"] if limits.models is not None else []
        parts += [f"providers {', '.join(limits.providers)}"] if limits.providers is not None else []
        allowed = "; ".join(parts)[:MAX_SHOWN]
        asked = f"{provider}/{model}".removesuffix("/")[:100]
        text = f"{self._caller or 'a caller without a name'} may not ask {asked} here; allowed: {allowed}"
        named = {"caller": self._caller, "provider": provider, "model": model, "allowed": allowed}
        facts = {key: fact for key, fact in named.items() if fact}
        return HeadwaterError(Reason.CALLER_FORBIDDEN, text, metadata=facts)

    def _matches(self, pattern: str, provider: str, model: str) -> bool:
        if pattern in self._providers.aliases:
            routes, _ = self._providers.routes(pattern, "")
            return any((route.provider.name, route.model) == (provider, model) for route in routes)
        prefix, slash, _ = pattern.partition("/")
        is_whole = slash and ("*" in prefix or self._providers.has(prefix))
        return fnmatchcase(f"{provider}/{model}" if is_whole else model, pattern.replace("[", "[[]"))


def _choosing(value: Any, path: str) -> Iterator[str]:
    """The paths of the fields that could choose a model, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in CHOOSING:
                yield f"{path}.{key}"
            yield from _choosing(item, f"{path}.{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _choosing(item, f"{path}[{i}]")
