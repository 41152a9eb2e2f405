"""A mistake in the settings ends each command with exit code 78 and one line that names the setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli.main import headwater
from tests.support.servers.server import run_cli

FILES = {
    "latin.toml": b'[server]\nhost = "caf\xe9"\n',
    "broken.toml": b"[server\n",
    "unknown.toml": b"[server]\nhots = 1\n",
    "bad-port.toml": b"[server]\nport = 70000\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("command", [["config"], ["backup", "copy.db"]], ids=["config", "backup"])
@pytest.mark.parametrize(
    ("file", "variables", "start"),
    [
        ("latin.toml", {}, "{file}: is not UTF-8; save the file in that encoding"),
        ("broken.toml", {}, "{file}: is not TOML"),
        ("unknown.toml", {}, "server.hots in {file}: there is no such setting"),
        ("bad-port.toml", {}, "server.port in {file}: "),
        ("missing.toml", {}, "{file}: cannot be read: No such file or directory"),
        (None, {"HEADWATER_PORT": "abc"}, "HEADWATER_PORT: "),
        (None, {"HEADWATER_PORT": "70000"}, "HEADWATER_PORT: "),
        (None, {"HEADWATER_HOST": "caf\udce9"}, "HEADWATER_HOST: is not UTF-8"),
        (None, {"HEADWATER_LOG_LEVEL": "loud"}, "HEADWATER_LOG_LEVEL: "),
        (None, {"OPENAI_API_KEY": "caf\udce9"}, "OPENAI_API_KEY: is not a key"),
        (None, {"HEADWATER_CONFIG": "nowhere.toml"}, "nowhere.toml: cannot be read"),
    ],
)
def test_a_mistake_in_a_file_or_a_variable(folder, command, file, variables, start):
    path = folder / file if file else None
    options = ["--config", str(path)] if path else []
    done = CliRunner().invoke(headwater, [*command, *options], env=variables)
    assert done.exit_code == 78
    assert done.stderr.startswith(f"headwater: {start.format(file=path)}")


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data-dir", "{folder}/latin.toml"], "the data directory {folder}/latin.toml cannot be used: File exists"),
        (["--insecure", "--host", "nowhere.invalid"], "cannot listen on nowhere.invalid:0: "),
        (["--insecure", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1:0: "),
        (["--default-model", "unheard-of"], "--default-model: no provider here is known to have the model"),
    ],
    ids=["data-dir", "host", "address", "model"],
)
def test_a_mistake_that_shows_when_the_server_starts(folder, flags, words, processes):
    flags = [flag.format(folder=folder) for flag in flags]
    done = run_cli("serve", "--port", "0", "--log-level", "error", "--processes", processes, *flags)
    assert done.returncode == 78
    assert done.stderr.splitlines()[-1].startswith(f"headwater: {words.format(folder=folder)}")


def test_config_shows_the_size_of_a_journal_that_is_there(tmp_path: Path) -> None:
    command = ["config", "--data-dir", str(tmp_path)]
    assert "journal in data_dir" not in CliRunner().invoke(headwater, command).stdout
    (tmp_path / "headwater.db").write_bytes(b"x" * 3 * 2**20)
    assert "# the journal in data_dir has 3.0 MiB of 10240\n" in CliRunner().invoke(headwater, command).stdout
