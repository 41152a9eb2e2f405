"""A run of twelve steps, and a server that is killed under it, as often as a test likes.

At any moment of the kills, this must hold: the run completes, every result is there, and no step whose completion a
watcher has seen is ever run again. Handlers and watcher write down their events in the order in which they happen.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.agents.workflow import Workflow, WorkflowAgent
from tests.support.servers.server import ServerProcess

STEPS = ("first", "ask", "left", "middle", "right", "join", "good", "bad", "never", "stream", "ask again", "last")


@dataclass
class Story:
    """The events: ("ran", step, attempt) by a handler, ("saw", type, step) by the watcher, in this order."""

    lines: list[tuple[Any, ...]] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)  # seconds from a start of the server to the next step's start
    context: dict[str, Any] = field(default_factory=dict)
    status: str = ""


def twelve_steps(agent: WorkflowAgent, story: Story) -> Workflow:
    """A workflow with handlers of every kind, prompts, branches and conditions."""

    def plain(_: Any, step: Any, context: dict[str, Any]) -> Any:
        story.lines.append(("ran", step.name, step.attempt))
        context[f"by_{step.name}"] = step.attempt > 0
        return {"step": step.name, "float": 3.0, "int": 3}

    async def waiting(_: Any, step: Any, context: dict[str, Any]) -> str:
        story.lines.append(("ran", step.name, step.attempt))
        await asyncio.sleep(0.01)
        return f"{step.name} is done"

    async def streaming(_: Any, step: Any, context: dict[str, Any]) -> AsyncIterator[str]:
        story.lines.append(("ran", step.name, step.attempt))
        for word in ("one ", "two ", "three"):
            yield word
            await asyncio.sleep(0.005)

    agent.register_handler("plain", plain)
    agent.register_handler("waiting", waiting)
    agent.register_handler("streaming", streaming)
    workflow = agent.create_workflow("twelve")
    workflow.add_step("first", handler="plain")
    workflow.add_step("ask", action="Say this.", depends_on=["first"])
    workflow.add_step("left", handler="waiting", depends_on=["ask"])
    workflow.add_step("middle", handler="plain", depends_on=["ask"])
    workflow.add_step("right", action="right", depends_on=["ask"])
    workflow.add_step("join", handler="waiting", depends_on=["left", "middle", "right"])
    workflow.add_step("good", handler="plain", depends_on=["join"], condition="context.score > 0.5")
    workflow.add_step("bad", handler="plain", depends_on=["join"], condition="context.score <= 0.5")
    workflow.add_step("never", handler="plain", depends_on=["bad"])
    workflow.add_step("stream", handler="streaming", depends_on=["good"])
    workflow.add_step("ask again", action="Again.", depends_on=["stream"])
    workflow.add_step("last", handler="waiting", depends_on=["ask again"])
    return workflow


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Keeper:
    """Starts a server on one port and one folder, and starts it again whenever it dies."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.server: ServerProcess | None = None
        self.started = 0.0
        self.deaths = 0
        self.over = False
        self._args = ("--scripted", "--port", str(self.port), "--data-dir", str(folder))

    async def start(self, *program: str) -> None:
        """Starts the server; one that dies on its way is started again, as itself."""
        options = {"program": program} if program else {}
        server = ServerProcess(*self._args, variables={"HEADWATER_WORKER_TIMEOUT_SECONDS": "2"}, **options)
        self.started = time.monotonic()
        try:
            await asyncio.to_thread(server.__enter__)
        except RuntimeError:
            if not program:
                raise
            self.deaths += 1
            await self.start()
        else:
            self.server = server

    async def keep(self) -> None:
        """Until it is over. Not to be cancelled: a server that is just starting would be lost."""
        while not self.over:
            if self.server is not None and self.server.process.poll() is not None:
                self.deaths += 1
                await asyncio.to_thread(self.server.stop)
                self.server = None
                await self.start()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Ends the server, which must end well."""
        if self.server is not None:
            assert await asyncio.to_thread(self.server.stop) in (0, -9), self.server.log


async def tell(story: Story, keeper: Keeper) -> None:
    """Runs the workflow and watches it to its end, whatever happens to the server."""
    agent = WorkflowAgent(model="scripted/echo", target=f"127.0.0.1:{keeper.port}")
    workflow = twelve_steps(agent, story)
    timed = 0.0
    stream = agent.stream_workflow(workflow, context={"score": 0.7})
    async for event in stream:
        story.sequences.append(event.sequence)
        if event.content:
            continue
        story.lines.append(("saw", str(event.type), event.step))
        if keeper.deaths and event.type == "step_started" and timed != keeper.started:
            timed = keeper.started
            story.restarts.append(time.monotonic() - timed)
    assert stream.result is not None
    story.status, story.context = str(stream.result.status), stream.result.context


async def survive(folder: Path, *program: str, disturb: Any = None) -> tuple[Story, Keeper]:
    """One run under a server that begins as `program`; `disturb(story, keeper)` may do worse to it."""
    story, keeper = Story(), Keeper(folder)
    await keeper.start(*program)
    keeping = asyncio.create_task(keeper.keep())
    disturbing = asyncio.create_task(disturb(story, keeper) if disturb is not None else asyncio.sleep(0))
    try:
        await asyncio.wait_for(tell(story, keeper), 55)
    finally:
        disturbing.cancel()
        keeper.over = True
        await asyncio.wait([keeping, disturbing])
        await keeper.stop()
    return story, keeper


def check(story: Story) -> None:
    """That everything that must hold does."""
    assert story.status == "completed", story.lines
    assert story.sequences == sorted(set(story.sequences)), "numbers must rise"
    completed: set[str] = set()
    for what, first, second in story.lines:
        if what == "ran":
            assert first not in completed, f"{first} ran again after it had completed: {story.lines}"
        elif first == "step_completed":
            assert second not in completed, f"{second} completed twice: {story.lines}"
            completed.add(second)
    assert completed == set(STEPS) - {"bad", "never"}
    plain = {name: {"step": name, "float": 3.0, "int": 3} for name in ("first", "middle", "good")}
    results = {name: story.context.get(f"{name}_result") for name in STEPS}
    assert {name: results[name] for name in plain} == plain
    assert isinstance(results["first"]["float"], float)
    assert results["stream"] == "one two three"
    assert results["last"] == "last is done"
    assert results["ask"] == f"Say this.\n\n{json.dumps({'first': plain['first']})}"
    assert all(story.context[f"by_{name}"] for name in plain)
    assert results["bad"] is results["never"] is None
