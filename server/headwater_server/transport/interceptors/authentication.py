"""Lets a call in whose caller has the scope for its method, and notes whose call it is.

| method | scope |
| --- | --- |
| of AgentService | `stream` |
| of WorkflowService | `workflow`, or one that begins with `workflow:`; the service itself checks the queues |
| of WorkerService | one that begins with `worker:`; the service itself checks the queue |
| of OperatorService | `operator` |
| gRPC's health | none, and no caller |
| gRPC's reflection | none, with any caller |
| of `headwater.siblings`, which is on the sockets between processes alone | none, and no caller |
| any other | `operator` |

Nothing of a request is read before. A door says whose a call is: on the port `callers.known_callers`, and on the socket
between processes `callers.sealed_caller`, for there the call has been let in before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

from headwater.v1 import agent_service_pb2, operator_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.callers.admission import IncomingCall
from headwater_server.callers.caller import OPERATOR, STREAM, Caller, caller
from headwater_server.callers.known_callers import Door
from headwater_server.callers.running_calls import RunningCalls
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.transport.handlers import Behaviour, Context
from headwater_server.transport.health import SERVICE_NAME
from headwater_server.transport.http2.calls.context import Context as LeanContext
from headwater_server.transport.interceptors.interceptor import Interceptor

REFLECTION = "grpc.reflection."
OF_SIBLINGS = "headwater.siblings."
"""The services begin so that processes have for each other. They are not on the port."""

Check = Callable[[Caller], None]


def _has(scope: str) -> Check:
    return methodcaller("check_scope", scope)


_CHECKS: dict[str, Check] = {
    agent_service_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name: _has(STREAM),
    workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name: Caller.check_workflow,
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name: Caller.check_worker,
    operator_service_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name: _has(OPERATOR),
}


def _anyone(_: Caller) -> None:
    pass


class Authentication(Interceptor):
    """Lets calls in: see the module.

    Args:
        door: says whose a call is.
        running: ends the calls of callers that may no longer call.
    """

    def __init__(self, door: Door, running: RunningCalls) -> None:
        super().__init__()
        self._door = door
        self._running = running

    def around(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Begins the behaviour when the call may have it; raises HeadwaterError otherwise."""
        service = path.split("/")[1]
        if service == SERVICE_NAME or service.startswith(OF_SIBLINGS):
            return behaviour
        check = _CHECKS.get(service, _has(OPERATOR))
        if service.startswith(REFLECTION):
            check = _anyone
        door, running = self._door, self._running

        async def allowed(request: Any, context: Context) -> Any:
            metadata: Any = context.invocation_metadata() or ()
            admission = await door.admit(IncomingCall(metadata, context.peer(), partial(_certificate, context)))
            who = admission.caller
            if who.name:
                add_facts(caller=who.name)
            check(who)
            caller.set(who)
            if admission.why_over is None:
                return await behaviour(request, context)
            task = context.task if isinstance(context, LeanContext) else None
            return await running.run(behaviour(request, context), admission, task)

        return allowed


def _certificate(context: Context) -> bytes:
    """The certificate of the other side, in PEM; empty for none."""
    found = context.auth_context().get("x509_pem_cert", ())
    return bytes(next(iter(found), b""))
