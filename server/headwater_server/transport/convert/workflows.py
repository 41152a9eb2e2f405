"""Between the contract's definitions of workflows and the domain's."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from headwater.v1 import agent_pb2, workflow_pb2
from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import RetryPolicy, RunIf, Step, Workflow
from headwater_server.transport.convert.action_replies import parse_finish_reasons
from headwater_server.transport.convert.agents import agent_message, parse_agent
from headwater_server.transport.convert.durations import duration, parse_duration
from headwater_server.transport.convert.replies import FINISH_REASONS
from headwater_server.workflows.engine.run_calls import invalid_workflow

MAX_WORKFLOW_BYTES = 512 * 1024
DEFAULT_SCHEDULE_TIMEOUT_SECONDS = 3600.0

_NOT_FOR_AN_AGENT = ("tools", "tool_choice", "parallel_tool_calls")
_DEFAULT_POLICY = RetryPolicy()
_RUN_IFS: dict[RunIf, workflow_pb2.RunIf] = {
    rule: workflow_pb2.RunIf.Value(f"RUN_IF_{rule.name}")  # type: ignore[misc]
    for rule in RunIf
}
_RUN_IFS_BACK = {int(number): rule for rule, number in _RUN_IFS.items()}


def parse_workflow(message: workflow_pb2.Workflow) -> tuple[Workflow, list[FieldViolation]]:
    """The definition, and the mistakes that only its message shows: of its agent, and of durations.

    Raises HeadwaterError (WORKFLOW_INVALID) for one that is too large to look at.
    """
    if message.ByteSize() > MAX_WORKFLOW_BYTES:
        raise invalid_workflow([FieldViolation("workflow", f"is larger than {MAX_WORKFLOW_BYTES} bytes")])
    bad: list[FieldViolation] = []
    agent = _agent(message.agent, "workflow.agent", bad)
    durations = _Durations(bad)
    schedule_timeout = durations.parse(message, "schedule_timeout", "workflow")
    steps = tuple(_step(entry, f"workflow.steps[{i}]", durations, bad) for i, entry in enumerate(message.steps))
    workflow = Workflow(
        name=message.name,
        steps=steps,
        description=message.description,
        agent=agent,
        id=message.id,
        schedule_timeout_seconds=DEFAULT_SCHEDULE_TIMEOUT_SECONDS if schedule_timeout is None else schedule_timeout,
    )
    return workflow, bad


def _agent(message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> AgentConfig:
    given = {field.name for field, _ in message.ListFields()}
    refused = [name for name in _NOT_FOR_AN_AGENT if name in given]
    if not refused:
        return parse_agent(message, path, bad)
    bad += [FieldViolation(f"{path}.{name}", "must be empty: the server cannot call a tool") for name in refused]
    return AgentConfig()


class _Durations:
    """Reads durations, and notes those that are none."""

    def __init__(self, bad: list[FieldViolation]) -> None:
        self._bad = bad

    def parse(
        self, message: workflow_pb2.Workflow | workflow_pb2.Step | workflow_pb2.RetryPolicy, name: str, path: str
    ) -> float | None:
        """Seconds; None when the field is absent, or no duration."""
        if not message.HasField(name):
            return None
        value: Duration = getattr(message, name)
        try:
            return parse_duration(value)
        except ValueError as error:
            self._bad.append(FieldViolation(f"{path}.{name}", str(error)))
            return None


def _step(message: workflow_pb2.Step, path: str, durations: _Durations, bad: list[FieldViolation]) -> Step:
    return Step(
        name=message.name,
        action=message.action,
        handler=message.handler,
        depends_on=tuple(message.depends_on),
        condition=message.condition,
        timeout_seconds=durations.parse(message, "timeout", path),
        retry_policy=_retry_policy(message.retry_policy, f"{path}.retry_policy", durations),
        exclusive=message.exclusive,
        description=message.description,
        metadata=message.metadata_json,
        queue=message.queue,
        run_if=_run_if(message, path, bad),
        agent=_agent(message.agent, f"{path}.agent", bad) if message.HasField("agent") else None,
        accept_finish_reasons=parse_finish_reasons(message.accept_finish_reasons, f"{path}.accept_finish_reasons", bad),
    )


def _run_if(message: workflow_pb2.Step, path: str, bad: list[FieldViolation]) -> RunIf | None:
    if message.run_if and message.run_if not in _RUN_IFS_BACK:
        bad.append(FieldViolation(f"{path}.run_if", "is not a value of RunIf"))
    return _RUN_IFS_BACK.get(message.run_if)


def _retry_policy(message: workflow_pb2.RetryPolicy, path: str, durations: _Durations) -> RetryPolicy:
    initial = durations.parse(message, "initial_delay", path)
    longest = durations.parse(message, "max_delay", path)
    if initial is None:
        initial = _DEFAULT_POLICY.initial_delay_seconds
    if longest is None:
        longest = max(_DEFAULT_POLICY.max_delay_seconds, initial)
    return RetryPolicy(
        initial_delay_seconds=initial,
        backoff=message.backoff if message.HasField("backoff") else _DEFAULT_POLICY.backoff,
        max_delay_seconds=longest,
        max_attempts=message.max_attempts if message.HasField("max_attempts") else _DEFAULT_POLICY.max_attempts,
    )


def workflow(definition: Workflow) -> workflow_pb2.Workflow:
    """A definition as a message, with its defaults filled in."""
    return workflow_pb2.Workflow(
        name=definition.name,
        description=definition.description,
        steps=map(step, definition.steps),
        agent=agent_message(definition.agent),
        id=definition.id,
        schedule_timeout=duration(definition.schedule_timeout_seconds),
    )


def step(definition: Step) -> workflow_pb2.Step:
    """A step of a definition as a message, with its defaults filled in."""
    timeout, policy = definition.timeout_seconds, definition.retry_policy
    return workflow_pb2.Step(
        name=definition.name,
        action=definition.action,
        handler=definition.handler,
        depends_on=definition.depends_on,
        condition=definition.condition,
        timeout=None if timeout is None else duration(timeout),
        retry_policy=workflow_pb2.RetryPolicy(
            initial_delay=duration(policy.initial_delay_seconds),
            backoff=policy.backoff,
            max_delay=duration(policy.max_delay_seconds),
            max_attempts=policy.max_attempts,
        ),
        exclusive=definition.exclusive,
        description=definition.description,
        metadata_json=definition.metadata,
        queue=definition.queue,
        run_if=_RUN_IFS[definition.run_if] if definition.run_if else None,
        agent=None if definition.agent is None else agent_message(definition.agent),
        accept_finish_reasons=[FINISH_REASONS[reason] for reason in definition.accept_finish_reasons],
    )
