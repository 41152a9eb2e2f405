"""From a workflow and its agent to the request that starts a run. No I/O."""

from __future__ import annotations

import hashlib
import inspect
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from headwater._call.request import build_agent
from headwater._values.validation import flag, invalid, text
from headwater._workflow.context import context_text
from headwater._workflow.definition import Step, Violation, Workflow, step_message, to_message
from headwater.agent import Agent
from headwater.exceptions import WorkflowValidationError
from headwater.v1 import agent_pb2, workflow_pb2, workflow_service_pb2

ACTION_HANDLER = "headwater.action"
"""Name under which an agent that has tools serves its own action steps."""


MAX_REQUEST_ID = 256


@dataclass(frozen=True)
class AgentSettings:
    """The settings of an agent that go into a run.

    Attributes:
        timeout: seconds that one attempt of an action step may take where the step does not say.
        has_tools: its action steps need its tools, so its own worker runs them.
        secret: name of a setting that must not be stored with a run; empty for none.
    """

    message: agent_pb2.AgentConfig
    timeout: float | None
    has_tools: bool
    secret: str


def check_handler(name: Any, handler: Any) -> None:
    """Raises ValidationError for a bad name, and for an object that cannot be a handler."""
    if not 1 <= len(text("name", name)) <= 256 or name == ACTION_HANDLER:
        raise invalid("name", f"must be 1 to 256 characters, and not {ACTION_HANDLER}")
    if not callable(handler):
        raise invalid("handler", f"must be a function of (agent, step, context), not {type(handler).__name__}")
    try:
        inspect.signature(handler).bind(None, None, None)
    except TypeError as error:
        raise invalid("handler", f"must take three arguments (agent, step, context): {error}") from None
    except ValueError:
        pass  # written in C, and says nothing about its arguments


def settings_of(agent: Agent) -> AgentSettings:
    """The settings of an agent."""
    return AgentSettings(
        build_agent(
            instructions=agent.instructions,
            model=agent.model,
            provider=agent.provider,
            sampling_values={"temperature": agent.temperature, "max_tokens": agent.max_tokens},
            reasoning_effort=agent.reasoning_effort,
            labels=agent.labels,
            user=agent.user,
            instructions_cache=agent.instructions_cache,
            fallback_models=agent.fallback_models,
            max_attempts=agent.max_attempts,
        ),
        agent.timeout,
        bool(agent.tools),
        next((name for name in ("api_key", "provider_headers") if getattr(agent, name)), ""),
    )


def check_workflow(workflow: Any) -> None:
    """Refuse, with ValidationError, what is no workflow."""
    if not isinstance(workflow, Workflow):
        raise invalid("workflow", f"must be a Workflow, not {type(workflow).__name__}; see agent.create_workflow")


def workflow_message(workflow: Any, agent: AgentSettings, parallel: bool) -> workflow_pb2.Workflow:
    """The definition with its agent; unless `parallel`, each step runs alone."""
    check_workflow(workflow)
    together = flag("parallel", parallel)
    actions = [step.name for step in workflow.steps if _is_action(step)]
    if actions and agent.secret:
        raise invalid(
            agent.secret,
            f"cannot be used by a workflow with action steps (`{actions[0]}`): a run stores its agent's settings. "
            "Configure it in the server, or ask the model in a handler, with agent.arun",
        )
    message = to_message(workflow, partial(_to_step, agent=agent))
    message.agent.CopyFrom(agent.message)
    for step in message.steps:
        step.exclusive |= not together
    return message


def start_request(
    message: workflow_pb2.Workflow, context: Any, request_id: str | None
) -> workflow_service_pb2.StartWorkflowRunRequest:
    """The request that starts a run. It has an id, so that it can be sent again: the caller's, or else a new one.

    With the caller's it has a queue too, the same in each process: whichever sends the request hosts the handlers.
    """
    if request_id is not None and not 1 <= len(text("request_id", request_id)) <= MAX_REQUEST_ID:
        raise invalid("request_id", f"must be 1 to {MAX_REQUEST_ID} characters")
    return workflow_service_pb2.StartWorkflowRunRequest(
        workflow=message,
        context_json=context_text(context),
        request_id=request_id or uuid.uuid4().hex,
        queue=f"agent-{hashlib.sha256(request_id.encode()).hexdigest()[:32]}" if request_id else "",
    )


def merged_violations(
    workflow: workflow_pb2.Workflow, local: list[Violation], remote: list[Violation]
) -> list[Violation]:
    """The mistakes that were found here, and those that only the server finds.

    The server does not know the handlers of this process before a worker has registered them.
    """
    known = {path for path, _ in local}
    own = {f"workflow.steps[{index}].handler" for index, step in enumerate(workflow.steps) if not step.queue}
    return local + [(path, what) for path, what in remote if path not in known | own]


def refuse(found: list[Violation]) -> WorkflowValidationError:
    """The error that names every mistake."""
    return WorkflowValidationError("; ".join(f"{path}: {what}" for path, what in found), found)


def own_handlers(workflow: workflow_pb2.Workflow) -> Mapping[int, str]:
    """The handlers that the run's own queue must have, by the index of their step."""
    return {index: step.handler for index, step in enumerate(workflow.steps) if step.handler and not step.queue}


def _is_action(step: Step) -> bool:
    return bool(step.action) and not step.handler


def _to_step(step: Step, *, agent: AgentSettings) -> workflow_pb2.Step:
    if _is_action(step):
        timeout = agent.timeout if step.timeout is None else step.timeout
        step = replace(step, timeout=timeout, handler=ACTION_HANDLER if agent.has_tools else "")
    return step_message(step)
