"""The port with TLS: the callers that get in, the ones that are kept out, and certificates that change."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
import pytest

from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.certificates import Authority, Pair, serial, serial_at
from tests.support.servers.server import ServerProcess, run_cli

TOOLS = Path(__file__).parents[3] / ".tools" / "bin"
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def channel(server: ServerProcess, authority: Authority, pair: Pair | None = None) -> grpc.aio.Channel:
    files = (pair.key.read_bytes(), pair.cert.read_bytes()) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), *files)
    return grpc.aio.secure_channel(server.target.removeprefix("https://"), credentials, options=OWN_CONNECTION)


def request(text: str = "Hello there", delay_ms: int = 1) -> agent_service_pb2.StreamRequest:
    question = agent_service_pb2.StreamRequest(agent={"model": "scripted/echo"}, prompt="x")
    question.agent.provider_options["scripted"].update({"text": text, "delay_ms": delay_ms})
    return question


async def reply(server: ServerProcess, authority: Authority, pair: Pair | None = None) -> str:
    async with channel(server, authority, pair) as open_channel:
        return "".join([chunk.content async for chunk in AgentServiceStub(open_channel).Stream(request())])


async def refusal(server: ServerProcess, authority: Authority, pair: Pair | None = None) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reply(server, authority, pair)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return str(caught.value.details())


def grpcurl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOLS / "grpcurl", *arguments], capture_output=True, text=True, timeout=30, check=False)


async def test_a_caller_that_trusts_the_authority_gets_a_reply(tls_server, authority):
    assert await reply(tls_server, authority) == "Hello there"


def test_the_server_names_the_address_that_clients_take(tls_server):
    assert tls_server.target.startswith("https://127.0.0.1:")


@pytest.mark.parametrize("identity", ["127.0.0.1", "localhost"])
def test_health_and_reflection_answer_grpcurl(tls_server, authority, identity):
    address = f"{identity}:{tls_server.target.rpartition(':')[2]}"
    trusting = ("-cacert", str(authority.file))
    health = grpcurl(*trusting, address, "grpc.health.v1.Health/Check")
    assert json.loads(health.stdout) == {"status": "SERVING"}, health.stderr
    assert "headwater.v1.AgentService" in grpcurl(*trusting, address, "list").stdout.split()


@pytest.mark.parametrize("method", ["Run", "Stream"])
def test_ghz_makes_many_calls(tls_server, authority, method):
    call = (
        "--call",
        f"headwater.v1.AgentService.{method}",
        "--data",
        '{"agent": {"model": "scripted/echo"}, "prompt": "hi"}',
    )
    load = (
        "--cacert",
        str(authority.file),
        "--total",
        "200",
        "--concurrency",
        "20",
        "--connections",
        "4",
        "--format",
        "json",
    )
    command = [TOOLS / "ghz", *call, *load, tls_server.target.removeprefix("https://")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["statusCodeDistribution"] == {"OK": 200}


async def test_a_caller_of_another_authority_and_one_without_tls_get_nothing(tls_server, tmp_path):
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(tls_server, Authority(tmp_path / "other"))
    async with grpc.aio.insecure_channel(tls_server.target.removeprefix("https://")) as plain:
        with pytest.raises(grpc.aio.AioRpcError):
            await AgentServiceStub(plain).ListProviders(agent_service_pb2.ListProvidersRequest())


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_begins_with_1_2(tls_server, authority, version, spoken):
    context = ssl.create_default_context(cafile=authority.file)
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    host, _, port = tls_server.target.removeprefix("https://").rpartition(":")
    with socket.create_connection((host, int(port)), 5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as met:
                found = met.version()
        except ssl.SSLEOFError:  # the server leaves
            found = None
    assert found == spoken


async def test_with_a_client_ca_only_callers_with_its_certificate_get_in(authority, tmp_path, processes):
    callers = Authority(tmp_path / "callers")
    flags = (*authority.issue("mutual").flags, "--tls-client-ca-file", str(callers.file))
    with ServerProcess("--scripted", *flags, processes=processes) as server:
        assert await reply(server, authority, callers.issue("caller", "caller@example.com")) == "Hello there"
        for stranger in (None, authority.issue("stranger"), callers.issue("old", "caller", expired=True)):
            await refusal(server, authority, stranger)


async def test_a_new_certificate_is_taken_while_a_stream_runs(tmp_path, processes):
    authority = Authority(tmp_path / "ca")
    first = authority.issue("server")
    with ServerProcess("--scripted", *first.flags, processes=processes) as server:
        before = serial(first.cert.read_text())
        assert serial_at(server.target, authority) == before
        async with channel(server, authority) as open_channel:
            call = AgentServiceStub(open_channel).Stream(request("a b c d e f", 100))
            text = (await call.read()).content
            after = serial(authority.issue("server").cert.read_text())
            assert await asyncio.to_thread(serial_at, server.target, authority) == after != before
            while (chunk := await call.read()) is not grpc.aio.EOF:
                text += chunk.content
        assert text == "a b c d e f"
    assert "certificate reloaded" in [event["event"] for event in server.events]


def test_files_that_do_not_belong_together_change_nothing_and_are_reported_once(tmp_path):
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server")
    with ServerProcess("--scripted", *pair.flags) as server:
        before = serial_at(server.target, authority)
        other = authority.issue("other")
        os.replace(other.cert, pair.cert)
        assert [serial_at(server.target, authority) for _ in range(3)] == [before] * 3
        os.replace(other.key, pair.key)
        assert serial_at(server.target, authority) != before
    events = [event for event in server.events if event["event"].startswith("certificate")]
    assert [event["event"] for event in events] == ["certificate not reloaded", "certificate reloaded"]
    assert f"tls_key_file: {pair.key} is not the key of the certificate in {pair.cert}" in events[0]["why"]


def test_files_that_are_gone_for_a_moment_change_nothing(tmp_path):
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server")
    with ServerProcess("--scripted", *pair.flags) as server:
        before = serial_at(server.target, authority)
        pair.key.unlink()
        assert serial_at(server.target, authority) == before


def test_a_file_that_cannot_be_used_is_named_with_exit_code_78(tmp_path, processes):
    pair, other = Authority(tmp_path / "a").issue("server"), Authority(tmp_path / "b").issue("server")
    flags = Pair(pair.cert, other.key).flags
    done = run_cli("serve", "--scripted", "--port", "0", "--processes", str(processes), "--log-level", "error", *flags)
    assert done.returncode == 78
    words = f"--tls-key-file: {other.key} is not the key of the certificate in {pair.cert}"
    assert done.stderr.splitlines()[-1] == f"headwater: {words}"


def test_a_server_that_is_told_so_listens_without_tls_for_other_machines():
    with ServerProcess("--scripted", "--host", "0.0.0.0", "--insecure") as server:
        assert grpcurl("-plaintext", server.target, "grpc.health.v1.Health/Check").returncode == 0
    assert {"open", "no callers"} <= {event["event"] for event in server.events}


def test_a_port_that_other_machines_reach_needs_callers(tmp_path, processes):
    authority = Authority(tmp_path)
    flags = ("--scripted", "--host", "0.0.0.0", "--data-dir", str(tmp_path / "data"), *authority.issue("server").flags)
    done = run_cli("serve", "--port", "0", "--processes", str(processes), *flags)
    assert done.returncode == 78
    assert "--host: 0.0.0.0 can be reached from other machines, and the server has no callers" in done.stderr
    assert run_cli("token", "--data-dir", str(tmp_path / "data"), "create", "amy", "--scope", "stream").returncode == 0
    with ServerProcess(*flags, processes=processes) as server:
        assert "no callers" not in {event["event"] for event in server.events}
