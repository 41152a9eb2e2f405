"""A server that is killed in the middle of a run, at every commit and at random moments: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import random
import statistics

import pytest

from tests.support.runs.crashing_workflow import Keeper, Story, check, survive

LAUNCHER = ("-m", "tests.support.servers.crashing_server")
AT_ONCE = 4
"""Runs side by side, each with its own server: most of their time is waiting."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("when", "first"),
    [
        ("before", 1),
        pytest.param("after", 2, marks=pytest.mark.chaos),
        pytest.param("before", 2, marks=pytest.mark.chaos),
        pytest.param("after", 1, marks=pytest.mark.chaos),
    ],
)
async def test_a_kill_at_any_commit_loses_nothing_and_repeats_nothing(tmp_path, when, first):
    """Every second commit has its turn, beginning with the `first`: the test ends when a server comes through without
    reaching the next one. Just before commit 3 and just after commit 2, the journal is the same.
    """
    seconds: list[float] = []
    numbers = range(first, 2 * AT_ONCE + first, 2)
    while True:
        runs = await asyncio.gather(*(survive(tmp_path / str(each), *LAUNCHER, f"{when}:{each}") for each in numbers))
        for story, _ in runs:
            check(story)
            seconds += story.restarts
        killed = [number for number, (_, keeper) in zip(numbers, runs, strict=True) if keeper.deaths]
        if len(killed) < AT_ONCE:
            break
        numbers = range(numbers.stop, numbers.stop + 2 * AT_ONCE, 2)
    assert max(killed, default=0) > 10, "a run of twelve steps has more commits than that"
    print(f"killed {when} commits up to {max(killed)}; from the restart to the first step: "
          f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")  # fmt: skip


@pytest.mark.chaos
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(200))
async def test_kills_at_random_moments(tmp_path, seed):
    chance = random.Random(seed)  # noqa: S311

    async def kill(story: Story, keeper: Keeper) -> None:
        while not story.sequences:
            await asyncio.sleep(0.001)
        for _ in range(chance.randint(1, 3)):
            await asyncio.sleep(chance.uniform(0, 0.12))
            if keeper.server is not None:
                keeper.server.process.kill()

    story, keeper = await survive(tmp_path, disturb=kill)
    check(story)
    if story.restarts:
        print(f"{keeper.deaths} kills; from a restart to the first step: {max(story.restarts):.2f} s")
