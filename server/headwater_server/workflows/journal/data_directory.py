"""The folder of the server's state: made if it is missing, private, and locked by its one owner."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from headwater_server.private_files import UnsafeFileError, check_file, check_folder, make_folder, open_private
from headwater_server.workflows.journal.base import JournalFolderError, JournalLockedError

LOCK_NAME = "lock"
SQLITE_ENDINGS = ("-wal", "-shm", "-journal")


class DataDirectory:
    """A locked folder. The lock is the operating system's, on the file `lock`, so it dies with the process.

    Raises JournalLockedError when another process has the folder, JournalFolderError when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            make_folder(path)
            self._lock = open_private(path / LOCK_NAME)
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
        """A file of the folder that only its owner may read, made if it is missing, for SQLite.

        The files that SQLite keeps beside it are checked too. Raises JournalFolderError.
        """
        try:
            os.close(open_private(self.path / name))
            _check_files(self.path, name)
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


def owner_of(path: Path) -> int | None:
    """The process that has locked the folder; None for none. Raises JournalFolderError, and OSError for its lock."""
    check_journal(path, LOCK_NAME)
    try:
        lock = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(lock, 20, 0))
    finally:
        os.close(lock)
    return None


def check_journal(path: Path, name: str) -> None:
    """Raises JournalFolderError for a folder, or a database of SQLite in it, that another user could change."""
    try:
        check_folder(path)
        _check_files(path, name)
    except OSError as error:
        raise _unusable(path, error) from error


def _check_files(path: Path, name: str) -> None:
    for ending in ("", *SQLITE_ENDINGS):
        check_file(path / f"{name}{ending}")


def _unusable(path: Path, error: OSError) -> JournalFolderError:
    is_unsafe = isinstance(error, UnsafeFileError)
    cure = "" if is_unsafe else "; make it a folder that this user may write"
    how = f"is not safe: {error.strerror}" if is_unsafe else f"cannot be used: {error.strerror}"
    return JournalFolderError(f"the data directory {path} {how}{cure}, or choose another with --data-dir")
