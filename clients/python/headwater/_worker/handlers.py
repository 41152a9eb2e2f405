"""Runs one handler `(agent, step, context)` for a task.

Theory of operation. The background loop only looks after it, so that heartbeats continue whatever a handler does. A
handler that is an async function or an async generator runs on the caller's loop, in a task. Any other runs in a
thread, and what it returns may still be a coroutine or an async iterator: that is then awaited on the caller's loop.
Where it ran, its value or its exception also becomes the message for the server, because that calls the caller's code
too: the serializer of a model, the text of an exception.
When its task is cancelled, a generator in a thread ends at its next `yield`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

from headwater._grpc.wrong_server import json_of, object_of
from headwater._values.failures import describe, failure_message, failure_of
from headwater._values.json_values import MAX_BYTES, NotJsonError, check_text, exact_json
from headwater._values.threads import CannotRunError, Ended, StuckThreadsError, ends_children, in_thread, is_ctrl_c
from headwater._worker.chunks import ChunkRelay
from headwater._worker.output import Output
from headwater._worker.runners import on_loop
from headwater._worker.shared_context import SharedContext
from headwater._worker.step import HandlerStep
from headwater._worker.tracing import traced
from headwater.exceptions import NonRetryableError
from headwater.v1 import error_pb2, worker_service_pb2

log = logging.getLogger("headwater.worker")


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
        step = _step(task, output.progress)
        result = await traced(task, _result(handler, agent, step, task, relay, loop))
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
    outcome = _Outcome(task, step.name, SharedContext(task.context_json))
    try:
        return await _run(handler, (agent, step, outcome.context.values), step, relay, outcome, loop)
    except asyncio.CancelledError:
        step._cancelled.set()
        raise
    except StuckThreadsError:
        raise  # another worker can run it
    except CannotRunError as error:  # no fault of the handler, which has not begun: the run says it, no warning does
        return failed(task, failure_message(str(error), non_retryable=True))


class _Outcome:
    """Makes the message of how a handler has ended. To be asked where the handler ran: it calls the caller's code.

    Args:
        task: its task.
        name: the step.
        context: as the handler sees it.
    """

    def __init__(self, task: worker_service_pb2.WorkerTask, name: str, context: SharedContext) -> None:
        self.context = context
        self._task = task
        self._name = name

    def of(self, ended: Ended) -> worker_service_pb2.TaskResult:
        """The message of a value or of an exception."""
        try:
            return self.raised(ended.error) if ended.error is not None else self._returned(ended.value)
        except NotJsonError as error:
            return self.refused(error)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            return self.raised(error)  # of the value's own code

    def _returned(self, value: Any) -> worker_service_pb2.TaskResult:
        text = exact_json(f"the result of step {self._name!r}", value)
        changes, deleted = self.context.changes()
        return worker_service_pb2.TaskResult(
            task_id=self._task.task_id, result_json=text, context_changes_json=changes, deleted_keys=deleted
        )

    def refused(self, error: Exception) -> worker_service_pb2.TaskResult:
        """The message of a failure that no further attempt can change."""
        log.warning("step %r of run %s failed: %s", self._name, self._task.run_id, error)
        return failed(self._task, failure_message(str(error), non_retryable=True))

    def raised(self, error: BaseException) -> worker_service_pb2.TaskResult:
        """The message of an exception."""
        if isinstance(error, NotJsonError):  # of the output
            return self.refused(error)
        if isinstance(error, NonRetryableError):  # meant to be read: its message is enough
            log.warning("step %r of run %s failed: %s", self._name, self._task.run_id, describe(error))
        else:
            where = (self._task.step.handler, self._name, self._task.run_id, type(error).__name__)
            log.warning("handler %r of step %r of run %s raised %s", *where, exc_info=error)
        return failed(self._task, failure_of(error))


def failed(task: worker_service_pb2.WorkerTask, failure: error_pb2.Failure) -> worker_service_pb2.TaskResult:
    """The result of a task that failed."""
    return worker_service_pb2.TaskResult(task_id=task.task_id, failure=failure)


def _step(task: worker_service_pb2.WorkerTask, report: Callable[[str], None]) -> HandlerStep:
    return HandlerStep(
        name=task.step.name,
        action=task.step.action,
        handler=task.step.handler,
        depends_on=list(task.step.depends_on),
        metadata=object_of("the metadata of a step", task.step.metadata_json),
        attempt=task.attempt,
        description=task.step.description,
        run_id=task.run_id,
        idempotency_key=task.idempotency_key,
        last_progress=json_of("the progress of a task", task.progress_json),
        request_id=task.request_id,
        traceparent=task.traceparent,
        _report=report,
    )


async def _run(
    handler: Callable[..., Any],
    arguments: tuple[Any, ...],
    step: HandlerStep,
    relay: ChunkRelay,
    outcome: _Outcome,
    loop: asyncio.AbstractEventLoop,
) -> worker_service_pb2.TaskResult:
    text = _Text(step.name, relay)

    async def finish(begin: Callable[[], Any]) -> worker_service_pb2.TaskResult:
        try:
            with ends_children():
                ended = Ended(await _finish(begin(), text))
        except BaseException as error:
            if step.cancelled or is_ctrl_c(error):
                raise
            ended = Ended(error=error)
        return outcome.of(ended)

    if _is_async(handler):
        return _message(await on_loop(loop, lambda: finish(lambda: handler(*arguments)), step._cancelled.set), outcome)

    def call() -> Any:
        try:
            with ends_children():
                answer = handler(*arguments)
                if inspect.isgenerator(answer):
                    answer = text.join(answer)
        except BaseException as error:  # noqa: BLE001  it is the handler's own
            return outcome.of(Ended(error=error))
        return _Unfinished(answer) if _is_unfinished(answer) else outcome.of(Ended(answer))

    begun = await in_thread(step.name, call)
    if not isinstance(begun.value, _Unfinished):
        return _message(begun, outcome)
    answer = begun.value.answer
    try:
        return _message(await on_loop(loop, lambda: finish(lambda: answer), step._cancelled.set), outcome)
    finally:
        if inspect.iscoroutine(answer) and inspect.getcoroutinestate(answer) == inspect.CORO_CREATED:
            answer.close()  # its loop was closed before it began; Python would warn of it


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """An answer that is still to be awaited."""

    answer: Any


def _is_unfinished(answer: Any) -> bool:
    return inspect.isawaitable(answer) or hasattr(type(answer), "__aiter__")


def _message(ended: Ended, outcome: _Outcome) -> worker_service_pb2.TaskResult:
    """The message that was made where the handler ran; an exception stands for one that was interrupted there."""
    if ended.error is not None:
        return outcome.raised(ended.error)
    message: worker_service_pb2.TaskResult = ended.value
    return message


def _is_async(handler: Callable[..., Any]) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    candidates = (handler, getattr(type(handler), "__call__", None))  # noqa: B004  the method, to look at its kind
    return any(inspect.iscoroutinefunction(c) or inspect.isasyncgenfunction(c) for c in candidates)


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
