"""One embedded model a host: decides which server runs it, and tells the others its address.

Theory of operation. The servers of one user that want the same model meet in a directory that only the user can enter.
The holder of a lock on a file there runs the model's process and publishes its address and key beside it. The kernel
drops the lock however its holder ends, so the next server that asks can take it; the lock is never waited for. An
address that a killed holder left behind is removed by the next holder before it starts its own process.

A server that reads a reply has a shared lock on a second file meanwhile, so that a holder that is about to end can see
whether any reply is still read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.private_files import open_private


class Address(msgspec.Struct, frozen=True):
    """Where the model is served; `key` goes with every request."""

    url: str
    key: str


def runtime_directory(environment: Mapping[str, str]) -> Path:
    """Where the servers of this user meet: below XDG_RUNTIME_DIR, else below the system's temporary directory."""
    base = environment.get("XDG_RUNTIME_DIR", "")
    if base and Path(base).is_dir():
        return Path(base) / "headwater"
    return Path(tempfile.gettempdir()) / f"headwater-{os.getuid()}"


class Share:
    """The meeting place for one model. Not for several threads.

    Args:
        directory: see `runtime_directory`; made when it is missing.
        settings: the settings of the process. Servers with other settings have another process.
    """

    def __init__(self, directory: Path, settings: Mapping[str, object]) -> None:
        digest = hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()[:16]
        self._directory = directory
        self._lock_path = directory / f"local-{digest}.lock"
        self._address_path = directory / f"local-{digest}.json"
        self._use_path = directory / f"local-{digest}.use"
        self._stall_path = directory / f"local-{digest}.stalled"
        self._lock: int | None = None
        self._use_lock: int | None = None
        self._uses = 0

    def acquire(self) -> bool:
        """Takes the lock; False while another server holds it. Raises HeadwaterError for an unsafe directory."""
        if self._lock is not None:
            return True
        lock = self._open(self._lock_path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        self._address_path.unlink(missing_ok=True)
        return True

    def begin_use(self) -> None:
        """A reply is about to be read. Raises HeadwaterError for an unsafe directory."""
        if self._use_lock is None:
            self._use_lock = self._open(self._use_path)
            fcntl.flock(self._use_lock, fcntl.LOCK_SH)
        self._uses += 1

    def end_use(self) -> None:
        """A reply is no longer read."""
        self._uses -= 1
        if not self._uses and self._use_lock is not None:
            os.close(self._use_lock)
            self._use_lock = None

    def is_used(self) -> bool:
        """Whether a reply is being read, here or by another server."""
        lock = self._open(self._use_path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def publish(self, address: Address) -> None:
        """Tells the other servers where the model is. Only for the holder of the lock."""
        draft = self._address_path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(address))
        draft.replace(self._address_path)

    def address(self) -> Address | None:
        """The address and key that the holder of the lock has published; None before that."""
        try:
            return msgspec.json.decode(self._address_path.read_bytes(), type=Address)
        except (OSError, msgspec.MsgspecError):
            return None  # not there yet, or not an address: the holder of the lock publishes a new one

    def note_stall(self) -> None:
        """Tells all servers that the process computes without end and is being ended. Raises HeadwaterError."""
        file = self._open(self._stall_path)
        try:
            os.ftruncate(file, 0)
            os.write(file, str(time.time_ns()).encode())
        finally:
            os.close(file)

    def last_stall(self) -> str:
        """A text that is another one after each stall; empty before the first."""
        try:
            return self._stall_path.read_text(encoding="ascii")
        except OSError:
            return ""

    def release(self) -> None:
        """Withdraws the address and gives the lock up, where this server holds it."""
        if self._lock is not None:
            self._address_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _open(self, path: Path) -> int:
        try:
            self._check_directory()
            return open_private(path)
        except OSError as error:
            raise _unusable(self._directory, error.strerror or type(error).__name__) from error

    def _check_directory(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise _unusable(self._directory, "others can enter it")


def _unusable(directory: Path, why: str) -> HeadwaterError:
    cure = "remove it, or set XDG_RUNTIME_DIR to a directory of your own"
    return HeadwaterError(
        Reason.PROVIDER_UNAVAILABLE, f"the embedded model cannot use the directory {directory}: {why}; {cure}"
    )
