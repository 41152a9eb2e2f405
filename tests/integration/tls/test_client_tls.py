"""The Python client and the command line over TLS: the callers that get in, and the side that refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator

import pytest

from headwater import Agent, Connection, ServerUnavailableError, WorkflowAgent
from tests.support.servers.certificates import Authority, Pair
from tests.support.servers.gate import Gate
from tests.support.servers.server import ServerProcess, run_cli

ECHO = {"scripted": {"text": "Hello there", "delay_ms": 1}}


@pytest.fixture(scope="session")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of callers."""
    return Authority(tmp_path_factory.mktemp("callers"))


@pytest.fixture(scope="session")
def mutual(authority: Authority, callers: Authority) -> Iterator[ServerProcess]:
    """A server that wants a certificate of its callers."""
    with ServerProcess(
        "--scripted", *authority.issue("mutual").flags, "--tls-client-ca-file", str(callers.file)
    ) as server:
        yield server


def connection(server: ServerProcess, authority: Authority, pair: Pair | None = None) -> Connection:
    own = {"cert_file": pair.cert, "key_file": pair.key} if pair else {}
    return Connection(server.target, ca_file=authority.file, **own)


async def reply(connection: Connection) -> str:
    async with connection:
        agent = Agent(model="scripted/echo", connection=connection, history=0)
        return (await agent.arun("x", provider_options=ECHO)).content


async def refusal(connection: Connection) -> str:
    with pytest.raises(ServerUnavailableError) as caught:
        await reply(connection)
    return str(caught.value)


async def test_agents_get_replies_over_tls(tls_server, authority):
    assert await reply(connection(tls_server, authority)) == "Hello there"


def test_synchronous_calls_take_target_and_authority_from_the_environment(tls_server, authority, monkeypatch):
    monkeypatch.setenv("HEADWATER_TARGET", tls_server.target)
    monkeypatch.setenv("HEADWATER_CA_FILE", str(authority.file))
    monkeypatch.setenv("HEADWATER_TOKEN", "secret-token")
    assert Agent(model="scripted/echo", history=0).run("x", provider_options=ECHO).content == "Hello there"


async def test_a_stream_whose_connection_is_lost_continues_over_tls(tls_server, authority):
    text = " ".join(f"w{i}" for i in range(30))
    got = []
    async with Gate(int(tls_server.target.rpartition(":")[2])) as gate:
        through = Connection(f"https://{gate.target}", ca_file=authority.file)
        agent = Agent(model="scripted/echo", connection=through, history=0)
        async for chunk in agent.stream("x", provider_options={"scripted": {"text": text, "delay_ms": 20}}):
            got.append(chunk)
            if len(got) == 5:
                gate.cut()
                gate.mend()
        await through.close()
    assert "".join(chunk.content for chunk in got) == text
    assert got[-1].metadata["resumes"] >= 1


async def test_a_worker_hosts_handlers_over_tls(tls_server, authority):
    async with connection(tls_server, authority) as over:
        agent = WorkflowAgent(connection=over)
        agent.register_handler("double", lambda agent, step, context: 2 * context["n"])
        workflow = agent.create_workflow("w")
        workflow.add_step("double", handler="double")
        result = await agent.execute_workflow(workflow, context={"n": 21})
    assert result.successful, result.error
    assert result.step_results["double"].result == 42


def swapped(server: Pair, pair: Pair) -> None:
    """Puts another certificate into the files of a running server; the key first, for it is looked at with each call."""
    shutil.copy(pair.key, server.key)
    shutil.copy(pair.cert, server.cert)


@pytest.fixture(scope="session")
def changing(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[tuple[ServerProcess, Pair]]:
    """A server whose certificate tests exchange, and its files."""
    folder = tmp_path_factory.mktemp("changing")
    files = Pair(folder / "server.pem", folder / "server.key")
    swapped(files, authority.issue("first"))
    with ServerProcess("--scripted", *files.flags) as server:
        yield server, files


async def test_an_expired_certificate_of_the_server_is_refused_by_this_client(changing, authority):
    server, files = changing
    swapped(files, authority.issue("expired", expired=True))
    error = await refusal(connection(server, authority))
    assert f"this client refuses the certificate of the server at {server.target}: it has expired" in error


async def test_a_certificate_for_another_name_is_refused_by_this_client(changing, authority):
    server, files = changing
    swapped(files, authority.issue("elsewhere", "elsewhere.example"))
    error = await refusal(connection(server, authority))
    assert "this client refuses the certificate of the server" in error
    assert "it is for another name" in error
    assert "give a target that it names" in error


async def test_an_unknown_authority_is_refused_by_this_client_with_the_cure(tls_server, tmp_path):
    for trusting in (connection(tls_server, Authority(tmp_path / "other")), Connection(tls_server.target)):
        error = await refusal(trusting)
        assert "this client refuses the certificate of the server" in error
        assert (
            "its authority is unknown here; name the authority's certificate with ca_file= or HEADWATER_CA_FILE"
            in error
        )


async def test_calls_that_are_no_streams_say_it_too(tls_server, tmp_path):
    async with connection(tls_server, Authority(tmp_path / "other")) as other:
        with pytest.raises(ServerUnavailableError, match="its authority is unknown here"):
            await WorkflowAgent(connection=other).get_workflow_status("r")


async def test_plaintext_that_meets_tls_says_so(tls_server):
    address = tls_server.target.removeprefix("https://")
    error = await refusal(Connection(address))
    assert f"a TLS server answers at {address}, and this client connects without TLS; write https://{address}" in error


async def test_tls_that_meets_plaintext_says_so(server, authority):
    error = await refusal(Connection(f"https://{server.target}", ca_file=authority.file))
    assert f"the server at https://{server.target} speaks no TLS; write {server.target}, without https://" in error


async def test_a_caller_with_a_certificate_gets_in(mutual, authority, callers):
    assert await reply(connection(mutual, authority, callers.issue("known", "me@example.com"))) == "Hello there"


async def test_a_caller_without_a_certificate_is_told_that_the_server_wants_one(mutual, authority):
    error = await refusal(connection(mutual, authority))
    assert f"the server at {mutual.target} closed the connection in the TLS handshake" in error
    assert "it wants a certificate of its callers, and none was given" in error
    assert "HEADWATER_CERT_FILE" in error


async def test_a_caller_of_an_unknown_authority_is_told_that_the_server_refuses_it(mutual, authority):
    error = await refusal(connection(mutual, authority, authority.issue("stranger")))
    assert "it does not accept the certificate in" in error
    assert "tls_client_ca_file" in error


async def test_an_expired_certificate_of_this_client_is_named(mutual, authority, callers):
    old = callers.issue("old", "me@example.com", expired=True)
    assert f"the certificate in {old.cert} has expired; renew it" in await refusal(connection(mutual, authority, old))


async def test_a_new_certificate_of_this_client_is_taken_with_the_next_call(mutual, authority, callers, tmp_path):
    files = Pair(tmp_path / "own.pem", tmp_path / "own.key")
    swapped(files, callers.issue("soon-old", "me@example.com", expired=True))
    async with connection(mutual, authority, files) as over:
        agent = Agent(model="scripted/echo", connection=over, history=0)
        with pytest.raises(ServerUnavailableError):
            await agent.arun("x", provider_options=ECHO)
        swapped(files, callers.issue("renewed", "me@example.com"))
        assert (await agent.arun("x", provider_options=ECHO)).content == "Hello there"


async def test_a_running_stream_continues_while_this_client_takes_a_new_certificate(
    mutual, authority, callers, tmp_path
):
    files = Pair(tmp_path / "own.pem", tmp_path / "own.key")
    swapped(files, callers.issue("one", "me@example.com"))
    async with connection(mutual, authority, files) as over:
        agent = Agent(model="scripted/echo", connection=over, history=0)
        running = agent.stream("x", provider_options={"scripted": {"text": "a b c d e f", "delay_ms": 60}})
        text = (await anext(running)).content
        swapped(files, callers.issue("two", "me@example.com"))
        assert (await agent.arun("x", provider_options=ECHO)).content == "Hello there"
        chunks = [chunk async for chunk in running]
    assert text + "".join(chunk.content for chunk in chunks) == "a b c d e f"
    assert not chunks[-1].metadata.get("resumes")


def test_the_command_line_takes_the_variables(tls_server, authority, tmp_path):
    variables = {"HEADWATER_TARGET": tls_server.target, "HEADWATER_CA_FILE": str(authority.file)}
    done = run_cli("providers", "--json", variables=variables)
    assert json.loads(done.stdout)["default_provider"], done.stderr
    done = run_cli("providers", variables=variables | {"HEADWATER_CA_FILE": str(Authority(tmp_path / "o").file)})
    assert (done.returncode, done.stderr.count("its authority is unknown here")) == (7, 1)


def test_certificates_are_the_channels(mutual, authority, callers):
    """Two connections to one server with different certificates never share a channel."""
    known, none = connection(mutual, authority, callers.issue("k", "me@example.com")), connection(mutual, authority)

    async def both() -> list[object]:
        return await asyncio.gather(reply(known), reply(none), return_exceptions=True)

    first, second = asyncio.run(both())
    assert (first, type(second)) == ("Hello there", ServerUnavailableError)
