from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.local.share import Address, Share, runtime_directory

HERE = Address("http://127.0.0.1:1", "key")


def test_one_server_holds_the_lock_and_the_others_read_its_address(tmp_path: Path) -> None:
    first, second = Share(tmp_path / "run", {}), Share(tmp_path / "run", {})
    assert first.acquire()
    assert not second.acquire()
    assert second.address() is None
    first.publish(HERE)
    assert second.address() == HERE
    first.release()


def test_holding_the_lock_twice_is_holding_it_once(tmp_path: Path) -> None:
    share = Share(tmp_path / "run", {})
    assert share.acquire()
    share.publish(HERE)
    assert share.acquire()
    assert share.address() == HERE
    share.release()


def test_releasing_withdraws_the_address_and_frees_the_lock(tmp_path: Path) -> None:
    first, second = Share(tmp_path / "run", {}), Share(tmp_path / "run", {})
    first.acquire()
    first.publish(HERE)
    first.release()
    assert second.address() is None
    assert second.acquire()
    second.release()


def test_who_does_not_hold_the_lock_releases_nothing(tmp_path: Path) -> None:
    first, second = Share(tmp_path / "run", {}), Share(tmp_path / "run", {})
    first.acquire()
    first.publish(HERE)
    second.release()
    assert second.address() == HERE
    assert not second.acquire()
    first.release()


def test_the_address_that_a_killed_server_left_is_gone_once_the_lock_is_taken(tmp_path: Path) -> None:
    killed = Share(tmp_path / "run", {})
    killed.acquire()
    killed.publish(HERE)
    (published,) = (tmp_path / "run").glob("*.json")
    left_behind = published.read_bytes()
    killed.release()
    published.write_bytes(left_behind)
    next_one = Share(tmp_path / "run", {})
    assert next_one.address() == HERE
    assert next_one.acquire()
    assert next_one.address() is None
    next_one.release()


def test_servers_with_other_settings_have_a_lock_of_their_own(tmp_path: Path) -> None:
    first, second = Share(tmp_path / "run", {"context": 1}), Share(tmp_path / "run", {"context": 2})
    assert first.acquire()
    assert second.acquire()
    first.release()
    second.release()


def test_only_the_user_can_read_what_is_published(tmp_path: Path) -> None:
    share = Share(tmp_path / "run", {})
    share.acquire()
    share.publish(HERE)
    modes = {path.name.rpartition(".")[2]: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").iterdir()}
    assert modes == {"json": 0o600, "lock": 0o600}
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    share.release()


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_directory_that_is_not_the_users_alone_is_refused_with_the_cure(kind: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if kind == "open to others":
        run.mkdir()
        run.chmod(0o750)
    elif kind == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        run.symlink_to(tmp_path / "elsewhere")
    else:
        run.touch()
    with pytest.raises(HeadwaterError, match="remove it, or set XDG_RUNTIME_DIR") as caught:
        Share(run, {}).acquire()
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE


def test_servers_meet_in_the_users_runtime_directory(tmp_path: Path) -> None:
    assert runtime_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "headwater"


@pytest.mark.parametrize("value", ["", "/no/such/directory"])
def test_without_one_they_meet_in_a_temporary_directory_named_after_the_user(value: str) -> None:
    assert runtime_directory({"XDG_RUNTIME_DIR": value}).name == f"headwater-{os.getuid()}"
