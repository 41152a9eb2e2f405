"""Runs the calls of a model: all at once, each within its time, none able to fail the stream.

Theory of operation. Every fault of a call (no such tool, bad arguments, an exception, too slow) is its result, marked
as an error, and the model decides what to do about it. An async tool runs as a task on the loop that
reads the stream. A sync one runs in a thread (`_values.threads`), which cannot be stopped: a stream that is left ends
at once, the thread when the function returns. One with `thread=False` runs where the call was made.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater._tools.schema import ArgumentsError
from headwater._tools.tool import Tool, is_async
from headwater._values.calling_thread import in_calling_thread
from headwater._values.failures import describe
from headwater._values.json_values import NotJsonError
from headwater._values.messages import harmless_name
from headwater._values.threads import CannotRunError, Ended, ends_children, in_thread, is_ctrl_c
from headwater._values.tool_results import Content, clean, read_result, too_large, tool_result
from headwater.exceptions import ValidationError
from headwater.v1 import agent_pb2

MAX_PARALLEL = 32
MAX_ERROR_TEXT = 16 * 1024
"""Characters of an exception's text that the model gets."""

log = logging.getLogger("headwater.tools")


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
    if isinstance(content, str):
        content = clean(content)
    if problem := too_large(content):
        content, is_error, kind = problem, True, ""
    return tool_result(call.id, harmless_name(call.name), content, is_error=is_error, kind=kind)


async def _outcome(toolbox: Toolbox, call: agent_pb2.ToolCall, gate: asyncio.Semaphore) -> tuple[Content, bool, str]:
    """The content for the model, whether that is an error, and the kind of the exception."""
    tool = toolbox.tools.get(call.name)
    if tool is None:
        return f"there is no tool {call.name!r}; there are {', '.join(toolbox.tools)}", True, ""
    limit = asyncio.timeout(None)
    try:
        arguments = tool.bind(call.arguments_json)
        async with gate, limit:
            if toolbox.timeout_seconds is not None:
                limit.reschedule(asyncio.get_running_loop().time() + toolbox.timeout_seconds)
            ended = await _call(tool, arguments)
    except CannotRunError as error:
        return str(error), True, ""
    except ArgumentsError as error:
        return f"bad arguments for {call.name}: {error}", True, ""
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return f"{call.name} was cancelled", True, ""  # by itself
    except TimeoutError:
        return _too_slow(toolbox, call)
    if ended.error is not None:
        if limit.expired():
            return _too_slow(toolbox, call)
        return _raised(call, ended.error)
    try:
        return read_result("the result", ended.value), False, ""
    except (NotJsonError, TypeError, ValidationError) as error:
        return _raised(call, error)


def _too_slow(toolbox: Toolbox, call: agent_pb2.ToolCall) -> tuple[str, bool, str]:
    return f"{call.name} took longer than {toolbox.timeout_seconds:g} seconds", True, "TimeoutError"


def _raised(call: agent_pb2.ToolCall, error: BaseException) -> tuple[str, bool, str]:
    """The model gets the message, the log the traceback."""
    log.warning("tool %r raised %s", call.name, type(error).__name__, exc_info=error)
    return describe(error)[:MAX_ERROR_TEXT], True, type(error).__name__


async def _call(tool: Tool[..., Any], arguments: inspect.BoundArguments) -> Ended:
    function = functools.partial(tool.function, *arguments.args, **arguments.kwargs)
    if is_async(tool.function):
        return await _await(function)
    ended = await (in_thread("tool", function) if tool.thread else in_calling_thread(function))
    return await _await(lambda: ended.value) if inspect.isawaitable(ended.value) else ended


async def _await(begin: Callable[[], Awaitable[Any]]) -> Ended:
    """How an async tool ends. A cancellation is not its own."""
    try:
        with ends_children():
            return Ended(await begin())
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        return Ended(error=error)
