"""The proxies of the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in capitals or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from headwater_server.providers.http.loopback import is_loopback
from headwater_server.providers.setting_values import is_proxy

SCHEMES = ("http", "https")

_MISTAKE = 'is not the address of an HTTP proxy; set it to http://HOST:PORT, or proxy of the provider to "none"'


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies that hold.

    Attributes:
        urls: the address of the proxy for each scheme that has one.
        mistakes: for each scheme whose setting is no address of a proxy, the mistake.
        excluded: the hosts that are reached without one, as `proxy_bypass_environment` reads them; None: no host is.
    """

    urls: Mapping[str, str]
    mistakes: Mapping[str, str]
    excluded: str | None = None

    def are_for(self, host: str) -> bool:
        """Whether calls to the host go through a proxy; by the environment, those to this machine never do."""
        if self.excluded is None:
            return True
        return not (is_loopback(host) or proxy_bypass_environment(host, {"no": self.excluded}))


def proxies(setting: str) -> Proxies:
    """The proxy that a provider's setting names, for every call; `none` for none; empty: those of the environment."""
    if not setting:
        return environment_proxies()
    if setting == "none":
        return Proxies({}, {})
    if is_proxy(setting, SCHEMES):
        return Proxies(dict.fromkeys(SCHEMES, with_scheme(setting)), {})
    return Proxies({}, dict.fromkeys(SCHEMES, f"its setting proxy {_MISTAKE}"))


def environment_proxies() -> Proxies:
    """The proxies of the environment."""
    found = getproxies_environment()
    urls, mistakes = {}, {}
    for scheme in SCHEMES:
        name = scheme if found.get(scheme) else "all"
        text = found.get(name, "").strip()
        if is_proxy(text, SCHEMES):
            urls[scheme] = with_scheme(text)
        elif text:
            mistakes[scheme] = f"{name.upper()}_PROXY {_MISTAKE}"
    without_brackets = str.maketrans("", "", "[]")  # as IPv6 addresses are compared
    excluded = found.get("no", "").translate(without_brackets)
    return Proxies(urls, mistakes, "*" if "*" in map(str.strip, excluded.split(",")) else excluded)


def with_scheme(text: str) -> str:
    """The address of a proxy as a URL."""
    return text if "://" in text else f"http://{text}"


def mistake_in_environment(url: str) -> str:
    """The mistake in the variable whose proxy calls to this address would go through; empty for none."""
    found, parts = environment_proxies(), urlsplit(url)
    return found.mistakes.get(parts.scheme, "") if found.are_for(parts.hostname or "") else ""
