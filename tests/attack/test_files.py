"""Files of other users: no folder, file, link or socket of theirs is used, and no file that a link names is touched."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from headwater import Agent
from headwater.cli.conversations import FileError, save
from headwater_server.domain.errors import HeadwaterError
from headwater_server.private_files import check_folder
from headwater_server.providers.local.share import Share
from headwater_server.transport.port import PortTakenError, check_path
from headwater_server.workflows.journal.backup import back_up
from headwater_server.workflows.journal.base import JournalError
from headwater_server.workflows.journal.data_directory import DataDirectory
from headwater_server.workflows.journal.sqlite import SqliteJournal
from tests.support.servers.server import run_cli

NAMES = ("lock", "headwater.db", "headwater.db-wal", "headwater.db-shm", "headwater.db-journal")
OTHER = 65_534
"""A user other than that of the tests."""
TALK = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]

GiveAway: TypeAlias = Callable[[Path], None]


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> GiveAway:
    """Makes a file another user's. Only root can; for others, this process becomes another user's instead."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, OTHER, OTHER, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: OTHER)

    return give


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_text("precious")
    return file


def link(path: Path, victim: Path, give_away: GiveAway) -> None:
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path, give_away: GiveAway) -> None:
    path.hardlink_to(victim)


def pipe(path: Path, victim: Path, give_away: GiveAway) -> None:
    os.mkfifo(path)


def writable(path: Path, victim: Path, give_away: GiveAway) -> None:
    path.touch()
    path.chmod(0o666)


def foreign(path: Path, victim: Path, give_away: GiveAway) -> None:
    path.touch()
    give_away(path)


TRAPS = [link, hard_link, pipe, writable, foreign]


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", NAMES)
async def test_no_file_of_the_data_directory_is_a_trap(tmp_path, victim, give_away, name, trap):
    data = tmp_path / "data"
    data.mkdir(0o700)
    trap(data / name, victim, give_away)
    with pytest.raises(
        JournalError, match=rf"the data directory {data} is not safe: ({name} in it|belongs) .*--data-dir"
    ):
        await SqliteJournal.open(data)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777])
def test_a_data_directory_of_another_user_is_refused(tmp_path, give_away, mode):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    give_away(data)
    with pytest.raises(JournalError, match=rf"{data} is not safe: belongs to another user \(uid \d+\)"):
        DataDirectory(data)
    assert list(data.iterdir()) == []


def test_a_data_directory_that_a_group_of_others_may_write_is_refused(tmp_path, monkeypatch):
    tmp_path.chmod(0o770)
    DataDirectory(tmp_path).close()  # a group of this user is its choice
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "getegid", lambda: OTHER)
    with pytest.raises(JournalError, match="a group that is not yours may write it; run chmod g-w"):
        DataDirectory(tmp_path)


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_data_directory_that_every_user_may_write_is_refused(tmp_path, mode):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    done = run_cli("serve", "--scripted", "--port", "0", "--data-dir", str(data))
    assert (done.returncode, done.stdout) == (78, "")
    assert "every user may write it; run chmod o-w on it" in done.stderr


def test_a_link_of_another_user_to_a_data_directory_is_refused(tmp_path, give_away):
    (tmp_path / "real").mkdir(0o700)
    data = tmp_path / "data"
    data.symlink_to(tmp_path / "real")
    DataDirectory(data).close()  # a link of this user is its choice
    give_away(data)
    with pytest.raises(JournalError, match="belongs to another user"):
        DataDirectory(data)


def journal(folder: Path) -> Path:
    with closing(DataDirectory(folder)) as directory:
        directory.private_file("headwater.db")
    return folder


def test_a_backup_follows_no_link(tmp_path, victim):
    data = journal(tmp_path / "data")
    (tmp_path / "copy.partial").symlink_to(victim)
    back_up(data, tmp_path / "copy")
    assert victim.read_text() == "precious"
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    (tmp_path / "nothing").symlink_to(tmp_path / "missing")
    with pytest.raises(JournalError, match="exists already"):
        back_up(data, tmp_path / "nothing")


def test_a_backup_reads_no_journal_that_is_a_link(tmp_path):
    data = journal(tmp_path / "data")
    other = tmp_path / "other"
    other.mkdir()
    (other / "headwater.db").symlink_to(data / "headwater.db")
    with pytest.raises(JournalError, match=r"headwater\.db in it is a link"):
        back_up(other, tmp_path / "copy")


def test_a_backup_is_not_written_where_every_user_may_exchange_it(tmp_path):
    data, open_folder = journal(tmp_path / "data"), tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    with pytest.raises(JournalError, match="every user may write it"):
        back_up(data, open_folder / "copy")


@pytest.mark.parametrize("trap", TRAPS)
def test_no_file_of_the_embedded_model_is_a_trap(tmp_path, victim, give_away, trap):
    share = Share(tmp_path / "run", {})
    share.acquire()
    share.release()
    (lock,) = (tmp_path / "run").glob("*.lock")
    lock.unlink()
    trap(lock, victim, give_away)
    with pytest.raises(HeadwaterError, match="cannot use the directory"):
        share.acquire()
    assert victim.read_text() == "precious"


def test_a_socket_of_another_user_is_neither_removed_nor_replaced(tmp_path, give_away):
    path = tmp_path / "hw.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    give_away(path)
    with pytest.raises(PortTakenError, match="another user"):
        check_path(str(path))
    assert path.is_socket()


def test_a_socket_is_not_made_where_every_user_may_exchange_it(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(PortTakenError, match="every user may write it"):
        check_path(str(tmp_path / "hw.sock"))
    tmp_path.chmod(0o1777)  # as /tmp: there each user removes its own files alone
    check_path(str(tmp_path / "hw.sock"))


def test_the_folder_of_temporary_files_may_be_shared_as_tmp_is(tmp_path):
    tmp_path.chmod(0o1777)
    check_folder(tmp_path, is_shared=True)


def test_a_conversation_replaces_no_file_that_a_link_names_and_is_for_its_user_alone(tmp_path, victim):
    agent = Agent(messages=TALK)
    talk, replaced = tmp_path / "talk.json", tmp_path / "replaced.json"
    talk.symlink_to(victim)
    with pytest.raises(FileError, match="it is a link; name the file itself"):
        save(agent, str(talk), replace=True)
    assert victim.read_text() == "precious"
    replaced.write_text("long " * 1_000)
    replaced.chmod(0o644)
    save(agent, str(replaced), replace=True)
    assert (stat.S_IMODE(replaced.stat().st_mode), replaced.stat().st_size < 100) == (0o600, True)


def test_a_conversation_is_not_written_into_a_file_of_another_user(tmp_path, give_away):
    talk = tmp_path / "talk.json"
    talk.write_text("theirs")
    give_away(talk)
    with pytest.raises(FileError, match="it belongs to another user"):
        save(Agent(messages=TALK), str(talk), replace=True)
    assert talk.read_text() == "theirs"
