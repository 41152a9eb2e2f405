"""A journal in memory, for tests of the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from headwater_server.domain.workflow import EventType, RunEvent, RunState, RunStatus, StepState, Transition, Workflow


class CrashError(Exception):
    """The process has died."""


class FakeRecorder:
    """Keeps a run. `crash_after`: the call of `record` after which the process dies, from 1; 0 for never."""

    def __init__(self, workflow: Workflow, context: dict[str, str] | None = None) -> None:
        self.state = RunState({step.name: StepState(step.name) for step in workflow.steps}, dict(context or {}))
        self.calls: list[list[RunEvent]] = []
        self.crash_after = 0
        self._recording = False

    def load(self) -> RunState:
        """A state as a new process finds it."""
        steps = {name: replace(step) for name, step in self.state.steps.items()}
        return RunState(steps, dict(self.state.context), self.state.status, self.state.failure, self.state.failed_steps)

    async def record(self, transitions: Sequence[Transition]) -> None:
        assert not self._recording, "two calls at one moment"
        assert transitions, "an empty call"
        self._recording = True
        await asyncio.sleep(0.001)
        self._recording = False
        for transition in transitions:
            for step in (*transition.also, *([transition.step] if transition.step else [])):
                self.state.steps[step.name] = replace(step)
            for key in transition.deleted:
                self.state.context.pop(key, None)
            self.state.context.update(transition.context)
            if transition.event.type is EventType.RUN_RESUMED:
                self.state.status, self.state.failure, self.state.failed_steps = RunStatus.RUNNING, None, ()
            elif transition.event.run_status is not None:
                self.state.status = transition.event.run_status
                self.state.failure = transition.event.failure
                self.state.failed_steps = transition.event.failed_steps
        self.calls.append([transition.event for transition in transitions])
        if len(self.calls) == self.crash_after:
            raise CrashError

    def events(self) -> list[str]:
        """The events, as `type step`, a line for each call."""
        return [", ".join(f"{event.type.value} {event.step}".strip() for event in call) for call in self.calls]
