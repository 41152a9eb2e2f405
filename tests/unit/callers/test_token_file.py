"""The file of tokens, and what a server knows of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater_server.callers.admission import IncomingCall
from headwater_server.callers.caller import EVERYBODY, Caller
from headwater_server.callers.known_callers import KnownCallers
from headwater_server.callers.token_file import FILE_NAME, add_token, read_tokens, revoke_tokens
from headwater_server.callers.tokens import DAY_SECONDS, TokenError, make_token
from headwater_server.domain.errors import HeadwaterError

NOW = 1_000_000.0


def add(folder: Path, caller: str, days: int = 0) -> str:
    """Adds a token; its text."""
    token, text = make_token(caller, ["stream"], NOW, days)
    add_token(folder, token)
    return text


def test_commands_at_once_lose_no_token(tmp_path: Path) -> None:
    names = [f"caller{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: add(tmp_path, name), names))
    tokens = read_tokens(tmp_path) or []
    assert sorted(token.caller for token in tokens) == sorted(names)


async def caller_of(callers: KnownCallers, *authorizations: str) -> Caller:
    call = IncomingCall([("authorization", text) for text in authorizations])
    return (await callers.admit(call)).caller


def test_one_token_of_a_caller_is_revoked_by_its_id_and_all_by_the_name(tmp_path: Path) -> None:
    for _ in range(3):
        add(tmp_path, "alice")
    first, *others = read_tokens(tmp_path) or []
    assert [token.id for token in revoke_tokens(tmp_path, first.id, NOW)] == [first.id]
    assert [token.id for token in revoke_tokens(tmp_path, "alice", NOW)] == [token.id for token in others]
    with pytest.raises(TokenError, match="no token in force"):
        revoke_tokens(tmp_path, "alice", NOW)


async def test_a_token_expires_to_the_second(tmp_path: Path) -> None:
    now = NOW
    text = add(tmp_path, "alice", days=1)
    callers = KnownCallers(tmp_path, clock=lambda: now)
    now = NOW + DAY_SECONDS - 1
    assert await caller_of(callers, f"Bearer {text}") == Caller("alice", frozenset(["stream"]))
    now += 1
    with pytest.raises(HeadwaterError, match="has expired"):
        await caller_of(callers, f"Bearer {text}")


async def test_every_change_counts_from_the_next_call_on(tmp_path: Path) -> None:
    callers = KnownCallers(tmp_path)
    assert await caller_of(callers) is EVERYBODY
    for number in range(20):
        text = add(tmp_path, f"caller{number}")
        assert (await caller_of(callers, f"Bearer {text}")).name == f"caller{number}"
        revoke_tokens(tmp_path, f"caller{number}", NOW)
        with pytest.raises(HeadwaterError, match="was revoked"):
            await caller_of(callers, f"Bearer {text}")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer  x y", "Basic x", "hw_x", "Bearer " + "x" * 20_000, "Bearer \udcff"]
)
async def test_any_other_text_is_no_token(tmp_path: Path, value: str) -> None:
    add(tmp_path, "alice")
    with pytest.raises(HeadwaterError) as caught:
        await caller_of(KnownCallers(tmp_path), value)
    assert caught.value.reason == "CALLER_UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", "is not a file of tokens"),
        (b"\xff", "is not a file of tokens"),
        (b'{"tokens": [{"id": "x"}]}', "is not a file of tokens"),
        (b'{"tokens": [], "version": 2}', "a newer Headwater wrote"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_and_is_not_written_over(
    tmp_path: Path, content: bytes, mistake: str
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    (tmp_path / FILE_NAME).chmod(0o600)
    for use in (lambda: KnownCallers(tmp_path), lambda: add(tmp_path, "alice")):
        with pytest.raises(TokenError, match=mistake):
            use()
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "alice")
    (tmp_path / FILE_NAME).chmod(0o622)
    with pytest.raises(TokenError, match="may be written by others"):
        read_tokens(tmp_path)
