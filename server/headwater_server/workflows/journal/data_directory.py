"""The folder of the server's state: made if it is missing, private, and locked by its one owner."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from headwater_server.workflows.journal.base import JournalFolderError, JournalLockedError

LOCK_NAME = "lock"


class DataDirectory:
    """A locked folder. The lock is the operating system's, on the file `lock`, so it dies with the process.

    Raises JournalLockedError when another process has the folder, JournalFolderError when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _open_private(path / LOCK_NAME)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            self._take()
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            owner = f"process {pid}" if pid else "another process"
            raise JournalLockedError(
                f"the data directory {self.path} is in use by {owner}; "
                "stop it, or choose another folder with --data-dir"
            ) from error
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def private_file(self, name: str) -> Path:
        """A file of the folder that only its owner may read, made if it is missing. Raises JournalFolderError."""
        try:
            os.close(_open_private(self.path / name))
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # the name survives a crash of the machine too
            finally:
                os.close(folder)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return self.path / name

    def close(self) -> None:
        """Unlocks the folder. The lock file stays: without it two processes could lock two different files."""
        os.close(self._lock)


def _open_private(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _unusable(path: Path, error: OSError) -> JournalFolderError:
    return JournalFolderError(
        f"the data directory {path} cannot be used: {error.strerror}; "
        "make it a folder that this user may write, or choose another with --data-dir"
    )
