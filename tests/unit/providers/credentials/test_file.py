"""A key in a file: rotation, and files that hold none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.credentials.file import KeyFile


def rotate(path: Path, key: str) -> None:
    """Replaces the file at once, as those who mount secrets do."""
    new = path.with_name("new")
    new.write_text(key)
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("sk-first\n")
    return path


async def test_the_key_is_what_the_file_holds(path):
    assert await KeyFile(path).token() == "sk-first"


async def test_a_file_that_was_replaced_is_read_again(path):
    source = KeyFile(path)
    await source.token()
    rotate(path, "sk-second")
    assert await source.token() == "sk-second"


async def test_a_refused_key_is_tried_again_only_if_the_file_has_another(path):
    source = KeyFile(path)
    assert not await source.refused(await source.token())
    rotate(path, "sk-second")
    assert await source.refused("sk-first")


async def test_a_refused_key_is_looked_for_even_where_the_file_seems_unchanged(path):
    source = KeyFile(path)
    await source.token()
    before = path.stat()
    path.write_text("sk-other\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await source.refused("sk-first")
    assert await source.token() == "sk-other"


@pytest.mark.parametrize("content", ["", "\n", "sk two words", "sk-é", "sk-\x00", "x" * 70_000])
async def test_a_file_without_a_key_is_named_and_not_quoted(path, content):
    path.write_text(content)
    with pytest.raises(HeadwaterError) as caught:
        await KeyFile(path).token()
    assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED
    assert str(path) in caught.value.message
    assert "api_key_file" in caught.value.message
    assert not content.strip() or content.strip() not in caught.value.message


async def test_a_file_that_is_not_there_is_named_and_found_once_it_is(path):
    path.unlink()
    source = KeyFile(path)
    with pytest.raises(HeadwaterError, match="cannot be read \\(No such file or directory\\)") as caught:
        await source.token()
    assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED
    path.write_text("sk-late")
    assert await source.token() == "sk-late"


async def test_a_named_pipe_that_nobody_writes_to_holds_nothing_up(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HeadwaterError, match="is no ordinary file"):
        await KeyFile(tmp_path / "pipe").token()
