"""TLS of the front in the event loop, where it can more than gRPC's own: callers' certificates may be optional."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.certificates import Authority, Pair
from tests.support.servers.server import ServerProcess


def run(server: ServerProcess, authority: Authority, pair: Pair | None) -> grpc.StatusCode:
    files = (pair.key.read_bytes(), pair.cert.read_bytes()) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), *files)
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.secure_channel(server.target.removeprefix("https://"), credentials, options=options) as channel:
        try:
            AgentServiceStub(channel).Run(agent_service_pb2.RunRequest(prompt="hi", agent={"model": "scripted/echo"}))
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(("auth", "without"), [("optional", "OK"), ("required", "UNAVAILABLE")])
def test_a_certificate_may_be_left_out_but_a_bad_one_is_refused(
    authority: Authority, tmp_path: Path, auth: str, without: str
) -> None:
    variables = {
        "HEADWATER_FRONT": "lean",
        "HEADWATER_TLS_CLIENT_AUTH": auth,
        "HEADWATER_TLS_CLIENT_CA_FILE": str(authority.file),
    }
    with ServerProcess("--scripted", *authority.issue("lean").flags, variables=variables) as server:
        assert run(server, authority, authority.issue("caller")) is grpc.StatusCode.OK
        assert run(server, authority, None) is grpc.StatusCode[without]
        stranger = Authority(tmp_path / "other").issue("caller")
        assert run(server, authority, stranger) is grpc.StatusCode.UNAVAILABLE


def test_a_caller_that_speaks_another_protocol_is_let_go(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    context.set_alpn_protocols(["http/1.1"])
    flags = authority.issue("alpn").flags
    with ServerProcess("--scripted", *flags, variables={"HEADWATER_FRONT": "lean"}) as server:
        host, _, port = server.target.removeprefix("https://").rpartition(":")
        with (
            socket.create_connection((host, int(port)), 5) as plain,
            context.wrap_socket(plain, server_hostname=host) as met,
        ):
            assert met.selected_alpn_protocol() is None
            met.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert met.recv(100) == b""


def test_handshakes_that_do_not_end_count_as_connections_and_keep_nobody_out(authority: Authority) -> None:
    variables = {"HEADWATER_FRONT": "lean", "HEADWATER_MAX_CONNECTIONS": "50"}
    with (
        ServerProcess("--scripted", *authority.issue("half").flags, variables=variables) as server,
        ExitStack() as stack,
    ):
        host, _, port = server.target.removeprefix("https://").rpartition(":")
        begun = [stack.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(80)]
        refused = begun[50:]
        for one in refused:
            assert one.recv(1) == b""
        deadline = time.monotonic() + 10
        while run(server, authority, None) is not grpc.StatusCode.OK:  # until the first ones take long
            assert time.monotonic() < deadline
        assert begun[0].recv(1) == b""
