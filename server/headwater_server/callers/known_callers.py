"""The callers that a running server knows: looks a token up, and follows the file when it changes.

Theory of operation. Each call looks at the file's time, size and number, which takes some microseconds, and reads it
when one of them has changed: a token that was revoked is refused from the next call on, in every process of the server.
A file that is bad, or gone although it was there, changes nothing, and the log says so:
the tokens of before count on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from headwater_server.callers.caller import EVERYBODY, Caller
from headwater_server.callers.token_file import FILE_NAME, read_tokens
from headwater_server.callers.tokens import Token, TokenError, find
from headwater_server.domain.errors import HeadwaterError, Reason

MAX_TOKEN = 4096

log = structlog.get_logger("headwater.callers")


class KnownCallers:
    """The callers of a server. While its data directory has no file of tokens, it answers everybody.

    Args:
        folder: the data directory.
        clock: the time in seconds since the epoch.

    Raises TokenError for a file that cannot be used.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._clock = clock
        self._seen = self._look()
        self._tokens: list[Token] | None = read_tokens(folder)

    def caller_of(self, authorizations: list[str]) -> Caller:
        """The caller that a call comes from.

        Args:
            authorizations: the values of the call's metadata `authorization`.

        Raises HeadwaterError (CALLER_UNAUTHENTICATED).
        """
        self._follow()
        if self._tokens is None:
            return EVERYBODY
        token = find(self._tokens, _token_in(authorizations))
        if token is None:
            raise _refused("the token is not one of this server's; `headwater token create` makes one")
        if token.revoked:
            raise _refused("the token was revoked; ask for a new one")
        if token.has_expired(self._clock()):
            raise _refused("the token has expired; ask for a new one")
        return Caller(token.caller, frozenset(token.scopes))

    def _look(self) -> tuple[int, int, int] | None:
        """The numbers that change with the file; None while there is none."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _follow(self) -> None:
        """Reads the file again when it has changed."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            tokens = read_tokens(self._folder)
        except TokenError as error:
            log.error("callers", why=str(error), tokens="as before")
            return
        if tokens is None and self._tokens is not None:
            log.error("callers", why=f"{self._path} is gone", tokens="as before", cure="start the server again")
            return
        self._tokens = tokens
        log.info("callers", tokens=sum(not token.revoked for token in tokens or ()))


def _token_in(authorizations: list[str]) -> str:
    """The token that a call has. Raises HeadwaterError (CALLER_UNAUTHENTICATED)."""
    if not authorizations:
        raise _refused("the call has no token; send the metadata `authorization: Bearer TOKEN` (in Python token=)")
    scheme, _, text = authorizations[0].partition(" ")
    if len(authorizations) > 1 or scheme.lower() != "bearer" or not 0 < len(text.strip()) <= MAX_TOKEN:
        raise _refused("the metadata `authorization` must be there once, as `Bearer TOKEN`")
    return text.strip()


def _refused(text: str) -> HeadwaterError:
    return HeadwaterError(Reason.CALLER_UNAUTHENTICATED, text)
