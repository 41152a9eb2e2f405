"""The chain of interceptors that every server has: a new concern is a module and one line here."""

from __future__ import annotations

import grpc

from headwater_server.transport.interceptors.call_log import CallLog
from headwater_server.transport.interceptors.decoding import Decoding
from headwater_server.transport.interceptors.status_mapping import StatusMapping


def interceptors() -> tuple[grpc.aio.ServerInterceptor, ...]:
    """Makes the interceptors of one server, outermost first."""
    return (
        CallLog(),
        StatusMapping(),  # the interceptors after it may raise HeadwaterError, as handlers do
        Decoding(),
    )
