"""The models that a caller may ask: by name, alias, fallback, default or step of a workflow, and the lists of them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from headwater.v1 import agent_service_pb2, error_pb2, workflow_pb2, workflow_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.servers.limited import agent, served
from tests.support.stubs.stub import details

SETTINGS = """
[server]
default_model = "scripted/reply"
[models.both]
targets = ["scripted/reply", "scripted/echo"]
[models.none]
targets = ["scripted/reply", "scripted/story"]
[callers.alice]
models = ["scripted/echo"]
providers = ["scripted"]
"""


def workflow(*steps: dict[str, Any]) -> workflow_service_pb2.ExecuteWorkflowRequest:
    made = ParseDict({"name": "w", "agent": {"model": "scripted/echo"}, "steps": list(steps)}, workflow_pb2.Workflow())
    return workflow_service_pb2.ExecuteWorkflowRequest(
        start=workflow_service_pb2.StartWorkflowRunRequest(workflow=made)
    )


def ended(event: workflow_pb2.WorkflowEvent) -> str:
    """The status with which a run ended, by its last event."""
    name = workflow_pb2.WorkflowRunStatus.Name(event.run_finished.status)
    return name.removeprefix("WORKFLOW_RUN_STATUS_")


async def test_a_forbidden_model_is_reached_by_no_name(tmp_path):
    with served(tmp_path, SETTINGS) as server:
        for model in ("scripted/echo", "both"):
            assert await server.run(model=model) == "Hi"
        assert await server.run("bob", model="scripted/reply") != "Hi"
        async with server.channel() as channel:
            stub = AgentServiceStub(channel)
            for fields in (
                {"model": "scripted/reply"},
                {"model": "none"},
                {},
                {"provider": "scripted"},
                {"model": "scripted/echo", "fallback_models": ["scripted/story"]},
                {"model": "openai/gpt-4o"},
            ):
                for call in (
                    lambda fields=fields: stub.Run(
                        agent_service_pb2.RunRequest(prompt="Hi", agent=fields), metadata=server.metadata()
                    ),
                    lambda fields=fields: stub.Stream(
                        agent_service_pb2.StreamRequest(prompt="Hi", agent=fields), metadata=server.metadata()
                    ).read(),
                ):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call()
                    info: Any = details(caught.value)["ErrorInfo"]
                    assert (caught.value.code(), info.reason) == (
                        grpc.StatusCode.PERMISSION_DENIED,
                        "CALLER_FORBIDDEN",
                    )
                    assert info.metadata["allowed"] == "models scripted/echo; providers scripted"
            with pytest.raises(grpc.aio.AioRpcError, match="may choose another model"):
                request = agent_service_pb2.RunRequest(prompt="Hi", agent=agent())
                request.agent.provider_options["scripted"].update({"model": "reply"})
                await stub.Run(request, metadata=server.metadata())


async def test_lists_show_the_models_that_a_caller_may_ask(tmp_path):
    with served(tmp_path, SETTINGS) as server:
        async with server.channel() as channel:
            stub = AgentServiceStub(channel)

            async def listed(name: str, provider: str) -> dict[str, list[str]]:
                request = agent_service_pb2.ListModelsRequest(provider=provider)
                found = await stub.ListModels(request, metadata=server.metadata(name))
                return {model.name: list(model.targets) for model in found.models}

            assert await listed("alice", "") == {"both": ["scripted/echo"], "echo": []}
            assert await listed("alice", "scripted") == {"echo": []}
            assert set(await listed("bob", "")) == {"both", "none", "echo", "reply", "story"}
            providers = await stub.ListProviders(agent_service_pb2.ListProvidersRequest(), metadata=server.metadata())
            assert ([each.name for each in providers.providers], providers.default_model) == (["scripted"], "")
            for request, method in (
                (agent_service_pb2.ListModelsRequest(provider="openai"), stub.ListModels),
                (agent_service_pb2.GetProviderInfoRequest(provider="openai"), stub.GetProviderInfo),
                (agent_service_pb2.GetProviderInfoRequest(model="scripted/story"), stub.GetProviderInfo),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await method(request, metadata=server.metadata())
                assert details(caught.value)["ErrorInfo"].reason == "CALLER_FORBIDDEN"  # type: ignore[attr-defined]


async def test_a_step_asks_what_the_owner_of_its_run_may_ask(tmp_path):
    with served(tmp_path, SETTINGS) as server:
        async with server.channel() as channel:
            stub = WorkflowServiceStub(channel)
            step = {"name": "a", "action": "x", "agent": {"model": "none"}}
            for name, ends in (("alice", "FAILED"), ("bob", "COMPLETED")):
                events = [event async for event in stub.ExecuteWorkflow(workflow(step), metadata=server.metadata(name))]
                assert ended(events[-1]) == ends
                if name == "alice":
                    (failed,) = [event for event in events if event.HasField("step_failed")]
                    assert failed.step_failed.failure.reason == error_pb2.ERROR_REASON_CALLER_FORBIDDEN
                    assert failed.step_failed.failure.non_retryable


async def test_a_step_of_a_caller_at_its_limit_is_tried_again_when_there_is_room(tmp_path):
    with served(tmp_path, "[callers.alice]\nmax_concurrent = 1\n") as server:
        async with server.channel() as channel:
            stub, metadata = WorkflowServiceStub(channel), server.metadata()
            request = agent_service_pb2.StreamRequest(prompt="Hi", agent=agent(text="Well then", hang_after=1))
            call = AgentServiceStub(channel).Stream(request, metadata=metadata)
            await call.read()
            step = {"name": "a", "action": "x", "retry_policy": {"initial_delay": "0.05s", "max_attempts": 100}}
            retried = 0
            async for event in stub.ExecuteWorkflow(workflow(step), metadata=metadata):
                if event.HasField("step_retrying"):
                    assert event.step_retrying.failure.reason == error_pb2.ERROR_REASON_CALLER_LIMITED
                    assert event.step_retrying.delay.ToTimedelta().total_seconds() >= 1
                    call.cancel()
                    retried += 1
            assert (retried > 0, ended(event)) == (True, "COMPLETED")
