"""Reports from the field on action steps whose provider refuses them. Each test is one report, its link in the text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headwater.workflow import WorkflowAgent, WorkflowEvent, WorkflowEventType, WorkflowResult
from tests.support.servers.server import ServerProcess
from tests.support.upstream.upstream import Upstream, always


def refusal(code: str) -> bytes:
    return json.dumps({"error": {"message": "no", "type": code, "code": code}}).encode()


def reply() -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    said = [({"role": "assistant", "content": "fine"}, None), ({}, "stop")]
    choices = [{"index": 0, "delta": delta, "finish_reason": reason} for delta, reason in said]
    lines = [f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n" for choice in choices]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


BUSY = always("429 Too Many Requests", refusal("rate_limit_exceeded"), retry_after="1")
WHOLE = always("200 OK", reply(), content_type="text/event-stream")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream(WHOLE) as running:
        yield running


@pytest.fixture
async def target(upstream: Upstream) -> AsyncIterator[str]:
    variables = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": f"{upstream.url}/v1"}
    server = ServerProcess("--default-model", "openai/gpt-4o-mini", variables=variables)
    await asyncio.to_thread(server.__enter__)
    yield server.target
    await asyncio.to_thread(server.__exit__, None, None, None)


def a_tool() -> str:
    """Does nothing."""
    return ""


async def asked(target: str, tools: list[Any]) -> tuple[WorkflowResult, list[WorkflowEvent]]:
    agent = WorkflowAgent(target=target, tools=tools)
    workflow = agent.create_workflow("w")
    workflow.add_step("ask", action="Say something.")
    stream = agent.stream_workflow(workflow)
    events = [event async for event in stream]
    assert stream.result is not None
    return stream.result, events


TOOLS: list[list[Any]] = [[], [a_tool]]
"""Asked by the server, and by the agent, which has tools."""


async def test_a_step_waits_as_long_as_the_provider_says(upstream: Upstream, target: str) -> None:
    """https://github.com/Helicone/helicone/issues/5672, https://github.com/MemTensor/MemOS/issues/1620"""

    async def busy_once(writer: asyncio.StreamWriter) -> None:
        upstream.answer = WHOLE
        await BUSY(writer)

    for tools in TOOLS:
        upstream.answer = busy_once
        result, events = await asked(target, tools)
        [retry] = [event for event in events if event.type is WorkflowEventType.STEP_RETRYING]
        assert (result.status, retry.delay >= 1) == ("completed", True)
    assert len(upstream.requests) == 4


async def test_a_refusal_that_will_not_change_is_not_tried_again(upstream: Upstream, target: str) -> None:
    refusals = [
        ("429 Too Many Requests", "insufficient_quota", "PROVIDER_QUOTA_EXHAUSTED"),
        ("401 Unauthorized", "invalid_api_key", "PROVIDER_AUTH_FAILED"),
        ("403 Forbidden", "forbidden", "PROVIDER_AUTH_FAILED"),
        ("400 Bad Request", "invalid_value", "PROVIDER_REJECTED_REQUEST"),
        ("400 Bad Request", "context_length_exceeded", "CONTEXT_WINDOW_EXCEEDED"),
        ("404 Not Found", "model_not_found", "MODEL_NOT_FOUND"),
    ]
    for tools in TOOLS:
        for status, code, reason in refusals:
            upstream.answer = always(status, refusal(code), retry_after="1")
            result, _ = await asked(target, tools)
            step = result.step_results["ask"]
            assert (step.status, step.attempts) == ("failed", 1)
            assert step.failure is not None
            assert (step.failure.reason, step.failure.non_retryable) == (reason, True)
    assert len(upstream.requests) == len(TOOLS) * len(refusals)
