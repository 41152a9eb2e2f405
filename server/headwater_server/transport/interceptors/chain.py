"""The chain of interceptors that every server has: a new concern is a module and one line here."""

from __future__ import annotations

import grpc

from headwater_server.callers.known_callers import KnownCallers
from headwater_server.telemetry.metrics import Metrics
from headwater_server.transport.incoming.budget import DEFAULT_BYTES
from headwater_server.transport.incoming.turns import Turns
from headwater_server.transport.interceptors.authentication import Authentication
from headwater_server.transport.interceptors.call_log import CallLog
from headwater_server.transport.interceptors.decoding import Decoding
from headwater_server.transport.interceptors.status_mapping import StatusMapping


def interceptors(
    callers: KnownCallers,
    most_request_bytes: int = DEFAULT_BYTES,
    turns: Turns | None = None,
    metrics: Metrics | None = None,
) -> tuple[grpc.aio.ServerInterceptor, ...]:
    """Makes the interceptors of one server, outermost first.

    Args:
        callers: those who may call.
        most_request_bytes: that the requests of all running calls may have together.
        turns: says which calls have waited too long; None: no call has.
        metrics: count the calls that fail.
    """
    return (
        CallLog(),
        StatusMapping(
            (metrics or Metrics()).call_failed
        ),  # the interceptors after it may raise HeadwaterError, as handlers do
        Authentication(callers),  # before anything of a request is read
        Decoding(most_request_bytes, turns or Turns()),
    )
