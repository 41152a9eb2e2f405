"""The log of a server: each call has its line, each attempt at a provider too, and gRPC's own lines are events."""

from __future__ import annotations

import contextlib
import socket

import grpc
import pytest

from headwater.v1 import AgentConfig, RunRequest, StreamRequest
from headwater.v1.workflow_pb2 import RetryPolicy, Step, Workflow
from headwater.v1.workflow_service_pb2 import GetWorkflowRunRequest, StartWorkflowRunRequest, WatchWorkflowRunRequest
from tests.support.servers.server import ServerProcess, provider_variables
from tests.support.stubs.stub import agent_stub, workflow_stub
from tests.support.upstream.replay import ReplayServer

DEBUG = {"HEADWATER_LOG_LEVEL": "debug"}
NAMED = (("x-request-id", "req-7"),)


async def test_the_line_of_a_stream_that_its_caller_leaves_has_what_was_known():
    with ServerProcess("--scripted") as server:
        async with agent_stub(server.target) as stub:
            agent = AgentConfig(model="scripted/echo")
            agent.provider_options["scripted"].update({"text": "one two", "hang_after": 1})
            call = stub.Stream(StreamRequest(prompt="x", agent=agent), metadata=NAMED)
            await call.read()
            call.cancel()
        server.stop()
        (line,) = [event for event in server.events if event["event"] == "rpc"]
    assert (line["code"], line["model_asked"], line["chunks"], line["request_id"]) == (
        "CANCELLED", "scripted/echo", 1, "req-7",
    )  # fmt: skip
    assert line["first_token_seconds"] >= 0
    assert line["peer"].startswith("ipv4:127.0.0.1:")


async def test_the_line_of_a_refused_call_says_what_was_asked_for():
    with ServerProcess("--scripted") as server:
        async with agent_stub(server.target) as stub:
            for ask in (
                lambda: stub.Run(RunRequest(prompt="x", agent={"model": "scripted/echo", "temperature": 9})),
                lambda: stub.Stream(StreamRequest(prompt="x", agent={"model": "m" * 5_000, "temperature": 9})).read(),
            ):
                with pytest.raises(grpc.aio.AioRpcError):
                    await ask()
        server.stop()
        first, second = [event for event in server.events if event["event"] == "rpc"]
    assert (first["model_asked"], first["fields"]) == ("scripted/echo", ["agent.temperature"])
    assert len(second["model_asked"]) <= 100


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_lines_of_calls_about_runs_have_the_callers_name_for_its_request(processes):
    with ServerProcess("--scripted", processes=processes) as server:
        async with workflow_stub(server.target) as stub:
            workflow = Workflow(name="w", steps=[Step(name="ask", action="x", agent={"model": "scripted/echo"})])
            run_id = (await stub.StartWorkflowRun(StartWorkflowRunRequest(workflow=workflow), metadata=NAMED)).run_id
            async for _ in stub.WatchWorkflowRun(WatchWorkflowRunRequest(run_id=run_id), metadata=NAMED):
                pass
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetWorkflowRun(GetWorkflowRunRequest(run_id="run_none"), metadata=NAMED)
        server.stop()
        lines = [event for event in server.events if event["event"] == "rpc" and "owner" not in event]
    assert [(line["rpc"], line["code"], line["run_id"], line["request_id"]) for line in lines] == [
        ("StartWorkflowRun", "OK", run_id, "req-7"),
        ("WatchWorkflowRun", "OK", run_id, "req-7"),
        ("GetWorkflowRun", "NOT_FOUND", "run_none", "req-7"),
    ]
    assert lines[2]["reason"] == "RUN_NOT_FOUND"


async def test_each_answer_of_a_provider_is_a_line_at_level_debug(tmp_path):
    key = tmp_path / "key"
    key.write_text("sk-first")
    config = tmp_path / "headwater.toml"
    async with ReplayServer() as replay:
        config.write_text(
            f'[providers.openai]\nbase_url = "{replay.url}/v1"\napi_key_file = "{key}"\n'
            '[providers.gone]\ntype = "openai"\nbase_url = "http://127.0.0.1:9/v1"\ndefault_model = "m"\n'
        )
        with ServerProcess("--config", str(config), variables=DEBUG) as server:
            async with agent_stub(server.target) as stub:
                await stub.Run(RunRequest(prompt="x", agent={"model": "openai/gpt-4o@openai-plain"}), metadata=NAMED)
                for model in ("openai/gpt@openai-401", "gone/m"):
                    with pytest.raises(grpc.aio.AioRpcError):
                        await stub.Run(RunRequest(prompt="x", agent={"model": model, "max_attempts": 1}))
            server.stop()
            events = server.events
    answered = [event for event in events if event["event"] == "provider answered"]
    assert [event["http_status"] for event in answered] == [200, 401]
    assert [event["provider"] for event in answered] == ["openai", "openai"]
    assert (answered[0]["level"], answered[0]["request_id"]) == ("debug", "req-7")
    assert answered[0]["seconds"] >= 0
    (lost,) = [event for event in events if event["event"] == "provider not reached"]
    assert (lost["level"], lost["provider"], lost["why"]) == ("debug", "gone", "Connection refused")


async def test_each_attempt_of_a_step_that_fails_is_a_line_with_its_delay():
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url) | DEBUG) as server:
            policy = RetryPolicy(max_attempts=2, backoff=1.0)
            policy.initial_delay.FromMilliseconds(20)
            step = Step(name="ask", action="secret", agent={"model": "openai/gpt@openai-500-html"}, retry_policy=policy)
            async with workflow_stub(server.target) as stub:
                request = StartWorkflowRunRequest(workflow=Workflow(name="w", steps=[step]))
                run_id = (await stub.StartWorkflowRun(request, metadata=NAMED)).run_id
                async for _ in stub.WatchWorkflowRun(WatchWorkflowRunRequest(run_id=run_id)):
                    pass
            server.stop()
            answered = [event for event in server.events if event["event"] == "provider answered"]
            lines = [event for event in server.events if event["event"] == "step attempt failed"]
            assert "secret" not in server.log
    assert [(line["level"], line["attempt"], line["provider"], line["http_status"]) for line in lines] == [
        ("warning", 1, "openai", 500),
        ("warning", 2, "openai", 500),
    ]
    assert (lines[0]["run_id"], lines[0]["step"], lines[0]["reason"]) == (run_id, "ask", "PROVIDER_UNAVAILABLE")
    assert 0 < lines[0]["delay_seconds"] < 1
    assert "delay_seconds" not in lines[1]
    assert [(line["step"], line["attempt"], line["provider"], line["http_status"]) for line in answered] == [
        ("ask", 1, "openai", 500),
        ("ask", 2, "openai", 500),
    ]
    assert {(line["run_id"], line["request_id"]) for line in answered} == {(run_id, "req-7")}
    assert [record.headers["x-request-id"] for record in replay.records] == ["req-7", "req-7"]


def end_with_an_error(target: str) -> None:
    """Connects as a client of HTTP/2 that ends by GOAWAY, INTERNAL_ERROR: gRPC's core logs that."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=50) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        connection.sendall(b"\0\0\x0c\7\0\0\0\0\0" + b"\0\0\0\0" + b"\0\0\0\2" + b"gone")
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):  # until the server has read all and closes
                pass


GRPC = {"GRPC_VERBOSITY": "INFO", "HEADWATER_FRONT": "grpcio"}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_line_of_grpc_itself_is_an_event(processes):
    # A client in the process of the tests may have set another value, which the server would get.
    with ServerProcess("--scripted", variables=GRPC, processes=processes) as server:
        end_with_an_error(server.target)
        server.stop()
        lines = [event for event in server.events if event["event"] == "grpc"]
    [line] = [line for line in lines if "Got goaway [2]" in line["what"]]
    assert line["level"] == "info"
    assert line["at"].startswith("chttp2_transport.cc:")
