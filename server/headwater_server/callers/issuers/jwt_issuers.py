"""JWT of configured issuers as the tokens of callers (RFC 7519, checked as RFC 8725 advises).

A token must be signed with an asymmetric algorithm, by a key of its issuer, and have `exp`, `iss`, and an `aud` that is
this server's. One claim names the caller, another has its scopes: a text of words, or a list. Scopes that are not
Headwater's are passed over, as issuers put others beside them.

The claims that are read before the signature is checked decide only which issuer's keys check it.

`jwt` brings cryptography and takes a tenth of the start of a server, so only a server with issuers imports it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater_server.callers.admission import Admission, Answer, refused
from headwater_server.callers.caller import Caller, Source, is_scope
from headwater_server.callers.issuers.key_set import ALGORITHMS, KeysError
from headwater_server.callers.issuers.key_sources import KeySource
from headwater_server.domain.secret_text import looks_like_name

if TYPE_CHECKING:
    import jwt

MAX_SCOPES = 100
_NEVER = 2**53
_NOT_CHECKED: Any = {"verify_signature": False}

ScopesOf = Callable[[str], frozenset[str]]
"""Further scopes that the configuration gives a caller, by its name."""


@dataclass(frozen=True, slots=True)
class IssuerTerms:
    """The terms of an issuer's tokens.

    Attributes:
        name: of the issuer in the configuration.
        issuer: its claim `iss`.
        audience: the texts of which its claim `aud` must have one.
        leeway_seconds: how far the clocks of issuer and server may be apart.
        caller_claim, scope_claim: the claims with the name of the caller and its scopes.
        caller_prefix: stands before the name, so that callers of two issuers cannot have the same. A name that begins
            with the longer prefix of another issuer is refused.
    """

    name: str
    issuer: str
    audience: tuple[str, ...]
    leeway_seconds: float
    caller_claim: str
    scope_claim: str
    caller_prefix: str


class JwtIssuer:
    """An issuer, and its keys.

    Args:
        terms: of its tokens.
        keys: check them.
        made_of: differs from that of issuers with other settings.
    """

    def __init__(self, terms: IssuerTerms, keys: KeySource, made_of: Hashable = None) -> None:
        self.terms = terms
        self.keys = keys
        self.made_of = made_of
        self.is_trusted = True
        """False once a reload has taken it away: then its callers' running calls end."""

    async def admit(self, text: str, header: dict[str, Any], scopes_of: ScopesOf) -> Admission:
        """The caller of a token that says it is of this issuer. Raises HeadwaterError (CALLER_UNAUTHENTICATED)."""
        algorithm, terms = header.get("alg"), self.terms
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise refused(f"the JWT must be signed with one of {', '.join(sorted(ALGORITHMS))}")
        try:
            key = await self.keys.find(header.get("kid"), algorithm)
        except KeysError as error:
            raise refused(f"the JWT cannot be checked now: {error}; try again") from error
        if key is None:
            raise refused(f"the key of the JWT is none of jwt.{terms.name}, or none for its algorithm; get a new token")
        claims = self._checked(text, key)
        name = claims.get(terms.caller_claim)
        if not isinstance(name, str) or not looks_like_name(name := terms.caller_prefix + name):
            raise refused(
                f"the claim {terms.caller_claim} of the JWT is no name: 1 to 200 letters, digits and ._:/@+=~,-"
            )
        until = min(int(claims["exp"]), _NEVER) + terms.leeway_seconds
        scopes = frozenset((*_scopes(claims.get(terms.scope_claim)), *scopes_of(name)))
        return Admission(Caller(name, scopes, Source.JWT), lambda: self._why_over(until))

    def _why_over(self, until: float) -> str:
        if not self.is_trusted:
            return "the issuer of the JWT is no longer one of this server's"
        return _EXPIRED if time.time() >= until else ""

    def _checked(self, text: str, key: jwt.PyJWK) -> dict[str, Any]:
        """The claims. Raises HeadwaterError (CALLER_UNAUTHENTICATED)."""
        import jwt

        terms = self.terms
        try:
            return jwt.decode(
                text,
                key,
                algorithms=[key.algorithm_name],
                audience=terms.audience,
                issuer=terms.issuer,
                leeway=terms.leeway_seconds,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise refused(_mistake(error, terms)) from None


class JwtIssuers:
    """The issuers that a server trusts.

    Args:
        issuers: no two have the same `iss`.
        scopes_of: further scopes of callers.
    """

    def __init__(self, issuers: Iterable[JwtIssuer], scopes_of: ScopesOf) -> None:
        import jwt  # noqa: F401  here, not with the first call: it takes some time

        self.by_issuer = {issuer.terms.issuer: issuer for issuer in issuers}
        self._prefixes = {issuer.terms.caller_prefix for issuer in self.by_issuer.values()}
        self._scopes_of = scopes_of

    async def admit(self, text: str) -> Answer:
        """The caller of a JWT. Raises HeadwaterError (CALLER_UNAUTHENTICATED)."""
        import jwt

        try:
            unchecked = jwt.decode_complete(text, options=_NOT_CHECKED)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return "the token is neither one of `headwater token create` nor a JWT"
        said = unchecked["payload"].get("iss")
        issuer = self.by_issuer.get(said) if isinstance(said, str) else None
        if issuer is None:
            return "the issuer of the JWT is none of this server's; get a token of one that it trusts"
        admission = await issuer.admit(text, unchecked["header"], self._scopes_of)
        self._check_prefix(admission.caller.name, issuer.terms)
        return admission

    def _check_prefix(self, name: str, terms: IssuerTerms) -> None:
        """Raises HeadwaterError (CALLER_UNAUTHENTICATED) for a name with the longer prefix of another issuer."""
        if any(len(other) > len(terms.caller_prefix) and name.startswith(other) for other in self._prefixes):
            raise refused(
                f"the claim {terms.caller_claim} of the JWT makes a name that begins as those of another issuer; "
                f"give jwt.{terms.name} a caller_prefix that no other begins with"
            )


_EXPIRED = "the JWT has expired; get a new one of its issuer"


def _mistake(error: Exception, terms: IssuerTerms) -> str:
    """The mistake of a token, and the cure; nothing of the token itself."""
    import jwt

    match error:
        case jwt.ExpiredSignatureError():
            return _EXPIRED
        case jwt.ImmatureSignatureError():
            return f"the JWT is not valid yet; set the clocks right, or raise leeway_seconds of jwt.{terms.name}"
        case jwt.InvalidAudienceError():
            return f"the JWT is for another audience; its claim aud must have {' or '.join(terms.audience)}"
        case jwt.MissingRequiredClaimError():
            return f"the JWT lacks the claim {error.claim}"
        case jwt.InvalidSignatureError():
            return "the signature of the JWT does not fit the key that it names; get a new token"
        case jwt.InvalidKeyError():
            return "the key of the JWT is too short; its issuer must use RSA with 2048 bits or more, or another kind"
    return "the JWT has a claim that cannot be read"


def _scopes(said: Any) -> list[str]:
    """The scopes of Headwater in a claim."""
    words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    return [word for word in words if isinstance(word, str) and is_scope(word)][:MAX_SCOPES]
