"""Runs one handler `(agent, step, context)` for a task.

Theory of operation. The background loop only looks after it, so that heartbeats continue whatever a handler does. A
handler that is an async function or an async generator runs on the caller's loop, in a task. Any other runs in a
thread, and what it returns may still be a coroutine or an async iterator: that is then awaited on the caller's loop.
When its task is cancelled, a generator in a thread ends at its next `yield`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import json
import logging
from collections.abc import Callable, Generator
from contextlib import aclosing, closing
from typing import Any

from headwater._values.failures import failure_message, failure_of
from headwater._values.json_values import MAX_BYTES, NotJsonError, check_text, exact_json
from headwater._values.threads import CannotRunError, Ended, StuckThreadsError, in_thread
from headwater._worker.chunks import ChunkRelay
from headwater._worker.output import Output
from headwater._worker.runners import on_loop
from headwater._worker.shared_context import SharedContext
from headwater._worker.step import HandlerStep
from headwater.exceptions import NonRetryableError
from headwater.v1 import error_pb2, worker_service_pb2

log = logging.getLogger("headwater.worker")


class _HandlerError(Exception):
    """A handler has raised `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


async def run_handler(
    handler: Callable[..., Any],
    agent: Any,
    task: worker_service_pb2.WorkerTask,
    output: Output,
    loop: asyncio.AbstractEventLoop,
) -> worker_service_pb2.TaskResult:
    """Run a handler and say how it ended; to be awaited on the background loop.

    Args:
        handler: a function, an async function, a generator function of either kind, or an object that is called like
            one. A generator's output (str, or chunks with `content`) is sent on at once; its result is the value that
            it returns or, if it returns none, the joined output.
        agent: its first argument.
        task: its task.
        output: sends what it says.
        loop: where async handlers run.
    """
    relay = ChunkRelay(output.emit)
    try:
        result = await _result(handler, agent, _step(task, output.progress), task, relay, loop)
        await relay.flush()
        return result
    finally:
        await relay.close()


async def _result(
    handler: Callable[..., Any],
    agent: Any,
    step: HandlerStep,
    task: worker_service_pb2.WorkerTask,
    relay: ChunkRelay,
    loop: asyncio.AbstractEventLoop,
) -> worker_service_pb2.TaskResult:
    context = SharedContext(task.context_json)
    try:
        value = await _run(handler, (agent, step, context.values), step, relay, loop)
        text = exact_json(f"the result of step {step.name!r}", value)
        changes, deleted = context.changes()
    except asyncio.CancelledError:
        step._cancelled.set()
        raise
    except StuckThreadsError:
        raise  # another worker can run it
    except (NotJsonError, CannotRunError) as error:
        log.warning("step %r of run %s failed: %s", step.name, task.run_id, error)
        return failed(task, failure_message(str(error), non_retryable=True))
    except _HandlerError as raised:
        cause = raised.error
        if isinstance(cause, NonRetryableError):  # meant to be read: its message is enough
            log.warning("step %r of run %s failed: %s", step.name, task.run_id, cause)
        else:
            where = (step.handler, step.name, task.run_id, type(cause).__name__)
            log.warning("handler %r of step %r of run %s raised %s", *where, exc_info=cause)
        return failed(task, failure_of(cause))
    return worker_service_pb2.TaskResult(
        task_id=task.task_id, result_json=text, context_changes_json=changes, deleted_keys=deleted
    )


def failed(task: worker_service_pb2.WorkerTask, failure: error_pb2.Failure) -> worker_service_pb2.TaskResult:
    """The result of a task that failed."""
    return worker_service_pb2.TaskResult(task_id=task.task_id, failure=failure)


def _step(task: worker_service_pb2.WorkerTask, report: Callable[[str], None]) -> HandlerStep:
    return HandlerStep(
        name=task.step.name,
        action=task.step.action,
        handler=task.step.handler,
        depends_on=list(task.step.depends_on),
        metadata=json.loads(task.step.metadata_json) if task.step.metadata_json else {},
        attempt=task.attempt,
        description=task.step.description,
        run_id=task.run_id,
        idempotency_key=task.idempotency_key,
        last_progress=json.loads(task.progress_json) if task.progress_json else None,
        request_id=task.request_id,
        traceparent=task.traceparent,
        _report=report,
    )


async def _run(
    handler: Callable[..., Any],
    arguments: tuple[Any, ...],
    step: HandlerStep,
    relay: ChunkRelay,
    loop: asyncio.AbstractEventLoop,
) -> Any:
    text = _Text(step.name, relay)
    if _is_async(handler):
        return _take(await on_loop(loop, lambda: _finish(handler(*arguments), text), step._cancelled.set))

    def call() -> Any:
        answer = handler(*arguments)
        return text.join(answer) if inspect.isgenerator(answer) else answer

    answer = _take(await in_thread(step.name, call))
    if inspect.isawaitable(answer) or hasattr(type(answer), "__aiter__"):
        try:
            return _take(await on_loop(loop, lambda: _finish(answer, text), step._cancelled.set))
        finally:
            if inspect.iscoroutine(answer) and inspect.getcoroutinestate(answer) == inspect.CORO_CREATED:
                answer.close()  # its loop was closed before it began; Python would warn of it
    return answer


def _is_async(handler: Callable[..., Any]) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    candidates = (handler, getattr(type(handler), "__call__", None))  # noqa: B004  the method, to look at its kind
    return any(inspect.iscoroutinefunction(c) or inspect.isasyncgenfunction(c) for c in candidates)


def _take(ended: Ended) -> Any:
    if isinstance(ended.error, NotJsonError):  # of its output
        raise ended.error
    if ended.error is not None:
        raise _HandlerError(ended.error)
    return ended.value


async def _finish(answer: Any, text: _Text) -> Any:
    """The outcome of a handler on the caller's loop."""
    if not hasattr(type(answer), "__aiter__") and inspect.isawaitable(answer):  # a stream of an agent looks like both
        answer = await answer
    return await text.ajoin(answer) if hasattr(type(answer), "__aiter__") else answer


class _Text:
    """The text that a generator yields."""

    def __init__(self, step: str, relay: ChunkRelay) -> None:
        self._step = step
        self._relay = relay
        self._pieces: list[str] = []
        self._size = 0

    def join(self, pieces: Generator[Any, Any, Any]) -> Any:
        """Read a generator to its end: the value that it returns, or else the text that it yielded."""
        with closing(pieces):
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    return "".join(self._pieces) if end.value is None else end.value
                room = self._add(piece)
                if room is not None:
                    room.result()

    async def ajoin(self, pieces: Any) -> str:
        async with aclosing(pieces) if hasattr(pieces, "aclose") else contextlib.nullcontext():
            async for piece in pieces:
                room = self._add(piece)
                if room is not None:
                    await asyncio.wrap_future(room)
        return "".join(self._pieces)

    def _add(self, piece: Any) -> concurrent.futures.Future[None] | None:
        text = piece if isinstance(piece, str) else getattr(piece, "content", None)
        if not isinstance(text, str):
            raise NotJsonError(
                f"step {self._step!r} yielded a value of type {type(piece).__name__}; yield str or chunks of a stream"
            )
        check_text(f"the text that step {self._step!r} yielded", text)
        self._pieces.append(text)
        self._size += len(text)
        if self._size > MAX_BYTES:
            raise NotJsonError(
                f"step {self._step!r} yielded more than {MAX_BYTES:,} characters; store them elsewhere and return where"
            )
        return self._relay.add(text) if text else None
