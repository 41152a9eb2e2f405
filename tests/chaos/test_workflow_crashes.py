"""A server that is killed in the middle of a run, at every commit and at random moments: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import random
import statistics

import pytest

from tests.support.runs.crashing_workflow import Keeper, Story, check, survive

LAUNCHER = ("-m", "tests.support.servers.crashing_server")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_at_any_commit_loses_nothing_and_repeats_nothing(tmp_path, when, part):
    """Every commit has its turn: the tests end when a server comes through without reaching the next one."""
    seconds: list[float] = []
    number = part + 1
    while True:
        story, keeper = await survive(tmp_path / str(number), *LAUNCHER, f"{when}:{number}")
        check(story)
        seconds += story.restarts
        if not keeper.deaths:
            break
        number += 2
    assert number > 12, "a run of twelve steps has more commits than that"
    print(f"killed {when} commits up to {number - 2}; from the restart to the first step: "
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
