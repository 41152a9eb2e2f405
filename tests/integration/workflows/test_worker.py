"""The client's worker against the real WorkerService, over a real socket: its connections, its tasks and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import pytest

import headwater
from headwater import ServerUnavailableError, ValidationError
from headwater._grpc.server import Server
from headwater._values import threads
from headwater._worker import stuck as stuck_threads
from headwater._worker.handlers import run_handler
from headwater._worker.worker import TaskHandler, Worker
from headwater.exceptions import AuthenticationError
from headwater.v1 import worker_service_pb2, worker_service_pb2_grpc
from headwater_server.domain.failure import AttemptLostError, StepError
from headwater_server.domain.workflow import Outcome, Step
from headwater_server.transport.interceptors.chain import interceptors
from headwater_server.transport.services.worker import WorkerService
from headwater_server.workflows.workers.pool import WorkerPool
from headwater_server.workflows.workers.tasks import Reports, TaskSpec
from tests.support.servers.callers import NO_CALLERS
from tests.support.servers.gate import Gate
from tests.support.servers.service_thread import ServiceThread


class Site(ServiceThread):
    """A server with nothing but the WorkerService, on a separate event loop; use it as a context manager."""

    def __init__(self, heartbeat_timeout_seconds: float = 0.5) -> None:
        self.heartbeat_timeout_seconds = heartbeat_timeout_seconds
        self.chunks: list[str] = []
        self.headers: list[dict[str, str]] = []

    @property
    def server(self) -> Server:
        return Server(self.target, None)

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    async def execute(
        self, handler: str, queue: str = "q", context: str = "1", timeout: float | None = None
    ) -> Outcome:
        async def nothing(*_: object) -> None: ...

        async def on_chunk(content: str, thinking: str) -> None:
            self.chunks.append(content)

        spec = TaskSpec(uuid.uuid4().hex, "workflow", Step("step", handler=handler), 1, {"key": context})
        return await self.pool.run_task(
            spec,
            queue,
            schedule_timeout_seconds=20,
            timeout_seconds=timeout,
            on_waiting=nothing,
            on_started=nothing,
            reports=Reports(on_chunk, nothing, lambda _: None),
        )

    async def run(self, handler: str, **facts: Any) -> str:
        """Executes a step from the caller's loop; its result."""
        outcome = await asyncio.wrap_future(self.submit(self.execute(handler, **facts)))
        assert isinstance(outcome, Outcome)
        return outcome.result

    async def workers(self) -> int:
        """How many workers the server knows."""

        async def count() -> int:
            return len(self.pool._workers)

        return int(await asyncio.wrap_future(self.submit(count())))

    async def _nothing_to_resume(self) -> None: ...

    async def _remember(self, queue: str, names: Collection[str]) -> None: ...

    def _begin(self, server: grpc.aio.Server) -> None:
        self.pool = WorkerPool(self.heartbeat_timeout_seconds)
        self.service = WorkerService(self.pool, self._remember, "test", self._nothing_to_resume)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self.service, server)

    def _interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        return interceptors(NO_CALLERS)

    def _end(self) -> None:
        self.pool.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def hosted(handler: Callable[..., Any], loop: asyncio.AbstractEventLoop | None = None) -> TaskHandler:
    """A user's handler for a worker, async ones on this loop."""
    home = loop or asyncio.get_running_loop()

    async def run(task: worker_service_pb2.WorkerTask, emit: Any) -> worker_service_pb2.TaskResult:
        return await run_handler(handler, "agent", task, emit, home)

    return run


@contextlib.asynccontextmanager
async def working(server: Server, *, concurrency: int = 4, queue: str = "q", **handlers: Any) -> AsyncIterator[Worker]:
    worker = Worker(server, queue, {name: hosted(handler) for name, handler in handlers.items()}, concurrency)
    worker.start()
    try:
        await worker.wait_registered(10)
        yield worker
    finally:
        await worker.aclose()


async def echo(agent: Any, step: Any, context: dict[str, Any]) -> Any:
    return context["key"]


async def test_a_task_is_done_and_a_closed_worker_is_forgotten(site: Site) -> None:
    async with working(site.server, echo=echo):
        assert await site.run("echo", context="[1, 2.0]") == "[1, 2.0]"
    assert await site.workers() == 0


async def test_output_arrives_whole_and_before_the_result(site: Site) -> None:
    text = "é" * 100_000

    async def speaking(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        for start in range(0, len(text), 10):
            yield text[start : start + 10]

    async with working(site.server, speaking=speaking):
        assert json.loads(await site.run("speaking")) == text
    assert "".join(site.chunks) == text
    assert max(map(len, site.chunks)) <= 64 * 1024


class Counted:
    """A handler that knows how many of it ran at once, at most."""

    running = most = 0

    async def __call__(self, agent: Any, step: Any, context: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1


async def test_no_more_tasks_run_at_once_than_the_concurrency(site: Site) -> None:
    counted = Counted()
    async with working(site.server, concurrency=3, counted=counted):
        await asyncio.gather(*(site.run("counted") for _ in range(12)))
    assert counted.most == 3


async def test_a_server_that_sends_too_many_tasks_does_not_break_the_limit(site: Site) -> None:
    counted = Counted()
    async with working(site.server, concurrency=2, counted=counted):
        for worker in site.pool._workers.values():
            worker.concurrency = 8
        await asyncio.gather(*(site.run("counted") for _ in range(8)))
    assert counted.most == 2


async def test_a_failing_handler_fails_its_step_and_the_worker_goes_on(site: Site) -> None:
    async def failing(agent: Any, step: Any, context: Any) -> None:
        raise ValueError("no")

    async with working(site.server, failing=failing, echo=echo):
        with pytest.raises(StepError, match="ValueError: no") as caught:
            await site.run("failing")
        assert not caught.value.failure.non_retryable
        assert await site.run("echo") == "1"


async def test_an_error_in_what_runs_handlers_fails_the_step_and_the_worker_goes_on(site: Site) -> None:
    async def broken(task: Any, emit: Any) -> Any:
        raise OSError("disk full")

    async def cancelled(task: Any, emit: Any) -> Any:
        raise asyncio.CancelledError

    async def huge(task: Any, emit: Any) -> Any:
        return worker_service_pb2.TaskResult(result_json="x" * 40_000_000)

    async with working(site.server, echo=echo) as worker:
        worker.add_handlers({"broken": broken, "cancelled": cancelled, "huge": huge})
        for name, said in (("broken", "disk full"), ("cancelled", "CancelledError"), ("huge", "more than 1 MiB")):
            with pytest.raises(StepError, match=said):
                await site.run(name)
        assert await site.run("echo") == "1"


async def test_a_cancelled_step_interrupts_its_async_handler(site: Site) -> None:
    began, ended = threading.Event(), threading.Event()

    async def endless(agent: Any, step: Any, context: Any) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with working(site.server, concurrency=1, endless=endless, echo=echo):
        step = site.submit(site.execute("endless"))
        assert await asyncio.to_thread(began.wait, 10)
        start = time.monotonic()
        step.cancel()
        assert await asyncio.to_thread(ended.wait, 10)
        assert time.monotonic() - start < 1
        assert await site.run("echo") == "1"


async def test_a_sync_handler_that_never_returns_does_not_hold_up_others(site: Site) -> None:
    go = threading.Event()

    def stuck(agent: Any, step: Any, context: Any) -> str:
        go.wait(30)
        return "late"

    async with working(site.server, concurrency=1, stuck=stuck, echo=echo):
        with pytest.raises(StepError, match="took longer than"):
            await site.run("stuck", timeout=0.05)
        assert await site.run("echo") == "1"
        go.set()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_handler_that_blocks_five_times_the_heartbeat_limit_runs_once(site: Site, kind: str) -> None:
    runs = 0

    def sync(agent: Any, step: Any, context: Any) -> str:
        nonlocal runs
        runs += 1
        time.sleep(5 * site.heartbeat_timeout_seconds)
        return "done"

    async def async_(agent: Any, step: Any, context: Any) -> str:
        return sync(agent, step, context)

    async with working(site.server, blocking=sync if kind == "sync" else async_):
        assert await site.run("blocking") == '"done"'
    assert runs == 1


async def test_handlers_can_be_added_while_a_task_runs(site: Site) -> None:
    go, runs = asyncio.Event(), 0

    async def slow(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        nonlocal runs
        runs += 1
        yield "before "
        await go.wait()
        yield "after"

    async with working(site.server, slow=slow) as worker:
        step = asyncio.create_task(site.run("slow"))
        while not site.chunks:
            await asyncio.sleep(0.001)
        worker.add_handlers({"echo": hosted(echo)})
        await worker.wait_registered(10)
        assert await site.run("echo") == "1"
        go.set()
        assert await step == '"before after"'
    assert runs == 1
    assert "".join(site.chunks) == "before after"


async def test_handlers_can_be_added_at_any_moment(site: Site) -> None:
    async with working(site.server, echo=echo) as worker:
        for number in range(20):
            worker.add_handlers({f"echo{number}": hosted(echo)})
            await asyncio.sleep(0.001 * (number % 3))
        await worker.wait_registered(10)
        for number in range(20):
            assert await site.run(f"echo{number}") == "1"


async def test_a_connection_that_is_cut_costs_no_task_and_no_result(site: Site) -> None:
    site.pool.heartbeat_timeout_seconds = 20
    go, runs = asyncio.Event(), 0

    async def slow(agent: Any, step: Any, context: Any) -> str:
        nonlocal runs
        runs += 1
        await go.wait()
        return "done"

    async with Gate(site.port) as gate, working(Server(gate.target, None), slow=slow):
        steps = [asyncio.create_task(site.run("slow")) for _ in range(3)]
        while runs < 3:
            await asyncio.sleep(0.001)
        gate.cut()
        go.set()  # the results are there while the server is not
        await asyncio.sleep(0.1)
        assert not any(step.done() for step in steps)
        gate.mend()
        assert await asyncio.gather(*steps) == ['"done"'] * 3
    assert runs == 3


async def test_through_many_cuts_every_task_has_one_result(site: Site) -> None:
    site.pool.heartbeat_timeout_seconds = 20
    async with Gate(site.port) as gate, working(Server(gate.target, None), concurrency=8, echo=echo):
        steps = [asyncio.create_task(site.run("echo", context=str(number))) for number in range(80)]
        while not all(step.done() for step in steps):
            await asyncio.sleep(0.03)
            gate.cut()
            gate.mend()
            await asyncio.sleep(0.1)
        assert [int(step.result()) for step in steps] == list(range(80))


async def test_work_that_is_no_longer_wanted_after_a_cut_is_stopped(site: Site) -> None:
    began, ended = threading.Event(), threading.Event()

    async def endless(agent: Any, step: Any, context: Any) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with Gate(site.port) as gate, working(Server(gate.target, None), endless=endless):
        step = site.submit(site.execute("endless"))
        assert await asyncio.to_thread(began.wait, 10)
        gate.cut()
        step.cancel()
        await asyncio.sleep(0.05)
        assert not ended.is_set()
        gate.mend()
        assert await asyncio.to_thread(ended.wait, 10)


async def test_another_server_at_the_same_address_gets_the_worker() -> None:
    with Site() as first:
        port = first.port
        worker = Worker(first.server, "q", {"echo": hosted(echo)})
        worker.start()
        await worker.wait_registered(10)
    second = Site()
    second.port = port
    with second:
        await worker.wait_registered(10)
        assert await second.run("echo") == "1"
        await worker.aclose()


async def test_a_draining_server_is_left_and_asked_again(site: Site) -> None:
    async with working(site.server, echo=echo) as worker:
        site.loop.call_soon_threadsafe(site.service.drain)
        while worker._last_error is None or worker._last_error.reason != "SERVER_DRAINING":
            await asyncio.sleep(0.005)
        assert worker.failure is None
        site.loop.call_soon_threadsafe(site.service._draining.clear)
        await worker.wait_registered(10)
        assert await site.run("echo") == "1"


async def test_a_closed_worker_hands_its_tasks_back_at_once() -> None:
    with Site(heartbeat_timeout_seconds=60) as site:
        began = threading.Event()

        async def endless(agent: Any, step: Any, context: Any) -> None:
            began.set()
            await asyncio.sleep(60)

        async with working(site.server, endless=endless) as worker:
            step = asyncio.create_task(site.run("endless"))
            assert await asyncio.to_thread(began.wait, 10)
            start = time.monotonic()
            await worker.aclose()
            with pytest.raises(StepError, match="handed it back") as caught:
                await step
            assert time.monotonic() - start < 2
            assert not caught.value.failure.non_retryable
            assert isinstance(caught.value, AttemptLostError)


async def test_a_worker_whose_threads_are_stuck_takes_no_task_until_they_return(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "MAX_STUCK_THREADS", 1)
    monkeypatch.setattr(stuck_threads, "_LOOK_SECONDS", 0.01)
    release = threading.Event()

    def stuck(agent: Any, step: Any, context: Any) -> None:
        assert step.wait_cancelled(10)
        assert step.cancelled
        release.wait(10)

    def quick(agent: Any, step: Any, context: Any) -> str:
        return "healthy"

    async with working(site.server, stuck=stuck, quick=quick):
        with pytest.raises(StepError, match="longer"):
            await site.run("stuck", timeout=0.05)
        while not threads.threads_are_stuck():
            await asyncio.sleep(0.005)
        healthy = asyncio.create_task(site.run("quick"))
        while "takes no more tasks" not in caplog.text:
            await asyncio.sleep(0.005)
        assert not healthy.done()
        release.set()
        assert await healthy == '"healthy"'


async def test_a_worker_that_drains_finishes_its_task_and_leaves_the_next_one_to_others(site: Site) -> None:
    begun, finish = threading.Event(), threading.Event()

    def slow(agent: Any, step: Any, context: Any) -> str:
        begun.set()
        assert finish.wait(10)
        return "first"

    async with working(site.server, concurrency=2, slow=slow) as worker:
        running = asyncio.create_task(site.run("slow"))
        assert await asyncio.to_thread(begun.wait, 10)
        draining = asyncio.create_task(worker.drain(10))
        while [each.concurrency for each in site.pool._workers.values()] != [0]:
            await asyncio.sleep(0.005)
        waiting = asyncio.create_task(site.run("slow"))
        finish.set()
        assert await running == '"first"'
        await draining
        assert not waiting.done()

        def other(agent: Any, step: Any, context: Any) -> str:
            return "second"

        async with working(site.server, slow=other):
            assert await waiting == '"second"'


async def test_a_worker_can_be_closed_at_any_moment(site: Site) -> None:
    never_started = Worker(site.server, "q", {"echo": hosted(echo)})
    await never_started.aclose()
    for seconds in (0, 0.001, 0.003, 0.01, 0.03):
        worker = Worker(site.server, "q", {"echo": hosted(echo)})
        worker.start()
        await asyncio.sleep(seconds)
        await worker.aclose()
        await worker.aclose()
    while await site.workers():
        await asyncio.sleep(0.01)


async def test_a_worker_is_closed_even_if_nobody_waits_for_that(site: Site) -> None:
    worker = Worker(site.server, "q", {"echo": hosted(echo)})
    worker.start()
    await worker.wait_registered(10)
    closing = asyncio.create_task(worker.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    while await site.workers():
        await asyncio.sleep(0.01)
    await worker.aclose()


async def test_a_worker_without_a_server_says_so_and_can_be_closed() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        worker = Worker(Server(f"127.0.0.1:{taken.getsockname()[1]}", None), "q", {"echo": hosted(echo)})
        worker.start()
        with pytest.raises(ServerUnavailableError, match="headwater serve"):
            await worker.wait_registered(0.5)
        assert worker.failure is None
        await worker.aclose()


async def test_a_server_that_never_answers_does_not_keep_a_worker_from_closing() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        worker = Worker(Server(f"127.0.0.1:{mute.getsockname()[1]}", None), "q", {"echo": hosted(echo)})
        worker.start()
        with pytest.raises(ServerUnavailableError, match="was not registered within"):
            await worker.wait_registered(0.1)
        start = time.monotonic()
        await worker.aclose()
        assert time.monotonic() - start < 2


async def test_a_worker_that_the_server_refuses_has_failed_for_good(site: Site) -> None:
    worker = Worker(site.server, "q" * 300, {"echo": hosted(echo)})
    worker.start()
    waiting = asyncio.create_task(worker.wait_failed())
    with pytest.raises(ValidationError, match=r"registration\.queue"):
        await worker.wait_registered(10)
    assert worker.failure is await waiting
    await worker.aclose()


async def test_a_worker_that_is_not_let_in_has_failed_for_good() -> None:
    class Closed(worker_service_pb2_grpc.WorkerServiceServicer):
        async def Attach(self, requests: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(Closed(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    worker = Worker(Server(f"127.0.0.1:{port}", "secret"), "q", {"echo": hosted(echo)})
    worker.start()
    with pytest.raises(AuthenticationError):
        await worker.wait_registered(10)
    await worker.aclose()
    await server.stop(None)


async def test_nobody_who_waits_for_a_failure_keeps_a_worker_from_closing(site: Site) -> None:
    async with working(site.server, echo=echo) as worker:
        waiting = asyncio.create_task(worker.wait_failed())
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await site.run("echo") == "1"


CHILD = """
    import asyncio, os, sys
    from headwater._worker.handlers import run_handler
    from headwater._grpc.server import Server
    from headwater._worker.worker import Worker

    async def main():
        loop = asyncio.get_running_loop()
        async def slow(agent, step, context):
            print("began", flush=True)
            await asyncio.sleep(60)
        async def host(task, emit):
            return await run_handler(slow, None, task, emit, loop)
        worker = Worker(Server(os.environ["HEADWATER_TARGET"], None), "q", {"slow": host})
        worker.start()
        await worker.wait_registered(10)
        print("registered", flush=True)
        await asyncio.sleep(60 if len(sys.argv) < 2 else float(sys.argv[1]))

    asyncio.run(main())
"""


def start_child(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(CHILD), *arguments],
        env={"HEADWATER_TARGET": site.server.target, "PYTHONPATH": str(Path(headwater.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_the_task_of_a_killed_worker_fails_within_the_heartbeat_limit_and_another_takes_over(site: Site) -> None:
    with start_child(site) as child:
        try:
            assert child.stdout
            assert await asyncio.to_thread(child.stdout.readline) == "registered\n"
            step = asyncio.create_task(site.run("slow"))
            assert await asyncio.to_thread(child.stdout.readline) == "began\n"
            os.kill(child.pid, signal.SIGKILL)
            killed = time.monotonic()
            with pytest.raises(StepError, match="was lost") as caught:
                await step
            seconds = time.monotonic() - killed
            assert not caught.value.failure.non_retryable
            print(f"noticed after {seconds:.3f} s")
            assert seconds < 3 * site.heartbeat_timeout_seconds
        finally:
            child.kill()
    async with working(site.server, slow=echo):
        assert await site.run("slow") == "1"


async def test_a_suspended_worker_is_dead_and_what_it_says_later_is_refused(site: Site) -> None:
    with start_child(site) as child:
        try:
            assert child.stdout
            await asyncio.to_thread(child.stdout.readline)
            step = asyncio.create_task(site.run("slow"))
            await asyncio.to_thread(child.stdout.readline)
            os.kill(child.pid, signal.SIGSTOP)
            with pytest.raises(StepError, match="was lost"):
                await step
            os.kill(child.pid, signal.SIGCONT)
            step = asyncio.create_task(site.run("slow"))
            assert await asyncio.to_thread(child.stdout.readline) == "began\n"
        finally:
            child.kill()
        with pytest.raises(StepError, match="was lost"):
            await step


async def test_a_program_that_ends_without_closing_its_worker_ends_clean(site: Site) -> None:
    child = start_child(site, "0.1")
    output, errors = await asyncio.to_thread(child.communicate, timeout=30)
    assert (child.returncode, output, errors) == (0, "registered\n", "")


async def test_a_worker_can_be_started_and_used_from_several_loops(site: Site) -> None:
    loop = asyncio.get_running_loop()
    worker = Worker(site.server, "q", {"echo": hosted(echo, loop)})
    await asyncio.to_thread(worker.start)
    await asyncio.to_thread(lambda: asyncio.run(worker.wait_registered(10)))
    assert await site.run("echo") == "1"
    await asyncio.to_thread(lambda: asyncio.run(worker.aclose()))
    gc.collect()
