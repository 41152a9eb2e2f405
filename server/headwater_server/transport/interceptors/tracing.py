"""Makes each call a span, the parent of all that it causes.

Inside the call log, whose facts the span has too. Calls of gRPC's own services and of siblings have none, nor has the
connection of a worker, which lasts as long as the worker does. A call that another process has passed on is a span
below that process's own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from headwater.v1 import worker_service_pb2
from headwater_server.domain.call_origin import origin
from headwater_server.telemetry.call_facts import add_facts, call_facts
from headwater_server.telemetry.tracing.spans import Tracer
from headwater_server.transport.handlers import Behaviour, Context
from headwater_server.transport.interceptors.call_log import OWN_SERVICES
from headwater_server.transport.interceptors.interceptor import Interceptor

_WORKERS = f"/{worker_service_pb2.DESCRIPTOR.services_by_name['WorkerService'].full_name}/"


class Tracing(Interceptor):
    """Makes spans: see the module."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def around(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Begins a span before the behaviour, and ends it however that ends."""
        if path.startswith((*OWN_SERVICES, _WORKERS)):
            return behaviour
        tracer = self._tracer

        async def traced(request: Any, context: Context) -> Any:
            span = tracer.call(path)
            origin.set(span.headers)
            add_facts(trace_id=span.trace_id)
            code = grpc.StatusCode.UNKNOWN
            try:
                reply = await behaviour(request, context)
                code = context.code() or grpc.StatusCode.OK
                return reply
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                code = context.code() or code
                raise
            finally:
                span.end(code.name, call_facts())

        return traced
