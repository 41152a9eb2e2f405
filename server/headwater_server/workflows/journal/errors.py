"""Errors of the journal's file, in one line with the cure."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from headwater_server.workflows.journal.base import JournalDamagedError, JournalError

_MISTAKES = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_CURES = {
    "SQLITE_FULL": "free space on its disk, or raise journal_mib when the file has that size",
    "SQLITE_CORRUPT": "restore the file from a copy, or move it away to begin with an empty one",
    "SQLITE_NOTADB": "restore the file from a copy, or move it away to begin with an empty one",
    "SQLITE_READONLY": "make the file writable, or choose another folder with --data-dir",
    "SQLITE_CANTOPEN": "make the file readable and writable, or choose another folder with --data-dir",
    "SQLITE_BUSY": "close the program that holds the file",
}


def explained(error: Exception, file: Path) -> Exception:
    """An error as callers get it: the cures are for those of the file, not for mistakes in statements."""
    if not isinstance(error, sqlite3.Error) or isinstance(error, _MISTAKES):
        return error
    code = getattr(error, "sqlite_errorname", "")
    cure = next((cure for name, cure in _CURES.items() if code.startswith(name)), "look at its disk")
    kind = JournalDamagedError if code.startswith(_DAMAGED) else JournalError
    return _caused(kind(f"the journal {file} cannot be used: {error}; {cure}"), error)


def unreadable(error: Exception, file: Path) -> Exception:
    """An error of a read as callers get it: content that no run has is damage too.

    Its words are left out: they may quote the content, which is not for the log.
    """
    known = explained(error, file) if hasattr(error, "sqlite_errorname") else error
    if isinstance(known, JournalError):
        return known
    text = f"the journal {file} has content that cannot be read ({type(error).__name__}); {_CURES['SQLITE_CORRUPT']}"
    return _caused(JournalDamagedError(text), error)


def _caused(error: JournalError, cause: Exception) -> JournalError:
    error.__cause__ = cause
    return error
