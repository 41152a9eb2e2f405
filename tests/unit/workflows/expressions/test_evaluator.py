"""One helper process works for all. Its time and memory are bounded; the asker that has taken the least comes next."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from headwater_server.workflows.expressions.evaluator import Asker, Evaluator, StoppedError
from headwater_server.workflows.expressions.messages import Answer, Decide, Decision, Job
from headwater_server.workflows.expressions.process import HelperEndedError, HelperProcess

TRUE = Decide("true")
# In the library this takes minutes: the list is copied for each of its elements.
ENDLESS = Decide("context.list.map(x, context.list).size() > 3")
LIST = {"list": str([1] * 999)}


class SlowHelper:
    """Answers each job when told to. `jobs`: those that it has been given."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.started: list[float] = []
        self.stopped = 0
        self.go_on = asyncio.Semaphore(0)
        self.codes: list[int] = []  # with which the process ends instead of answering

    async def start(self, seconds: float) -> SlowHelper:
        self.started.append(seconds)
        return self

    async def ask(self, job: Job, values: Mapping[str, str]) -> Answer:
        self.jobs.append(job)
        await self.go_on.acquire()
        if self.codes:
            raise HelperEndedError(self.codes.pop())
        return Decision(True, 0.25)

    async def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    made = Evaluator()
    yield made
    await made.close()


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def facts(pid: int) -> tuple[bytes, str]:
    """The environment of a process, and its limits."""
    return Path(f"/proc/{pid}/environ").read_bytes(), Path(f"/proc/{pid}/limits").read_text()


async def test_a_job_that_takes_too_much_time_is_stopped_and_the_next_one_is_done(evaluator: Evaluator) -> None:
    asker = Asker()
    with pytest.raises(StoppedError, match="took more than 1 s of computing time and was stopped; let the step before"):
        await evaluator.ask(asker, ENDLESS, LIST)
    assert asker.spent == 1.1
    answer = await evaluator.ask(asker, TRUE, {})
    assert isinstance(answer, Decision)
    assert answer.holds


async def test_one_process_does_all_jobs_within_limits_and_without_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    started: list[HelperProcess] = []

    async def start(seconds: float) -> HelperProcess:
        started.append(await HelperProcess.start(seconds))
        return started[-1]

    evaluator = Evaluator(start)
    await asyncio.gather(*(evaluator.ask(Asker(), TRUE, {}) for _ in range(20)))
    [helper] = started
    environment, limits = facts(helper.pid)
    assert b"sk-secret" not in environment
    assert re.search(rf"Max address space +{256 * 2**20} +{256 * 2**20} ", limits)
    assert re.search(r"Max core file size +0 +0 ", limits)
    await evaluator.close()
    assert not running(helper.pid)


async def test_a_process_that_was_ended_from_outside_costs_no_job(evaluator: Evaluator) -> None:
    await evaluator.ask(Asker(), TRUE, {})
    helper = evaluator._quick._helper
    assert isinstance(helper, HelperProcess)
    os.kill(helper.pid, signal.SIGKILL)
    assert isinstance(await evaluator.ask(Asker(), TRUE, {}), Decision)


async def test_the_process_ends_when_the_asker_leaves(evaluator: Evaluator) -> None:
    await evaluator.ask(Asker(), TRUE, {})
    helper = evaluator._quick._helper
    assert isinstance(helper, HelperProcess)
    asking = asyncio.create_task(evaluator.ask(Asker(), ENDLESS, LIST))
    await asyncio.sleep(0)  # it has been given the job
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not running(helper.pid)


async def test_the_one_that_has_spent_the_least_comes_next() -> None:
    helper = SlowHelper()
    evaluator = Evaluator(helper.start)
    costly, cheap = Asker(spent=5.0), Asker()
    first = asyncio.create_task(evaluator.ask(Asker(), Decide("first"), {}))
    await asyncio.sleep(0)
    others = [asyncio.create_task(evaluator.ask(costly, Decide(f"costly {n}"), {})) for n in range(3)]
    await asyncio.sleep(0)
    others += [asyncio.create_task(evaluator.ask(cheap, Decide(f"cheap {n}"), {})) for n in range(2)]
    await asyncio.sleep(0)
    others[1].cancel()
    for _ in range(5):
        helper.go_on.release()
    await asyncio.wait([first, *others])
    assert [job.condition for job in helper.jobs if isinstance(job, Decide)] == [
        "first",
        "cheap 0",
        "cheap 1",
        "costly 0",
        "costly 2",
    ]
    assert (costly.spent, cheap.spent) == (5.5, 0.5)
    assert helper.stopped == 0


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        ([-signal.SIGABRT, -signal.SIGABRT], "took more than 256 MiB of memory and was stopped"),
        ([-signal.SIGPROF, -signal.SIGPROF], "took more than 1 s of computing time and was stopped"),
        ([-signal.SIGSEGV, -signal.SIGKILL], f"ended its process (code {-signal.SIGSEGV}) and was stopped"),
    ],
)
async def test_a_job_that_ends_its_process_is_told_why(codes: list[int], text: str) -> None:
    helper = SlowHelper()
    helper.codes = codes
    helper.go_on.release()
    helper.go_on.release()
    evaluator = Evaluator(helper.start)
    with pytest.raises(StoppedError) as caught:
        await evaluator.ask(Asker(), TRUE, {})
    assert str(caught.value).startswith(text)
    assert helper.started == [0.1, 1.0]


async def test_an_asker_with_a_slow_job_does_not_keep_quick_ones_waiting() -> None:
    quick, slow = SlowHelper(), SlowHelper()
    quick.codes = [-signal.SIGPROF]

    async def start(seconds: float) -> SlowHelper:
        return await (quick if seconds < 1 else slow).start(seconds)

    evaluator, costly = Evaluator(start), Asker()
    asking = [asyncio.create_task(evaluator.ask(costly, Decide(f"costly {n}"), {})) for n in range(2)]
    quick.go_on.release()
    while not slow.jobs:
        await asyncio.sleep(0)
    quick.go_on.release()
    await evaluator.ask(Asker(), TRUE, {})
    assert (quick.jobs, slow.jobs) == ([Decide("costly 0"), TRUE], [Decide("costly 0")])
    slow.go_on.release()
    slow.go_on.release()
    await asyncio.gather(*asking)
    assert slow.jobs == [Decide("costly 0"), Decide("costly 1")]


async def test_a_process_that_cannot_be_started_stops_the_job_with_the_reason() -> None:
    async def start(seconds: float) -> SlowHelper:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with pytest.raises(StoppedError, match="has no process to be evaluated in"):
        await Evaluator(start).ask(Asker(), TRUE, {})
