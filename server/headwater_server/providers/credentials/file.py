"""A key in a file, which is read again when the file has changed."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import without_secrets
from headwater_server.providers.credentials.base import checked_token

READ_SECONDS = 5.0
MAX_FILE = 64 * 1024


class KeyFile:
    """The source of a key that stands alone in a file.

    The file is looked at before each call, in a thread: a file system may hang. Calls that come meanwhile wait for the
    same look, so that a hanging file holds one thread.
    """

    def __init__(self, path: Path) -> None:
        self._shown = without_secrets(str(path))
        self.cure = f"check the key in {self._shown}"
        self.identity = f"file {path}"
        self._path = path
        self._looking: asyncio.Future[str] | None = None
        self._seen: tuple[int, ...] | None = None
        self._key = ""

    async def token(self) -> str:
        """See TokenSource."""
        looking = self._looking
        if looking is None or looking.done():
            looking = self._looking = asyncio.get_running_loop().run_in_executor(None, self._look)
        done, _ = await asyncio.wait([looking], timeout=READ_SECONDS)
        why = looking.result() if done else f"cannot be read within {READ_SECONDS:g} seconds"
        if why:
            raise HeadwaterError(
                Reason.PROVIDER_AUTH_FAILED, f"the key's file {self._shown} {why}; correct the file or api_key_file"
            )
        return self._key

    async def refused(self, token: str) -> bool:
        """See TokenSource: the file may hold another key by now."""
        self._seen = None
        return await self.token() != token

    def _look(self) -> str:
        """Reads the file if it has changed; why that cannot be, else an empty text."""
        try:
            # Without O_NONBLOCK, a named pipe without a writer would hold the thread for ever.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                facts = os.fstat(descriptor)
                if not stat.S_ISREG(facts.st_mode):
                    return "is no ordinary file"
                if facts.st_mode & stat.S_IWOTH:
                    return "may be written by every user (chmod o-w)"
                state = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
                if state == self._seen:
                    return ""
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        key = checked_token(data.decode("utf-8", "replace")) if len(data) <= MAX_FILE else None
        if key is None:
            return "holds no key: it must be one word of printable ASCII"
        self._seen, self._key = state, key
        return ""
