"""One handler for one task: every kind of it, what it may do to the context, and every way in which it can fail."""

from __future__ import annotations

import asyncio
import dataclasses
import decimal
import functools
import json
import logging
import math
import pickle
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import Any

import pytest

from headwater import StreamChunk
from headwater._values import threads
from headwater._worker import handlers, runners
from headwater._worker.handlers import run_handler
from headwater.exceptions import (
    HeadwaterError,
    NonRetryableError,
    ProviderError,
    ProviderRateLimitError,
    ServerUnavailableError,
    ValidationError,
)
from headwater.v1 import error_pb2, workflow_pb2
from headwater.v1.worker_service_pb2 import TaskResult, WorkerTask

AGENT = object()
CONTEXT = '{"text": "a", "int": 3, "float": 3.0, "big": 1000000000000000000000000000000, "nested": {"z": 1, "a": [1]}}'


class Ran:
    """Runs a handler on this loop, and returns its outcome."""

    def __init__(self) -> None:
        self.chunks: list[str] = []
        self.told: list[str] = []

    async def __call__(self, handler: Callable[..., Any], context: str = CONTEXT, loop: Any = None) -> TaskResult:
        step = workflow_pb2.Step(
            name="s", action="label", handler="h", depends_on=["a"], description="d", metadata_json='{"k": [1]}'
        )
        task = WorkerTask(
            task_id="t", run_id="run", step=step, attempt=2, context_json=context, idempotency_key="run/s"
        )
        result = await asyncio.wait_for(
            run_handler(handler, AGENT, task, self, loop or asyncio.get_running_loop()),  # type: ignore[arg-type]
            20,
        )
        assert result.task_id == "t"
        return result

    async def emit(self, content: str, thinking: str) -> None:
        self.chunks.append(content)

    def progress(self, progress: str) -> None:
        self.told.append(progress)

    async def value(self, handler: Callable[..., Any]) -> Any:
        result = await self(handler)
        assert result.WhichOneof("outcome") == "result_json", result
        return json.loads(result.result_json)

    async def changes(self, handler: Callable[..., Any]) -> tuple[str, list[str]]:
        result = await self(handler)
        assert result.WhichOneof("outcome") == "result_json", result
        return result.context_changes_json, list(result.deleted_keys)

    async def error(self, handler: Callable[..., Any], **how: Any) -> tuple[str, bool]:
        result = await self(handler, **how)
        assert result.WhichOneof("outcome") == "failure", result
        assert not result.context_changes_json
        return result.failure.message, not result.failure.non_retryable


@pytest.fixture
def ran() -> Ran:
    return Ran()


async def async_function(agent: Any, step: Any, context: dict[str, Any]) -> str:
    await asyncio.sleep(0)
    return "value"


def sync_function(agent: Any, step: Any, context: dict[str, Any]) -> str:
    return "value"


async def async_generator(agent: Any, step: Any, context: dict[str, Any]) -> AsyncIterator[Any]:
    yield "va"
    await asyncio.sleep(0)
    yield StreamChunk(content="lue")


def sync_generator(agent: Any, step: Any, context: dict[str, Any]) -> Iterator[Any]:
    yield "va"
    yield StreamChunk(content="lue")


class Called:
    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, agent: Any, step: Any, context: dict[str, Any]) -> Any:
        return self.function(agent, step, context)

    def method(self, agent: Any, step: Any, context: dict[str, Any]) -> Any:
        return self.function(agent, step, context)


class CalledAsync:
    async def __call__(self, agent: Any, step: Any, context: dict[str, Any]) -> str:
        asyncio.get_running_loop()
        return "value"


def bound(function: Callable[..., Any]) -> Callable[..., Any]:
    def with_setting(setting: str, agent: Any, step: Any, context: dict[str, Any]) -> Any:
        return function(agent, step, context)

    return functools.partial(with_setting, "setting")


KINDS = [async_function, sync_function, async_generator, sync_generator]


@pytest.mark.parametrize(
    "handler",
    [
        *KINDS,
        *map(Called, KINDS),
        *(Called(kind).method for kind in KINDS),
        *map(bound, KINDS),
        *(functools.partial(kind) for kind in KINDS),
        CalledAsync(),
        lambda agent, step, context: "value",
        lambda agent, step, context: async_function(agent, step, context),
    ],
)
async def test_every_kind_of_handler_gives_its_value(ran: Ran, handler: Callable[..., Any]) -> None:
    assert await ran.value(handler) == "value"


async def test_a_handler_gets_its_agent_its_step_and_the_context(ran: Ran) -> None:
    seen: list[Any] = []

    def handler(agent: Any, step: Any, context: Any) -> None:
        seen.extend((agent, step, context))

    await ran(handler)
    agent, step, context = seen
    assert agent is AGENT
    assert (step.name, step.action, step.handler, step.attempt, step.description) == ("s", "label", "h", 2, "d")
    assert (step.run_id, step.idempotency_key) == ("run", "run/s")
    assert (step.depends_on, step.metadata) == (["a"], {"k": [1]})
    assert isinstance(context, dict)
    assert json.dumps(context) == CONTEXT
    assert (type(context["int"]), type(context["float"]), context["big"]) == (int, float, 10**30)


async def test_what_a_generator_yields_is_sent_as_it_comes(ran: Ran) -> None:
    sent = asyncio.Event()

    async def handler(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        yield "first"
        while ran.chunks != ["first"]:
            await asyncio.sleep(0.001)
        sent.set()
        yield "second"

    assert await ran.value(handler) == "firstsecond"
    assert sent.is_set()
    assert ran.chunks == ["first", "second"]


async def test_a_generator_that_is_faster_than_the_connection_waits_and_its_pieces_are_joined(ran: Ran) -> None:
    gate, made = asyncio.Event(), 0

    async def emit(content: str, thinking: str) -> None:
        await gate.wait()
        ran.chunks.append(content)

    def handler(agent: Any, step: Any, context: Any) -> Iterator[str]:
        nonlocal made
        for _ in range(500):
            made += 1
            yield "x" * 1000

    ran.emit = emit  # type: ignore[method-assign]
    running = asyncio.create_task(ran.value(handler))
    before = -1
    while before != made:
        before = made
        await asyncio.sleep(0.1)
    assert made < 200
    gate.set()
    assert await running == "x" * 500_000
    assert sum(map(len, ran.chunks)) == 500_000
    assert len(ran.chunks) < 100


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_was_yielded_before_a_failure_is_sent(ran: Ran, kind: str) -> None:
    async def async_handler(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        yield "half"
        raise ValueError("no")

    def sync_handler(agent: Any, step: Any, context: Any) -> Iterator[str]:
        yield "half"
        raise ValueError("no")

    assert await ran.error(async_handler if kind == "async" else sync_handler) == ("ValueError: no", True)
    assert ran.chunks == ["half"]


async def test_only_what_a_handler_did_to_the_context_is_sent(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: dict[str, Any]) -> None:
        context["new"] = 1
        context["text"] += "b"
        context["nested"]["a"].append(2.0)
        del context["float"]
        del context["big"]
        context["big"] = 10**30 + 1

    changes, deleted = await ran.changes(handler)
    assert json.loads(changes) == {"new": 1, "text": "ab", "nested": {"z": 1, "a": [1, 2.0]}, "big": 10**30 + 1}
    assert '"a": [1, 2.0]' in changes
    assert deleted == ["float"]


async def test_a_handler_that_only_reads_sends_nothing(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: dict[str, Any]) -> None:
        context["nested"]["a"].sort()
        context.setdefault("int", 5)

    assert await ran.changes(handler) == ("", [])


async def test_an_int_is_not_the_float_of_its_value(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: dict[str, Any]) -> Any:
        context["int"] = 3.0
        context["float"] = 3
        return [3, 3.0, 10**30]

    result = await ran(handler)
    assert result.context_changes_json == '{"int": 3.0, "float": 3}'
    assert result.result_json == "[3, 3.0, 1000000000000000000000000000000]"


async def test_a_key_that_is_written_with_an_equal_value_counts_as_written(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: dict[str, Any]) -> None:
        context["nested"] = {"z": 1, "a": [1]}

    assert await ran.changes(handler) == ('{"nested": {"z": 1, "a": [1]}}', [])


async def test_a_handler_without_a_value_gives_null(ran: Ran) -> None:
    assert (await ran(lambda agent, step, context: None)).result_json == "null"


@dataclasses.dataclass
class Point:
    x: Any = 1


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def doubling() -> Any:
    value: Any = 1
    for _ in range(60):
        value = [value, value]
    return value


NOT_JSON = [
    (lambda: math.nan, "", "nan"),
    (lambda: -math.inf, "", "-inf"),
    (lambda: object(), "", "closure"),
    (lambda: Point(complex(1)), '["x"]', "complex"),
    (lambda: Point, "", "type type"),
    (lambda: threading.Lock(), "", "closure"),
    (lambda: {uuid.UUID(int=1): 1, str(uuid.UUID(int=1)): 2}, "", "twice"),
    (lambda: decimal.Decimal("nan"), "", "NaN"),
    (lambda: "\ud800", "", "surrogate"),
    (lambda: {1: 2}, "", "key 1"),
    (lambda: {"a": (1, {"b": 1j})}, '["a"][1]["b"]', "complex"),
    (lambda: {"\udfff": 1}, "", "surrogate"),
    (lambda: deep(101), "", "nested more than 100"),
    (endless, "", "nested more than 100"),
    (doubling, "", "values"),
    (lambda: 10**5000, "", "digits"),
    (lambda: "x" * 1024 * 1024, "", "1,048,578 bytes"),
]


@pytest.mark.parametrize(("make", "path", "said"), NOT_JSON)
async def test_a_value_in_the_context_that_is_not_json_is_named_with_its_place(
    ran: Ran, make: Callable[[], Any], path: str, said: str
) -> None:
    def handler(agent: Any, step: Any, context: dict[str, Any]) -> None:
        context["k"] = make()

    message, retryable = await ran.error(handler)
    assert message.startswith(f'context["k"]{path}')
    assert said in message
    assert not retryable


@pytest.mark.parametrize(("make", "path", "said"), NOT_JSON)
async def test_a_result_that_is_not_json_is_named_with_its_place(
    ran: Ran, make: Callable[[], Any], path: str, said: str
) -> None:
    message, retryable = await ran.error(lambda agent, step, context: make())
    assert message.startswith(f"the result of step 's'{path}")
    assert said in message
    assert not retryable


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda context: context.update({5: 1}), "context has the key 5"),
        (lambda context: context.update({"\ud800": 1}), "context, a key of it, has half"),
        (lambda context: context["nested"].update(x=object()), 'context["nested"]["x"]'),
        (lambda context: context["nested"].update(x=math.nan), 'context["nested"]["x"]'),
        (lambda context: context["nested"].update(x=context), 'context["nested"]["x"]'),
        (lambda context: context.update(a="x" * 600_000, b="x" * 600_000), "all together"),
    ],
)
async def test_a_context_that_cannot_be_sent_is_refused(ran: Ran, change: Any, said: str) -> None:
    message, retryable = await ran.error(lambda agent, step, context: change(context))
    assert said in message
    assert not retryable


async def test_values_that_convert_are_results_and_values_of_the_context(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: Any) -> Any:
        context["point"] = Point(uuid.UUID(int=1))
        context["nested"]["a"] = (decimal.Decimal("1.10"),)
        return {"at": [Point(b"\xff")]}

    result = await ran(handler)
    assert json.loads(result.result_json) == {"at": [{"x": "/w=="}]}
    assert json.loads(result.context_changes_json) == {
        "point": {"x": "00000000-0000-0000-0000-000000000001"},
        "nested": {"z": 1, "a": ["1.10"]},
    }


async def test_a_handler_reads_a_value_of_the_context_as_an_object_of_a_type(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: Any) -> Any:
        point = context.get_as("point", Point)
        assert point == Point([1])
        return context.get_as("id", uuid.UUID).int

    context = '{"point": {"x": [1]}, "id": "00000000-0000-0000-0000-000000000007"}'
    assert (await ran(handler, context)).result_json == "7"


async def test_a_value_that_does_not_fit_the_type_fails_the_step_for_good(ran: Ran) -> None:
    message, retryable = await ran.error(lambda agent, step, context: context.get_as("text", uuid.UUID))
    assert message.startswith('context["text"]: is no UUID')
    assert not retryable


async def test_a_handler_reports_how_far_it_is(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: Any) -> Any:
        step.heartbeat({"row": 1, "at": uuid.UUID(int=1)})
        step.heartbeat(None)
        return step.last_progress

    assert await ran.value(handler) is None
    assert ran.told == ['{"row": 1, "at": "00000000-0000-0000-0000-000000000001"}', "null"]


@pytest.mark.parametrize(
    ("progress", "said"), [({"a": 1j}, '["a"] is a value of type complex'), ("x" * 65_535, "65,537 bytes")]
)
async def test_progress_that_cannot_be_sent_fails_the_step_for_good(ran: Ran, progress: Any, said: str) -> None:
    message, retryable = await ran.error(lambda agent, step, context: step.heartbeat(progress))
    assert message.startswith("the progress of step 's'")
    assert said in message
    assert not retryable


async def test_the_deepest_value_that_a_server_takes_is_taken(ran: Ran) -> None:
    assert await ran.value(lambda agent, step, context: deep(100)) == deep(100)


@pytest.mark.parametrize("piece", [1, None, b"x", object()])
async def test_a_generator_must_yield_text(ran: Ran, piece: Any) -> None:
    async def handler(agent: Any, step: Any, context: Any) -> AsyncIterator[Any]:
        yield piece

    message, retryable = await ran.error(handler)
    assert "step 's' yielded" in message
    assert not retryable


async def test_a_generator_without_end_is_ended_when_its_text_is_too_long(ran: Ran) -> None:
    closed = asyncio.Event()

    async def handler(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            closed.set()

    message, retryable = await ran.error(handler)
    assert "more than 1,048,576 characters" in message
    assert not retryable
    assert closed.is_set()


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raising(error: BaseException) -> list[Callable[..., Any]]:
    def sync(agent: Any, step: Any, context: Any) -> Any:
        raise error

    async def async_(agent: Any, step: Any, context: Any) -> Any:
        raise error

    return [sync, async_]


@pytest.mark.parametrize(
    ("error", "message", "retryable"),
    [
        (ValueError("no"), "ValueError: no", True),
        (KeyError("k"), "KeyError: 'k'", True),
        (NonRetryableError("never"), "never", False),
        (asyncio.CancelledError("mine"), "CancelledError: mine", True),
        (TimeoutError(), "TimeoutError", True),
        (SystemExit(3), "SystemExit: 3", False),
        (UnspeakableError(), "UnspeakableError: (its text cannot be had: RuntimeError)", True),
        (ValueError("x" * 5000), "ValueError: " + "x" * 988, True),
    ],
)
async def test_an_exception_fails_the_step_with_its_type_and_text(
    ran: Ran, error: BaseException, message: str, retryable: bool
) -> None:
    for handler in raising(error):
        assert await ran.error(handler) == (message, retryable)


async def test_half_of_a_surrogate_pair_in_the_text_of_an_exception_becomes_a_question_mark(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers.log, "disabled", True)  # a test's report could not hold it
    for handler in raising(ValueError("\ud800")):
        assert await ran.error(handler) == ("ValueError: ?", True)


async def test_stop_iteration_is_an_exception_like_others(ran: Ran) -> None:
    sync, async_ = raising(StopIteration("x"))
    assert await ran.error(sync) == ("StopIteration: x", True)
    assert (await ran.error(async_))[1]


async def test_ctrl_c_in_a_thread_ends_only_the_handler(ran: Ran) -> None:
    sync, _ = raising(KeyboardInterrupt())
    assert await ran.error(sync) == ("KeyboardInterrupt", False)


async def test_a_handler_with_other_arguments_fails_with_what_python_says(ran: Ran) -> None:
    async def handler(agent: Any) -> None: ...

    message, _ = await ran.error(handler)
    assert message.startswith("TypeError: ")
    assert "3 were given" in message


async def test_the_author_of_a_handler_finds_its_traceback_in_the_log(
    ran: Ran, caplog: pytest.LogCaptureFixture
) -> None:
    for handler in raising(ValueError("no")):
        caplog.clear()
        await ran.error(handler)
        [record] = [record for record in caplog.records if record.name == "headwater.worker"]
        assert record.levelno == logging.WARNING
        assert record.exc_info
        assert record.exc_info[2] is not None
        assert "'s' of run run" in record.getMessage()


class CallersLoop:
    """An event loop in a thread, as a caller has one."""

    def __enter__(self) -> asyncio.AbstractEventLoop:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self.loop

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def test_async_handlers_run_on_the_callers_loop_and_others_on_none(ran: Ran) -> None:
    where: list[Any] = []

    async def async_(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        where.append(asyncio.get_running_loop())
        yield "x"

    def sync(agent: Any, step: Any, context: Any) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        where.append(threading.current_thread())

    with CallersLoop() as loop:
        assert json.loads((await ran(async_, loop=loop)).result_json) == "x"
        await ran(sync, loop=loop)
    assert where[0] is loop
    assert where[1].daemon
    assert where[1] is not threading.current_thread()


async def test_neither_a_busy_thread_nor_a_blocked_loop_holds_up_this_one(ran: Ran) -> None:
    def sync(agent: Any, step: Any, context: Any) -> None:
        time.sleep(0.3)

    async def async_(agent: Any, step: Any, context: Any) -> None:
        time.sleep(0.3)  # noqa: ASYNC251

    with CallersLoop() as loop:
        working = [asyncio.create_task(ran(handler, loop=loop)) for handler in (sync, async_)]
        longest = 0.0
        while not all(task.done() for task in working):
            start = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - start)
    assert longest < 0.25


@pytest.mark.parametrize("handler", [async_function, async_generator, lambda a, s, c: async_function(a, s, c)])
async def test_an_async_handler_whose_loop_is_closed_fails_with_the_cure(ran: Ran, handler: Any) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    message, retryable = await ran.error(handler, loop=loop)
    assert "run_worker" in message
    assert not retryable


async def test_a_loop_that_is_closed_before_the_handler_began_is_noticed(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "_LOOK_AT_LOOP_SECONDS", 0.01)
    loop = asyncio.new_event_loop()  # never runs
    running = asyncio.create_task(ran.error(async_function, loop=loop))
    await asyncio.sleep(0.03)
    loop.close()
    assert "run_worker" in (await running)[0]


@pytest.mark.parametrize("where", ["here", "on the caller's loop"])
async def test_cancelling_interrupts_an_async_handler_and_waits_for_its_cleanup(ran: Ran, where: str) -> None:
    began, cleaned = threading.Event(), threading.Event()

    async def handler(agent: Any, step: Any, context: Any) -> None:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            cleaned.set()

    with CallersLoop() as other:
        loop = other if where != "here" else asyncio.get_running_loop()
        running = asyncio.create_task(ran(handler, loop=loop))
        while not began.is_set():
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert cleaned.is_set()


async def test_cancelling_ends_an_async_generator_and_drops_what_it_still_says(ran: Ran) -> None:
    closed = asyncio.Event()

    async def handler(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    running = asyncio.create_task(ran(handler))
    while not ran.chunks:
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert closed.is_set()


async def test_cancelling_ends_a_generator_in_a_thread_at_its_next_yield(ran: Ran) -> None:
    closed = threading.Event()

    def handler(agent: Any, step: Any, context: Any) -> Iterator[str]:
        try:
            while True:
                yield "x"
                time.sleep(0.001)
        finally:
            closed.set()

    running = asyncio.create_task(ran(handler))
    while not ran.chunks:
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await asyncio.to_thread(closed.wait, 10)


async def test_a_thread_that_does_not_return_is_left_alone_but_not_without_end(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MAX_STUCK_THREADS", 2)
    go = threading.Event()

    def stuck(agent: Any, step: Any, context: Any) -> None:
        go.wait(30)

    for _ in range(2):
        running = asyncio.create_task(ran(stuck))
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    with pytest.raises(threads.StuckThreadsError, match="do not return"):
        await ran(sync_function)
    go.set()
    while threads._stuck.add(0):
        await asyncio.sleep(0.001)
    assert await ran.value(sync_function) == "value"


async def test_a_stuck_thread_does_not_keep_the_interpreter_from_ending() -> None:
    script = """
import asyncio, time
from headwater._worker.handlers import run_handler
from headwater.v1.worker_service_pb2 import WorkerTask
class Nowhere:
    async def emit(self, content, thinking): ...
    def progress(self, progress): ...
async def main():
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(run_handler(lambda a, s, c: time.sleep(60), None, WorkerTask(context_json="{}"), Nowhere(), loop))
    await asyncio.sleep(0.2)
    running.cancel()
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-c", script, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(child.communicate(), 30)
    assert (child.returncode, errors) == (0, b"")


async def test_a_value_that_holds_itself_has_an_error_that_is_not_cut(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: dict[str, Any]) -> None:
        context["a name of some length"] = context

    message, retryable = await ran.error(handler)
    assert message.endswith("is nested more than 100 levels deep, or holds itself")
    assert not retryable


class LikeAStream:
    """As `AgentStream`: it is read, and awaiting it is an error that says so."""

    def __init__(self) -> None:
        self._rest = iter(["one ", "two"])

    def __aiter__(self) -> LikeAStream:
        return self

    async def __anext__(self) -> StreamChunk:
        for text in self._rest:
            return StreamChunk(text)
        raise StopAsyncIteration

    def __await__(self) -> Any:
        raise TypeError("a stream is not awaited")


async def test_a_handler_may_return_the_stream_of_an_agent(ran: Ran) -> None:
    async def asynchronous(agent: Any, step: Any, context: Any) -> Any:
        return LikeAStream()

    for handler in (lambda agent, step, context: LikeAStream(), asynchronous):
        assert await ran.value(handler) == "one two"
    assert "".join(ran.chunks) == "one twoone two"


class RateLimitedError(Exception):
    retry_after = 7.5


@pytest.mark.parametrize(
    ("error", "reason", "kind", "final"),
    [
        (ValueError("no"), "STEP_FAILED", "ValueError", False),
        (NonRetryableError("never"), "STEP_FAILED", "NonRetryableError", True),
        (ValidationError("temperature: is hot"), "STEP_FAILED", "ValidationError", True),
        (ProviderError("busy", reason="PROVIDER_UNAVAILABLE"), "PROVIDER_UNAVAILABLE", "ProviderError", False),
        (ProviderError("no", reason="PROVIDER_REJECTED_REQUEST"), "PROVIDER_REJECTED_REQUEST", "ProviderError", True),
        (ServerUnavailableError("away"), "STEP_FAILED", "ServerUnavailableError", False),
        (HeadwaterError("new", reason="OF_A_NEWER_SERVER"), "STEP_FAILED", "HeadwaterError", False),
        (SystemExit(3), "STEP_FAILED", "SystemExit", True),
    ],
)
async def test_a_failure_says_its_reason_and_whether_another_attempt_can_help(
    ran: Ran, error: BaseException, reason: str, kind: str, final: bool
) -> None:
    def handler(agent: Any, step: Any, context: Any) -> None:
        raise error

    failure = (await ran(handler)).failure
    assert error_pb2.ErrorReason.Name(failure.reason) == f"ERROR_REASON_{reason}"
    assert (failure.type, failure.non_retryable) == (kind, final)
    assert not failure.HasField("retry_delay")


async def test_a_failure_has_the_facts_of_its_provider_and_its_causes(ran: Ran) -> None:
    facts = {"provider": "openai", "model": "m", "http_status": "429", "provider_code": "slow_down"}

    def handler(agent: Any, step: Any, context: Any) -> None:
        try:
            raise ProviderRateLimitError("slow down", reason="PROVIDER_RATE_LIMITED", metadata=facts, retry_after=1.5)
        except ProviderRateLimitError as error:
            raise RuntimeError("no answer") from error

    failure = (await ran(handler)).failure
    assert (failure.message, failure.cause.message) == ("RuntimeError: no answer", "slow down")
    assert not failure.HasField("provider")
    assert failure.cause.provider == error_pb2.ProviderFailure(
        provider="openai", model="m", http_status=429, code="slow_down"
    )
    assert failure.cause.retry_delay.ToMilliseconds() == 1500


@pytest.mark.parametrize(
    ("retry_after", "milliseconds"),
    [
        (7.5, 7500),
        (0, 0),
        (10**9, 86_400_000),
        (-1, None),
        (math.nan, None),
        ("soon", None),
        (True, None),
        (None, None),
    ],
)
async def test_an_exception_may_say_how_long_to_wait(ran: Ran, retry_after: Any, milliseconds: int | None) -> None:
    def handler(agent: Any, step: Any, context: Any) -> None:
        error = RateLimitedError("slow down")
        error.retry_after = retry_after
        raise error

    failure = (await ran(handler)).failure
    assert (failure.retry_delay.ToMilliseconds() if failure.HasField("retry_delay") else None) == milliseconds


async def test_a_group_of_exceptions_is_described_by_those_in_it(ran: Ran) -> None:
    async def handler(agent: Any, step: Any, context: Any) -> None:
        inner = ExceptionGroup("some tasks", [KeyError("k"), RateLimitedError("slow down")])
        raise ExceptionGroup("tasks", [ValueError("a"), inner]) from OSError("disk")

    failure = (await ran(handler)).failure
    assert failure.message == "ValueError: a; KeyError: 'k'; RateLimitedError: slow down"
    assert (failure.type, failure.non_retryable) == ("ExceptionGroup", False)
    assert failure.retry_delay.ToMilliseconds() == 7500
    assert failure.cause.message == "OSError: disk"


async def test_a_group_with_one_exception_counts_as_that(ran: Ran) -> None:
    async def handler(agent: Any, step: Any, context: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    async def fails() -> None:
        raise ProviderError("busy", reason="PROVIDER_UNAVAILABLE")

    failure = (await ran(handler)).failure
    assert (failure.message, failure.type, failure.non_retryable) == ("busy", "ProviderError", False)
    assert error_pb2.ErrorReason.Name(failure.reason) == "ERROR_REASON_PROVIDER_UNAVAILABLE"


async def test_a_group_with_an_exception_that_is_final_is_not_tried_again(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: Any) -> None:
        raise BaseExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [NonRetryableError("never")])])

    assert await ran.error(handler) == ("ValueError: a; never", False)


async def test_the_value_that_a_generator_returns_is_its_result(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: dict[str, Any]) -> Generator[str, None, dict[str, int]]:
        yield "reading... "
        yield from ("done", ". ")
        return {"rows": 42}

    assert await ran.value(handler) == {"rows": 42}
    assert "".join(ran.chunks) == "reading... done. "


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
async def test_an_exception_that_would_end_a_program_is_the_failure_of_the_handler(
    ran: Ran, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(agent: Any, step: Any, context: Any) -> None:
        raise error

    monkeypatch.setattr(signal, "getsignal", lambda number: functools.partial(print, number))  # as under asyncio.run
    message, _ = await ran.error(handler)
    assert message.startswith(type(error).__name__)


async def test_a_long_chain_of_causes_is_cut(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: Any, depth: int = 20) -> None:
        try:
            if depth:
                handler(agent, step, context, depth - 1)
            raise ValueError("the first")
        except ValueError as error:
            raise ValueError(str(depth)) from error

    failure, depth = (await ran(handler)).failure, 0
    while failure.HasField("cause"):
        failure, depth = failure.cause, depth + 1
    assert depth == 8


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_handler_sees_that_its_attempt_is_cancelled(ran: Ran, kind: str) -> None:
    begun, seen = threading.Event(), threading.Event()

    def sync(agent: Any, step: Any, context: Any) -> None:
        assert not step.cancelled
        begun.set()
        if step.wait_cancelled(10) and step.cancelled:
            seen.set()

    async def asynchronous(agent: Any, step: Any, context: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            if step.cancelled:
                seen.set()

    running = asyncio.create_task(ran({"sync": sync, "async": asynchronous}[kind]))
    assert await asyncio.to_thread(begun.wait, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await asyncio.to_thread(seen.wait, 10)


async def test_a_step_can_be_given_to_another_process(ran: Ran) -> None:
    def handler(agent: Any, step: Any, context: Any) -> bool:
        copy = pickle.loads(pickle.dumps(step))  # noqa: S301  its own
        return bool(copy == step and not copy.cancelled)

    assert await ran.value(handler) is True


class _WatchedError(Exception):
    """Notes where it is asked for its text."""

    def __init__(self, threads_: list[int]) -> None:
        super().__init__()
        self._threads = threads_

    def __str__(self) -> str:
        self._threads.append(threading.get_ident())
        return "watched"


class _WatchedValue(Mapping[str, int]):
    """Notes where it is read."""

    def __init__(self, threads_: list[int]) -> None:
        self._threads = threads_

    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        self._threads.append(threading.get_ident())
        return iter(["a"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("end", ["value", "context", "exception"])
async def test_no_code_of_a_value_or_an_exception_runs_where_the_heartbeats_do(
    ran: Ran, end: str, is_async: bool
) -> None:
    asked: list[int] = []

    def handler(agent: Any, step: Any, context: dict[str, Any]) -> Any:
        if end == "exception":
            raise _WatchedError(asked)
        if end == "context":
            context["new"] = _WatchedValue(asked)
            return None
        return _WatchedValue(asked)

    async def in_loop(agent: Any, step: Any, context: dict[str, Any]) -> Any:
        return handler(agent, step, context)

    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    try:
        result = await ran(in_loop if is_async else handler, loop=other)
    finally:
        other.call_soon_threadsafe(other.stop)
        await asyncio.to_thread(thread.join)
        other.close()
    assert result.failure.message == ("_WatchedError: watched" if end == "exception" else "")
    assert asked
    assert threading.get_ident() not in asked


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, KeyError])
async def test_an_exception_whose_own_code_raises_is_the_failure_all_the_same(
    ran: Ran, kind: type[BaseException]
) -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise kind

        @property
        def retry_after(self) -> float:
            raise RuntimeError

    def handler(agent: Any, step: Any, context: Any) -> None:
        raise BrokenError

    assert await ran.error(handler) == (f"BrokenError: (its text cannot be had: {kind.__name__})", True)


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(("end", "code"), [("exit", 3), ("exception", 1), ("return", 0)])
def test_a_child_that_a_handler_forked_ends_when_it_leaves_the_handler(end: str, code: int, is_async: bool) -> None:
    program = f"""
import asyncio, os, signal, sys, threading
from headwater._worker.handlers import run_handler
from headwater.v1 import workflow_pb2
from headwater.v1.worker_service_pb2 import WorkerTask

def fork(agent, step, context):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # kills one that hangs
        if {end!r} == "exit":
            sys.exit(3)
        if {end!r} == "exception":
            raise ValueError
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

async def async_fork(agent, step, context):
    return fork(agent, step, context)

class Output:
    async def emit(self, content, thinking): ...
    def progress(self, progress): ...

async def main():
    task = WorkerTask(task_id="t", run_id="r", step=workflow_pb2.Step(name="s", handler="h"))
    handler = async_fork if {is_async} else fork
    print((await run_handler(handler, None, task, Output(), asyncio.get_running_loop())).result_json)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == f"{code}\n", ended.stderr
