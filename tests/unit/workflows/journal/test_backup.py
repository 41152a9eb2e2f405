"""A copy of the journal: the names it may have, and a source that is damaged."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headwater_server.workflows.journal.backup import back_up
from headwater_server.workflows.journal.base import JournalDamagedError


def test_the_copy_may_have_any_name_that_a_file_may_have(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "headwater.db")) as journal:
        journal.execute("create table t (x)")
    copy = Path(os.fsdecode(os.fsencode(tmp_path) + b"/copy-\xff"))
    assert back_up(tmp_path, copy) == copy.stat().st_size > 0
    assert {file.name for file in tmp_path.iterdir()} == {"headwater.db", copy.name}


def test_a_damaged_journal_is_named_and_not_the_copy(tmp_path: Path) -> None:
    (tmp_path / "headwater.db").write_text("hello, this is no database")
    with pytest.raises(JournalDamagedError, match=r"headwater\.db cannot be used: .*restore the file from a copy"):
        back_up(tmp_path, tmp_path / "copy")
    assert [file.name for file in tmp_path.iterdir()] == ["headwater.db"]
