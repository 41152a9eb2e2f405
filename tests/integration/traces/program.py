"""A program that uses OpenTelemetry, and Headwater's client or a worker: `program.py PART`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from headwater import Agent, tool
from headwater.workflow import WorkflowAgent

TRACER = trace.get_tracer("program")


@tool
def get_weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


async def tools() -> None:
    call = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    script = {"tool_calls": [call], "after_tools": {}}
    agent = Agent(model="scripted/echo", tools=[get_weather])
    with TRACER.start_as_current_span("program"):
        assert [chunk async for chunk in agent.stream("weather?", provider_options={"scripted": script})]


def lookup(agent: WorkflowAgent, step: Any, context: Any) -> str:
    with TRACER.start_as_current_span("inner"):
        return agent.run("hi", model="scripted/echo").content


async def asynchronous(agent: WorkflowAgent, step: Any, context: Any) -> str:
    reply = await agent.arun("hi", model="scripted/echo")
    return reply.content


def failing(agent: WorkflowAgent, step: Any, context: Any) -> None:
    raise ValueError("planted-failure")


async def worker() -> None:
    agent = WorkflowAgent()
    for name, handler in (("lookup", lookup), ("asynchronous", asynchronous), ("failing", failing)):
        agent.register_handler(name, handler)
    print("ready", flush=True)
    await agent.run_worker(queue="traced")


PARTS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {"tools": tools, "worker": worker}

if __name__ == "__main__":
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{os.environ['COLLECTOR']}/v1/traces")))
    trace.set_tracer_provider(provider)
    asyncio.run(PARTS[sys.argv[1]]())
    provider.shutdown()
