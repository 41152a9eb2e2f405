"""The spans of calls and of attempts, as a collector gets them from the real server."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from headwater import Agent
from headwater.exceptions import HeadwaterError, StreamInterruptedError
from headwater.v1 import agent_pb2, agent_service_pb2, agent_service_pb2_grpc
from tests.support.servers.server import ServerProcess, clean_environment, provider_variables
from tests.support.traces.collector import QUICK, Collector
from tests.support.upstream.replay import ReplayServer

STREAM, RUN = "headwater.v1.AgentService/Stream", "headwater.v1.AgentService/Run"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


async def run(target: str, model: str, *metadata: tuple[str, str], prompt: str = "x", **agent: object) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = agent_service_pb2_grpc.AgentServiceStub(channel)
        config = agent_pb2.AgentConfig(model=model, **agent)
        await stub.Run(agent_service_pb2.RunRequest(prompt=prompt, agent=config), metadata=metadata)


@pytest.mark.parametrize("front", ["grpcio", "lean"])
async def test_a_call_is_below_its_caller_and_its_attempt_is_below_the_call_and_above_the_provider(collector, front):
    async with ReplayServer() as replay:
        variables = provider_variables(replay.url) | collector.variables | {"HEADWATER_FRONT": front}
        with ServerProcess(variables=variables) as server:
            headers = (("traceparent", TRACEPARENT), ("tracestate", "vendor=abc"), ("x-request-id", "req-7"))
            await run(server.target, "openai/gpt-4o@openai-usage", *headers, temperature=0.5)
            spans = await collector.arrived(RUN, "chat gpt-4o@openai-usage")
            server.stop()
            (line,) = [event for event in server.events if event["event"] == "rpc"]
    call, attempt = spans[RUN], spans["chat gpt-4o@openai-usage"]
    assert (call.trace, call.parent, call.kind, call.status) == (TRACE, PARENT, "SERVER", "UNSET")
    assert call.state == "vendor=abc"
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": RUN,
        "rpc.response.status_code": "OK",
        "headwater.stream.id": attempt.attributes["headwater.stream.id"],
    }
    assert (attempt.trace, attempt.parent, attempt.kind, attempt.status) == (TRACE, call.id, "CLIENT", "UNSET")
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o@openai-usage",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.finish_reasons": ["stop"],
        "headwater.provider": "openai",
        "headwater.attempt": 1,
        "server.address": "127.0.0.1",
        "server.port": int(replay.url.rpartition(":")[2]),
    }
    assert expected.items() <= attempt.attributes.items()
    assert attempt.attributes["gen_ai.usage.input_tokens"] > 0
    assert attempt.attributes["gen_ai.usage.output_tokens"] > 0
    assert attempt.attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert call.resource["service.name"] == "headwater"
    assert {"service.version", "service.instance.id"} <= call.resource.keys()
    (record,) = replay.records
    assert record.headers["traceparent"] == f"00-{TRACE}-{attempt.id}-01"
    assert record.headers["tracestate"] == "vendor=abc"
    assert record.headers["x-request-id"] == "req-7"
    assert line["trace_id"] == TRACE


async def test_an_attempt_that_fails_and_the_one_that_answers_are_two_spans_of_the_call(collector):
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url) | collector.variables) as server:
            agent = Agent(target=server.target)
            models = ["openai/gpt-4o@openai-usage"]
            reply = await agent.arun("x", model="anthropic/claude@anthropic-529", fallback_models=models)
            assert reply.content
            spans = await collector.arrived(STREAM, "chat claude@anthropic-529", "chat gpt-4o@openai-usage")
    call, failed = spans[STREAM], spans["chat claude@anthropic-529"]
    answered = spans["chat gpt-4o@openai-usage"]
    assert {failed.parent, answered.parent} == {call.id}
    assert (failed.status, failed.attributes["error.type"]) == ("ERROR", "PROVIDER_UNAVAILABLE")
    assert failed.attributes["headwater.http_status"] == "529"
    assert (answered.status, answered.attributes["headwater.attempt"]) == ("UNSET", 2)
    assert (failed.attributes["gen_ai.provider.name"], answered.attributes["gen_ai.provider.name"]) == (
        "anthropic",
        "openai",
    )
    assert call.status == "UNSET"
    parents = [record.headers["traceparent"].split("-")[2] for record in replay.records]
    assert parents == [failed.id, answered.id]


async def test_a_call_that_fails_is_an_error_by_the_reason_and_never_by_the_words_of_the_provider(collector):
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url) | collector.variables) as server:
            with pytest.raises(HeadwaterError):
                await Agent(target=server.target).arun("x", model="anthropic/claude@anthropic-529")
            with pytest.raises(StreamInterruptedError):
                await Agent(target=server.target).arun("x", model="anthropic/claude@anthropic-cut")
            spans = await collector.arrived(STREAM, "chat claude@anthropic-529", "chat claude@anthropic-cut")
            server.stop()
    overloaded, cut = sorted(collector.named(STREAM), key=lambda span: span.attributes["rpc.response.status_code"])[
        ::-1
    ]
    assert (overloaded.status, overloaded.attributes["error.type"]) == ("ERROR", "PROVIDER_UNAVAILABLE")
    assert (cut.attributes["rpc.response.status_code"], cut.status) == ("ABORTED", "UNSET")
    assert cut.attributes["headwater.reason"] == "STREAM_INTERRUPTED"
    tries = collector.named("chat claude@anthropic-529")
    assert sorted(span.attributes["headwater.attempt"] for span in tries) == [1, 2, 3]
    attempt = spans["chat claude@anthropic-cut"]
    assert (attempt.status, attempt.attributes["error.type"]) == ("ERROR", "STREAM_INTERRUPTED")
    assert b"Overloaded" not in b"".join(collector.bodies)


async def test_rounds_of_tools_are_calls_of_one_trace_below_the_span_of_the_program(collector):
    program = Path(__file__).with_name("program.py")
    with ServerProcess("--scripted", variables=collector.variables) as server:
        environment = clean_environment(HEADWATER_TARGET=server.target, COLLECTOR=collector.url, **QUICK)
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, program, "tools"], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        root = (await collector.arrived("program", STREAM))["program"]
        server.stop()
    calls = collector.named(STREAM)
    assert len(calls) == 2
    assert {(call.trace, call.parent) for call in calls} == {(root.trace, root.id)}
    assert len({call.attributes["headwater.stream.id"] for call in calls}) == 1
    attempts = [span for span in collector.spans if span.name.startswith("chat ")]
    assert {span.parent for span in attempts} == {call.id for call in calls}
    assert sorted(span.attributes["gen_ai.response.finish_reasons"] for span in attempts) == [["stop"], ["tool_calls"]]


async def test_prompts_and_replies_are_nowhere_in_a_trace(collector):
    async with ReplayServer() as replay:
        secrets = {"OPENAI_API_KEY": "sk-planted-key"}
        variables = provider_variables(replay.url) | secrets | collector.variables
        with ServerProcess(variables=variables) as server:
            agent = Agent(target=server.target, instructions="planted-instructions", labels={"team": "planted-label"})
            await agent.arun("planted-prompt", model="openai/gpt-4o@openai-plain")
            metadata = (("x-secret", "planted-metadata"), ("x-request-id", "planted-request-id"))
            await run(server.target, "openai/gpt-4o@openai-plain", *metadata, prompt="planted-prompt")
            with pytest.raises(HeadwaterError):
                await agent.arun("planted-prompt", model="openai/planted secret model")
            await collector.arrived(RUN, "chat gpt-4o@openai-plain")
            server.stop()
    sent = b"".join(collector.bodies)
    assert b"planted" not in sent
    assert b"lighthouse" not in sent


async def test_prompts_and_replies_are_in_a_trace_where_that_is_enabled(collector):
    async with ReplayServer() as replay:
        variables = provider_variables(replay.url) | collector.variables | {"HEADWATER_TRACE_CONTENT": "true"}
        with ServerProcess(variables=variables) as server:
            agent = Agent(target=server.target, instructions="planted-instructions", api_key=None)
            reply = await agent.arun("planted-prompt", model="openai/gpt-4o@openai-plain")
            pieces = [chunk async for chunk in agent.stream("again", model="openai/gpt-4o@openai-plain")]
            await collector.arrived(STREAM)
            server.stop()
    attempts = collector.named("chat gpt-4o@openai-plain")
    whole = next(span for span in attempts if "planted-prompt" in span.attributes["gen_ai.input.messages"])
    assert whole.attributes["gen_ai.system_instructions"] == '[{"type": "text", "content": "planted-instructions"}]'
    assert all(reply.content in span.attributes["gen_ai.output.messages"].replace("\\n", "\n") for span in attempts)
    assert "".join(piece.content for piece in pieces) == reply.content
    assert b"sk-test-openai" not in b"".join(collector.bodies)


NO_SPANS = (
    (("traceparent", "00-" + "0" * 32 + f"-{PARENT}-01"),),
    (("traceparent", "garbage"), ("tracestate", "vendor=abc")),
    (("traceparent", f"ff-{TRACE}-{PARENT}-01"),),
    (("traceparent", TRACEPARENT.upper()),),
    (("tracestate", "vendor=abc"),),
)


async def test_a_traceparent_that_names_no_span_is_ignored(collector):
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url) | collector.variables) as server:
            for headers in NO_SPANS:
                await run(server.target, "openai/gpt-4o@openai-plain", *headers)
            server.stop()
    calls = collector.named(RUN)
    assert [(span.parent, span.state) for span in calls] == [("", "")] * len(NO_SPANS)
    assert len({span.trace for span in calls} - {TRACE}) == len(NO_SPANS)
    for record in replay.records:
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", record.headers["traceparent"])
        assert "tracestate" not in record.headers


async def test_a_tracestate_of_8_kib_is_left_out_and_the_trace_continues(collector):
    state = ",".join(f"k{i}=" + "v" * 240 for i in range(33))
    assert len(state) > 8_000
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url) | collector.variables) as server:
            await run(server.target, "openai/gpt-4o@openai-plain", ("traceparent", TRACEPARENT), ("tracestate", state))
            spans = await collector.arrived(RUN, "chat gpt-4o@openai-plain")
    assert (spans[RUN].trace, spans[RUN].parent, spans[RUN].state) == (TRACE, PARENT, "")
    (record,) = replay.records
    assert "tracestate" not in record.headers


async def test_a_stream_that_is_cancelled_and_one_that_is_left_are_no_errors(collector):
    async with ReplayServer(hold=3) as replay:
        with ServerProcess(variables=provider_variables(replay.url) | collector.variables) as server:
            async with grpc.aio.insecure_channel(server.target) as channel:
                stub = agent_service_pb2_grpc.AgentServiceStub(channel)
                agent = agent_pb2.AgentConfig(model="openai/gpt-4o@openai-plain")
                left, cancelled = (
                    stub.Stream(agent_service_pb2.StreamRequest(prompt="x", agent=agent)) for _ in range(2)
                )
                await left.read()
                left.cancel()
                stream_id = (await cancelled.read()).stream_id
                await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=stream_id))
                with pytest.raises(grpc.aio.AioRpcError):
                    while await cancelled.read() is not grpc.aio.EOF:
                        pass
            await collector.arrived("headwater.v1.AgentService/CancelStream")
            server.stop()
    attempts = collector.named("chat gpt-4o@openai-plain")
    assert {span.attributes["headwater.reason"] for span in attempts} == {"left", "STREAM_CANCELLED"}
    assert {span.status for span in attempts} == {"UNSET"}
    codes = [span.attributes["rpc.response.status_code"] for span in collector.named(STREAM)]
    assert codes == ["CANCELLED", "CANCELLED"]


async def test_a_stream_that_is_resumed_has_one_attempt_and_a_call_for_each_connection(collector):
    async with ReplayServer(hold=3) as replay:
        with ServerProcess(variables=provider_variables(replay.url) | collector.variables) as server:
            async with grpc.aio.insecure_channel(server.target) as channel:
                stub = agent_service_pb2_grpc.AgentServiceStub(channel)
                agent = agent_pb2.AgentConfig(model="openai/gpt-4o@openai-plain")
                call = stub.Stream(agent_service_pb2.StreamRequest(prompt="x", agent=agent, resumable=True))
                chunk = await call.read()
                call.cancel()
                replay.go_on.set()
                resumed = stub.ResumeStream(
                    agent_service_pb2.ResumeStreamRequest(stream_id=chunk.stream_id, after_sequence=chunk.sequence)
                )
                chunks = [chunk async for chunk in resumed]
                assert chunks[-1].is_final
            resume = "headwater.v1.AgentService/ResumeStream"
            spans = await collector.arrived(STREAM, resume, "chat gpt-4o@openai-plain")
            server.stop()
    (attempt,) = collector.named("chat gpt-4o@openai-plain")
    assert attempt.parent == spans[STREAM].id
    assert attempt.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    ids = {span.attributes["headwater.stream.id"] for span in (attempt, spans[STREAM], spans[resume])}
    assert len(ids) == 1


async def test_a_caller_that_samples_nothing_has_no_spans_and_its_trace_is_passed_on(collector):
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url) | collector.variables) as server:
            await run(server.target, "openai/gpt-4o@openai-plain", ("traceparent", f"00-{TRACE}-{PARENT}-00"))
            await run(server.target, "openai/gpt-4o@openai-usage")
            await collector.arrived(RUN, "chat gpt-4o@openai-usage")
    assert TRACE not in {span.trace for span in collector.spans}
    assert replay.records[0].headers["traceparent"].startswith(f"00-{TRACE}-")
    assert replay.records[0].headers["traceparent"].endswith("-00")


async def test_the_sampler_of_the_environment_decides_for_calls_without_a_trace(collector):
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with ServerProcess("--scripted", variables=collector.variables | sampler) as server:
        await run(server.target, "scripted/echo")
        await run(server.target, "scripted/echo", ("traceparent", TRACEPARENT))
        await collector.arrived(RUN, "chat echo")
        server.stop()
    assert {span.trace for span in collector.spans} == {TRACE}
    assert collector.named("chat echo")[0].kind == "INTERNAL"


async def test_the_end_of_a_server_sends_what_is_left(collector):
    variables = collector.variables | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with ServerProcess("--scripted", variables=variables) as server:
        await run(server.target, "scripted/echo")
        assert collector.spans == []
        server.stop()
    await collector.arrived(RUN, "chat echo", seconds=0.1)


async def test_opentelemetrys_own_variables_are_enough(collector):
    own = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "gateway", **QUICK}
    with ServerProcess("--scripted", variables=own) as server:
        await run(server.target, "scripted/echo")
        spans = await collector.arrived(RUN)
        assert spans[RUN].resource["service.name"] == "gateway"


@pytest.mark.parametrize("answer", ["nobody", "silence"])
async def test_a_collector_that_is_dead_costs_nothing_and_is_logged_once(answer):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if answer == "silence" else 9
        variables = {"HEADWATER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_TIMEOUT": "1", **QUICK}
        variables |= {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
        with ServerProcess("--scripted", variables=variables) as server:
            async with asyncio.timeout(20):
                while not [event for event in server.events if event["event"] == "traces lost"]:
                    await asyncio.gather(*(run(server.target, "scripted/echo") for _ in range(10)))
                    await asyncio.sleep(0.1)
            began = time.monotonic()
            await run(server.target, "scripted/echo")
            assert time.monotonic() - began < 2
            began = time.monotonic()
            server.stop(signal.SIGTERM)
            assert time.monotonic() - began < 6
            lines = [
                event for event in server.events if event["event"] not in ("rpc", "listening", "draining", "stopped")
            ]
    assert [(line["event"], line["host"]) for line in lines] == [("traces lost", f"127.0.0.1:{port}")]


@pytest.mark.parametrize("variables", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
def test_a_server_without_traces_imports_nothing_of_opentelemetry(variables):
    """The path of modules that a process has loaded shows in the files that it has mapped or read; ask it itself."""
    program = (
        "import sys, asyncio\n"
        "from headwater_server.bootstrap import running\n"
        "from headwater_server.telemetry.tracing.opening import tracing\n"
        "async def main():\n"
        "    async with tracing('', '1', 0, has_content=False) as tracer:\n"
        "        assert tracer is None\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'requests')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment(**variables), capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_program_that_does_not_use_opentelemetry_does_not_load_it():
    program = (
        "import sys, headwater\n"
        "from headwater._grpc.tracing import outgoing\n"
        "from headwater._worker import worker\n"
        "assert outgoing() == ()\n"
        "print('opentelemetry' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=clean_environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
