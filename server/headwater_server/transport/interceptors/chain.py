"""The one place that says what surrounds a call, and in what order."""

from __future__ import annotations

from headwater_server.transport.interceptors.call_log import CallLog
from headwater_server.transport.interceptors.interceptor import Interceptor
from headwater_server.transport.interceptors.status_mapping import StatusMapping


def interceptors() -> tuple[Interceptor, ...]:
    """What surrounds every call of one server, outermost first."""
    return (
        CallLog(),
        StatusMapping(),  # what is further in may raise HeadwaterError, as handlers do
    )
