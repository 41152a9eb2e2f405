"""Files and folders that hold the server's state: only its own user may change them, and no link in them is followed.

A user who may write where the server keeps its files could lead it to other files of its user. So a folder must belong
to the server's user or to root, and only they and groups of the server's user may write it; a file must be an ordinary
one of the server's user, with one name.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class UnsafeFileError(OSError):
    """Another user could change a file or a folder; `strerror` says how, with the cure.

    Args:
        why: the text.
    """

    def __init__(self, why: str) -> None:
        super().__init__(errno.EPERM, why)


def make_folder(path: Path) -> None:
    """Makes a folder for this user alone, unless it is there, and checks it. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_folder(path)


def check_folder(path: Path, *, is_shared: bool = False) -> None:
    """Raises UnsafeFileError for a folder in which another user could put files, or exchange ours.

    Args:
        path: the folder. A link to it may be one of this user or of root.
        is_shared: whether all may write it that cannot touch the files of others there, as in /tmp.
    """
    for found in (os.lstat(path), os.stat(path)):
        if found.st_uid not in (os.geteuid(), 0):
            raise UnsafeFileError(f"{_owner(found)}; run the server as that user, or let it belong to yours")
    if is_shared and found.st_mode & stat.S_ISVTX:
        return
    if found.st_mode & stat.S_IWOTH:
        raise UnsafeFileError("every user may write it; run chmod o-w on it")
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (os.getegid(), *os.getgroups()):
        raise UnsafeFileError("a group that is not yours may write it; run chmod g-w on it")


def open_private(path: Path) -> int:
    """Opens a file of this user to read and write, made if it is missing. Returns its descriptor. Raises OSError."""
    try:
        # Without O_NONBLOCK, a named pipe could hold the server for ever.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(path, "is a link") from error
        raise
    try:
        _check(path, os.fstat(file))
    except BaseException:
        os.close(file)
        raise
    return file


def read_private(path: Path, most_bytes: int) -> bytes | None:
    """The content of a file of this user; None when there is none. Raises OSError, also for a larger file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(path, "is a link") from error
        raise
    with os.fdopen(file, "rb") as stream:
        _check(path, os.fstat(file))
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"{path.name} has more than {most_bytes:,} bytes")
    return data


def check_file(path: Path) -> None:
    """Raises UnsafeFileError for a file that is there and is not this user's alone. A link is not followed."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    _check(path, found)


def _check(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _unsafe(path, "is a link")
    if not stat.S_ISREG(found.st_mode):
        raise _unsafe(path, "is no ordinary file")
    if found.st_uid != os.geteuid():
        raise _unsafe(path, _owner(found))
    if found.st_nlink > 1:
        raise _unsafe(path, "has a second name")
    if found.st_mode & WRITABLE_BY_OTHERS:
        raise UnsafeFileError(f"{path.name} in it may be written by others; run chmod 600 on it")


def _unsafe(path: Path, why: str) -> UnsafeFileError:
    return UnsafeFileError(f"{path.name} in it {why}; look who put it there, and remove it")


def _owner(found: os.stat_result) -> str:
    return f"belongs to another user (uid {found.st_uid})"
