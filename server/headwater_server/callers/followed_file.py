"""A file that is read again when it has changed."""

from __future__ import annotations

import os
from pathlib import Path


class FollowedFile:
    """Says when a file has changed: looks at its time, size and number, which takes some microseconds.

    Args:
        path: the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = os.fspath(path)  # a path makes it each time
        self._seen: tuple[int, int, int] | None = (
            None  # the numbers that change with the file; None while there is none
        )
        self.has_changed()

    def has_changed(self) -> bool:
        """Whether the file is another than at the last look, or is there now, or is gone."""
        before = self._seen
        if before is None and not os.access(self._name, os.F_OK):
            return False  # most servers have no such file, and an error takes longer than the look
        try:
            found = os.stat(self._name)
        except OSError:
            self._seen = None
        else:
            self._seen = found.st_mtime_ns, found.st_size, found.st_ino
        return self._seen != before
