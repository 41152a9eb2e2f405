"""The settings of a provider of the type `ollama`."""

from __future__ import annotations

from collections.abc import Set
from typing import ClassVar, Literal

from headwater_server.providers.settings import HttpSettings


class OllamaSettings(HttpSettings):
    """An Ollama server."""

    ENDINGS: ClassVar[tuple[str, ...]] = (
        "/v1/chat/completions", "/v1", "/api/chat", "/api/generate", "/api/tags", "/api",
    )  # fmt: skip

    type: Literal["ollama"] = "ollama"

    def is_configured(self, chosen: Set[str]) -> bool:
        """See ProviderSettings: anything was chosen. Its default address alone is not: any user may listen there."""
        return bool(chosen)


def url_of_host(host: str) -> str:
    """OLLAMA_HOST as a URL, read as Ollama reads it: a URL, a host, a port or both; an address that a server listens
    on stands for this host. The default port depends on whether a scheme is given.
    """
    scheme, found, rest = host.strip().partition("://")
    if not found:
        scheme, rest = "http", host.strip()
    address, slash, path = rest.partition("/")
    if address.count(":") > 1 and not address.startswith("["):
        address = f"[{address}]"
    if address.endswith("]") or ":" not in address:
        address += {"http": ":80", "https": ":443"}.get(scheme, "") if found else ":11434"
    name, _, port = address.rpartition(":")
    if name in ("", "0.0.0.0", "[::]"):  # noqa: S104  that is where a server listens, not where a client connects
        name = "127.0.0.1"
    return f"{scheme}://{name}:{port}{slash}{path}"
