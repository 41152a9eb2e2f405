"""A copy of the journal while the server uses it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from headwater_server.private_files import UnsafeFileError, check_folder
from headwater_server.workflows.journal.base import JournalDamagedError, JournalError
from headwater_server.workflows.journal.data_directory import check_journal
from headwater_server.workflows.journal.errors import explained
from headwater_server.workflows.journal.sqlite import BUSY_TIMEOUT_SECONDS, FILE_NAME


def back_up(directory: Path, target: Path) -> int:
    """Writes a whole copy of the journal in a data directory to a new file, and returns its size in bytes.

    The copy has every run as it was at one moment. It appears under its name only when it is complete and on the disk.

    Raises JournalError when there is no journal, it is damaged, or the copy cannot be written.
    """
    source = directory / FILE_NAME
    if not source.is_file():
        raise JournalError(f"there is no journal in {directory}; name the data directory with --data-dir")
    check_journal(directory, FILE_NAME)
    if os.path.lexists(target):
        raise JournalError(f"{target} exists already; name a new file")
    partial = target.with_name(f"{target.name}.partial")
    try:
        check_folder(target.parent, is_shared=True)
        partial.unlink(missing_ok=True)  # of a copy that was killed; a link goes, not the file that it names
        file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with closing(sqlite3.connect(source, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)) as connection:
                # SQLite wants text, and a name of a file may have any bytes.
                connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(partial),))
            os.fsync(file)
        finally:
            os.close(file)
        partial.rename(target)
    except UnsafeFileError as error:
        raise JournalError(f"the copy {target} cannot be written safely: its folder {error.strerror}") from error
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(damage := explained(error, source), JournalDamagedError):
            raise damage from error
        raise JournalError(f"the copy {target} cannot be written: {error}") from error
    return target.stat().st_size
