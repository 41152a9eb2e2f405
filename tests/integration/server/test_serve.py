"""`headwater serve` as an operator meets it: its port, its signals, its health, its log."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from headwater import Agent, ProviderAuthError, StreamInterruptedError
from headwater.v1 import agent_service_pb2
from tests.support.servers.server import ServerProcess, clean_environment, provider_variables, run_cli
from tests.support.stubs.stub import agent_stub
from tests.support.upstream.replay import ReplayServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


@pytest.mark.parametrize("service", ["", "headwater.v1.AgentService"])
async def test_the_standard_health_service_answers(server, service):
    async with grpc.aio.insecure_channel(server.target) as channel:
        assert await health(channel, service) == SERVING


async def test_reflection_names_the_services(server):
    async with grpc.aio.insecure_channel(server.target) as channel:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request])):
            names = {service.name for service in answer.list_services_response.service}
    assert {"headwater.v1.AgentService", "grpc.health.v1.Health"} <= names


WITHOUT_THE_MODEL = """
import sys
sys.modules["xllamacpp"] = None
from headwater_server.providers.local import machine
machine.packaged_model = lambda: None
from headwater.cli import main
main()
"""


def test_a_server_without_a_provider_says_at_its_start_what_to_set():
    with ServerProcess(program=("-c", WITHOUT_THE_MODEL)) as bare:
        pass
    (event,) = [event for event in bare.events if event["event"] == "no provider"]
    assert event["level"] == "warning"
    for cure in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_HOST", "--local", "--scripted"):
        assert cure in event["cure"]


def test_a_server_with_a_provider_does_not_warn(server):
    assert "no provider" not in [event["event"] for event in server.events]


def test_a_taken_port_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_cli("serve", "--port", str(port))
    assert done.returncode == 1
    assert (
        done.stderr
        == f"headwater: cannot listen on 127.0.0.1:{port}: Address already in use; choose with --host and --port\n"
    )


def test_a_port_taken_by_another_headwater_is_told_too(server):
    port = server.target.rpartition(":")[2]
    done = run_cli("serve", "--port", port)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_mistakes_in_the_configuration_are_told_before_the_port_opens():
    done = run_cli("serve", "--log-level", "loud", variables={"HEADWATER_PORT": "many"})
    assert done.returncode == 78
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["--log-level", "HEADWATER_PORT"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number):
    server = ServerProcess(fresh=True)
    with server:
        assert server.stop(number) == 0
    assert [event["event"] for event in server.events] == ["listening", "draining", "stopped"]


async def test_a_draining_server_finishes_its_streams_and_sends_new_calls_elsewhere():
    options = {"scripted": {"text": "one two three", "delay_ms": 300}}
    with ServerProcess("--scripted") as server:
        stream = Agent(model="scripted/echo", target=server.target).stream("x", provider_options=options)
        text = (await anext(stream)).content
        async with agent_stub(server.target) as stub, grpc.aio.insecure_channel(server.target) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            server.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == NOT_SERVING
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # by GOAWAY
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Run(agent_service_pb2.RunRequest(prompt="x", agent={"model": "scripted/echo"}))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            watch.cancel()
        async for chunk in stream:
            text += chunk.content
        assert text == "one two three"
        assert await asyncio.to_thread(server.process.wait, 10) == 0


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_end_of_its_terminal_does_not_end_a_server(processes):
    with ServerProcess("--scripted", processes=processes, fresh=True) as server:
        server.process.send_signal(signal.SIGHUP)
        assert (await Agent(model="scripted/echo", target=server.target).arun("x")).content == "x"
        assert server.process.poll() is None


async def test_streams_that_outlast_the_draining_are_interrupted():
    options = {"scripted": {"text": "one two", "hang_after": 1}}
    with ServerProcess("--scripted", variables={"HEADWATER_DRAIN_SECONDS": "0.2"}) as server:
        stream = Agent(model="scripted/echo", target=server.target).stream("x", provider_options=options)
        await anext(stream)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(StreamInterruptedError, match="shut down") as caught:
            await anext(stream)
        assert caught.value.partial_response == "one"


async def test_a_second_signal_ends_the_waiting():
    options = {"scripted": {"text": "one two", "hang_after": 1}}
    with ServerProcess("--scripted", variables={"HEADWATER_DRAIN_SECONDS": "600"}, fresh=True) as server:
        stream = Agent(model="scripted/echo", target=server.target).stream("x", provider_options=options)
        await anext(stream)
        server.process.send_signal(signal.SIGTERM)
        while "draining" not in server.log:
            await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(StreamInterruptedError):
            await anext(stream)


def test_signals_that_keep_coming_do_not_kill_a_server_that_is_already_leaving():
    with ServerProcess("--scripted", fresh=True) as server:
        while server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.0001)  # or it would do nothing but take signals


async def test_a_client_may_ping_often_without_a_call(server):
    """gRPC's defaults close such a connection at the third ping, here after 4.5 s; one every 10 s is allowed for."""
    options = (("grpc.keepalive_time_ms", 1500), ("grpc.keepalive_permit_without_calls", 1),
               ("grpc.http2.max_pings_without_data", 0))  # fmt: skip
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        assert await health(channel) == SERVING
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 7)


async def test_the_log_has_facts_but_no_prompt_no_reply_and_no_key():
    secret = "zanzibar"  # noqa: S105  a word to look for
    async with ReplayServer() as replay:
        variables = provider_variables(replay.url) | {"OPENAI_API_KEY": f"sk-{secret}", "HEADWATER_LOG_LEVEL": "debug"}
        with ServerProcess("--scripted", variables=variables) as server:
            agent = Agent(target=server.target, instructions=secret)
            await agent.arun(secret, model="scripted/echo")
            await agent.arun(secret, model="openai/gpt-4o@openai-plain")
            with pytest.raises(ProviderAuthError) as refused:
                await agent.arun(secret, model="openai/gpt@openai-401")
            with pytest.raises(StreamInterruptedError) as cut:
                await agent.arun(secret, model="anthropic/claude@anthropic-cut")
            assert secret not in f"{refused.value} {cut.value}"
            server.stop()
            calls = [event for event in server.events if event["event"] == "rpc"]
    assert secret not in server.log
    assert "lighthouse" not in server.log
    assert [call["code"] for call in calls] == ["OK", "OK", "FAILED_PRECONDITION", "ABORTED"]
    assert [call["level"] for call in calls] == ["info", "info", "warning", "warning"]
    assert calls[2]["reason"] == "PROVIDER_AUTH_FAILED"
    assert calls[2]["http_status"] == "401"
    assert {"stream_id", "provider", "model", "chunks", "seconds"} <= calls[1].keys()


async def test_the_line_of_a_call_says_who_asked_for_what_and_how_it_ended():
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url)) as server:
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            metadata = (("x-request-id", "req-7"), ("traceparent", trace), ("tracestate", "x" * 513))
            request = agent_service_pb2.RunRequest(prompt="x", agent={"model": "openai/gpt-4o@openai-usage"})
            async with agent_stub(server.target) as stub:
                await stub.Run(request, metadata=metadata)
            server.stop()
            (call,) = [event for event in server.events if event["event"] == "rpc"]
    assert call["request_id"] == "req-7"
    assert call["model_asked"] == "openai/gpt-4o@openai-usage"
    assert call["finish_reason"] == "stop"
    assert call["output_tokens"] > 0
    assert call["first_token_seconds"] >= 0
    assert call["peer"].startswith("ipv4:127.0.0.1:")
    (record,) = replay.records
    assert (record.headers["x-request-id"], record.headers["traceparent"]) == ("req-7", trace)
    assert "tracestate" not in record.headers


async def test_the_key_goes_to_the_provider_and_a_callers_only_where_allowed():
    async with ReplayServer() as replay:
        variables = provider_variables(replay.url) | {"HEADWATER_ALLOW_CALLER_API_KEYS": "true"}
        with ServerProcess(variables=variables) as server:
            for key in (None, "sk-mine"):
                await Agent(target=server.target, api_key=key).arun(
                    "Hi", model="gpt-4o@openai-plain", provider="openai"
                )
    assert [r.headers["authorization"] for r in replay.records] == ["Bearer sk-test-openai", "Bearer sk-mine"]


async def test_a_connection_to_a_provider_is_used_again():
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url)) as server:
            agent = Agent(model="gpt-4o@openai-plain", provider="openai", target=server.target)
            for _ in range(5):
                await agent.arun("Hi")
    assert {record.connection for record in replay.records} == {1}


async def test_ollama_says_on_the_final_chunk_where_its_model_runs():
    async with ReplayServer(default="ollama-chat-plain") as replay:
        with ServerProcess(variables=provider_variables(replay.url)) as server:
            agent = Agent(provider="ollama", target=server.target, history=0)
            whole = await agent.arun("Hi", model="llama3.2")
            split = await agent.arun("Hi", model="llama3.3:70b")
            unloaded = await agent.arun("Hi", model="phi4")
    assert whole.metadata["gpu"] == {"size": 3221225472, "size_vram": 3221225472, "placement": "gpu"}
    assert split.metadata["gpu"]["placement"] == "split"
    assert "gpu" not in unloaded.metadata
    assert unloaded.metadata["total_duration"] == 1173334875


async def test_what_ollama_can_do_is_asked_of_it():
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url)) as server:
            info = await Agent("a", model="ollama/llama3.2", target=server.target).aget_provider_info()
            async with agent_stub(server.target) as stub:
                request = agent_service_pb2.GetProviderInfoRequest(model="ollama/llama3.2")
                answer = await stub.GetProviderInfo(request)
    assert (info["provider"], info["model"], info["supports_tools"]) == ("ollama", "llama3.2", True)
    assert answer.provider.context_window == 131072


def test_importing_the_server_loads_no_handwritten_module_of_the_client():
    code = "import headwater_server.bootstrap, sys; print([m for m in sys.modules if m.split('.')[0] == 'headwater'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), check=True
    )
    loaded = [name for name in eval(done.stdout) if not name.startswith("headwater.v1")]  # noqa: S307  our own list
    assert loaded == ["headwater"]
