"""Settings of providers in the real server: headers, keys and addresses as they reach the services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from headwater import Agent
from headwater.streaming import stream_to_string
from headwater.v1 import agent_service_pb2, agent_service_pb2_grpc
from tests.support.servers.server import ServerProcess
from tests.support.upstream.fixtures import load_gemini
from tests.support.upstream.upstream import Upstream, always

SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "Da."}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
CHAT = always("200 OK", SAID, content_type="text/event-stream", connection="close")
GOOGLE = always("200 OK", load_gemini()["text"].body, content_type="text/event-stream", connection="close")

CONFIGURATION = """
[providers.classic]
preset = "azure-classic"
caller_headers = ["x-session-id"]
headers = { x-tenant = "${TENANT}" }
"""


@pytest.fixture
async def upstream():
    async with Upstream(CHAT) as upstream:
        yield upstream


@pytest.fixture
def server(upstream: Upstream, tmp_path: Path) -> Iterator[ServerProcess]:
    file = tmp_path / "headwater.toml"
    file.write_text(CONFIGURATION)
    variables = {
        "AZURE_OPENAI_ENDPOINT": upstream.url,
        "AZURE_OPENAI_API_KEY": "key-azure",
        "TENANT": "tenant-1",
        "GEMINI_API_KEY": "key-google",
        "GOOGLE_GEMINI_BASE_URL": upstream.url,
    }
    with ServerProcess("--config", str(file), variables=variables) as server:
        yield server


def head(upstream: Upstream) -> tuple[str, dict[str, str]]:
    target, *lines = upstream.requests[-1].strip().split("\r\n")
    return target.split(" ")[1], {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def test_azures_classic_door_with_a_header_of_the_settings_and_one_of_the_caller(server, upstream):
    request = agent_service_pb2.RunRequest(prompt="Hi", agent={"model": "classic/gpt-4o"})
    metadata = (("headwater-provider-header-x-session-id", "s-1"),)
    async with grpc.aio.insecure_channel(server.target) as channel:
        reply = await agent_service_pb2_grpc.AgentServiceStub(channel).Run(request, metadata=metadata)
        assert reply.content == "Da."
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            other = (("headwater-provider-header-host", "evil.example"),)
            await agent_service_pb2_grpc.AgentServiceStub(channel).Run(request, metadata=other)
    target, headers = head(upstream)
    assert target == "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    assert (headers["api-key"], headers["x-tenant"], headers["x-session-id"]) == ("key-azure", "tenant-1", "s-1")
    assert "authorization" not in headers
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "headwater-provider-header-host" in refused.value.details()
    assert len(upstream.requests) == 1


async def test_gemini_is_there_with_its_key_alone(server, upstream):
    upstream.answer = GOOGLE
    stream = Agent(model="gemini-3-flash", target=server.target).stream("Hi")
    assert await stream_to_string(stream) == "Grüezi 🦊 mitenand."
    target, headers = head(upstream)
    assert target == "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"
    assert headers["x-goog-api-key"] == "key-google"
