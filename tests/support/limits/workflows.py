"""The limits of workflows and of their workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from headwater.v1.worker_service_pb2 import (
    AttachRequest,
    TaskChunk,
    TaskProgress,
    TaskResult,
    TaskWaiting,
    WorkerCapacity,
    WorkerRegistration,
)
from headwater.v1.workflow_pb2 import RetryPolicy, Step, Workflow
from headwater_server.domain import json_text, limits
from headwater_server.transport.convert import workers
from headwater_server.transport.convert.workflows import MAX_WORKFLOW_BYTES
from headwater_server.transport.incoming.reader import _NAMES_BYTES, LIMITS
from headwater_server.workflows.definition import conditions, graph, prompts
from headwater_server.workflows.engine.context import MAX_CONTEXT_BYTES
from tests.support.limits.place import Call, Limit, number

INVALID = "INVALID_REQUEST"
WRONG = "WORKFLOW_INVALID"
FAILED = "STEP_FAILED"
NAME = limits.MAX_NAME
YEAR = 365


def workflow(*steps: Step, **fields: Any) -> Workflow:
    return Workflow(**{"name": "w", "steps": steps or [step()], "agent": {"model": "scripted/echo"}, **fields})


def step(**fields: Any) -> Step:
    return Step(**{"name": "a", "action": "x", **fields})


def starting(*steps: Step, **fields: Any) -> Call:
    """Starts a run of a workflow with these steps and fields."""
    return lambda place: place.start(workflow(*steps, **fields))


def starting_with(**fields: Any) -> Call:
    """Starts a run with these fields of the request."""
    return lambda place: place.start(workflow(), **fields)


def name_limit(row: str, field: str, **others: Any) -> Limit:
    """The limit of a name of a step."""
    at, over = step(**{field: "x" * NAME, **others}), step(**{field: "x" * (NAME + 1), **others})
    return Limit(row, f"{NAME} characters", WRONG, starting(at), starting(over))


def of_bytes(size: int) -> Call:
    """A definition of so many bytes."""
    made = workflow(description="x" * size)
    made.description = "x" * (size - (made.ByteSize() - size))
    while made.ByteSize() > size:
        made.description = made.description[1:]
    return lambda place: place.start(made)


def policy(**fields: Any) -> Call:
    return starting(step(retry_policy=RetryPolicy(**fields)))


def context(size: int) -> Call:
    return starting_with(context_json=f'{{"a":"{"x" * (size - 8)}"}}')


def deep_context(levels: int) -> Call:
    return starting_with(context_json='{"a":' * levels + "1" + "}" * levels)


def condition(characters: int) -> Call:
    text = "context.a == '" + "x" * (characters - 15) + "'"
    return starting(step(condition=text))


def placeholders(count: int) -> Call:
    return starting(step(action="{{ context.a }}" * count))


def registration(**fields: Any) -> Call:
    """Attaches a worker with these fields of its registration."""
    names = {"worker_id": "w", "queue": "q", "handlers": ["h"], "concurrency": 1, **fields}
    return lambda place: place.say(AttachRequest(registration=WorkerRegistration(**names)))


def saying(**kind: Any) -> Call:
    """Attaches a worker that says this next."""
    first = WorkerRegistration(worker_id="w", queue="q", handlers=["h"], concurrency=1)
    return lambda place: place.say(AttachRequest(registration=first), AttachRequest(**kind))


def chunk(**fields: Any) -> Call:
    return saying(chunk=TaskChunk(**{"task_id": "t", **fields}))


def result(characters: int) -> Call:
    return lambda place: place.run_step(TaskResult(result_json=f'"{"x" * (characters - 2)}"'))


def changes(characters: int) -> Call:
    return lambda place: place.run_step(
        TaskResult(result_json="1", context_changes_json=f'{{"a":"{"x" * (characters - 8)}"}}')
    )


def progress(characters: int) -> Call:
    return saying(progress=TaskProgress(task_id="t", progress_json=f'"{"x" * (characters - 2)}"'))


CHUNK, MIB = workers.MAX_CHUNK_CHARACTERS, workers.MAX_RESULT_BYTES
LONG = LIMITS["/headwater.v1.WorkerService/Attach"]

WORKFLOWS = [
    Limit("a request about workflows, and a message of a worker", "8 MiB", INVALID, starting_with(context_json=" " * 1000 + "{}"), starting_with(context_json=" " * LONG)),
    Limit("a request that holds only names", "64 KiB", INVALID, lambda place: place.get("r" * (_NAMES_BYTES - 10)), lambda place: place.get("r" * _NAMES_BYTES), "RUN_NOT_FOUND"),
    Limit("a definition", "512 KiB", WRONG, of_bytes(MAX_WORKFLOW_BYTES), of_bytes(MAX_WORKFLOW_BYTES + 1)),
    Limit("`steps`", number(graph.MAX_STEPS), WRONG, starting(*(step(name=f"s{i}") for i in range(graph.MAX_STEPS))), starting(*(step(name=f"s{i}") for i in range(graph.MAX_STEPS + 1)))),
    Limit("the name of a workflow", f"{NAME} characters", WRONG, starting(name="x" * NAME), starting(name="x" * (NAME + 1))),
    Limit("the id of a workflow", f"{NAME} characters", WRONG, starting(id="x" * NAME), starting(id="x" * (NAME + 1))),
    name_limit("the name of a step", "name"),
    name_limit("`handler` of a step", "handler", queue="q", action=""),
    name_limit("`queue` of a step", "queue"),
    Limit("`condition`", f"{number(conditions.MAX_CONDITION_CHARACTERS)} characters", WRONG, condition(conditions.MAX_CONDITION_CHARACTERS), condition(conditions.MAX_CONDITION_CHARACTERS + 1)),
    Limit("placeholders of a text", number(prompts.MAX_PLACEHOLDERS), WRONG, placeholders(prompts.MAX_PLACEHOLDERS), placeholders(prompts.MAX_PLACEHOLDERS + 1)),
    Limit("`retry_policy.max_attempts`", number(graph.MAX_ATTEMPTS), WRONG, policy(max_attempts=graph.MAX_ATTEMPTS), policy(max_attempts=graph.MAX_ATTEMPTS + 1)),
    Limit("`retry_policy.backoff`", number(graph.MAX_BACKOFF), WRONG, policy(backoff=graph.MAX_BACKOFF), policy(backoff=graph.MAX_BACKOFF + 1)),
    Limit("`retry_policy.max_delay`", "1 day", WRONG, policy(max_delay=timedelta(days=1)), policy(max_delay=timedelta(days=1, seconds=1))),
    Limit("`timeout` of a step", "365 days", WRONG, starting(step(timeout=timedelta(days=YEAR))), starting(step(timeout=timedelta(days=YEAR, seconds=1)))),
    Limit("`schedule_timeout`", "365 days", WRONG, starting(schedule_timeout=timedelta(days=YEAR)), starting(schedule_timeout=timedelta(days=YEAR, seconds=1))),
    Limit("`context`", "1 MiB", INVALID, context(MAX_CONTEXT_BYTES), context(MAX_CONTEXT_BYTES + 1)),
    Limit("levels of `context`", number(json_text.MAX_DEPTH), INVALID, deep_context(json_text.MAX_DEPTH), deep_context(json_text.MAX_DEPTH + 1)),
    Limit("`request_id`", f"{NAME} characters", INVALID, starting_with(request_id="x" * NAME), starting_with(request_id="x" * (NAME + 1))),
    Limit("`queue` of a run", f"{NAME} characters", INVALID, starting_with(queue="x" * NAME), starting_with(queue="x" * (NAME + 1))),
]  # fmt: skip

WORKERS = [
    Limit("`worker_id`", f"{NAME} characters", INVALID, registration(worker_id="x" * NAME), registration(worker_id="x" * (NAME + 1))),
    Limit("`queue` of a worker", f"{NAME} characters", INVALID, registration(queue="x" * NAME), registration(queue="x" * (NAME + 1))),
    Limit("`handlers`", number(workers.MAX_HANDLERS), INVALID, registration(handlers=[f"h{i}" for i in range(workers.MAX_HANDLERS)]), registration(handlers=[f"h{i}" for i in range(workers.MAX_HANDLERS + 1)])),
    Limit("the name of a handler", f"{NAME} characters", INVALID, registration(handlers=["x" * NAME]), registration(handlers=["x" * (NAME + 1)])),
    Limit("`concurrency`", number(workers.MAX_CONCURRENCY), INVALID, registration(concurrency=workers.MAX_CONCURRENCY), registration(concurrency=workers.MAX_CONCURRENCY + 1)),
    Limit("`capacity.concurrency`", number(workers.MAX_CONCURRENCY), INVALID, saying(capacity=WorkerCapacity(concurrency=workers.MAX_CONCURRENCY)), saying(capacity=WorkerCapacity(concurrency=workers.MAX_CONCURRENCY + 1))),
    Limit("`task_ids` of a registration", number(workers.MAX_HELD_TASKS), INVALID, registration(task_ids=[f"t{i}" for i in range(workers.MAX_HELD_TASKS)]), registration(task_ids=[f"t{i}" for i in range(workers.MAX_HELD_TASKS + 1)])),
    Limit("`features`", number(workers.MAX_FEATURES), INVALID, registration(features=[f"f{i}" for i in range(workers.MAX_FEATURES)]), registration(features=[f"f{i}" for i in range(workers.MAX_FEATURES + 1)])),
    Limit("the name of a feature", f"{workers.MAX_FEATURE_CHARACTERS} characters", INVALID, registration(features=["x" * workers.MAX_FEATURE_CHARACTERS]), registration(features=["x" * (workers.MAX_FEATURE_CHARACTERS + 1)])),
    Limit("`client_version`", f"{NAME} characters", INVALID, registration(client_version="x" * NAME), registration(client_version="x" * (NAME + 1))),
    Limit("`content` of a chunk", f"{number(CHUNK)} characters", INVALID, chunk(content="x" * CHUNK), chunk(content="x" * (CHUNK + 1))),
    Limit("`thinking` of a chunk", f"{number(CHUNK)} characters", INVALID, chunk(thinking="x" * CHUNK), chunk(thinking="x" * (CHUNK + 1))),
    Limit("`position` of a chunk", number(workers.MAX_POSITION), INVALID, chunk(position=workers.MAX_POSITION), chunk(position=workers.MAX_POSITION + 1)),
    Limit("`task_id` of a chunk or a result", f"{NAME} characters", INVALID, chunk(task_id="x" * NAME), chunk(task_id="x" * (NAME + 1))),
    Limit("`progress_json`", "64 KiB", INVALID, progress(workers.MAX_PROGRESS_BYTES), progress(workers.MAX_PROGRESS_BYTES + 1)),
    Limit("`run_id` that a task waits for", f"{NAME} characters", INVALID, saying(waiting=TaskWaiting(task_id="t", run_id="x" * NAME)), saying(waiting=TaskWaiting(task_id="t", run_id="x" * (NAME + 1)))),
    Limit("`result_json`", "1 MiB", FAILED, result(MIB), result(MIB + 1)),
    Limit("`context_changes_json`, and the context with it", "1 MiB", FAILED, changes(MIB), changes(MIB + 1)),
]  # fmt: skip
