"""Runs the calls of a model: all at once, each within its time, none able to fail the stream.

Theory of operation. Whatever goes wrong with a call (no such tool, bad arguments, an exception, too slow) is its
result, marked as an error, and the model decides what to do about it. An async tool runs as a task on the loop that
reads the stream. A sync one runs in a daemon thread of its own and not in the loop's executor: `asyncio.run` would wait
for that one's threads, and a stream that is left must end at once. Such a thread cannot be stopped: when nobody waits
for it any more it runs on to its own end, and what it returns is dropped.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from headwater._tools.schema import ArgumentsError
from headwater._tools.tool import Tool
from headwater.v1 import agent_pb2

MAX_PARALLEL = 32
MAX_RESULT_CHARACTERS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of a call.

    Attributes:
        tools: by name.
        timeout_seconds: how long each call of one may take; None for no limit.
        max_rounds: how often the model may ask for calls.
    """

    tools: Mapping[str, Tool[..., Any]]
    timeout_seconds: float | None
    max_rounds: int


async def run_calls(toolbox: Toolbox, calls: Sequence[agent_pb2.ToolCall]) -> list[agent_pb2.ToolResult]:
    """The results of calls, in their order. A cancellation ends those that are async before it goes on."""
    gate = asyncio.Semaphore(MAX_PARALLEL)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(toolbox, call, gate)) for call in calls]
    return [task.result() for task in tasks]


async def _run(toolbox: Toolbox, call: agent_pb2.ToolCall, gate: asyncio.Semaphore) -> agent_pb2.ToolResult:
    content, is_error = await _outcome(toolbox, call, gate)
    if len(content) > MAX_RESULT_CHARACTERS:
        content = f"the result has {len(content):,} characters; a tool may return {MAX_RESULT_CHARACTERS:,}"
        is_error = True
    return agent_pb2.ToolResult(tool_call_id=call.id, name=call.name, content=_clean(content), is_error=is_error)


async def _outcome(toolbox: Toolbox, call: agent_pb2.ToolCall, gate: asyncio.Semaphore) -> tuple[str, bool]:
    tool = toolbox.tools.get(call.name)
    if tool is None:
        return f"there is no tool {call.name!r}; there are {', '.join(toolbox.tools)}", True
    limit = asyncio.timeout(None)
    try:
        arguments = tool.bind(call.arguments)
        async with gate, limit:
            if toolbox.timeout_seconds is not None:
                limit.reschedule(asyncio.get_running_loop().time() + toolbox.timeout_seconds)
            return to_text(await _call(tool.function, arguments)), False
    except ArgumentsError as error:
        return f"bad arguments for {call.name}: {error}", True
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return f"{call.name} was cancelled", True  # by itself
    except Exception as error:  # noqa: BLE001  the model is told
        if limit.expired():
            return f"{call.name} took longer than {toolbox.timeout_seconds:g} seconds", True
        return f"{type(error).__name__}: {error}", True


async def _call(function: Callable[..., Any], arguments: inspect.BoundArguments) -> Any:
    if _is_async(function):
        return await function(*arguments.args, **arguments.kwargs)
    result = await _in_thread(functools.partial(function, *arguments.args, **arguments.kwargs))
    return await result if inspect.isawaitable(result) else result


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def _in_thread(function: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_result((result, error))

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(function)
        except BaseException as raised:  # noqa: BLE001  raised again where it is waited for
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=work, name="headwater-tool", daemon=True).start()
    result, error = await done
    if error is None:
        return result
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        raise error
    raise RuntimeError(f"{type(error).__name__}: {error}")  # SystemExit of a tool ends the tool, not the program


def to_text(result: Any) -> str:
    """What a model is told of a result: a str as it is, anything else as JSON. Raises TypeError."""
    if isinstance(result, str):
        return result
    try:
        return json.dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        pass
    try:
        from pydantic_core import PydanticSerializationError, to_json
    except ImportError:
        raise TypeError(f"the tool returned a {type(result).__name__}, which is no JSON value") from None
    try:
        return to_json(result, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, ValueError):
        raise TypeError(f"the tool returned a {type(result).__name__}, which is no JSON value") from None


def _clean(text: str) -> str:
    """The text without halves of surrogate pairs, which no message can carry."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
