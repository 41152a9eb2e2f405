"""The origin of a step's run: headers that the calls of its handler carry on, so that a trace stays in one piece.

`traceparent` and `tracestate` are those of W3C Trace Context, `x-request-id` is the caller's name for its request.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeAlias

from headwater.v1 import worker_service_pb2

Origin: TypeAlias = tuple[tuple[str, str], ...]

origin: ContextVar[Origin] = ContextVar("headwater_origin", default=())
"""The headers of the call that started the run whose handler runs in this context."""


def origin_of(task: worker_service_pb2.WorkerTask) -> Origin:
    """The headers in a task, without those that no call can carry."""
    found = (
        ("traceparent", task.traceparent),
        ("tracestate", task.tracestate),
        ("x-request-id", task.request_id),
    )
    return tuple((name, value) for name, value in found if value and value.isascii() and value.isprintable())
