"""Runs handlers in spans, in a program that uses OpenTelemetry (see `_grpc.tracing`)."""

from __future__ import annotations

from collections.abc import Awaitable

from headwater._grpc.origin import origin
from headwater._grpc.tracing import trace_api
from headwater._values.failures import to_failure
from headwater.v1 import worker_service_pb2


async def traced(
    task: worker_service_pb2.WorkerTask, work: Awaitable[worker_service_pb2.TaskResult]
) -> worker_service_pb2.TaskResult:
    """Does the work of a task in its span, below that of its step; a failure in the result is the span's too."""
    if (api := trace_api()) is None:
        return await work
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    begun = api.get_tracer("headwater").start_as_current_span(
        f"task {task.step.handler}",
        TraceContextTextMapPropagator().extract(dict(origin.get())),
        api.SpanKind.CONSUMER,
        {
            "headwater.run.id": task.run_id,
            "headwater.step.name": task.step.name,
            "headwater.step.attempt": task.attempt,
            "headwater.handler": task.step.handler,
        },
        record_exception=False,  # its message may quote what the handler was given
        set_status_on_exception=False,
    )
    with begun as span:
        result = await work
        if result.HasField("failure"):
            span.set_attribute("error.type", to_failure(result.failure).reason)
            span.set_status(api.StatusCode.ERROR)
        return result
