"""The protocol of credentials, and the credential that sends a key or token in a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import QuietStruct


class OutgoingCall(QuietStruct, frozen=True):
    """A call to a provider, complete but for its signature. `connect_seconds` is None where the provider's holds."""

    UNSEEN: ClassVar = ("body",)

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    connect_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """The additions to a call.

    Attributes:
        headers: the headers to add.
        secret: the text in them that must not be repeated to anybody; empty for none.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str = field(default="", repr=False)


class Credential(Protocol):
    """Signs the calls to one provider. Shared by all calls of an event loop."""

    @property
    def cure(self) -> str:
        """The advice when the provider refuses the signature; empty where the caller knows."""
        ...

    @property
    def identity(self) -> str:
        """A text that is the same as long as the account is the same, also when the token changes. It may be secret."""
        ...

    async def sign(self, call: OutgoingCall) -> Signature:
        """The signature of the call. Raises HeadwaterError (PROVIDER_AUTH_FAILED) when there is none."""
        ...

    async def refused(self, signature: Signature) -> bool:
        """Notes that the provider has answered 401. Returns whether the next signature will be another one."""
        ...


class TokenSource(Protocol):
    """The source of a key or token."""

    @property
    def cure(self) -> str:
        """The advice when the provider refuses the token."""
        ...

    @property
    def identity(self) -> str:
        """See Credential."""
        ...

    async def token(self) -> str:
        """The token; empty where the provider wants none. Raises HeadwaterError (PROVIDER_AUTH_FAILED)."""
        ...

    async def refused(self, token: str) -> bool:
        """Notes that the provider has refused the token. Returns whether the next one will be another."""
        ...


AUTH_HEADERS: Mapping[str, tuple[str, str]] = {
    "bearer": ("authorization", "Bearer "),
    "api-key": ("api-key", ""),
    "x-api-key": ("x-api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
}
"""For each `auth` of the settings, but `none`, the header that carries the key, and the words before the key in it."""


class KeyHeader:
    """The credential that sends a key or token in a header: as `authorization: Bearer …`, or as `auth` says."""

    def __init__(self, source: TokenSource, auth: str = "bearer") -> None:
        self._source = source
        self._header = AUTH_HEADERS.get(auth)
        self._last = Signature()

    @property
    def cure(self) -> str:
        """See Credential."""
        return self._source.cure

    @property
    def identity(self) -> str:
        """See Credential."""
        return self._source.identity

    async def sign(self, call: OutgoingCall) -> Signature:
        """See Credential."""
        if self._header is None:
            return Signature()
        token = await self._source.token()
        if token != self._last.secret:
            name, words = self._header
            self._last = Signature({name: words + token} if token else {}, token)
        return self._last

    async def refused(self, signature: Signature) -> bool:
        """See Credential."""
        return self._header is not None and await self._source.refused(signature.secret)


class StaticKey:
    """A key that stays as it is.

    Args:
        key: empty for a provider that wants none, or whose key is not set.
        cure: the advice when the key is missing or refused; empty for a provider that wants none.
    """

    def __init__(self, key: str, cure: str = "") -> None:
        self.cure = cure
        self.identity = key
        self._key = key

    async def token(self) -> str:
        """See TokenSource."""
        if not self._key and self.cure:
            raise HeadwaterError(Reason.PROVIDER_AUTH_FAILED, f"there is no key: {self.cure}")
        return self._key

    async def refused(self, token: str) -> bool:
        """See TokenSource."""
        return False


def checked_token(text: str) -> str | None:
    """The token without the white space around it; None for text that no header can carry."""
    token = text.strip()
    return token if token and token.isascii() and token.isprintable() and " " not in token else None
