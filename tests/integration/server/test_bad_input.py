"""Every bad input: its status, its details, its exception in Python, and that the next call works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

import headwater
from headwater import Agent
from headwater.v1 import AgentConfig, RunRequest, StreamRequest, agent_service_pb2
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub, details

MIB = 1024 * 1024

CASES = {
    "empty prompt": (
        {"prompt": "", "model": "scripted/echo"}, "INVALID_ARGUMENT", "INVALID_REQUEST", headwater.ValidationError, "prompt",
    ),
    "unknown model": (
        {"prompt": "x", "model": "no-such-model"}, "NOT_FOUND", "PROVIDER_NOT_FOUND", headwater.ProviderNotFoundError, "",
    ),
    "unknown provider": (
        {"prompt": "x", "provider": "nobody"}, "NOT_FOUND", "PROVIDER_NOT_FOUND", headwater.ProviderNotFoundError, "",
    ),
    "temperature out of range": (
        {"prompt": "x", "model": "scripted/echo", "temperature": 3.0},
        "INVALID_ARGUMENT", "INVALID_REQUEST", headwater.ValidationError, "agent.temperature",
    ),
    "a parameter the provider lacks": (
        {"prompt": "x", "model": "claude-sonnet-4-6", "frequency_penalty": 1.0},
        "INVALID_ARGUMENT", "INVALID_REQUEST", headwater.ValidationError, "agent.frequency_penalty",
    ),
    "a parameter the model lacks": (
        {"prompt": "x", "model": "claude-sonnet-5-5", "temperature": 0.5},
        "INVALID_ARGUMENT", "INVALID_REQUEST", headwater.ValidationError, "agent.temperature",
    ),
    "a missing key": (
        {"prompt": "x", "provider": "keyless"}, "FAILED_PRECONDITION", "PROVIDER_AUTH_FAILED", headwater.ProviderAuthError, "",
    ),
    "a caller's key where none is taken": (
        {"prompt": "x", "model": "scripted/echo", "api_key": "sk-mine"},
        "INVALID_ARGUMENT", "INVALID_REQUEST", headwater.ValidationError, "headwater-provider-key",
    ),
    "an unknown API": (
        {"prompt": "x", "model": "gpt-4o", "provider_options": {"openai": {"api": "telepathy"}}},
        "INVALID_ARGUMENT", "INVALID_REQUEST", headwater.ValidationError, "agent.provider_options.openai.api",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def keyless():
    """A server on which nothing is configured but `scripted`."""
    with ServerProcess("--scripted") as server:
        yield server


@pytest.fixture
def target(request, server, keyless) -> str:
    return keyless.target if "missing key" in request.node.callspec.params["case"] else server.target


def fields_of(case: str) -> dict[str, object]:
    fields = dict(CASES[case][0])
    return {**fields, "provider": "openai"} if fields.get("provider") == "keyless" else fields


@pytest.mark.parametrize("case", CASES)
async def test_the_status_has_code_reason_and_field(case, target):
    _, code, reason, _, field = CASES[case]
    fields = fields_of(case)
    key, prompt = fields.pop("api_key", None), fields.pop("prompt", "")
    options: Any = fields.pop("provider_options", {})
    agent = AgentConfig(**fields)  # type: ignore[arg-type]
    for provider, values in options.items():
        agent.provider_options[provider].update(values)
    metadata = (("headwater-provider-key", key),) if key else None
    async with agent_stub(target) as stub:
        for call in (
            stub.Stream(StreamRequest(agent=agent, prompt=prompt), metadata=metadata).read(),
            stub.Run(RunRequest(agent=agent, prompt=prompt), metadata=metadata),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            found = details(caught.value)
            assert caught.value.code().name == code
            assert (found["ErrorInfo"].reason, found["ErrorInfo"].domain) == (reason, "headwater.ai")  # type: ignore[attr-defined]
            if field:
                assert field in [v.field for v in found["BadRequest"].field_violations]  # type: ignore[attr-defined]
        await works(target)


@pytest.mark.parametrize("case", CASES)
async def test_the_python_client_raises_its_exception(case, target):
    _, _, reason, kind, _ = CASES[case]
    fields = fields_of(case)
    with pytest.raises(kind) as caught:
        await Agent(target=target).arun(**fields)
    assert type(caught.value) is kind
    assert caught.value.reason in (reason, None)  # None: found before anything was sent
    await works(target)


async def works(target: str) -> None:
    assert (await Agent(target=target).arun("x", model="scripted/echo", provider_options=OK)).content == "ok"


OK = {"scripted": {"text": "ok"}}


async def test_a_server_that_is_not_there():
    with pytest.raises(headwater.ServerUnavailableError, match=r"127\.0\.0\.1:9") as caught:
        await Agent(target="127.0.0.1:9").arun("x")
    assert isinstance(caught.value, ConnectionError)


async def test_a_prompt_of_33_mib_is_refused_before_it_is_sent(server):
    with pytest.raises(headwater.MessageTooLargeError, match="33,554,432"):
        await Agent(model="scripted/echo", target=server.target).arun("x" * (33 * MIB))
    await works(server.target)


async def test_a_prompt_of_33_mib_from_a_stub_is_refused_by_the_server(server):
    async with agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Run(RunRequest(prompt="x" * (33 * MIB), agent=AgentConfig(model="scripted/echo")))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await works(server.target)


async def test_a_key_too_long_for_a_key_is_refused_by_name_and_not_by_grpc_at_random(server):
    async with agent_stub(server.target) as stub:
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Run(RunRequest(prompt="x"), metadata=(("headwater-provider-key", "k" * 15_000),))
            [violation] = details(caught.value)["BadRequest"].field_violations  # type: ignore[attr-defined]
            assert violation.field == "headwater-provider-key"


async def test_a_prompt_of_31_mib_is_taken(server):
    prompt = "x" * (31 * MIB)
    reply = await Agent(model="scripted/echo", target=server.target).arun(prompt, provider_options=OK)
    assert reply.content == "ok"


async def test_a_reply_over_3_mib_is_streamed_whole_and_refused_by_run(server):
    text = "0123456789abcdef" * (7 * MIB // 32)
    options = {"scripted": {"chunk_size": len(text)}}
    reply = await Agent(model="scripted/echo", target=server.target).arun(text, provider_options=options)
    assert reply.content == text
    request = RunRequest(prompt=text, agent=AgentConfig(model="scripted/echo"))
    request.agent.provider_options["scripted"].update(options["scripted"])
    async with agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Run(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(caught.value)["ErrorInfo"].reason == "REPLY_TOO_LARGE"  # type: ignore[attr-defined]


@pytest.mark.parametrize("page_token", ["nonsense", "MTph"])
async def test_a_page_token_of_somebody_else(server, page_token):
    async with agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListStreams(agent_service_pb2.ListStreamsRequest(page_token=page_token))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_cancelling_a_stream_that_does_not_run(server):
    async with agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id="str_none"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert details(caught.value)["ErrorInfo"].reason == "STREAM_NOT_FOUND"  # type: ignore[attr-defined]


async def drained(chunks: AsyncIterator[object]) -> None:
    async for _ in chunks:
        pass


async def test_a_provider_that_fails_in_mid_stream_is_an_interruption_with_the_partial_text(server):
    options = {"scripted": {"text": "one two three", "fail_after": 2, "fail_reason": "PROVIDER_UNAVAILABLE"}}
    stream = Agent(model="scripted/echo", target=server.target).stream("x", provider_options=options)
    with pytest.raises(headwater.StreamInterruptedError) as caught:
        await drained(stream)
    assert caught.value.partial_response == "one two"
    assert isinstance(caught.value, headwater.HeadwaterError)
    await works(server.target)


async def test_a_silent_provider_is_a_timeout_for_asyncio_too(server):
    options = {"scripted": {"text": "one two three", "hang_after": 1}}
    stream = Agent(model="scripted/echo", target=server.target).stream("x", provider_options=options, timeout=0.3)
    with pytest.raises(TimeoutError) as caught:
        await drained(stream)
    assert isinstance(caught.value, headwater.StreamTimeoutError)
    assert caught.value.partial_response == "one"
