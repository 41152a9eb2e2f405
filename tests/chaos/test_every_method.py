"""Right and wrong requests for every method of every service, made from the descriptors.

Each ends with an answer or a typed error, whatever is in it. No call ends with INTERNAL or UNKNOWN, the server logs no
fault, and its memory stays flat. `-rP` shows the counts.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import grpc
import pytest

from tests.support.methods.attacked import attacked, family_memory, forget_runs, is_flat
from tests.support.methods.calls import OPTIONS, Method, call, is_fault, methods_of
from tests.support.methods.maker import RequestMaker
from tests.support.servers.server import ReplayThread, ServerProcess

SEED = 20261129
AT_ONCE = 24
FEW, MANY, ROUNDS = 12, 1_000, 5


class Attack:
    """Requests for the methods of one server.

    Attributes:
        endings: how many calls of each method ended with which code and reason.
        faults: the calls that ended as none may, with their requests.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.endings: dict[str, Counter[str]] = {}
        self.faults: list[str] = []
        self._target = server.target
        self._methods = methods_of(server.target)
        self._chance = random.Random(SEED)  # noqa: S311  repeatable, not secret
        self._maker = RequestMaker(self._chance)

    async def make_calls(self, count: int) -> None:
        """Makes so many calls of each method, on several connections at once: so each process has some of them."""
        left = iter([method for _ in range(count) for method in self._methods])

        async def work() -> None:
            async with grpc.aio.insecure_channel(self._target, options=OPTIONS) as channel:
                for method in left:
                    await self._call(channel, method)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _call(self, channel: grpc.aio.Channel, method: Method) -> None:
        count = self._chance.randint(0, 6) if method.takes_many else 1
        requests = [self._maker.make(method.request) for _ in range(count)]
        raw = [request.SerializeToString() for request in requests]
        ending, answers = await call(channel, method, raw, self._chance.choice((1, 2, 20)))
        for answer in answers:
            self._maker.learn(answer)
        self.endings.setdefault(method.path, Counter())[f"{ending.code.name} {ending.reason}".strip()] += 1
        if is_fault(method, ending):
            self.faults.append(f"{method.path}: {ending}\n" + "\n".join(str(each)[:3_000] for each in requests))

    def report(self) -> None:
        """Prints the counts, and fails for a fault."""
        for path, endings in self.endings.items():
            print(f"{endings.total():>6} {path}: " + ", ".join(f"{n} {how}" for how, n in endings.most_common()))
        assert not self.faults, f"{len(self.faults)} faults, the first ones:\n" + "\n".join(self.faults[:5])


async def test_every_request_ends_with_an_answer_or_a_typed_error(replay: ReplayThread, processes: int) -> None:
    with attacked(replay.url, processes) as server:
        attack = Attack(server)
        await attack.make_calls(FEW)
        attack.report()
    right = sum(endings["OK"] for endings in attack.endings.values())
    assert right > FEW * len(attack.endings) / 4


@pytest.mark.chaos
@pytest.mark.timeout(3_600)
async def test_5000_requests_for_each_method_leave_the_memory_flat(replay: ReplayThread, processes: int) -> None:
    sizes = []
    with attacked(replay.url, processes) as server:
        attack = Attack(server)
        for _ in range(ROUNDS):
            await attack.make_calls(MANY)
            await forget_runs(server)
            sizes.append(family_memory(server))
        print(f"seed {SEED}; after each {MANY:,} calls of every method: {sizes} MB")
        attack.report()
    assert [path for path, endings in attack.endings.items() if not endings["OK"]] == [], "no request was right"
    assert is_flat(sizes)
