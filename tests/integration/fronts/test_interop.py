"""gRPC's own interop client, of Go: each of its cases that a server can be asked, on the front `lean`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater_server.transport.certificates import Certificates, TlsFiles
from headwater_server.transport.http2.server import Server
from tests.support.fronts.interop import add_test_service
from tests.support.servers.certificates import Authority

CLIENT = Path(__file__).parents[3] / ".tools" / "bin" / "interop-client"

# Left out are the cases for authentication by Google, for clients' balancing (`pick_first_unary`, `orca_…`, `rpc_soak`)
# and for compression, which the client of Go does not have.
CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
)


@pytest.mark.skipif(not CLIENT.exists(), reason="make tools builds the client (needs Go)")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_the_interop_client_of_go_finds_no_fault(tls: bool, tmp_path: Path) -> None:
    server = Server()
    add_test_service(server)
    flags = []
    if tls:
        authority = Authority(tmp_path)
        pair = authority.issue("server")
        context = Certificates(TlsFiles(str(pair.cert), str(pair.key))).for_python()
        port = server.add_secure_port("127.0.0.1:0", context)
        flags = ["--use_tls", "--use_test_ca", f"--ca_file={authority.file}", "--server_host_override=localhost"]
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    failed = {}
    for case in CASES:
        client = await asyncio.create_subprocess_exec(
            CLIENT,
            *("--server_host=127.0.0.1", f"--server_port={port}", f"--test_case={case}", *flags),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await client.communicate()
        if client.returncode:
            failed[case] = said.decode()[-500:]
    await server.stop(1)
    assert not failed
