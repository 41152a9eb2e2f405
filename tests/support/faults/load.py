"""The callers of a soak: good ones and those that leave, stall, fail, run workflows and host handlers, until it is over."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from headwater import Agent, Connection, HeadwaterError
from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.workflow import WorkflowAgent
from tests.support.faults.plan import chance_of
from tests.support.faults.reading import read_with_client
from tests.support.faults.truth import result_of, truth_of

SEED = 20261130
QUEUE = "soak"
_PAUSE_SECONDS = 0.1
_STALL_SECONDS = 3.0
_WORKER_SECONDS = 5.0
_BIG = {"scripted": {"text": "x" * 20_000, "repeat": 50}}
_LONG = {"scripted": {"text": "word " * 100, "delay_ms": 20}}
_FAILING = {"scripted": {"text": "word " * 20, "delay_ms": 1, "fail_after": 5}}

Caller = Callable[[Connection, random.Random], Awaitable[None]]


class Load:
    """Steady work for a server, from `run` to its end.

    Args:
        target: the server, which has the providers `steady`, `shaky` and `scripted`.

    Attributes:
        done: how often each caller has done its work.
        faults: all that went wrong, in words.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._numbers = iter(range(10**9))

    async def run(self, over: asyncio.Event) -> None:
        """Lets all callers work until it is over; the worker stays for the last run."""
        callers: list[Caller] = [*[self.read] * 3, self.leave, self.leave, self.stall, self.fail, self.run_workflow]
        no_run = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._repeat(caller, i, over)) for i, caller in enumerate(callers)]
            group.create_task(self._repeat(self.work, len(callers), no_run))
            await asyncio.wait(tasks)
            no_run.set()

    async def _repeat(self, caller: Caller, index: int, over: asyncio.Event) -> None:
        chance = chance_of(SEED, index)
        while not over.is_set():
            async with Connection(self.target) as connection:
                for _ in range(20):  # then by another connection
                    if over.is_set():
                        break
                    await caller(connection, chance)
                    self.done[caller.__name__] += 1
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def read(self, connection: Connection, chance: random.Random) -> None:
        """Reads a stream to its end."""
        truth = truth_of(SEED, next(self._numbers))
        provider = chance.choice(("steady", "steady", "shaky"))
        got = await read_with_client(connection, provider, truth)
        self.faults += got.faults(truth, may_fail=provider == "shaky")

    async def leave(self, connection: Connection, chance: random.Random) -> None:
        """Leaves a stream in its middle."""
        agent = Agent(model="scripted/echo", connection=connection, history=0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.random()):
                async for _ in agent.stream("x", provider_options=_LONG):
                    if chance.random() < 0.05:
                        break

    async def stall(self, _: Connection, chance: random.Random) -> None:
        """Reads one chunk of a large reply, then nothing for seconds, and leaves without a word."""
        request = agent_service_pb2.StreamRequest(prompt="x", resumable=chance.random() < 0.5)
        request.agent.model = "scripted/echo"
        request.agent.provider_options["scripted"].update(_BIG["scripted"])
        async with grpc.aio.insecure_channel(self.target, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            call = AgentServiceStub(channel).Stream(request)
            await call.read()
            await asyncio.sleep(_STALL_SECONDS)

    async def fail(self, connection: Connection, _: random.Random) -> None:
        """Reads a stream that its provider breaks off."""
        agent = Agent(model="scripted/echo", connection=connection, history=0)
        try:
            await agent.arun("x", provider_options=_FAILING)
        except HeadwaterError as error:
            if error.reason == "STREAM_INTERRUPTED":
                return
            self.faults.append(f"{error.reason}: {error}")
        else:
            self.faults.append("a reply that breaks off was whole")

    async def run_workflow(self, connection: Connection, _: random.Random) -> None:
        """Runs a workflow with a step of a worker."""
        agent = WorkflowAgent(connection=connection, model="scripted/echo")
        workflow = agent.create_workflow("soak")
        workflow.add_step("draft", action="one two three")
        workflow.add_step("turn", handler="turn", queue=QUEUE, depends_on=["draft"])
        result = await agent.execute_workflow(workflow, timeout=60)
        if result.context.get("turn_result") != result_of("one two three"):
            self.faults.append(f"a run ended so: {result}")

    async def work(self, connection: Connection, _: random.Random) -> None:
        """Hosts a handler for a while."""

        async def turn(agent: Any, step: Any, context: dict[str, Any]) -> str:
            return result_of(str(context["draft_result"]))

        agent, stop = WorkflowAgent(connection=connection), asyncio.Event()
        agent.register_handler("turn", turn)
        asyncio.get_running_loop().call_later(_WORKER_SECONDS, stop.set)
        await agent.run_worker(QUEUE, stop=stop)
