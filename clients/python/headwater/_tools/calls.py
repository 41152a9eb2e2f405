"""Runs the calls of a model: all at once, each within its time, none able to fail the stream.

Theory of operation. Every fault of a call (no such tool, bad arguments, an exception, too slow) is its result, marked
as an error, and the model decides what to do about it. An async tool runs as a task on the loop that
reads the stream. A sync one runs in a thread (`_values.threads`), which cannot be stopped: a stream that is left ends
at once, the thread when the function returns.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater._tools.schema import ArgumentsError
from headwater._tools.tool import Tool
from headwater._values.messages import tool_result
from headwater._values.threads import CannotRunError, in_thread
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
    """The results of calls, in their order. A cancellation first ends the async calls, then continues."""
    gate = asyncio.Semaphore(MAX_PARALLEL)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(toolbox, call, gate)) for call in calls]
    return [task.result() for task in tasks]


async def _run(toolbox: Toolbox, call: agent_pb2.ToolCall, gate: asyncio.Semaphore) -> agent_pb2.ToolResult:
    content, is_error, kind = await _outcome(toolbox, call, gate)
    if len(content) > MAX_RESULT_CHARACTERS:
        content = f"the result has {len(content):,} characters; a tool may return {MAX_RESULT_CHARACTERS:,}"
        is_error, kind = True, ""
    return tool_result(call.id, call.name, _clean(content), is_error=is_error, kind=kind)


async def _outcome(toolbox: Toolbox, call: agent_pb2.ToolCall, gate: asyncio.Semaphore) -> tuple[str, bool, str]:
    """The text for the model, whether that is an error, and the kind of the exception."""
    tool = toolbox.tools.get(call.name)
    if tool is None:
        return f"there is no tool {call.name!r}; there are {', '.join(toolbox.tools)}", True, ""
    limit = asyncio.timeout(None)
    try:
        arguments = tool.bind(call.arguments_json)
        async with gate, limit:
            if toolbox.timeout_seconds is not None:
                limit.reschedule(asyncio.get_running_loop().time() + toolbox.timeout_seconds)
            return to_text(await _call(tool.function, arguments)), False, ""
    except CannotRunError as error:
        return str(error), True, ""
    except ArgumentsError as error:
        return f"bad arguments for {call.name}: {error}", True, ""
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return f"{call.name} was cancelled", True, ""  # by itself
    except Exception as error:  # noqa: BLE001  the model gets it
        if limit.expired():
            return f"{call.name} took longer than {toolbox.timeout_seconds:g} seconds", True, "TimeoutError"
        return f"{type(error).__name__}: {error}", True, type(error).__name__


async def _call(function: Callable[..., Any], arguments: inspect.BoundArguments) -> Any:
    if _is_async(function):
        return await function(*arguments.args, **arguments.kwargs)
    ended = await in_thread("tool", functools.partial(function, *arguments.args, **arguments.kwargs))
    error = ended.error
    if error is None:
        return await ended.value if inspect.isawaitable(ended.value) else ended.value
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        raise error
    raise RuntimeError(f"{type(error).__name__}: {error}")  # SystemExit of a tool ends the tool, not the program


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def to_text(result: Any) -> str:
    """The text of a result for the model: a str as it is, anything else as JSON. Raises TypeError."""
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
