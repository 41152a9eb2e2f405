"""Continues the trace of a program that uses OpenTelemetry; a program that does not needs nothing of it.

A span can only be active where the program has imported OpenTelemetry. So nothing is imported here: `sys.modules` says
whether there is anything to ask.

Example. A program calls `agent.run` inside its span S. The call carries a `traceparent` that names S, so the spans of
the server are below it. A worker runs a handler inside the span H, below the span of its step. The calls that the
handler makes are below H.
"""

from __future__ import annotations

import sys
from typing import Any

from headwater._grpc.origin import Origin, origin

_OF_THE_TRACE = ("traceparent", "tracestate")


def trace_api() -> Any:
    """The module `opentelemetry.trace`; None where the program has not imported it."""
    api = sys.modules.get("opentelemetry.trace")
    return api if hasattr(api, "get_current_span") else None  # another thread may be importing it


def outgoing() -> Origin:
    """The headers of a call: those of the active span, or else those of the handler that makes it."""
    headers = origin.get()
    if (api := trace_api()) is None:
        return headers
    span = api.get_current_span().get_span_context()
    if not span.is_valid:
        return headers
    parent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    state = span.trace_state.to_header()
    others = tuple(pair for pair in headers if pair[0] not in _OF_THE_TRACE)
    return (("traceparent", parent), *((("tracestate", state),) if state else ()), *others)
