"""Tasks and workers: which worker gets a task, and the end of a task whose worker is slow, silent, gone or back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import AttemptLostError, Failure, StepError
from headwater_server.domain.workflow import Outcome, RetryPolicy, Step
from headwater_server.workflows.workers import pool as workers
from headwater_server.workflows.workers.pool import TICKS, WorkerPool
from headwater_server.workflows.workers.session import WorkerSession
from headwater_server.workflows.workers.tasks import Assign, Cancel, HandedBack, Link, Reports, TaskSpec, ToWorker

LONG = 60.0


class Hosted:
    """A worker that does what the test says; it never speaks by itself."""

    def __init__(self, pool: WorkerPool, worker_id: str, **facts: Any) -> None:
        self.pool, self.worker_id, self.facts = pool, worker_id, facts
        self.got: asyncio.Queue[ToWorker] = asyncio.Queue()
        self.session = self.connect()

    def connect(self, *held: str) -> WorkerSession:
        facts: dict[str, Any] = {"queue": "q", "handlers": ["h"], "concurrency": 1} | self.facts
        self.session = self.pool.connect(self.worker_id, held_task_ids=held, send=self.got.put_nowait, **facts)
        return self.session

    async def task(self) -> str:
        message = await asyncio.wait_for(self.got.get(), 10)
        assert isinstance(message, Assign)
        return message.task_id

    async def step(self) -> str:
        message = await asyncio.wait_for(self.got.get(), 10)
        assert isinstance(message, Assign)
        self.session.result(message.task_id, Outcome('"done"'))
        return message.task.step.name


class Run:
    """One call of `run_task` in a separate task, and the reports to its run."""

    def __init__(
        self,
        pool: WorkerPool,
        name: str = "step",
        handler: str = "h",
        queue: str = "q",
        policy: RetryPolicy | None = None,
        run_id: str = "",
        **limits: Any,
    ) -> None:
        self.told: list[tuple[str, ...]] = []
        self.progress: list[str] = []
        self.before_started: Callable[[], Awaitable[None]] | None = None
        limits = {"schedule_timeout_seconds": LONG, "timeout_seconds": None} | limits
        self.task = asyncio.create_task(
            pool.run_task(
                TaskSpec(
                    run_id or uuid.uuid4().hex,
                    "flow",
                    Step(name, handler=handler, retry_policy=policy or RetryPolicy()),
                    1,
                ),
                queue,
                on_waiting=self._waiting,
                on_started=self._started,
                reports=Reports(self._chunk, self._warning, self.progress.append),
                **limits,
            )
        )

    async def _waiting(self, queue: str) -> None:
        self.told.append(("waiting", queue))

    async def _started(self) -> None:
        if self.before_started:
            await self.before_started()
        self.told.append(("started",))

    async def _warning(self, text: str) -> None:
        self.told.append(("warning", text))

    async def _chunk(self, content: str, thinking: str) -> None:
        self.told.append(("chunk", content, thinking))

    async def result(self) -> Outcome:
        return await asyncio.wait_for(self.task, 10)

    async def failure(self) -> Failure:
        with pytest.raises(StepError) as caught:
            await self.result()
        return caught.value.failure

    async def until_told(self, *what: str) -> None:
        while what not in self.told:
            await asyncio.sleep(0.001)


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(LONG)
    yield pool
    pool.close()


@pytest.fixture
async def impatient() -> AsyncIterator[WorkerPool]:
    """Takes a worker for dead after 50 ms."""
    pool = WorkerPool(0.05)
    yield pool
    pool.close()


async def test_a_task_goes_to_a_worker_of_its_queue_that_has_its_handler(pool: WorkerPool) -> None:
    Hosted(pool, "other queue", queue="other")
    Hosted(pool, "other handler", handlers=["other"])
    right = Hosted(pool, "right", handlers=["other", "h"])
    run = Run(pool)
    right.session.result(await right.task(), Outcome("1", {"key": "2"}, ("gone",)))
    assert await run.result() == Outcome("1", {"key": "2"}, ("gone",))
    assert run.told == []


async def test_a_worker_never_has_more_tasks_than_its_concurrency(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w", concurrency=2)
    runs = [Run(pool) for _ in range(3)]
    first, _ = await worker.task(), await worker.task()
    await asyncio.sleep(0)
    assert worker.got.empty()
    worker.session.result(first, Outcome("1"))
    await worker.task()
    for run in runs:
        run.task.cancel()


async def test_tasks_that_wait_are_served_in_the_order_they_came(pool: WorkerPool) -> None:
    runs = [Run(pool, str(number), handler) for number, handler in enumerate("abab")]
    await asyncio.sleep(0)
    worker = Hosted(pool, "w", handlers=["b", "a"])
    assert [await worker.step() for _ in runs] == ["0", "1", "2", "3"]
    for run in runs:
        await run.result()


async def test_a_task_goes_to_the_least_loaded_worker(pool: WorkerPool) -> None:
    small, large = Hosted(pool, "small", concurrency=2), Hosted(pool, "large", concurrency=8)
    runs = [Run(pool) for _ in range(5)]
    await asyncio.sleep(0)
    assert (small.got.qsize(), large.got.qsize()) == (1, 4)
    for run in runs:
        run.task.cancel()


async def test_workers_with_the_same_load_take_turns(pool: WorkerPool) -> None:
    both = [Hosted(pool, "a"), Hosted(pool, "b")]
    for _ in range(3):
        runs = [Run(pool), Run(pool)]
        assert [await worker.step() for worker in both] == ["step", "step"]
        for run in runs:
            await run.result()
    one_by_one = []
    for _ in range(4):
        run = Run(pool)
        await asyncio.sleep(0)
        [busy] = [worker for worker in both if not worker.got.empty()]
        one_by_one.append(busy.worker_id)
        await busy.step()
        await run.result()
    assert sorted(one_by_one[:2]) == sorted(one_by_one[2:]) == ["a", "b"]


async def test_a_run_is_told_once_that_it_waits_and_then_that_it_goes_on(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAITING_GRACE_SECONDS", 0.001)
    run = Run(pool)
    await run.until_told("waiting", "q")
    await Hosted(pool, "w").step()
    await run.result()
    assert run.told == [("waiting", "q"), ("started",)]


async def test_no_chunk_overtakes_the_news_that_its_step_has_started(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAITING_GRACE_SECONDS", 0.001)
    run, written = Run(pool), asyncio.Event()
    run.before_started = written.wait  # type: ignore[assignment]
    await run.until_told("waiting", "q")
    worker = Hosted(pool, "w")
    await asyncio.sleep(0.01)
    worker.session.disconnected()
    worker.connect()
    await asyncio.sleep(0.01)
    assert (run.told, worker.got.empty()) == ([("waiting", "q")], True)
    written.set()
    await worker.session.chunk(await worker.task(), "text", "thought")
    assert run.told == [("waiting", "q"), ("started",), ("chunk", "text", "thought")]
    run.task.cancel()


async def test_without_a_worker_in_time_the_step_fails_for_good_and_says_what_is_missing(pool: WorkerPool) -> None:
    failure = await Run(pool, schedule_timeout_seconds=0.01).failure()
    assert (failure.reason, failure.non_retryable) == (Reason.STEP_TIMEOUT, True)
    assert "`q`" in failure.message
    assert "`h`" in failure.message
    assert not pool._waiting._lines


async def test_a_task_that_takes_too_long_is_cancelled_at_its_worker_and_may_be_retried(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool, timeout_seconds=0.02)
    task = await worker.task()
    failure = await run.failure()
    assert (failure.reason, failure.non_retryable) == (Reason.STEP_TIMEOUT, False)
    assert failure.message == "it took longer than 0.02 s"
    assert await worker.got.get() == Cancel(task)
    assert not worker.session.result(task, Outcome("1"))


async def test_the_time_a_task_waits_does_not_count_as_its_own(pool: WorkerPool) -> None:
    run = Run(pool, timeout_seconds=0.2)
    await asyncio.sleep(0.25)
    worker = Hosted(pool, "w")
    await worker.step()
    assert (await run.result()).result == '"done"'


async def test_a_failed_task_fails_its_step_as_the_worker_says(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool)
    assert worker.session.result(await worker.task(), Failure(Reason.STEP_FAILED, "no", type="Bad"))
    failure = await run.failure()
    assert failure == Failure(Reason.STEP_FAILED, "no", type="Bad")


async def test_cancelling_a_task_tells_its_worker_and_gives_its_place_to_the_next(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    first, second = Run(pool, "first"), Run(pool, "second")
    task = await worker.task()
    first.task.cancel()
    assert await worker.got.get() == Cancel(task)
    assert await worker.step() == "second"
    await second.result()


async def test_a_cancelled_task_that_waits_is_forgotten(pool: WorkerPool) -> None:
    run = Run(pool)
    await asyncio.sleep(0)
    run.task.cancel()
    await asyncio.wait([run.task])
    assert not pool._waiting._lines
    assert Hosted(pool, "w").got.empty()


async def test_output_of_a_task_that_is_not_the_workers_own_is_dropped(pool: WorkerPool) -> None:
    worker, stranger = Hosted(pool, "w"), Hosted(pool, "stranger", queue="other")
    run = Run(pool)
    task = await worker.task()
    await stranger.session.chunk(task, "wrong", "")
    assert not stranger.session.result(task, Outcome("1"))
    await worker.session.chunk("unknown", "wrong", "")
    await worker.session.chunk(task, "right", "")
    assert run.told == [("chunk", "right", "")]
    run.task.cancel()


async def test_what_fails_while_a_chunk_is_kept_is_the_runs_own_matter(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool)

    async def broken(content: str, thinking: str) -> None:
        raise OSError("disk full")

    task = await worker.task()
    next(iter(pool._workers.values())).tasks[task].reports = Reports(broken, broken, print)
    await worker.session.chunk(task, "text", "")
    with pytest.raises(OSError, match="disk full"):
        await run.result()
    assert await worker.got.get() == Cancel(task)


async def test_a_silent_worker_is_dead_and_its_late_answer_is_refused(impatient: WorkerPool) -> None:
    worker = Hosted(impatient, "w")
    run = Run(impatient)
    task = await worker.task()
    failure = await run.failure()
    assert (failure.reason, failure.non_retryable) == (Reason.WORKER_LOST, False)
    assert failure.message == "its worker was lost: it sent nothing for 0.05 s"
    assert await worker.got.get() == Cancel(task)
    assert not worker.session.result(task, Outcome("1"))


async def test_a_silent_worker_gets_no_task_until_it_speaks_again(impatient: WorkerPool) -> None:
    worker = Hosted(impatient, "w")
    await Run(impatient).failure()
    while not worker.got.empty():
        worker.got.get_nowait()
    run = Run(impatient)
    await asyncio.sleep(0.01)
    assert worker.got.empty()
    worker.session.heard()
    await worker.step()
    await run.result()


async def test_a_worker_that_speaks_is_not_dead(impatient: WorkerPool) -> None:
    worker = Hosted(impatient, "w")
    run = Run(impatient)
    task = await worker.task()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        worker.session.heard()
        await asyncio.sleep(0.005)
    worker.session.result(task, Outcome("1"))
    assert (await run.result()).result == "1"


async def test_a_pause_of_the_server_itself_kills_no_worker(impatient: WorkerPool) -> None:
    worker = Hosted(impatient, "w")
    run = Run(impatient)
    task = await worker.task()
    time.sleep(0.2)  # noqa: ASYNC251  the server is held up, and heartbeats wait unread
    await asyncio.sleep(0)
    worker.session.heard()
    assert worker.session.result(task, Outcome("1"))
    await run.result()


async def test_while_the_server_is_busy_with_what_a_worker_said_its_silence_does_not_count(
    impatient: WorkerPool,
) -> None:
    worker = Hosted(impatient, "w")
    run, kept = Run(impatient), asyncio.Event()

    async def slow(content: str, thinking: str) -> None:
        await kept.wait()

    task = await worker.task()
    next(iter(impatient._workers.values())).tasks[task].reports = Reports(slow, slow, print)
    speaking = asyncio.create_task(worker.session.chunk(task, "text", ""))
    await asyncio.sleep(0.05 / TICKS * (TICKS + 10))
    kept.set()
    await speaking
    assert worker.session.result(task, Outcome("1"))
    await run.result()


async def test_a_worker_that_was_cut_off_comes_back_for_its_tasks(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool)
    task = await worker.task()
    worker.session.disconnected()
    assert worker.connect(task, "old").unwanted == ("old",)
    assert worker.got.empty()
    worker.session.result(task, Outcome("1"))
    assert (await run.result()).result == "1"


async def test_one_that_does_not_come_back_in_time_loses_them(impatient: WorkerPool) -> None:
    worker = Hosted(impatient, "w")
    run = Run(impatient)
    task = await worker.task()
    worker.session.disconnected()
    assert (await run.failure()).reason is Reason.WORKER_LOST
    assert not impatient._workers
    assert worker.connect(task).unwanted == (task,)


async def test_a_cut_off_worker_gets_no_new_tasks(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w", concurrency=2)
    first = Run(pool)
    task = await worker.task()
    worker.session.disconnected()
    second = Run(pool)
    await asyncio.sleep(0)
    assert worker.got.empty()
    worker.connect(task)
    await worker.step()
    await second.result()
    first.task.cancel()


async def test_a_task_that_never_reached_its_worker_is_sent_again(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool)
    task = await worker.task()
    worker.session.disconnected()
    worker.connect()
    assert await worker.task() == task
    worker.session.result(task, Outcome("1"))
    await run.result()


async def test_a_task_whose_worker_was_started_again_after_output_fails_for_a_retry(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool)
    await worker.session.chunk(await worker.task(), "half", "")
    worker.session.disconnected()
    worker.connect()
    assert (await run.failure()).reason is Reason.WORKER_LOST
    assert worker.got.empty()


async def test_a_task_that_is_at_most_once_is_not_sent_again_to_a_worker_that_may_have_had_it(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool, policy=RetryPolicy(max_attempts=1))
    await worker.task()
    worker.session.disconnected()
    worker.connect()
    assert (await run.failure()).reason is Reason.WORKER_LOST
    assert worker.got.empty()


async def test_a_task_that_is_at_most_once_is_sent_to_a_worker_that_was_away_when_it_was_to_get_it(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAITING_GRACE_SECONDS", 0.001)
    run, written = Run(pool, policy=RetryPolicy(max_attempts=1)), asyncio.Event()
    run.before_started = written.wait  # type: ignore[assignment]
    await run.until_told("waiting", "q")
    worker = Hosted(pool, "w")
    worker.session.disconnected()
    written.set()
    await run.until_told("started")
    worker.connect()
    await worker.step()
    assert (await run.result()).result == '"done"'


def test_the_idempotency_key_is_that_of_a_step_of_a_run_in_all_its_attempts() -> None:
    def key(run_id: str, name: str, attempt: int) -> str:
        return TaskSpec(run_id, "workflow", Step(name), attempt).idempotency_key

    assert key("r1", "größe", 1) == key("r1", "größe", 2)
    assert len({key("r1", "a", 1), key("r1", "b", 1), key("r2", "a", 1)}) == 3
    assert key("r1", "größe", 1).isascii()


async def test_a_second_connection_replaces_the_first(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    run = Run(pool)
    task = await worker.task()
    old, new = worker.session, worker.connect(task)
    assert old.replaced.is_set()
    assert not new.replaced.is_set()
    assert not old.result(task, Outcome("old"))
    old.disconnected()
    assert new.result(task, Outcome("1"))
    assert (await run.result()).result == "1"


async def test_a_worker_can_come_back_with_other_handlers_on_another_queue(pool: WorkerPool) -> None:
    worker = Hosted(pool, "w")
    worker.session.disconnected()
    worker.facts = {"queue": "new", "handlers": ["other"]}
    worker.connect()
    old, new = Run(pool), Run(pool, "new", "other", "new")
    assert await worker.step() == "new"
    await new.result()
    assert not old.task.done()
    old.task.cancel()


async def test_a_worker_that_left_with_nothing_to_do_is_forgotten(pool: WorkerPool) -> None:
    Hosted(pool, "w").session.disconnected()
    assert not pool._workers
    assert not pool._queues


async def test_ten_thousand_waiting_tasks_are_served_in_linear_time(pool: WorkerPool) -> None:
    seconds = []
    for number in (1_000, 10_000):
        runs = [Run(pool, str(index)) for index in range(number)]
        await asyncio.sleep(0)
        start = time.process_time()
        worker = Hosted(pool, f"w{number}", concurrency=1)
        for index in range(number):
            assert await worker.step() == str(index)
        seconds.append(time.process_time() - start)
        await asyncio.gather(*(run.task for run in runs))
        worker.session.disconnected()
    assert seconds[1] < 50 * seconds[0]  # quadratic: 100 times


async def test_an_expected_attempt_is_kept_by_the_worker_of_its_queue_that_has_it(pool: WorkerPool) -> None:
    async def nothing(*_: object) -> None: ...

    task = TaskSpec("run", "workflow", Step("step", handler="h"), 1)
    rejoined = asyncio.create_task(pool.rejoin(pool.expect(task, "q", Reports(nothing, nothing, print)), None))
    other = Hosted(pool, "other", queue="other")
    assert other.connect(task.task_id).unwanted == (task.task_id,)
    worker = Hosted(pool, "w")
    assert worker.connect(task.task_id).unwanted == ()
    assert worker.session.result(task.task_id, Outcome("1"))
    assert await rejoined == Outcome("1")


async def test_an_expected_attempt_is_lost_after_the_heartbeat_timeout(impatient: WorkerPool) -> None:
    async def nothing(*_: object) -> None: ...

    task = TaskSpec("run", "workflow", Step("step", handler="h"), 1)
    with pytest.raises(AttemptLostError, match="did not return"):
        await impatient.rejoin(impatient.expect(task, "q", Reports(nothing, nothing, print)), None)
    assert Hosted(impatient, "w").connect(task.task_id).unwanted == (task.task_id,)


async def test_a_pool_that_drains_takes_no_task_from_its_worker(pool: WorkerPool) -> None:
    worker, run = Hosted(pool, "w"), Run(pool)
    await worker.task()
    pool.drain()
    run.task.cancel()
    await asyncio.wait([run.task])
    assert worker.got.empty()


async def test_the_run_gets_the_progress_of_its_task_and_no_other(pool: WorkerPool) -> None:
    worker, run = Hosted(pool, "w"), Run(pool)
    task = await worker.task()
    worker.session.progress(task, "1")
    worker.session.progress("other", "2")
    worker.session.result(task, Outcome("1"))
    worker.session.progress(task, "3")
    await run.result()
    assert run.progress == ["1"]


async def test_a_run_gets_to_know_why_its_task_came_back(pool: WorkerPool) -> None:
    worker, run = Hosted(pool, "w"), Run(pool)
    task = await worker.task()
    assert await worker.session.handed_back(task, HandedBack(begun=False, reason="its threads are stuck"))
    healthy = Hosted(pool, "healthy")
    assert await healthy.step() == "step"
    await run.result()
    assert ("warning", "a worker of queue `q` has handed step `step` back: its threads are stuck") in run.told


async def test_silence_is_noticed_although_the_look_at_one_worker_fails(impatient: WorkerPool) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # each tick that fails
    first, second = Hosted(impatient, "first"), Hosted(impatient, "second")
    runs = [Run(impatient), Run(impatient)]
    for worker in (first, second):
        await worker.task()
    impatient._workers["first"].link = Link(lambda message: 1 // 0)  # type: ignore[arg-type,return-value]
    assert [(await run.failure()).reason for run in runs] == [Reason.WORKER_LOST] * 2


async def test_runs_take_turns_at_a_worker_over_all_its_handlers(pool: WorkerPool) -> None:
    many = [Run(pool, f"many {number}", handler=f"h{number % 2}", run_id="many") for number in range(6)]
    other = [Run(pool, f"other {number}", handler="h0", run_id="other") for number in range(2)]
    await asyncio.sleep(0)
    worker = Hosted(pool, "w", handlers=["h0", "h1"])
    order = [await worker.step() for _ in range(8)]
    assert order == ["many 0", "other 0", "many 1", "other 1", "many 2", "many 3", "many 4", "many 5"]
    for run in [*many, *other]:
        await run.result()


@pytest.mark.parametrize(
    ("sizes", "given"),
    [([16], 14), ([2] * 8, 14), ([8], 7), ([1] * 8, 7)],
    ids=["one of 16", "eight of 2", "one of 8", "eight of 1"],
)
async def test_a_run_whose_handlers_hang_keeps_no_other_from_beginning(
    pool: WorkerPool, sizes: list[int], given: int
) -> None:
    hosts = [Hosted(pool, f"w{number}", concurrency=size) for number, size in enumerate(sizes)]
    hanging = [Run(pool, f"step {number}", run_id="hangs") for number in range(40)]
    await asyncio.sleep(0)
    assert sum(host.got.qsize() for host in hosts) == given
    other = Run(pool, "other", run_id="other")
    await asyncio.sleep(0)
    assert sum(host.got.qsize() for host in hosts) == given + 1
    for run in [*hanging, other]:
        run.task.cancel()


async def test_a_place_is_kept_at_the_workers_of_each_handler(pool: WorkerPool) -> None:
    special, common = Hosted(pool, "special", handlers=["g", "h"], concurrency=8), Hosted(pool, "common", concurrency=8)
    hanging = [Run(pool, f"step {number}", run_id="hangs") for number in range(20)]
    await asyncio.sleep(0)
    assert (special.got.qsize(), common.got.qsize()) == (7, 7)
    other = Run(pool, "other", handler="g", run_id="other")
    await asyncio.sleep(0)
    assert special.got.qsize() == 8
    for run in [*hanging, other]:
        run.task.cancel()


async def test_the_only_place_is_not_kept(pool: WorkerPool) -> None:
    worker, run = Hosted(pool, "w", concurrency=1), Run(pool, run_id="r")
    await worker.task()
    run.task.cancel()


async def test_fewer_places_are_kept_when_a_worker_leaves(pool: WorkerPool) -> None:
    hosts = [Hosted(pool, f"w{number}", concurrency=2) for number in range(8)]
    runs = [Run(pool, f"step {number}", run_id="r") for number in range(20)]
    await asyncio.sleep(0)
    by_tasks = sorted(hosts, key=lambda host: host.got.qsize())
    assert [host.got.qsize() for host in by_tasks] == [1, 1, 2, 2, 2, 2, 2, 2]
    for host in by_tasks[4:]:
        host.session.disconnected()
    assert [host.got.qsize() for host in by_tasks[:4]] in ([2, 1, 2, 2], [1, 2, 2, 2])
    for run in runs:
        run.task.cancel()


async def test_names_of_handlers_are_bounded_over_all_workers(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_NAMES_SIZE", 1000)
    first = Hosted(pool, "first", handlers=["a" * 600])
    first.connect()
    with pytest.raises(HeadwaterError) as caught:
        Hosted(pool, "second", handlers=["b" * 600])
    assert caught.value.reason is Reason.SERVER_OVERLOADED
    first.session.disconnected()
    Hosted(pool, "second", handlers=["b" * 600])
