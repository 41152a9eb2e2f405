"""Targets with TLS, files of TLS, and secrets that never leave this machine in plaintext."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from headwater import Agent, Connection, ValidationError, WorkflowAgent
from headwater._grpc.channels import OpenChannel
from headwater._grpc.server import resolve_server
from tests.support.servers.certificates import Authority

ELSEWHERE = "headwater.example.com:50051"
UNENCRYPTED = f"would go to {ELSEWHERE} unencrypted; write https://{ELSEWHERE} as target"


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("https://localhost:50051", "localhost:50051"),
        ("https://headwater.example.com", "headwater.example.com:443"),
        ("HTTPS://headwater.example.com/", "headwater.example.com:443"),
        ("https://[::1]:1", "[::1]:1"),
        ("https://[::1]", "[::1]:443"),
    ],
)
def test_https_is_tls_at_port_443_unless_it_names_another(target: str, address: str) -> None:
    server = resolve_server(target, None)
    assert (server.has_tls, server.address, server.target) == (True, address, target)


@pytest.mark.parametrize("target", ["localhost:50051", "dns:///a:1", "unix:/tmp/s"])
def test_other_targets_have_no_tls(target: str) -> None:
    server = resolve_server(target, None)
    assert (server.has_tls, server.address) == (False, target)


@pytest.mark.parametrize(
    "target",
    ["http://localhost:1", "https://", "https://a:0", "https://a:99999", "https://a:1/path", "https://u:p@a:1", "https://a,b:1", "https://a?x"],
)  # fmt: skip
def test_what_is_no_address_is_refused_by_name(target: str) -> None:
    for make in (lambda: Connection(target), lambda: Agent(target=target)):
        with pytest.raises(ValidationError, match=r"^target: "):
            make()


def test_a_token_leaves_this_machine_encrypted_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (
        lambda: Connection(ELSEWHERE, token="secret-token").server_of_call(),
        lambda: Agent(target=ELSEWHERE, token="secret-token").stream("x"),
        lambda: Agent(connection=Connection(ELSEWHERE), token=lambda: "secret-token").stream("x"),
    ):
        with pytest.raises(ValidationError) as caught:
            make()
        assert str(caught.value).startswith(f"token: {UNENCRYPTED}")
        assert "plaintext_token=True" in str(caught.value)
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("HEADWATER_TOKEN", "secret-token")
    with pytest.raises(ValidationError, match=f"^HEADWATER_TOKEN: {UNENCRYPTED}"):
        Agent(target=ELSEWHERE).stream("x")


@pytest.mark.parametrize("target", ["dns:///a.example:1", "dns://8.8.8.8/a.example:1", "a.example:1"])
def test_the_cure_is_a_target_that_is_taken(target: str) -> None:
    with pytest.raises(ValidationError, match=r"write https://a\.example:1 as target"):
        resolve_server(target, "t")
    assert resolve_server("https://a.example:1", "t").has_tls


async def test_a_workflow_does_not_send_it_either() -> None:
    with pytest.raises(ValidationError, match=f"^token: {UNENCRYPTED}"):
        await WorkflowAgent(target=ELSEWHERE, token="t").get_workflow_status("r")


@pytest.mark.parametrize("secret", [{"api_key": "sk-1"}, {"provider_headers": {"x-key": "1"}}])
def test_nor_do_the_callers_key_and_headers_for_the_provider(secret: dict[str, Any]) -> None:
    [name] = secret
    with pytest.raises(ValidationError, match=f"^{name}: {UNENCRYPTED}"):
        Agent(target=ELSEWHERE, **secret).stream("x")
    Agent(target="localhost:1", **secret).stream("x")
    Agent(connection=Connection(ELSEWHERE, plaintext_token=True), **secret).stream("x")


@pytest.mark.parametrize("target", ["localhost:1", "unix:/tmp/s", "[::1]:1", f"https://{ELSEWHERE}"])
def test_on_this_machine_and_over_tls_it_is_sent(target: str) -> None:
    assert asyncio.run(resolve_server(target, "t").headers()) == (("authorization", "Bearer t"),)


def test_it_is_sent_in_plaintext_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = (("authorization", "Bearer t"),)
    assert asyncio.run(Connection(ELSEWHERE, token="t", plaintext_token=True).server_of_call().headers()) == sent
    monkeypatch.setenv("HEADWATER_PLAINTEXT_TOKEN", "true")
    assert asyncio.run(Connection(ELSEWHERE, token="t").server_of_call().headers()) == sent
    monkeypatch.setenv("HEADWATER_PLAINTEXT_TOKEN", "maybe")
    with pytest.raises(ValidationError, match=r"^HEADWATER_PLAINTEXT_TOKEN: must be true or false"):
        Connection(ELSEWHERE).server_of_call()


def test_the_token_of_the_environment_counts_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_TOKEN", "of-environment")
    assert asyncio.run(resolve_server(None, None).headers()) == (("authorization", "Bearer of-environment"),)
    assert asyncio.run(resolve_server(None, "given").headers()) == (("authorization", "Bearer given"),)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of TLS by name."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    pair, other = authority.issue("own"), authority.issue("other")
    (folder / "text").write_text("hello")
    made = {"cert": pair.cert, "key": pair.key, "other": other.key, "ca": authority.file}
    return {name: str(path) for name, path in made.items()} | {n: str(folder / n) for n in ("text", "missing")}


@pytest.mark.parametrize("by", ["argument", "variable"])
@pytest.mark.parametrize(
    ("given", "named", "why"),
    [
        ({"ca": "missing"}, "ca", "cannot be read: No such file"),
        ({"ca": "text"}, "ca", "has no certificate in PEM"),
        ({"cert": "cert"}, "cert", "needs (key_file|HEADWATER_KEY_FILE) too"),
        ({"key": "key"}, "key", "needs (cert_file|HEADWATER_CERT_FILE) too"),
        ({"cert": "missing", "key": "key"}, "cert", "cannot be read"),
        ({"cert": "cert", "key": "missing"}, "key", "cannot be read"),
        ({"cert": "cert", "key": "other"}, "key", "is not the key of the certificate in"),
        ({"cert": "text", "key": "key"}, "cert", "cannot be used: no certificate and key in PEM"),
    ],
)
async def test_a_bad_file_is_named_as_its_author_named_it(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, by: str, given: dict[str, str], named: str, why: str
) -> None:
    paths = {name: files[file] for name, file in given.items()}
    if by == "argument":
        connection, name = (
            Connection("https://localhost:1", **{f"{n}_file": p for n, p in paths.items()}),
            f"{named}_file",
        )
    else:
        connection, name = Connection("https://localhost:1"), f"HEADWATER_{named.upper()}_FILE"
        for each, path in paths.items():
            monkeypatch.setenv(f"HEADWATER_{each.upper()}_FILE", path)
    with pytest.raises(ValidationError, match=why) as caught:
        OpenChannel(connection.server_of_call())
    assert str(caught.value).startswith(f"{name}: ")


@pytest.mark.parametrize(("given", "missing"), [("CERT", "KEY"), ("KEY", "CERT")])
async def test_the_file_that_lacks_is_named_as_a_variable_beside_a_variable(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, given: str, missing: str
) -> None:
    monkeypatch.setenv(f"HEADWATER_{given}_FILE", files[given.lower()])
    with pytest.raises(ValidationError, match=f"^HEADWATER_{given}_FILE: needs HEADWATER_{missing}_FILE too"):
        OpenChannel(Connection("https://localhost:1").server_of_call())


def test_files_of_tls_for_a_target_without_it_are_an_error(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ValidationError, match=r"^ca_file: is for TLS, and the target localhost:1 has none; write https://"
    ):
        Connection("localhost:1", ca_file=files["ca"]).server_of_call()
    monkeypatch.setenv("HEADWATER_CA_FILE", files["ca"])
    assert not Connection("localhost:1").server_of_call().has_tls  # its target says so by itself
    with pytest.raises(ValidationError, match=r"^HEADWATER_CA_FILE: is for TLS, and the target localhost:50051"):
        Connection().server_of_call()


def test_a_path_must_be_one() -> None:
    for name in ("ca_file", "cert_file", "key_file"):
        with pytest.raises(ValidationError, match=f"^{name}: must be the path of a file, not int"):
            Connection("https://localhost:1", **{name: 3})  # type: ignore[arg-type]


def test_a_path_has_no_nul() -> None:
    with pytest.raises(ValidationError, match=r"^ca_file: must be the path of a file, as a str without NUL"):
        Connection("https://localhost:1", ca_file="a\0b")


def test_plaintext_is_allowed_by_a_bool_alone() -> None:
    with pytest.raises(ValidationError, match=r"^plaintext_token: must be True or False, not str"):
        Connection(ELSEWHERE, plaintext_token="no")  # type: ignore[arg-type]


async def test_a_call_with_a_bad_file_says_so_before_anything_is_sent(files: dict[str, str]) -> None:
    connection = Connection("https://localhost:1", ca_file=files["missing"])
    with pytest.raises(ValidationError, match=r"^ca_file: .* cannot be read: No such file"):
        await Agent(connection=connection, history=0).arun("x")
    with pytest.raises(ValidationError, match=r"^ca_file: .* cannot be read: No such file"):
        await WorkflowAgent(connection=connection).get_workflow_status("r")


def test_a_copy_has_the_same_files_and_shows_no_token(files: dict[str, str]) -> None:
    connection = Connection("https://localhost:1", token="secret", ca_file=Path(files["ca"]))
    copied = pickle.loads(pickle.dumps(connection))  # noqa: S301  our own
    assert copied.server_of_call().files == connection.server_of_call().files
    assert "secret" not in repr(connection) + repr(connection.server_of_call())
