"""Settings of providers in the real server: headers, keys and addresses as they reach the services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from headwater import Agent, ValidationError, collect_stream
from headwater.streaming import stream_to_string
from headwater.v1 import agent_service_pb2, agent_service_pb2_grpc
from tests.support.servers.server import ServerProcess
from tests.support.upstream.fixtures import load_gemini, load_recorded
from tests.support.upstream.upstream import Upstream, always

SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "Da."}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
CHAT = always("200 OK", SAID, content_type="text/event-stream", connection="close")
GOOGLE = always("200 OK", load_gemini()["text"].body, content_type="text/event-stream", connection="close")
TOKENS = load_recorded()["llamacpp-smollm2/chat_logprobs"].body

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


async def test_a_header_of_the_python_client(server, upstream):
    agent = Agent(model="classic/gpt-4o", target=server.target, provider_headers={"X-Session-Id": "s-1"})
    assert (await agent.arun("Hi")).content == "Da."
    assert head(upstream)[1]["x-session-id"] == "s-1"
    with pytest.raises(ValidationError, match=r"provider_headers\.x-other: is not taken for classic here") as refused:
        await agent.arun("Hi", provider_headers={"x-other": "secret"})
    assert [field for field, _ in refused.value.violations] == ["provider_headers.x-other"]
    assert "secret" not in str(refused.value)
    assert len(upstream.requests) == 1


async def test_log_probabilities_of_a_stream_and_of_a_whole_reply(server, upstream):
    upstream.answer = always("200 OK", TOKENS, content_type="text/event-stream", connection="close")
    agent = Agent(model="classic/gpt-4o", target=server.target)
    reply = await collect_stream(agent.stream("Say hello.", logprobs=2))
    assert "".join(token.token for token in reply.logprobs) == reply.complete_text == "I'm so glad you're"
    assert all(token.top_logprobs[0].token == token.token for token in reply.logprobs)
    assert (await collect_stream(agent.stream("Say hello."))).logprobs == []
    request = agent_service_pb2.RunRequest(prompt="Hi", agent={"model": "classic/gpt-4o", "logprobs": 2})
    async with grpc.aio.insecure_channel(server.target) as channel:
        whole = await agent_service_pb2_grpc.AgentServiceStub(channel).Run(request)
    assert [token.logprob for token in whole.logprobs] == [token.logprob for token in reply.logprobs]


async def test_gemini_is_there_with_its_key_alone(server, upstream):
    upstream.answer = GOOGLE
    stream = Agent(model="gemini-3-flash", target=server.target).stream("Hi")
    assert await stream_to_string(stream) == "Grüezi 🦊 mitenand."
    target, headers = head(upstream)
    assert target == "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"
    assert headers["x-goog-api-key"] == "key-google"
