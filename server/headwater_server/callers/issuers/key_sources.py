"""Where the keys of an issuer come from: a file that is followed, or a URL that is fetched.

Theory of operation of a URL. Its keys are fetched when the server starts, and again after each interval, beside the
calls. A call whose key is unknown asks for them too, because issuers use new keys a moment after they publish them; it
waits for the answer. However many calls ask, one fetch is made for all of them, and none within some seconds of the one
before, so tokens with made-up keys cost the issuer next to nothing. A fetch that fails changes nothing: the keys of
before count on, and the log says so once, until the reason changes.

Worked example: the issuer puts key `b` beside `a` at 10:00:00 and signs with it at 10:00:01. The call at 10:00:02
names `b`. The last fetch is minutes old, so the keys are fetched, and the call is let in after one round trip. At
10:00:03 a token names `c`, which is made up. It is refused at once: the last fetch is a second old.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from headwater_server.callers.followed_file import FollowedFile
from headwater_server.callers.issuers.key_set import MAX_BYTES, KeysError, KeySet
from headwater_server.telemetry.background import in_background

if TYPE_CHECKING:
    import jwt

PAUSE_SECONDS = 5.0
"""Between the beginnings of two fetches."""
WAIT_SECONDS = 6.0
"""How long a call waits for keys: longer than a fetch may take."""

Fetch: TypeAlias = Callable[[str, str, int], Awaitable[bytes]]
"""The document at a URL, given the file of certificates to trust (empty: the system's), and its most bytes.

Raises KeysError; takes a few seconds at most.
"""

log = structlog.get_logger("headwater.callers")


class KeySource(Protocol):
    """Has the keys of one issuer."""

    async def find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        """The key of a token, as `KeySet.find`. Raises KeysError when there are no keys at all."""
        ...

    def tend(self) -> None:
        """Does what is due; called once a second."""
        ...

    async def aclose(self) -> None:
        """Ends what runs."""
        ...


class KeyFile:
    """The keys in a file, read again when it changes. A file that is bad or gone changes nothing, and the log says so.

    Args:
        issuer: the name of the issuer in the configuration, for the log.
        path: the file.

    Raises KeysError for a file that cannot be used.
    """

    def __init__(self, issuer: str, path: Path) -> None:
        self._issuer = issuer
        self._file = FollowedFile(path)
        self._keys = _read(path)

    async def find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        """See KeySource."""
        self.tend()
        return self._keys.find(key_id, algorithm)

    def tend(self) -> None:
        """See KeySource."""
        if self._file.has_changed():
            try:
                self._keys = _read(self._file.path)
            except KeysError as error:
                log.error("jwt keys", issuer=self._issuer, why=str(error), keys="as_before")
            else:
                log.info("jwt keys", issuer=self._issuer, keys=len(self._keys))

    async def aclose(self) -> None:
        """See KeySource."""


class KeyUrl:
    """The keys at a URL.

    Args:
        issuer: the name of the issuer in the configuration, for the log.
        fetch: gets the document there.
        seconds: how often.
        clock: the time in seconds.
    """

    def __init__(
        self,
        issuer: str,
        fetch: Callable[[], Awaitable[bytes]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._seconds = seconds
        self._clock = clock
        self._keys: KeySet | None = None
        self._content = b""
        self._began = float("-inf")
        self._why = ""
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        """See KeySource."""
        if (key := self._find(key_id, algorithm)) is None and (fetching := self._begin()):
            # A call that leaves must not end the fetch, for which others wait too.
            await asyncio.wait([fetching], timeout=WAIT_SECONDS)
            key = self._find(key_id, algorithm)
        if self._keys is None:
            raise KeysError("the keys of its issuer could not be fetched yet, and the log of the server says why")
        return key

    def _find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        return self._keys.find(key_id, algorithm) if self._keys else None

    def tend(self) -> None:
        """See KeySource."""
        if self._clock() - self._began >= (self._seconds if self._keys else PAUSE_SECONDS):
            self._begin()

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that runs, or one that begins now; None so soon after the last one."""
        if self._fetching is None or self._fetching.done():
            if self._clock() - self._began < PAUSE_SECONDS:
                return None
            self._began = self._clock()
            # In a context without the call that may have asked for it: its headers are not for the issuer.
            self._fetching = Context().run(in_background, self._take(), "headwater jwt keys")
        return self._fetching

    async def _take(self) -> None:
        try:
            content = await self._fetch()
            keys = KeySet(content)
        except KeysError as error:
            if str(error) != self._why:
                self._why = str(error)
                log.error("jwt keys", issuer=self._issuer, why=self._why, keys="as_before" if self._keys else "none")
            return
        if content != self._content or self._why:
            log.info("jwt keys", issuer=self._issuer, keys=len(keys))
        self._keys, self._content, self._why = keys, content, ""

    async def aclose(self) -> None:
        """See KeySource."""
        if self._fetching:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])


def _read(path: Path) -> KeySet:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return KeySet(data)
    except KeysError as error:
        raise KeysError(f"{path} {error}") from error
