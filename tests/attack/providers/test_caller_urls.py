"""A caller tries to make the server, or a provider, call an address that is not configured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from headwater.v1 import RunRequest
from headwater.v1.agent_pb2 import ROLE_USER, AgentConfig, ChatMessage, Image, Part
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub, details
from tests.support.upstream.upstream import Upstream, always

SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "Da."}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
CHAT = always("200 OK", SAID, content_type="text/event-stream", connection="close")
CONFIGURATION = """
[providers.public]
type = "openai"
base_url = "{url}/v1"
[providers.intranet]
type = "openai"
base_url = "{url}/v1"
allow_private_urls = true
[server]
allow_caller_api_keys = true
"""
OPTIONS = ("base_url", "api_base", "url", "endpoint", "host", "proxy", "server", "callback_url")


@pytest.fixture
async def configured() -> AsyncIterator[Upstream]:
    async with Upstream(CHAT) as upstream:
        yield upstream


@pytest.fixture
async def victim() -> AsyncIterator[Upstream]:
    """A program of the private network; it must get no call."""
    async with Upstream(CHAT) as upstream:
        yield upstream


@pytest.fixture
def server(configured: Upstream, tmp_path: Path) -> Iterator[ServerProcess]:
    file = tmp_path / "headwater.toml"
    file.write_text(CONFIGURATION.replace("{url}", configured.url))
    with ServerProcess("--config", str(file)) as server:
        yield server


def with_image(url: str, model: str) -> RunRequest:
    message = ChatMessage(role=ROLE_USER, parts=[Part(text="What is it?"), Part(image=Image(url=url))])
    return RunRequest(messages=[message], agent=AgentConfig(model=model, instructions="Look."))


async def refused_fields(server: ServerProcess, request: RunRequest) -> list[str]:
    async with agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Run(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = details(caught.value)["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    return [violation.field for violation in bad.field_violations]


async def test_an_image_of_a_private_network_reaches_no_provider(server, configured, victim):
    for url in (
        f"{victim.url}/a.png",
        "http://169.254.169.254/latest/",
        "http://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
    ):
        assert await refused_fields(server, with_image(url, "public/m")) == ["messages[0].parts[1].image.url"]
    assert (configured.requests, victim.requests) == ([], [])


async def test_a_provider_that_may_have_private_addresses_gets_them_unfetched(server, configured, victim):
    async with agent_stub(server.target) as stub:
        await stub.Run(with_image(f"{victim.url}/a.png", "intranet/m"))
    assert f'"url":"{victim.url}/a.png"'.encode() in configured.bodies[0]
    assert victim.requests == []


async def test_no_field_of_the_providers_own_leads_the_call_elsewhere(server, configured, victim):
    request = RunRequest(prompt="Hi", agent=AgentConfig(model="intranet/m"))
    request.agent.provider_options["intranet"].update(dict.fromkeys(OPTIONS, victim.url))
    async with agent_stub(server.target) as stub:
        assert (await stub.Run(request)).content == "Da."
    assert (len(configured.requests), victim.requests) == (1, [])
    request.agent.model = "public/m"
    request.agent.provider_options["public"].update(dict.fromkeys(OPTIONS, victim.url))
    assert sorted(await refused_fields(server, request)) == sorted(
        f"agent.provider_options.public.{name}" for name in OPTIONS
    )


async def test_no_name_of_a_model_and_no_metadata_leads_the_call_elsewhere(server, configured, victim):
    host = victim.url.removeprefix("http://")
    metadata = [("headwater-provider-key", victim.url), ("x-forwarded-host", host), ("forwarded", f"host={host}")]
    models = (f"public/{victim.url}/x", f"public/@{host}/", "public/../../x", f"public/x\r\nhost: {host}")
    async with agent_stub(server.target) as stub:
        for model in models:
            await stub.Run(RunRequest(prompt="Hi", agent={"model": model}), metadata=metadata)
    assert len(configured.requests) == len(models)
    assert all(head.startswith("POST /v1/chat/completions HTTP/1.1\r\n") for head in configured.requests)
    assert victim.requests == []
