"""Handlers as tasks of a worker: those that were registered, and the action steps of an agent that has tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from headwater._call.arguments import effort_name
from headwater._grpc.wrong_server import object_of
from headwater._values.replies import reply_message
from headwater._worker.handlers import run_handler
from headwater._worker.output import Output
from headwater._worker.worker import TaskHandler
from headwater._workflow.request import ACTION_HANDLER
from headwater.v1 import agent_pb2, worker_service_pb2

if TYPE_CHECKING:
    from headwater.agent import Agent


def task_handlers(
    agent: Agent, handlers: Mapping[str, Callable[..., Any]], loop: asyncio.AbstractEventLoop, *, actions: bool
) -> dict[str, TaskHandler]:
    """The handlers that a worker hosts for an agent, looked up again for each task, and its action steps if wanted."""

    def hosting(name: str) -> TaskHandler:
        def handle(task: worker_service_pb2.WorkerTask, output: Output) -> Awaitable[worker_service_pb2.TaskResult]:
            return run_handler(handlers[name], agent, task, output, loop)

        return handle

    async def act(task: worker_service_pb2.WorkerTask, output: Output) -> worker_service_pb2.TaskResult:
        facts: dict[str, Any] = {}
        result = await run_handler(_action(task, facts), agent, task, output, loop)
        if facts and result.WhichOneof("outcome") == "result_json":
            result.reply.CopyFrom(reply_message(facts))
        return result

    return {name: hosting(name) for name in list(handlers)} | ({ACTION_HANDLER: act} if actions else {})


def _response_format(form: agent_pb2.ResponseFormat) -> str | dict[str, Any] | None:
    if form.type == agent_pb2.RESPONSE_FORMAT_TYPE_JSON_OBJECT:
        return "json"
    if form.type != agent_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
        return None
    schema = {"schema": object_of("a schema", form.schema_json), "name": form.name}
    return {"type": "json_schema", "json_schema": schema | ({"strict": form.strict} if form.HasField("strict") else {})}


def _action(
    task: worker_service_pb2.WorkerTask, facts: dict[str, Any]
) -> Callable[[Agent, Any, Any], AsyncIterator[str]]:
    """A handler that asks the model of the run's agent, with the tools of the agent here.

    Args:
        task: its task.
        facts: gets the metadata of the reply's first and final chunk.
    """
    prompt, settings = task.step.action, task.agent
    if task.dependency_results_json not in ("", "{}"):
        prompt += f"\n\n{task.dependency_results_json}"

    async def ask(agent: Agent, step: Any, context: Any) -> AsyncIterator[str]:
        stream = agent.stream(
            prompt,
            history=0,
            instructions=settings.instructions,
            model=settings.model,
            provider=settings.provider,
            temperature=settings.temperature if settings.HasField("temperature") else None,
            max_tokens=settings.max_tokens if settings.HasField("max_tokens") else None,
            top_p=settings.top_p if settings.HasField("top_p") else None,
            stop=list(settings.stop) or None,
            seed=settings.seed if settings.HasField("seed") else None,
            response_format=_response_format(settings.response_format),
            reasoning_effort=effort_name(settings.reasoning_effort),
            labels=dict(settings.labels),
            user=settings.user,
            fallback_models=list(settings.fallback_models) or None,
            max_attempts=1 + len(settings.fallback_models),  # each once: the step's retry policy repeats
        )
        async with aclosing(stream):
            async for chunk in stream:
                if not facts or chunk.is_final:
                    facts.update(chunk.metadata)
                yield chunk.content + str(chunk.metadata.get("refusal", ""))

    return ask
