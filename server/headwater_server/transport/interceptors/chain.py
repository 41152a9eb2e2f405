"""The chain of interceptors that every server has: a new concern is a module and one line here."""

from __future__ import annotations

import grpc

from headwater_server.callers.known_callers import Door
from headwater_server.callers.running_calls import RunningCalls
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.tracing.spans import Tracer
from headwater_server.transport.incoming.budget import DEFAULT_BYTES
from headwater_server.transport.incoming.turns import Turns
from headwater_server.transport.interceptors.authentication import Authentication
from headwater_server.transport.interceptors.call_log import CallLog
from headwater_server.transport.interceptors.decoding import Decoding
from headwater_server.transport.interceptors.status_mapping import StatusMapping
from headwater_server.transport.interceptors.tracing import Tracing


def interceptors(
    door: Door,
    most_request_bytes: int = DEFAULT_BYTES,
    turns: Turns | None = None,
    metrics: Metrics | None = None,
    tracer: Tracer | None = None,
    running: RunningCalls | None = None,
) -> tuple[grpc.aio.ServerInterceptor, ...]:
    """Makes the interceptors of one server, outermost first.

    Args:
        door: says whose a call is.
        most_request_bytes: that the requests of all running calls may have together.
        turns: says which calls have waited too long; None: no call has.
        metrics: count the calls that fail.
        tracer: makes spans of calls; None: there are no traces.
        running: gets the calls that are let in; None: nothing ends them.
    """
    # The interceptors after the second may raise HeadwaterError, as handlers do.
    return (
        CallLog(),
        *([] if tracer is None else [Tracing(tracer)]),
        StatusMapping((metrics or Metrics()).call_failed),
        Authentication(door, running or RunningCalls()),  # before anything of a request is read
        Decoding(most_request_bytes, turns or Turns()),
    )
