"""`headwater token`, and a server that follows what it does without a restart."""

from __future__ import annotations

import re
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from headwater import Agent
from headwater.cli.main import headwater
from headwater.exceptions import AuthenticationError
from headwater.v1 import agent_service_pb2
from headwater_server.config import CONFIG_EXIT
from tests.support.servers.metrics import port_of
from tests.support.servers.server import ServerProcess, run_cli
from tests.support.stubs.stub import agent_stub, details


def token(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(headwater, ["token", "--data-dir", str(folder), *args])


def made(folder: Path, name: str, *scopes: str) -> str:
    """A new token."""
    done = token(folder, "create", name, *(flag for scope in scopes for flag in ("--scope", scope)))
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose data directory has no token yet."""
    with ServerProcess("--scripted", variables={"HEADWATER_DATA_DIR": str(tmp_path)}) as running:
        yield running


async def ask(server: ServerProcess, text: str | None = None) -> str:
    """A reply for the caller with this token."""
    return (await Agent(model="scripted/echo", target=server.target, token=text).arun("hi")).content


async def test_the_first_token_shuts_the_door_and_a_revoked_one_is_refused_by_the_next_call(server, tmp_path):
    assert await ask(server)
    alice, bob = made(tmp_path, "alice", "stream"), made(tmp_path, "bob", "stream")
    with pytest.raises(AuthenticationError, match="the call has no token") as caught:
        await ask(server)
    assert caught.value.reason == "CALLER_UNAUTHENTICATED"
    assert await ask(server, alice)
    assert token(tmp_path, "revoke", "alice").exit_code == 0
    with pytest.raises(AuthenticationError, match="was revoked"):
        await ask(server, alice)
    assert await ask(server, bob)
    token(tmp_path, "revoke", "bob")
    with pytest.raises(AuthenticationError, match="the call has no token"):
        await ask(server)  # the last token is gone, and the door stays shut


async def test_a_missing_scope_is_named_with_the_cure(server, tmp_path):
    text = made(tmp_path, "alice", "workflow")
    with pytest.raises(AuthenticationError, match="headwater token create alice --scope stream") as caught:
        await ask(server, text)
    assert caught.value.reason == "CALLER_FORBIDDEN"
    assert caught.value.metadata["scope"] == "stream"
    assert caught.value.metadata["caller"] == "alice"


async def test_two_authorizations_are_none(server, tmp_path):
    header = ("authorization", f"Bearer {made(tmp_path, 'alice', 'stream')}")
    async with agent_stub(server.target) as stub:
        await stub.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=(header,))
        for metadata in ((header, header), (("authorization", header[1].replace("Bearer", "Basic")),)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=metadata)
            assert details(caught.value)["ErrorInfo"].reason == "CALLER_UNAUTHENTICATED"


async def test_the_log_names_the_caller_and_no_token(server, tmp_path):
    alice = made(tmp_path, "alice", "stream")
    await ask(server, alice)
    with pytest.raises(AuthenticationError):
        await ask(server, "hw_wrong")
    server.stop()
    ended = [(event.get("caller"), event["code"]) for event in server.events if event["event"] == "rpc"]
    assert ended == [("alice", "OK"), (None, "UNAUTHENTICATED")]
    assert alice not in server.log
    assert "hw_wrong" not in server.log


@pytest.mark.parametrize("harm", ["bad", "gone"])
async def test_a_file_that_is_bad_or_gone_changes_nothing(server, tmp_path, harm):
    alice = made(tmp_path, "alice", "stream")
    assert await ask(server, alice)
    file = tmp_path / "callers.json"
    if harm == "bad":
        file.write_text("{")
    else:
        file.unlink()
    assert await ask(server, alice)
    with pytest.raises(AuthenticationError):
        await ask(server)
    server.stop()
    assert [event["level"] for event in server.events if event["event"] == "callers"] == ["info", "error"]
    assert [event["tokens"] for event in server.events if event["event"] == "callers"] == [1, "as_before"]


def test_processes_ask_each_other_for_themselves_and_no_caller_reaches_that(tmp_path):
    text = made(tmp_path, "carol", "operator")
    variables = {"HEADWATER_DATA_DIR": str(tmp_path), "HEADWATER_ADMIN_ADDRESS": "127.0.0.1:0"}
    with ServerProcess("--scripted", variables=variables, processes=2) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{port_of(server)}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert sorted(re.findall(r'headwater_process_up{process="(\d)"} 1', metrics)) == ["0", "1"]
        with grpc.insecure_channel(server.target) as channel:
            ask = channel.unary_unary("/headwater.siblings.Metrics/Get")
            with pytest.raises(grpc.RpcError) as caught:
                ask(b"", metadata=(("authorization", f"Bearer {text}"),))
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_server_with_a_bad_file_does_not_start(tmp_path):
    (tmp_path / "callers.json").write_text("{")
    done = run_cli("serve", "--port", "0", "--scripted", variables={"HEADWATER_DATA_DIR": str(tmp_path)})
    assert done.returncode == CONFIG_EXIT
    assert "is not a file of tokens" in done.stderr


def test_a_token_is_shown_once_and_its_hash_alone_is_kept(tmp_path):
    folder = tmp_path / "data"
    text = made(folder, "alice", "stream", "worker:q")
    assert text.startswith("hw_")
    assert len(text) == 46  # 256 random bits
    (file,) = folder.glob("*.json")
    assert text not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (line,) = token(folder, "list").stdout.splitlines()
    assert line.split()[1:3] == ["alice", "stream,worker:q"]
    assert line.endswith("in force")
    assert text not in line
    assert token(folder, "revoke", line.split()[0]).exit_code == 0
    assert token(folder, "list").stdout.strip().endswith("revoked")


@pytest.mark.parametrize(
    ("args", "mistake"),
    [
        (["create", "alice"], "a token needs a scope"),
        (["create", "alice", "--scope", "admin"], "there is no scope 'admin'"),
        (["create", "alice", "--scope", "worker:"], "there is no scope 'worker:'"),
        (["create", "a b", "--scope", "stream"], "a caller's name has"),
        (["create", "tok_1", "--scope", "stream"], "a caller's name has"),
        (["revoke", "alice"], "no token in force"),
    ],
)
def test_a_mistake_is_named_and_no_file_is_made_of_it(tmp_path, args, mistake):
    done = token(tmp_path, *args)
    assert done.exit_code == 1
    assert mistake in done.stderr
    assert token(tmp_path, "list").stdout == ""


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("{}")
    (tmp_path / "callers.json").symlink_to(other)
    done = token(tmp_path, "create", "alice", "--scope", "stream")
    assert done.exit_code == 1
    assert "is a link" in done.stderr
    assert other.read_text() == "{}"
