"""The tokens of callers: made, stored as hashes, and checked.

A token has 256 random bits, so a plain SHA-256 of it cannot be turned back, and nothing slower is needed. Only the hash
is stored; the token itself is shown once, when it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

import msgspec

from headwater_server.callers.caller import SCOPES, is_scope

ID_PREFIX = "tok_"
TOKEN_PREFIX = "hw_"  # noqa: S105  what scanners for secrets look for
RANDOM_BYTES = 32
DAY_SECONDS = 86_400
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class TokenError(Exception):
    """A token cannot be made, found or read; the message is one line with the cure."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token as it is stored.

    Attributes:
        id: names it in commands; no secret.
        caller: name of the caller that has it. A caller may have several.
        scopes: those that its caller has with it.
        sha256: of the token, in hexadecimal digits.
        created, expires, revoked: in seconds since the epoch; 0.0 for never.
    """

    id: str
    caller: str
    scopes: tuple[str, ...]
    sha256: str
    created: float
    expires: float = 0.0
    revoked: float = 0.0

    def has_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return bool(self.expires) and now >= self.expires


def make_token(caller: str, scopes: Iterable[str], now: float, days: int = 0) -> tuple[Token, str]:
    """Makes a token.

    Args:
        caller: name of its caller.
        scopes: those that its caller has with it.
        now: in seconds since the epoch.
        days: how long it is valid; 0: until it is revoked.

    Returns the token as it is stored, and the text that its caller must send. Raises TokenError.
    """
    if not _NAME.fullmatch(caller) or caller.startswith(ID_PREFIX):
        raise TokenError(
            f"a caller's name has 1 to 64 letters, digits and ._@-, begins with a letter or digit, not with {ID_PREFIX}"
        )
    given = tuple(dict.fromkeys(scopes))
    if not given:
        raise TokenError(f"a token needs a scope, or it lets its caller do nothing: --scope {' or '.join(SCOPES)}")
    for scope in given:
        if not is_scope(scope):
            raise TokenError(f"there is no scope {scope[:100]!r}; there are {', '.join(SCOPES)}")
    text = TOKEN_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    expires = now + days * DAY_SECONDS if days else 0.0
    return Token(f"{ID_PREFIX}{secrets.token_hex(4)}", caller, given, hash_of(text), now, expires), text


def hash_of(text: str) -> str:
    """The hash that is stored of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find(tokens: Iterable[Token], text: str) -> Token | None:
    """The token that a caller has sent; None for one that was never made. Takes as long for one as for another."""
    wanted, found = hash_of(text), None
    for token in tokens:
        if hmac.compare_digest(token.sha256, wanted):
            found = token
    return found
