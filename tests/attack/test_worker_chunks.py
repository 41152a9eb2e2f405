"""A line that breaks again and again between a worker and its server: watchers of the run miss nothing of its output."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater._worker.outbox import CHUNK_ACKS, Outbox
from headwater._worker.output import Output
from headwater.v1.worker_service_pb2 import AttachRequest, TaskChunkAck, TaskProgress, TaskResult, TaskWaiting
from headwater.workflow import WorkflowAgent, WorkflowRunHandle
from headwater_server.domain.workflow import Outcome, Step
from headwater_server.transport.services.chunk_acks import ACK_CHARACTERS, ACK_CHUNKS, ChunkAcks
from headwater_server.workflows.workers.pool import WorkerPool
from headwater_server.workflows.workers.session import WorkerSession
from headwater_server.workflows.workers.tasks import Reports, TaskSpec
from tests.support.servers.gate import Gate
from tests.support.servers.server import ServerProcess

CUTS = 5


class Line:
    """One task of a worker, its server, and the line between them, on which the test decides what arrives.

    Attributes:
        said: the text of the handler.
        heard: the part of it that the run got.
    """

    def __init__(self) -> None:
        self.pool = WorkerPool(60.0)
        self.said, self.heard = "", ""
        self.outbox = Outbox()
        self.up: deque[AttachRequest] = deque()
        self.down: deque[TaskChunkAck] = deque()
        self.task_id = TaskSpec("run", "workflow", Step("step", handler="h"), 1).task_id
        self.output = Output(self.task_id, self.outbox, lambda: True)
        self.session: WorkerSession

    async def __aenter__(self) -> Line:
        self.begin()
        self.running = asyncio.create_task(self._run())
        while self.task_id not in self.pool._workers["w"].tasks:
            await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.session.result(self.task_id, Outcome("1"))
        await self.running
        self.pool.close()

    async def _run(self) -> None:
        async def nothing(*_: object) -> None: ...

        await self.pool.run_task(
            TaskSpec("run", "workflow", Step("step", handler="h"), 1),
            "q",
            schedule_timeout_seconds=30,
            timeout_seconds=None,
            on_waiting=nothing,
            on_started=nothing,
            reports=Reports(self._chunk, nothing, lambda _: None),
        )

    async def _chunk(self, content: str, thinking: str) -> None:
        self.heard += content + thinking

    def begin(self) -> None:
        """The line is cut: all that is on its way is lost. Then the worker connects again."""
        self.up.clear()
        self.down.clear()
        held = [self.task_id] if self.said else []
        self.session = self.pool.connect("w", "q", ["h"], 1, held, lambda _: None)
        self.acks = ChunkAcks(self._acknowledge)
        self.outbox.restart([], [self.task_id], [CHUNK_ACKS])

    async def _acknowledge(self, ack: TaskChunkAck) -> None:
        self.down.append(ack)

    async def say(self, content: str, thinking: str = "") -> None:
        self.said += content + thinking
        await self.output.emit(content, thinking)

    async def carry(self, count: int) -> None:
        """The worker writes so many messages, and the server reads as many."""
        self.up += [self.outbox.take() for _ in range(min(count, len(self.outbox)))]
        for _ in range(min(count, len(self.up))):
            chunk = self.up.popleft().chunk
            if await self.session.chunk(chunk.task_id, chunk.content, chunk.thinking, chunk.position):
                await self.acks.arrived(chunk)

    def write(self, count: int) -> None:
        """The worker writes so many messages, which the server has not read yet."""
        self.up += [self.outbox.take() for _ in range(min(count, len(self.outbox)))]

    def answer(self) -> None:
        """The worker reads the acknowledgements."""
        while self.down:
            ack = self.down.popleft()
            self.outbox.acknowledged(ack.task_id, ack.position)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
moves = st.one_of(
    st.tuples(st.just("say"), st.one_of(texts, st.just("long" * 2_000))),
    st.tuples(st.just("think"), texts),
    st.tuples(st.just("carry"), st.integers(0, 200)),
    st.tuples(st.just("write"), st.integers(0, 20)),
    st.tuples(st.just("answer"), st.none()),
    st.tuples(st.just("cut"), st.none()),
)


@given(st.lists(moves, max_size=40))
def test_whatever_is_lost_on_the_way_the_run_gets_each_character_once(moves: list[tuple[str, Any]]) -> None:
    async def play() -> None:
        async with Line() as line:
            for kind, value in moves:
                match kind:
                    case "say":
                        await line.say(value)
                    case "think":
                        await line.say("", value)
                    case "carry":
                        await line.carry(value)
                    case "write":
                        line.write(value)
                    case "answer":
                        line.answer()
                    case "cut":
                        line.begin()
                assert line.said.startswith(line.heard)
            line.begin()
            await line.carry(10_000)
            assert line.heard == line.said
            line.outbox.forget(line.task_id)
            assert line.outbox._size == 0

    asyncio.run(play())


async def test_a_handler_waits_while_much_is_not_acknowledged_and_never_for_ever() -> None:
    async with Line() as line:

        async def handler() -> None:
            for _ in range(3_000):
                await line.say("0123456789")
            for _ in range(30):
                await line.say("x" * 16 * 1024)

        speaking = asyncio.create_task(handler())
        while not speaking.done():
            await asyncio.sleep(0)
            assert line.outbox._size < 300_000
            await line.carry(1_000)
            line.answer()
        assert line.heard == line.said


async def test_the_server_acknowledges_before_a_worker_may_stop_to_wait_for_it() -> None:
    async with Line() as line:
        for _ in range(ACK_CHUNKS):
            await line.say("x")
        await line.carry(ACK_CHUNKS - 1)
        assert not line.down
        await line.carry(1)
        assert [(ack.task_id, ack.position) for ack in line.down] == [(line.task_id, ACK_CHUNKS)]
        line.answer()
        assert line.outbox._size == 0
        await line.say("y" * ACK_CHARACTERS)
        await line.carry(10)
        assert line.down[-1].position == ACK_CHUNKS + ACK_CHARACTERS


def test_a_server_that_acknowledges_nothing_costs_the_worker_no_memory() -> None:
    async def play() -> None:
        outbox = Outbox()
        outbox.restart([], ["t"], [])
        output = Output("t", outbox, lambda: True)
        for _ in range(100):
            await output.emit("x", "")
            outbox.take()
        assert outbox._size == 0
        await output.emit("waits", "")
        outbox.restart([TaskResult(task_id="t")], ["t"], [])
        assert [message.WhichOneof("kind") for message in (outbox.take(), outbox.take())] == ["chunk", "result"]

    asyncio.run(play())


def test_the_last_progress_and_wait_of_a_task_are_said_again_until_it_has_ended() -> None:
    async def play() -> None:
        outbox = Outbox()
        for step in ("1", "2"):
            outbox.put(AttachRequest(progress=TaskProgress(task_id="t", progress_json=step)))
        outbox.put(AttachRequest(waiting=TaskWaiting(task_id="t", run_id="child")))
        outbox.put(AttachRequest(waiting=TaskWaiting(task_id="ended", run_id="other")))
        while outbox:
            outbox.take()
        outbox.forget("ended")
        outbox.restart([], ["t", "ended"], ["progress", "waiting"])
        said = [outbox.take() for _ in range(len(outbox))]
        assert said == [
            AttachRequest(progress=TaskProgress(task_id="t", progress_json="2")),
            AttachRequest(waiting=TaskWaiting(task_id="t", run_id="child")),
        ]
        outbox.restart([], ["t"], [])  # a server that does not know these messages
        assert not outbox

    asyncio.run(play())


@pytest.fixture(scope="module", params=[1, 2], ids=["one-process", "two-processes"])
def target(request: pytest.FixtureRequest) -> Any:
    with ServerProcess("--scripted", processes=request.param) as server:
        yield server.target


async def test_watchers_see_all_output_of_a_worker_whose_line_breaks_again_and_again(target: str) -> None:
    async with Gate(int(target.rpartition(":")[2])) as gate:
        worker = WorkflowAgent(target=gate.target)

        async def speak(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
            for cut in range(CUTS):
                yield f"before{cut} "
                gate.lose()
                for piece in range(3):
                    yield f"lost{cut}.{piece} "
                await gate.lost()
                gate.cut()
                yield f"away{cut} "
                gate.mend()
                yield f"again{cut} "

        async with hosting(worker, speak=speak):
            run = await started(WorkflowAgent(target=target), "speak")
            seen, omitted = "", 0
            async for event in run.events():
                seen += event.content or ""
                omitted += event.omitted_characters
            result = (await run.result()).get_step_result("speak").result
    assert (seen, omitted) == (result, 0)


async def test_a_step_whose_wait_for_a_run_on_its_queue_is_lost_on_the_way_gives_its_place_back(target: str) -> None:
    async with Gate(int(target.rpartition(":")[2])) as gate:
        caller, worker = WorkflowAgent(target=target), WorkflowAgent(target=gate.target)

        async def parent(agent: Any, step: Any, context: Any) -> str:
            run = await started(caller, "child")
            gate.lose()
            waiting = asyncio.create_task(run.result())
            await gate.lost()
            gate.cut()
            gate.mend()
            return (await waiting).status.value

        async with hosting(worker, parent=parent, child=lambda agent, step, context: "done"):
            result = await (await started(caller, "parent")).result()
    assert result.get_step_result("parent").result == "completed"


async def started(caller: WorkflowAgent, step: str) -> WorkflowRunHandle:
    """A run of one step, for a worker."""
    workflow = caller.create_workflow("w")
    workflow.add_step(step, handler=step, queue="q", max_retries=0)
    return await caller.start_workflow(workflow)


@asynccontextmanager
async def hosting(worker: WorkflowAgent, **handlers: Any) -> AsyncIterator[None]:
    """A worker with these handlers, which does one step at a time."""
    for name, handler in handlers.items():
        worker.register_handler(name, handler)
    serving = asyncio.create_task(worker.run_worker(queue="q", concurrency=1))
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
