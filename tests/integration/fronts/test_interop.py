"""gRPC's own interop clients, of Go and of Java: each of their cases that a server can be asked, on the front `lean`."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from headwater_server.transport.certificates import Certificates, TlsFiles
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.server import Server
from tests.support.fronts.interop import add_test_service
from tests.support.servers.certificates import Authority

ROOT = Path(__file__).parents[3]
CLIENT_OF_GO = ROOT / ".tools" / "bin" / "interop-client"
CLIENT_OF_JAVA = ROOT / "tools" / "interop" / "Cases.java"
JARS = ROOT / ".tools" / "interop-java"
PASSWORD = "changeit"  # noqa: S105  Java reads no store without one

# Left out are the cases for authentication by Google and for clients' balancing (`pick_first_unary`, `orca_…`), and of
# compression those in which the server has to compress, or to see which message was compressed.
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
CASES_OF_JAVA = (
    *CASES,
    "client_compressed_unary_noprobe",
    "client_compressed_streaming_noprobe",
    "very_large_request",
    "rpc_soak",
    "channel_soak",
)
SOAK = (
    "--soak_iterations=40",
    "--soak_num_threads=4",
    "--soak_overall_timeout_seconds=60",
    "--soak_per_iteration_max_acceptable_latency_ms=20000",
)


@asynccontextmanager
async def port_of_test_service(authority: Authority | None) -> AsyncIterator[int]:
    """The port of a server with gRPC's test service; with an authority, over TLS."""
    server = Server(limits=Limits(max_message_bytes=16 * 1024 * 1024))  # a very large request has 10
    add_test_service(server)
    if authority is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = authority.issue("server")
        context = Certificates(TlsFiles(str(pair.cert), str(pair.key))).for_python()
        port = server.add_secure_port("127.0.0.1:0", context)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(1)


async def run(program: Path | str, *arguments: str) -> tuple[int | None, str]:
    """The exit code of a client, and its words."""
    client = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await client.communicate()
    return client.returncode, said.decode()


@pytest.fixture
def authority(request: pytest.FixtureRequest, tmp_path: Path) -> Authority | None:
    return Authority(tmp_path) if request.param == "tls" else None


@pytest.mark.skipif(not CLIENT_OF_GO.exists(), reason="make tools builds the client (needs Go)")
@pytest.mark.parametrize("authority", ["plain", "tls"], indirect=True)
async def test_the_interop_client_of_go_finds_no_fault(authority: Authority | None) -> None:
    flags = ["--server_host=127.0.0.1"]
    if authority is not None:
        flags += ["--use_tls", "--use_test_ca", f"--ca_file={authority.file}", "--server_host_override=localhost"]
    failed = {}
    async with port_of_test_service(authority) as port:
        for case in CASES:
            code, said = await run(CLIENT_OF_GO, *flags, f"--server_port={port}", f"--test_case={case}")
            if code:
                failed[case] = said[-500:]
    assert not failed


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    not JARS.exists() or not shutil.which("java"), reason="make tools fetches the client (needs Java and Maven)"
)
@pytest.mark.parametrize(
    ("authority", "library"), [("plain", "netty"), ("tls", "netty"), ("tls", "okhttp")], indirect=["authority"]
)
async def test_the_interop_client_of_java_finds_no_fault(
    authority: Authority | None, library: str, tmp_path: Path
) -> None:
    trust, flags = (), [f"--use_okhttp={str(library == 'okhttp').lower()}", "--server_host=127.0.0.1"]
    if authority is None:
        flags.append("--use_tls=false")
    else:
        trust = trusting(authority, tmp_path / "trusted.p12")
        flags += ["--use_tls=true", "--server_host_override=localhost"]
    async with port_of_test_service(authority) as port:
        options = ("-XX:TieredStopAtLevel=1", *trust, "-cp", f"{JARS}/*", str(CLIENT_OF_JAVA))
        code, said = await run("java", *options, *flags, f"--server_port={port}", *SOAK, *CASES_OF_JAVA)
    assert re.findall(r"^failed: .*", said, re.MULTILINE) == []
    assert (re.findall(r"^passed: (.*)", said, re.MULTILINE), code) == ([*CASES_OF_JAVA], 0), said[-2_000:]


def trusting(authority: Authority, store: Path) -> tuple[str, ...]:
    """The options with which Java trusts this authority alone; `store` becomes a file of its certificate."""
    trusted = pkcs12.PKCS12Certificate(x509.load_pem_x509_certificate(authority.file.read_bytes()), b"authority")
    encryption = BestAvailableEncryption(PASSWORD.encode())
    store.write_bytes(pkcs12.serialize_java_truststore([trusted], encryption))
    prefix = "-Djavax.net.ssl.trustStore"
    return (f"{prefix}={store}", f"{prefix}Type=PKCS12", f"{prefix}Password={PASSWORD}")
