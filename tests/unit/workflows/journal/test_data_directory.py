"""The data directory: private, and locked by one owner."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from headwater_server.workflows.journal.base import JournalError, JournalLockedError
from headwater_server.workflows.journal.data_directory import DataDirectory

HOLDER = """
import sys
from pathlib import Path
from headwater_server.workflows.journal.data_directory import DataDirectory
DataDirectory(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_with_all_parents_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with closing(DataDirectory(path)) as directory:
        file = directory.private_file("x")
    assert (mode(path), mode(path / "lock"), mode(file)) == (0o700, 0o600, 0o600)


def test_a_second_owner_is_told_who_has_it_and_what_to_do(tmp_path: Path) -> None:
    with closing(DataDirectory(tmp_path)), pytest.raises(JournalLockedError) as caught:
        DataDirectory(tmp_path)
    message = str(caught.value)
    assert message == (
        f"the data directory {tmp_path} is in use by process {os.getpid()}; "
        "stop it, or choose another folder with --data-dir"
    )


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(JournalLockedError, match=f"process {holder.pid};"):
            DataDirectory(tmp_path)
        holder.kill()
        holder.wait()
    with closing(DataDirectory(tmp_path)):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_released_folder_can_be_locked_again(tmp_path: Path) -> None:
    DataDirectory(tmp_path).close()
    DataDirectory(tmp_path).close()


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_folder_that_cannot_be_made_is_one_line_with_the_cure(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / below
    with pytest.raises(JournalError) as caught:
        DataDirectory(path)
    assert str(caught.value).startswith(f"the data directory {path} cannot be used: ")
    assert "--data-dir" in str(caught.value)
    assert "\n" not in str(caught.value)
