"""Providers that lie, flood, drip or stall: each gets a clear error, costs little, and the next call works."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc
import psutil
import pytest

from headwater import Agent, HeadwaterError, MessageTooLargeError
from headwater.v1 import agent_service_pb2
from tests.support.servers.server import ServerProcess, provider_variables, proxied_variables
from tests.support.stubs.stub import agent_stub, details
from tests.support.upstream.upstream import Answer, Upstream, always, endless

KEY = "sk-test-openai-0123456789"
EVENT_STREAM = "text/event-stream"


Variables = Callable[[str], dict[str, str]]


@pytest.fixture(params=[provider_variables, proxied_variables], ids=["direct", "proxied"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Variables:
    """How `served` reaches the upstream: over its own connections, or with the upstream as its proxy."""
    monkeypatch.setattr(sys.modules[__name__], "variables_of", request.param)
    variables: Variables = request.param
    return variables


variables_of: Variables = provider_variables


@asynccontextmanager
async def served(
    answer: Answer, program: Sequence[str] = ("-m", "headwater.cli"), **variables: str
) -> AsyncIterator[tuple[ServerProcess, Upstream]]:
    """The real server with all providers at one upstream."""
    async with Upstream(answer) as upstream:
        settings = variables_of(upstream.url) | {"OPENAI_API_KEY": KEY} | variables
        with ServerProcess("--scripted", variables=settings, program=program) as server:
            yield server, upstream


async def fails(server: ServerProcess, **settings: object) -> HeadwaterError:
    """The error of a call; the call after it must work."""
    agent = Agent(model="gpt-4o", target=server.target, history=0)
    with pytest.raises(HeadwaterError) as caught:
        await agent.arun("Hi", **settings)  # type: ignore[arg-type]
    reply = await agent.arun("Hi", model="scripted/echo", provider_options={"scripted": {"text": "ok"}})
    assert reply.content == "ok"
    return caught.value


@pytest.mark.parametrize("status", ["401 Unauthorized", "200 OK"])
async def test_a_key_that_a_provider_repeats_goes_no_further(status):
    errors = [
        {"message": f"Incorrect API key: {KEY}", "code": "invalid_api_key"},
        {"message": "no", "code": KEY},
        {"message": "x" * 480 + KEY},
        {"message": "no", "type": f"bad {KEY}"},
    ]
    told = ""
    async with served(always(status, b"")) as (server, upstream):
        for error in errors:
            body = json.dumps({"error": error}).encode()
            body = body if status.startswith("401") else b"data: " + body + b"\n\n"
            upstream.answer = always(status, body, content_type=EVENT_STREAM)
            found = await fails(server)
            told += f"{found} {found.metadata}\n"
        told += server.log
    assert KEY not in told
    assert KEY[:8] not in told


async def test_a_compressed_error_keeps_its_meaning():
    body = gzip.compress(b'{"error": {"message": "no credit", "code": "insufficient_quota"}}')
    async with served(always("429 Too Many", body, content_encoding="gzip")) as (server, _):
        found = await fails(server)
    assert (found.reason, found.http_status) == ("PROVIDER_QUOTA_EXHAUSTED", 429)


async def test_a_compressed_stream_is_read():
    data = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    answer = always("200 OK", gzip.compress(data), content_type=EVENT_STREAM, content_encoding="gzip")
    async with served(answer) as (server, _):
        reply = await Agent(model="gpt-4o", target=server.target).arun("x")
    assert reply.content == "Hi"


async def test_an_error_body_without_end_still_tells_its_status():
    answer = endless("401 Unauthorized", b"x", pause=0.2, content_type="text/plain")
    async with served(answer) as (server, _):
        began = time.monotonic()
        found = await fails(server)
    assert (found.reason, found.http_status) == ("PROVIDER_AUTH_FAILED", 401)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (endless("200 OK", b" " * 100_000), "over 8 MiB"),
        (always("200 OK", gzip.compress(b" " * 100_000_000), content_encoding="gzip"), "over 8 MiB"),
        (always("200 OK", b"<html>"), "sent something that is not"),
    ],
    ids=["endless", "bomb", "no JSON"],
)
async def test_a_list_of_models_is_read_within_bounds(answer, words):
    async with served(answer) as (server, _), agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
            await stub.ListModels(agent_service_pb2.ListModelsRequest(provider="openai"), timeout=15)
        memory = psutil.Process(server.process.pid).memory_info().rss
    info = details(caught.value)["ErrorInfo"]
    assert info.reason == "PROVIDER_UNAVAILABLE"  # type: ignore[attr-defined]
    assert info.metadata["provider"] == "openai"  # type: ignore[attr-defined]
    assert memory < 250 * 1024 * 1024


IMPATIENT = """
from headwater.cli import main
from headwater_server.providers.http import provider

provider.ANSWER_SECONDS = 1.0
main()
"""


async def test_a_list_of_models_that_drips_is_given_up():
    drips = endless("200 OK", b" ", pause=0.1)
    async with served(drips, program=("-c", IMPATIENT)) as (server, _), agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="within 1 seconds"):
            await stub.ListModels(agent_service_pb2.ListModelsRequest(provider="openai"), timeout=30)


def tool_call(arguments: str, index: int = 0) -> bytes:
    call = {"index": index, "id": f"call_{index}", "function": {"name": "f", "arguments": arguments}}
    return b"data: " + json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}).encode() + b"\n\n"


async def test_tool_calls_without_end_are_refused_before_they_fill_the_memory():
    answer = endless("200 OK", tool_call("x" * 1000), content_type=EVENT_STREAM)
    async with served(answer) as (server, _):
        agent = Agent(model="gpt-4o", target=server.target)
        with pytest.raises(MessageTooLargeError) as caught:
            await agent.arun("Hi")
        memory = psutil.Process(server.process.pid).memory_info().rss
    assert caught.value.reason == "REPLY_TOO_LARGE"
    assert memory < 250 * 1024 * 1024


async def test_a_huge_delta_of_a_tool_call_comes_in_pieces():
    body = (
        tool_call('"' + "x" * 1_000_000 + '"')
        + b'data: {"choices":[{"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
    )
    async with served(always("200 OK", body, content_type=EVENT_STREAM)) as (server, _):
        reply = await Agent(model="gpt-4o", target=server.target).arun("Hi")
    assert len(reply.tool_calls[0]["arguments"]) == 1_000_002


async def test_a_provider_that_floods_does_not_keep_others_waiting():
    """Comments say nothing, so no chunk ever slows their reading down."""
    answer = endless("200 OK", b": nothing\n" * 10_000, content_type=EVENT_STREAM)
    async with served(answer) as (server, _), agent_stub(server.target) as stub:
        agent = Agent(model="gpt-4o", target=server.target, history=0)
        floods = [asyncio.create_task(anext(agent.stream("Hi"))) for _ in range(2)]
        delays = []
        for _ in range(30):
            began = time.monotonic()
            await stub.ListStreams(agent_service_pb2.ListStreamsRequest())
            delays.append(time.monotonic() - began)
            await asyncio.sleep(0.02)
        for flood in floods:
            flood.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    print(f"a short question took {sorted(delays)[15] * 1000:.0f} ms (median), {max(delays) * 1000:.0f} ms (worst)")
    assert sorted(delays)[15] < 0.25


async def test_a_login_in_netrc_does_not_go_to_a_provider(tmp_path):
    (tmp_path / ".netrc").write_text("default login somebody password secret\n")
    data = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    answer = always("200 OK", data, content_type=EVENT_STREAM)
    async with served(answer, NETRC=str(tmp_path / ".netrc"), HOME=str(tmp_path)) as (server, upstream):
        await Agent(model="gpt-4o", target=server.target).arun("Hi")
    [request] = upstream.requests
    assert f"Bearer {KEY}" in request
    assert "Basic" not in request


async def test_a_provider_without_a_default_model_can_be_asked_for_its_models(tmp_path):
    models = always("200 OK", b'{"data": [{"id": "m1"}, {"id": "m2"}]}', content_type="application/json")
    async with Upstream(models) as upstream:
        file = tmp_path / "headwater.toml"
        file.write_text(f'[providers.vllm]\ntype = "openai"\nbase_url = "{upstream.url}/v1"\n')
        with ServerProcess("--config", str(file)) as server:
            async with agent_stub(server.target) as stub:
                found = await stub.ListModels(agent_service_pb2.ListModelsRequest(provider="vllm"))
                info = await stub.GetProviderInfo(agent_service_pb2.GetProviderInfoRequest(provider="vllm"))
    assert [model.name for model in found.models] == ["m1", "m2"]
    assert (info.provider.name, info.provider.model) == ("vllm", "")


async def test_a_million_messages_are_refused_without_keeping_others_waiting(server):
    request = agent_service_pb2.RunRequest()
    for _ in range(1_000_000):
        request.messages.add()
    async with agent_stub(server.target) as stub, agent_stub(server.target) as other:
        refused = asyncio.create_task(stub.Run(request).code())
        slowest = 0.0
        while not refused.done():
            began = time.monotonic()
            await other.ListStreams(agent_service_pb2.ListStreamsRequest())
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.01)
        assert (await refused) is grpc.StatusCode.INVALID_ARGUMENT
    assert slowest < 1.0


async def test_a_log_that_nobody_reads_does_not_fail_calls():
    with ServerProcess("--scripted") as server:
        assert server.process.stderr is not None
        server.close_log()
        agent = Agent(model="scripted/echo", target=server.target)
        for _ in range(3):
            reply = await agent.arun("Hi", provider_options={"scripted": {"text": "ok"}})
            assert reply.content == "ok"


async def test_a_server_ends_cleanly_with_a_reader_that_stands_still():
    text = "data: " + json.dumps({"choices": [{"delta": {"content": "x" * 10_000}}]}) + "\n\n"
    answer = endless("200 OK", text.encode(), content_type=EVENT_STREAM)
    async with served(answer, HEADWATER_DRAIN_SECONDS="0.2") as (server, _):
        stream = Agent(model="gpt-4o", target=server.target).stream("Hi")
        await anext(stream)
        async with agent_stub(server.target) as stub:
            count = -1
            while True:  # until the server can write no more
                [listed] = (await stub.ListStreams(agent_service_pb2.ListStreamsRequest())).streams
                if listed.chunk_count == count > 0:
                    break
                count = listed.chunk_count
                await asyncio.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 10) == 0
        await stream.aclose()
        server.stop()
        assert server.events[-1]["event"] == "stopped"


async def test_a_key_in_the_providers_request_id_goes_no_further():
    data = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    answer = always("200 OK", data, content_type=EVENT_STREAM, x_request_id=f"req-{KEY}")
    async with served(answer) as (server, _):
        reply = await Agent(model="gpt-4o", target=server.target).arun("Hi")
        assert reply.metadata["provider_request_id"] == "req-***"
        assert KEY not in server.log


async def test_calls_without_a_name_are_counted_too():
    body = b"".join(b'data: {"choices":[{"delta":{"tool_calls":[{"index":%d}]}}]}\n\n' % i for i in range(6000))
    async with served(always("200 OK", body, content_type=EVENT_STREAM)) as (server, _):
        found = await fails(server)
    assert found.reason == "REPLY_TOO_LARGE"


async def test_a_refused_connection_is_told_as_one():
    words = r"ollama: cannot be reached \(Connection refused\)"
    with (
        ServerProcess("--scripted", variables={"OLLAMA_HOST": "127.0.0.1:9"}) as server,
        pytest.raises(HeadwaterError, match=words),
    ):
        await Agent(model="llama3.2", target=server.target).arun("Hi")
