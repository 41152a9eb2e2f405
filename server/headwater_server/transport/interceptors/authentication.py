"""Lets a call in whose token belongs to a caller with the scope for its method, and notes whose call it is.

| method | scope |
| --- | --- |
| of AgentService | `stream` |
| of WorkflowService | `workflow` |
| of WorkerService | one that begins with `worker:`; the service itself checks the queue |
| of OperatorService | `operator` |
| gRPC's health | none, and no token |
| gRPC's reflection | none, with any token |
| of `headwater.siblings`, which is on the sockets between processes alone | none, and no token |
| any other | `operator` |

A call that another process of this server passes on brings its caller's token along, and is checked there again:
processes send each other nothing that a caller could imitate. Nothing of a request is read before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from headwater.v1 import agent_service_pb2, operator_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.callers.caller import OPERATOR, STREAM, WORKFLOW, Caller, caller
from headwater_server.callers.known_callers import KnownCallers
from headwater_server.transport.handlers import Behaviour, Context
from headwater_server.transport.health import SERVICE_NAME
from headwater_server.transport.interceptors.interceptor import Interceptor

AUTHORIZATION = "authorization"
REFLECTION = "grpc.reflection."
OF_SIBLINGS = "headwater.siblings."
"""The services begin so that processes have for each other. They are not on the port."""

Check = Callable[[Caller], None]


def _has(scope: str) -> Check:
    return lambda who: who.check_scope(scope)


_CHECKS: dict[str, Check] = {
    agent_service_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name: _has(STREAM),
    workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name: _has(WORKFLOW),
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name: Caller.check_worker,
    operator_service_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name: _has(OPERATOR),
}


def _anyone(_: Caller) -> None:
    pass


class Authentication(Interceptor):
    """Lets calls in: see the module.

    Args:
        callers: those of the server.
    """

    def __init__(self, callers: KnownCallers) -> None:
        super().__init__()
        self._callers = callers

    def around(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Begins the behaviour when the call may have it; raises HeadwaterError otherwise."""
        service = path.split("/")[1]
        if service == SERVICE_NAME or service.startswith(OF_SIBLINGS):
            return behaviour
        check = _CHECKS.get(service, _has(OPERATOR))
        if service.startswith(REFLECTION):
            check = _anyone
        callers = self._callers

        async def allowed(request: Any, context: Context) -> Any:
            metadata = context.invocation_metadata() or ()
            who = callers.caller_of([str(value) for key, value in metadata if key == AUTHORIZATION])
            if who.name:
                structlog.contextvars.bind_contextvars(caller=who.name)
            check(who)
            caller.set(who)
            return await behaviour(request, context)

        return allowed
