"""The projects of examples/stubs over TLS with a token, against the real server: see test_projects for plaintext."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import grpc.aio
import pytest

from headwater.v1 import AgentServiceServicer, StreamChunk, add_AgentServiceServicer_to_server
from tests.support.servers.certificates import Authority, Pair
from tests.support.servers.server import ServerProcess
from tests.support.stubs.projects import LANGUAGES, Program, build

BEARER = "secret-token-7"
PROMPT = "Grüße over TLS 🌊"

# The first build of a language may fetch and compile its gRPC library.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session", params=sorted(LANGUAGES))
def program(request: pytest.FixtureRequest) -> Program:
    """The program of each language, built."""
    language = LANGUAGES[request.param]
    if missing := language.missing():
        pytest.skip(f"{language.name}: not on PATH: {', '.join(missing)}")
    return build(language)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of the server and of callers."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def mutual(authority: Authority) -> Iterator[str]:
    """The address of the real server; it wants certificates of its callers, and its model repeats the prompt."""
    flags = (*authority.issue("server").flags, "--tls-client-ca-file", str(authority.file))
    with ServerProcess("--scripted", "--default-model", "scripted/echo", *flags) as server:
        yield server.target


@pytest.fixture(scope="module")
def unix_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real server at a Unix socket; its model repeats the prompt."""
    socket = tmp_path_factory.mktemp("unix") / "s"
    with ServerProcess("--scripted", "--default-model", "scripted/echo", "--host", f"unix:{socket}") as server:
        yield server.target


def variables(authority: Authority, own: Pair | None) -> dict[str, str]:
    files = {"HEADWATER_CERT_FILE": str(own.cert), "HEADWATER_KEY_FILE": str(own.key)} if own else {}
    return {"HEADWATER_CA_FILE": str(authority.file), "HEADWATER_TOKEN": BEARER, **files}


async def run(
    program: Program, target: str, variables: Mapping[str, str], prompt: str = PROMPT
) -> tuple[int, str, str]:
    async with program.started(target, prompt, variables=variables) as process:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_it_gets_a_reply_with_its_certificate_and_none_without(
    program: Program, mutual: str, authority: Authority
) -> None:
    code, out, err = await run(program, mutual, variables(authority, authority.issue("caller", "me@example.com")))
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == PROMPT
    code, out, err = await run(program, mutual, variables(authority, None))
    assert (code != 0, out.strip()) == (True, "")
    assert BEARER not in err


async def test_it_trusts_no_server_of_an_unknown_authority(
    program: Program, mutual: str, authority: Authority, tmp_path: Path
) -> None:
    own = authority.issue("caller", "me@example.com")
    code, out, _ = await run(program, mutual, variables(Authority(tmp_path / "other"), own))
    assert (code != 0, out.strip()) == (True, "")


class Listening(AgentServiceServicer):
    """Remembers the tokens of its callers, whom it answers with one final chunk."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def Stream(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        self.heard.append(dict(context.invocation_metadata()).get("authorization", ""))
        yield StreamChunk(content="heard", is_final=True)


@pytest.mark.parametrize("with_tls", [True, False], ids=["tls", "loopback"])
async def test_its_token_arrives(program: Program, authority: Authority, with_tls: bool) -> None:
    service, server = Listening(), grpc.aio.server()
    add_AgentServiceServicer_to_server(service, server)  # type: ignore[abstract]  # what else it calls fails
    pair = authority.issue("listening")
    credentials = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.cert.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials) if with_tls else server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await run(program, f"{'https://' if with_tls else ''}localhost:{port}", variables(authority, None))
    finally:
        await server.stop(None)
    assert set(service.heard) == {f"Bearer {BEARER}"}


async def test_its_token_goes_to_no_other_machine_in_plaintext(program: Program) -> None:
    code, out, err = await run(program, "headwater.example.com:50051", {"HEADWATER_TOKEN": BEARER})
    assert (code != 0, out.strip()) == (True, "")
    assert "HEADWATER_TOKEN would go to headwater.example.com:50051 unencrypted; write https://" in err
    assert BEARER not in err


async def test_it_takes_a_unix_socket(program: Program, unix_target: str) -> None:
    code, out, err = await run(program, unix_target, {})
    assert code == 0, err
    assert out.splitlines()[0] == PROMPT
