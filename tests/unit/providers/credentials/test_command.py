"""A token from a command: kept while it is fresh, fetched once for all, and a command that fails, hangs or is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.credentials.command import CommandToken

PRINTED = "tok-very-secret"


class Counted:
    """A command that writes down each time it runs."""

    def __init__(self, folder: Path, script: str) -> None:
        self._log = folder / "runs"
        self.command = ("sh", "-c", f"echo >> {self._log}; {script}")

    @property
    def runs(self) -> int:
        return len(self._log.read_text()) if self._log.exists() else 0


def failing(script: str, **options: float) -> CommandToken:
    return CommandToken(("sh", "-c", script), 300, **options)


async def failure(source: CommandToken) -> HeadwaterError:
    with pytest.raises(HeadwaterError) as caught:
        await source.token()
    assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED
    assert "token_command" in caught.value.message
    return caught.value


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def written(path: Path) -> int:
    """The number in the file, once it is there."""
    while not (text := content(path)).endswith("\n"):
        await asyncio.sleep(0.01)
    return int(text)


@pytest.mark.parametrize(
    "output",
    [
        PRINTED,
        f'{{"token": "{PRINTED}"}}',
        f'{{"token": "{PRINTED}", "expires_in": 3600}}',
        f'{{"token": "{PRINTED}", "expires_in": "3600"}}',
        f'{{"token": "{PRINTED}", "expiry": "2999-01-01T00:00:00+02:00"}}',
        f'{{"token": "{PRINTED}", "expiry": "2999-01-01T00:00:00Z"}}',
        f'{{"token": "{PRINTED}", "expiry": 32503680000.5}}',
        f'{{"token": "{PRINTED}", "expiry": "soon"}}',
    ],
)
async def test_a_token_is_kept_while_it_is_fresh(tmp_path, output):
    counted = Counted(tmp_path, f"echo '{output}'")
    source = CommandToken(counted.command, 300)
    assert [await source.token() for _ in range(3)] == [PRINTED] * 3
    assert counted.runs == 1


@pytest.mark.parametrize(
    "facts", ['"expires_in": 0', '"expires_in": -5', '"expiry": "2020-01-01T00:00:00Z"', '"expiry": 1577836800']
)
async def test_a_token_that_has_expired_is_fetched_again(tmp_path, facts):
    counted = Counted(tmp_path, f"""echo '{{"token": "{PRINTED}", {facts}}}'""")
    source = CommandToken(counted.command, 300)
    assert [await source.token() for _ in range(2)] == [PRINTED] * 2
    assert counted.runs == 2


async def test_fifty_calls_at_once_share_one_run(tmp_path):
    counted = Counted(tmp_path, f"echo {PRINTED}")
    source = CommandToken(counted.command, 300)
    assert await asyncio.gather(*(source.token() for _ in range(50))) == [PRINTED] * 50
    assert counted.runs == 1


async def test_fifty_calls_at_once_share_one_failure_and_each_has_an_error_that_it_may_add_to(tmp_path):
    counted = Counted(tmp_path, "exit 3")
    source = CommandToken(counted.command, 300)
    outcomes = await asyncio.gather(*(source.token() for _ in range(50)), return_exceptions=True)
    assert len({id(outcome) for outcome in outcomes}) == 50
    assert {str(outcome).partition(";")[0] for outcome in outcomes} == {"the token's command sh ended with exit code 3"}
    assert counted.runs == 1


async def test_a_refused_token_is_not_used_again_though_it_is_fresh(tmp_path):
    counted = Counted(tmp_path, f"echo tok-$(wc -l < {tmp_path}/runs)")
    source = CommandToken(counted.command, 300)
    assert await source.refused(await source.token())
    assert await source.token() == "tok-2"
    assert await source.refused("tok-1")  # late news of the first: another caller has fetched since
    assert await source.token() == "tok-2"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"echo {PRINTED}; exit 3", "exit code 3"),
        (f"echo {PRINTED}; kill -9 $$", "signal 9"),
        ("true", "printed no token"),
        (f"echo {PRINTED} {PRINTED}", "printed no token"),
        (f'echo \'{{"tok": "{PRINTED}"}}\'', "printed no token"),
        (f"echo '{{{PRINTED}'", "printed no token"),
        (f"while echo {PRINTED}; do true; done", "prints more than 64 KiB"),
        (f"echo {PRINTED} >&2; exit 1", "exit code 1"),
    ],
)
async def test_a_command_that_gives_no_token_is_named_without_what_it_printed(script, words, capfd):
    with capture_logs() as logs:
        error = await failure(failing(script))
    assert words in error.message
    assert PRINTED not in f"{error} {error.metadata} {logs} {capfd.readouterr()}"


async def test_a_program_that_is_not_there_is_named():
    error = await failure(CommandToken(("/no/such/program", PRINTED), 300))
    assert "/no/such/program cannot be started (No such file or directory)" in error.message
    assert PRINTED not in error.message


async def test_the_log_says_that_a_token_came_and_not_which():
    with capture_logs() as logs:
        await CommandToken(("echo", PRINTED), 300, "vertex").token()
    [line] = logs
    assert (line["event"], line["provider"], line["lifetime_seconds"]) == ("token fetched", "vertex", 300)
    assert PRINTED not in str(logs)


async def test_a_command_that_does_not_end_is_killed_with_its_children():
    before = set(psutil.Process().children(recursive=True))
    error = await failure(failing("sleep 1000 & wait", timeout_seconds=0.2))
    assert "did not end within 0.2 seconds" in error.message
    assert set(psutil.Process().children(recursive=True)) <= before


async def test_a_child_that_holds_the_output_open_is_not_waited_for_longer():
    error = await failure(failing("sleep 1000 & exit 0", timeout_seconds=0.2))
    assert "did not end within 0.2 seconds" in error.message


async def test_when_the_last_caller_leaves_the_command_and_its_children_are_killed(tmp_path):
    source = failing(f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    first, second = asyncio.create_task(source.token()), asyncio.create_task(source.token())
    child = psutil.Process(await written(tmp_path / "pid"))
    first.cancel()
    await asyncio.wait([first])
    assert child.is_running()
    second.cancel()
    await asyncio.wait([second])
    _, alive = await asyncio.to_thread(psutil.wait_procs, [child], 30)
    assert not alive


async def test_a_caller_that_leaves_takes_nothing_from_the_others(tmp_path):
    source = failing(f"echo $$ > {tmp_path}/pid; while ! test -e {tmp_path}/go; do sleep 0.01; done; echo {PRINTED}")
    first, second = asyncio.create_task(source.token()), asyncio.create_task(source.token())
    await written(tmp_path / "pid")
    first.cancel()
    (tmp_path / "go").touch()
    assert await second == PRINTED
    assert first.cancelled()
