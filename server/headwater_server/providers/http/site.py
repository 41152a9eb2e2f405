"""The site of a provider: its address, and all that goes with every call to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from headwater_server.domain.secret_text import secrets_in
from headwater_server.providers.credentials.base import Credential, KeyHeader, OutgoingCall, StaticKey
from headwater_server.providers.credentials.from_settings import credential
from headwater_server.providers.http.client import HttpClient, Way
from headwater_server.providers.model_names import path_piece
from headwater_server.providers.registration import BuildContext
from headwater_server.providers.setting_values import MODEL, resolved, variables
from headwater_server.providers.settings import HttpSettings

_LISTS = frozenset({"anthropic-beta"})
"""Headers whose values are joined where several want one."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where and how a provider is asked.

    Attributes:
        base_url: the address, to which a path is appended; without a slash at the end. It may hold `{model}`.
        credential: signs the calls that bring no key.
        client: makes the connections.
        auth: how a caller's own key is sent (see `credentials.base.AUTH_HEADERS`).
        headers: sent with every call, names in lower case.
        query: added to every URL.
        omit: the fields that no body has.
        secrets: the texts in headers and query that must not be repeated to anybody.
    """

    base_url: str
    credential: Credential
    client: HttpClient
    auth: str = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    omit: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        model: str = "",
        connect_seconds: float | None = None,
    ) -> Callable[[bytes], OutgoingCall]:
        """Makes a call to the path of its body, still without its signature."""
        headers = joined(headers, self.headers) if self.headers else headers
        is_plain = not self.query and MODEL not in self.base_url
        url = self.base_url + path if is_plain else self._url(path, model)
        return partial(OutgoingCall, method, url, headers, connect_seconds=connect_seconds)

    def _url(self, path: str, model: str) -> str:
        base = self.base_url
        if MODEL in base:
            # Without a model the folder of all models is asked, such as for their list.
            folder = base.partition(f"/{MODEL}")[0].rpartition("/")[0]
            base = base.replace(MODEL, path_piece(model)) if model else folder
        if not self.query:
            return base + path
        return f"{base}{path}{'&' if '?' in path else '?'}{urlencode(self.query, quote_via=quote)}"

    def signer(self, key: str) -> Credential:
        """The credential of a call: the caller's key, or else the provider's own."""
        return KeyHeader(StaticKey(key), self.auth) if key else self.credential

    def kept(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body without the fields to be left out."""
        for path in self.omit:
            body = _without(body, path.split("."))
        return body


def site(name: str, settings: HttpSettings, context: BuildContext) -> Site:
    """The site that a provider's settings describe."""
    values = context.variables
    proxy = resolved(settings.proxy, values)
    way = Way(settings.ca_file, proxy, settings.unix_socket, settings.connect_seconds)
    texts = [*settings.headers.items(), *settings.query.items()]
    hidden = [values[name] for name in variables([*(value for _, value in texts), settings.proxy])]
    hidden += [secret for name, value in texts for secret in secrets_in(name, resolved(value, values))]
    hidden += _passwords(proxy)
    return Site(
        base_url=settings.base_url,
        credential=credential(name, settings, context.key),
        client=context.client.over(way),
        auth=settings.key_header,
        headers={name: resolved(value, values) for name, value in settings.headers.items()},
        query={name: resolved(value, values) for name, value in settings.query.items()},
        omit=settings.omit,
        secrets=tuple(dict.fromkeys(hidden)),
    )


def _passwords(proxy: str) -> list[str]:
    """The password of a proxy, as it is written and as it is sent; none where the address cannot be read."""
    try:
        password = urlsplit(proxy).password or ""
    except ValueError:  # the client says so
        return []
    return [password, unquote(password)]


def joined(ours: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """The headers, the others over ours; lists are joined."""
    both = {**ours, **others}
    for name in _LISTS & ours.keys() & others.keys():
        both[name] = f"{ours[name]},{others[name]}"
    return both


def _without(body: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The body without a field; the objects on the way are copied, since the caller owns them."""
    if path[0] not in body:
        return body
    if len(path) == 1:
        return {key: value for key, value in body.items() if key != path[0]}
    inner = body[path[0]]
    return {**body, path[0]: _without(inner, path[1:])} if isinstance(inner, dict) else body
