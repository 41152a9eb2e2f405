"""The tokens that a running server knows: looks one up, and follows their file when it changes.

Theory of operation. Each call looks at the file, and reads it when it has changed: a token that was revoked is refused
from the next call on, in every process of the server. A file that is bad, or gone although it was there, changes
nothing, and the log says so: the tokens of before count on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from headwater_server.callers.admission import Admission, Answer, refused
from headwater_server.callers.caller import Caller
from headwater_server.callers.followed_file import FollowedFile
from headwater_server.callers.token_file import FILE_NAME, read_tokens
from headwater_server.callers.tokens import Token, TokenError, find
from headwater_server.telemetry.audit import audit

log = structlog.get_logger("headwater.callers")


class StaticTokens:
    """The tokens in a data directory.

    Args:
        folder: the data directory.
        clock: the time in seconds since the epoch.
        audits: whether this process writes the changes into the log; one of several does.

    Raises TokenError for a file that cannot be used.
    """

    def __init__(self, folder: Path, clock: Callable[[], float], *, audits: bool) -> None:
        self._folder = folder
        self._clock = clock
        self._audits = audits
        self._file = FollowedFile(folder / FILE_NAME)
        self._tokens: dict[str, Token] | None = _by_id(read_tokens(folder))
        self.are_there = self._tokens is not None

    def admit(self, text: str) -> Answer:
        """The caller of a token. Raises HeadwaterError (CALLER_UNAUTHENTICATED)."""
        token = find((self._tokens or {}).values(), text)
        if token is None:
            return "the token is not one of this server's; `headwater token create` makes one"
        if why := self._why_over(token.id):
            raise refused(why)
        return Admission(Caller(token.caller, frozenset(token.scopes)), lambda: self._why_over(token.id))

    def _why_over(self, token_id: str) -> str:
        """Why the token counts no more; empty while it does."""
        token = (self._tokens or {}).get(token_id)
        if token is None:
            return "the token is no longer one of this server's; ask for a new one"
        if token.revoked:
            return "the token was revoked; ask for a new one"
        return "the token has expired; ask for a new one" if token.has_expired(self._clock()) else ""

    def follow(self) -> None:
        """Reads the file again when it has changed."""
        if not self._file.has_changed():
            return
        try:
            tokens = read_tokens(self._folder)
        except TokenError as error:
            log.error("callers", why=str(error), tokens="as_before")
            return
        before = self._tokens
        if tokens is None and before is not None:
            log.error("callers", why=f"{self._file.path} is gone", tokens="as_before", cure="start the server again")
            return
        self._tokens = _by_id(tokens)
        self.are_there = self._tokens is not None
        log.info("callers", tokens=sum(not token.revoked for token in tokens or ()))
        if self._audits:
            _audit(before or {}, tokens or ())


def _by_id(tokens: Iterable[Token] | None) -> dict[str, Token] | None:
    return None if tokens is None else {token.id: token for token in tokens}


def _audit(before: dict[str, Token], after: Iterable[Token]) -> None:
    """Writes the tokens that were made and revoked into the log."""
    for token in after:
        known = before.get(token.id)
        if known is None:
            audit("token_created", token_id=token.id, of=token.caller, scopes=list(token.scopes))
        if token.revoked and not (known and known.revoked):
            audit("token_revoked", token_id=token.id, of=token.caller)
