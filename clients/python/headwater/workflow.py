"""Workflows: steps that a model answers or that functions of this process do, run durably by a Headwater server.

agent = WorkflowAgent(name="Calculator")
agent.register_handler("add", lambda agent, step, context: context["a"] + context["b"])

workflow = agent.create_workflow("sum")
workflow.add_step("add", handler="add")

result = await agent.execute_workflow(workflow, context={"a": 1, "b": 2})
print(result.context["add_result"])
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from typing import Any, TypeAlias

from headwater._call.signatures import takes_arguments_of
from headwater._grpc.portal import portal
from headwater._grpc.server import Server
from headwater._values.names import all_names_nearest
from headwater._values.plain import from_json
from headwater._values.validation import int32, invalid, seconds, text
from headwater._worker.serving import before_stop, serve
from headwater._worker.worker import Worker
from headwater._workflow.action import task_handlers
from headwater._workflow.definition import Step, Violation, Workflow, violations
from headwater._workflow.events import WorkflowEvent, WorkflowEventType
from headwater._workflow.handle import ProgressCallback, WorkflowProgress, WorkflowRunHandle
from headwater._workflow.hosting import Hosts, ProcessIdentity
from headwater._workflow.mermaid import to_mermaid
from headwater._workflow.request import (
    ACTION_HANDLER,
    check_handler,
    check_workflow,
    own_handlers,
    refuse,
    settings_of,
    start_request,
    workflow_message,
)
from headwater._workflow.result import SkipReason, StepResult, StepStatus, WorkflowResult, to_result
from headwater._workflow.retry_policy import RetryPolicy
from headwater._workflow.run import Begun, Session, WorkflowStream
from headwater._workflow.service import cancel_run, check_reached, get_run, run_id_of
from headwater._workflow.watch import queues_of
from headwater.agent import Agent
from headwater.exceptions import Failure, ValidationError, WorkflowCancelledError, WorkflowTimeoutError
from headwater.v1 import workflow_pb2

__all__ = [
    "Failure",
    "Handler",
    "RetryPolicy",
    "SkipReason",
    "Step",
    "StepResult",
    "StepStatus",
    "Workflow",
    "WorkflowAgent",
    "WorkflowCancelledError",
    "WorkflowEvent",
    "WorkflowEventType",
    "WorkflowProgress",
    "WorkflowResult",
    "WorkflowRunHandle",
    "WorkflowStream",
    "WorkflowTimeoutError",
    "from_json",
]

Handler: TypeAlias = Callable[[Any, Any, dict[str, Any]], Any]
"""`(agent, step, context)`: a function, an async function, or an async generator of text."""


@all_names_nearest
class WorkflowAgent(Agent):
    """An agent that executes workflows. Its arguments are those of `Agent`.

    A run belongs to the server, which remembers each finished step, over a crash too. Steps with an `action` are
    answered by the agent's model. Steps with a `handler` run here: asynchronous handlers on the event loop that called,
    others in threads. Values in the context and results are JSON.

    A lost connection does not end a run, nor the wait for it: the calls continue by themselves, and raise
    ServerUnavailableError only after a minute without any answer. `resume_workflow` then continues the run, from any
    process that has registered the same handlers.
    """

    def _begin(self, history: int) -> None:
        super()._begin(history)
        self._handlers: dict[str, Handler] = {}
        self._hosts = Hosts()
        self._queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, str] = weakref.WeakKeyDictionary()
        self._workflow_streams: weakref.WeakSet[WorkflowStream] = weakref.WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_hosts", "_queues", "_workflow_streams")
        state = {name: value for name, value in super().__getstate__().items() if name not in own}
        return state | {"_handlers": dict(self._handlers)}

    async def __aenter__(self) -> WorkflowAgent:
        return self

    async def aclose(self) -> None:
        """End the streams of this agent and the runs that it executes; those of `start_workflow` continue."""
        await super().aclose()
        streams = list(self._workflow_streams)
        for stream in streams:
            stream.interrupt()
        await asyncio.gather(*(stream.aclose() for stream in streams))

    def register_handler(self, name: str, handler: Handler) -> None:
        """Give a function a name under which steps can ask for it; the last one registered under a name counts.

        It is called with this agent, the step (`name`, `action`, `handler`, `depends_on`, `metadata`, `run_id`,
        `attempt`, `idempotency_key`) and the context, a dict that it may change in place. Its return value becomes the
        step's result and, unless it wrote that key itself, `context["NAME_result"]`. A generator, sync or async, yields
        text, which every watcher of the run sees as it comes; the whole text is its result, unless a sync one returns
        a value.

        A step may run more than once: pass `step.idempotency_key` to services that must act once. An exception with
        an attribute `retry_after` asks for a pause of so many seconds before the next attempt.

        Args:
            name: 1 to 256 characters.
            handler: a function, an async function, or an async generator of text.

        Raises:
            ValidationError: it is not callable, or does not take three arguments.
        """
        check_handler(name, handler)
        self._handlers[name] = handler

    def create_workflow(
        self, name: str, description: str = "", *, id: str | None = None, schedule_timeout: float | None = None
    ) -> Workflow:
        """A workflow without steps, whose `validate` knows the handlers of this agent. Arguments as for `Workflow`."""
        workflow = Workflow(name, description, id=id, schedule_timeout=schedule_timeout)
        workflow._handlers = self._handlers.keys()
        return workflow

    async def execute_workflow(
        self,
        workflow: Workflow,
        context: MutableMapping[str, Any] | None = None,
        parallel: bool = True,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> WorkflowResult:
        """Run a workflow to its end. A step that fails does not raise: see `WorkflowResult.raise_for_failure`.

        To cancel this call is to cancel the run; it waits up to 2 seconds for its end.

        Args:
            workflow: the definition.
            context: JSON values that the handlers share. At the end this very dict holds the final context.
            parallel: False: each step runs alone, in the order of the definition where dependencies leave a choice.
            timeout: seconds that the run may take in all.
            request_id: the caller's own id of this request, 1 to 256 characters. The same request under the same id
                starts one run, in any process; it returns the result of that run.

        Raises:
            WorkflowValidationError: the definition has mistakes; `violations` names each.
            ValidationError: the context is not JSON, or over 1 MiB; or another request had this `request_id`.
            WorkflowCancelledError: the run was cancelled by somebody else.
            WorkflowTimeoutError: the run took longer than `timeout`, and was cancelled.
            ServerUnavailableError: no server answers; the message says how to continue.
        """
        limit = asyncio.timeout(None if timeout is None else seconds("timeout", timeout))
        stream = self.stream_workflow(workflow, context, parallel, request_id=request_id)
        try:
            async with limit:
                result = await stream.read_to_end()
        except TimeoutError:
            if not limit.expired():
                raise
            run = f"run {stream.run_id}" if stream.run_id else f"the start of {workflow.name!r}"
            raise WorkflowTimeoutError(f"{run} took longer than {timeout:g} seconds") from None
        finally:
            await stream.aclose()
        if result.status is StepStatus.CANCELLED:
            raise WorkflowCancelledError(f"run {result.run_id} was cancelled; continue with agent.resume_workflow")
        return result

    @takes_arguments_of(execute_workflow)
    def execute_workflow_sync(self, *args: Any, **kwargs: Any) -> WorkflowResult:
        """Run a workflow to its end, without async. Arguments and errors as for `execute_workflow`.

        Asynchronous handlers run on the loop of synchronous calls, in a separate thread. Works inside a running event
        loop too, which it blocks meanwhile.
        """
        return portal().call(self.execute_workflow(*args, **kwargs))

    def stream_workflow(
        self,
        workflow: Workflow,
        context: MutableMapping[str, Any] | None = None,
        parallel: bool = True,
        *,
        request_id: str | None = None,
    ) -> WorkflowStream:
        """Run a workflow and see what happens in it: `async for event in agent.stream_workflow(workflow)`.

        Leaving the loop early cancels the run. Arguments and errors as for `execute_workflow`; a run that was cancelled
        by somebody else ends with an event that says so. After the last event `result` has what came of it.
        """
        return self._run(workflow, context, parallel, request_id, cancels=True)

    async def start_workflow(
        self,
        workflow: Workflow,
        context: MutableMapping[str, Any] | None = None,
        parallel: bool = True,
        *,
        request_id: str | None = None,
    ) -> WorkflowRunHandle:
        """Start a run and leave it to itself; the handle tells of it. Arguments and errors as for `execute_workflow`.

        Its handlers run here as long as the event loop does.
        """
        stream = self._run(workflow, context, parallel, request_id, cancels=False)
        run_id = await stream.begin()
        return WorkflowRunHandle(self._server(), run_id, stream)

    def stream_workflow_progress(self, run_id: str, callback: ProgressCallback | None = None) -> WorkflowProgress:
        """Watch any run from its first event to its end: `async for`, or `await` for its result.

        Args:
            run_id: which run.
            callback: is called with each event; a function or an async function.

        Reading it raises WorkflowError for a run that is not known.
        """
        if callback is not None and not callable(callback):
            raise invalid("callback", f"must be a function of one event, not {type(callback).__name__}")
        return WorkflowProgress(self._server(), run_id_of(run_id), callback)

    async def get_workflow_status(self, run_id: str) -> WorkflowResult:
        """How far a run is: the steps, the context and the results so far.

        Raises:
            WorkflowError: no such run is known.
        """
        return to_result(await get_run(self._server(), run_id))

    async def cancel_workflow(self, run_id: str) -> None:
        """End a run: running steps are interrupted. Returns when it has ended.

        Raises:
            WorkflowError: no such run is known, or it has completed or failed already.
        """
        await cancel_run(self._server(), run_id)

    async def resume_workflow(self, run_id: str) -> WorkflowResult:
        """Host the handlers of a run in this process and wait for its end.

        One that failed or was cancelled continues from the steps that did; one that runs is joined, and one that has
        completed is only read. To cancel this call does not cancel the run.

        Raises:
            WorkflowValidationError: handlers of the run are not registered here; all are named.
            WorkflowError: no such run is known.
            WorkflowCancelledError: the run was cancelled meanwhile.
        """
        server = self._server()
        run = await get_run(server, run_id)
        if run.status == workflow_pb2.WORKFLOW_RUN_STATUS_COMPLETED:
            return to_result(run)
        missing = [
            (f"workflow.steps[{index}].handler", f"`{name}` is not registered here; call agent.register_handler")
            for index, name in own_handlers(run.workflow).items()
            if name not in self._handlers and name != ACTION_HANDLER
        ]
        if missing:
            raise refuse(missing)

        def begin() -> tuple[Session, Coroutine[Any, Any, Begun]]:
            session = self._session(server, run.queue, run.workflow)
            return session, session.resume(run_id)

        stream = self._tracked(WorkflowStream(server, begin, None, cancels=False))
        try:
            result = await stream.read_to_end()
        finally:
            await stream.aclose()
        if result.status is StepStatus.CANCELLED:
            raise WorkflowCancelledError(f"run {run_id} was cancelled; continue with agent.resume_workflow")
        return result

    def visualize_workflow(self, workflow: Workflow, run: str | WorkflowResult | None = None) -> str:
        """The steps as a Mermaid flowchart, with the status of each where a run is given.

        Args:
            workflow: the definition.
            run: a result, or the id of a run: then the server is asked, which blocks meanwhile. In async code give
                `await agent.get_workflow_status(run_id)`.

        Raises:
            ValidationError: for a bad argument.
            WorkflowError: no such run is known.
        """
        check_workflow(workflow)
        if not isinstance(run, str | WorkflowResult | None):
            raise invalid("run", f"must be a WorkflowResult or the id of a run, not {type(run).__name__}")
        if isinstance(run, str):
            run = portal().call(self.get_workflow_status(run))
        return to_mermaid(workflow, run)

    async def run_worker(
        self, queue: str, concurrency: int = 10, *, stop: asyncio.Event | None = None, drain_seconds: float = 30.0
    ) -> None:
        """Serve a queue with the handlers of this agent until it is stopped or cancelled.

        Steps with `queue=` of any caller's workflow come here; several processes share the work. A worker that is
        stopped takes no more steps and finishes those that it has. Those that take longer, and those of a worker that
        is cancelled, are interrupted and go to other workers; this counts as no attempt. A step that is at most once
        fails then, if it had begun.

        Args:
            queue: name of the queue, 1 to 256 characters.
            concurrency: most steps at a time, 1 to 10,000.
            stop: stops the worker when it is set, such as by a handler of SIGTERM.
            drain_seconds: how long a worker that is stopped may finish its steps.

        Raises:
            ValidationError: for a bad argument.
            HeadwaterError: no server answers at the start, or the server refuses the worker.
        """
        if not 1 <= len(text("queue", queue)) <= 256:
            raise invalid("queue", "must be 1 to 256 characters")
        if not 1 <= int32("concurrency", concurrency) <= 10_000:
            raise invalid("concurrency", "must be 1 to 10,000")
        drain = seconds("drain_seconds", drain_seconds)
        handlers = task_handlers(self, self._handlers, asyncio.get_running_loop(), actions=bool(self.tools))
        if not handlers:
            raise ValidationError("this agent has nothing to serve; call register_handler first")
        server = self._server()
        if not await before_stop(check_reached(server), stop):
            return
        await serve(Worker(server, queue, handlers, concurrency), stop, drain)

    def _run(
        self,
        workflow: Workflow,
        context: MutableMapping[str, Any] | None,
        parallel: bool,
        request_id: str | None,
        *,
        cancels: bool,
    ) -> WorkflowStream:
        server = self._server()
        message = workflow_message(workflow, settings_of(self), parallel)
        mistakes = violations(workflow, self._handlers)
        request = start_request(message, context, request_id)

        def begin() -> tuple[Session, Coroutine[Any, Any, Begun]]:
            own = self._queues.setdefault(asyncio.get_running_loop(), f"agent-{uuid.uuid4().hex}")
            request.queue = request.queue or own
            session = self._session(server, request.queue, message, mistakes)
            return session, session.start(request)

        return self._tracked(WorkflowStream(server, begin, context, cancels=cancels))

    def _session(
        self, server: Server, queue: str, workflow: workflow_pb2.Workflow, mistakes: Sequence[Violation] = ()
    ) -> Session:
        loop = asyncio.get_running_loop()
        place = ProcessIdentity(server, queue, loop) if own_handlers(workflow) and not mistakes else None
        queues = queues_of(workflow_pb2.WorkflowRun(workflow=workflow, queue=queue))
        handlers = task_handlers(self, self._handlers, loop, actions=True)
        return Session(server, self._hosts, place, handlers, queues, mistakes)

    def _tracked(self, stream: WorkflowStream) -> WorkflowStream:
        self._workflow_streams.add(stream)
        return stream
