"""Sends spans to a collector by OTLP over HTTP, from a thread of the SDK, without ever holding up the server.

The SDK keeps at most 2,048 spans that wait (OTEL_BSP_MAX_QUEUE_SIZE); further ones push out the oldest. A collector
that does not answer is logged once, and so is its return; the SDK's own reports, one for each try, are not.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from headwater_server.telemetry.log_writer import signals_blocked, start_thread

PATH = "/v1/traces"
FLUSH_SECONDS = 2.0
"""How long the end of a process waits until the last spans are sent."""

log = structlog.get_logger("headwater.traces")


class LoggedExporter(SpanExporter):
    """Logs when the collector stops to take spans, and when it takes them again.

    Args:
        exporter: sends them.
        host: the collector's, for the log.
    """

    def __init__(self, exporter: SpanExporter, host: str) -> None:
        self._exporter = exporter
        self._host = host
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends the spans; those that cannot be sent are lost."""
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            cure = "start the collector, or set server.otlp_endpoint to its address for OTLP over HTTP"
            log.warning("traces lost", why="the collector does not take them", host=self._host, cure=cure)
        elif self._fails and not fails:
            log.info("traces sent", what="the collector takes them again", host=self._host)
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """Ends a try that is under way."""
        self._exporter.shutdown()


def open_provider(endpoint: str, version: str, process: int) -> TracerProvider:
    """Begins to send; `close` it.

    Args:
        endpoint: URL of the collector without the path; empty: as the OTEL_ variables say.
        version: of Headwater.
        process: which of the server's processes this is.
    """
    library = logging.getLogger("opentelemetry")
    library.addHandler(logging.NullHandler())
    library.propagate = False
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}{PATH}" if endpoint else None)
    with signals_blocked():  # the thread that sends begins here
        provider = TracerProvider(resource=_resource(os.environ, version, process), shutdown_on_exit=False)
        host = urlsplit(exporter._endpoint).netloc.rpartition("@")[2]
        provider.add_span_processor(BatchSpanProcessor(LoggedExporter(exporter, host)))
    return provider


def _resource(environment: Mapping[str, str], version: str, process: int) -> Resource:
    """The facts of this process; a name that the environment gives goes over its own."""
    own = {SERVICE_VERSION: version, SERVICE_INSTANCE_ID: f"{os.uname().nodename}:{process}:{os.getpid()}"}
    given = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create(own if given else {SERVICE_NAME: "headwater", **own})


async def close(provider: TracerProvider) -> None:
    """Sends what is left, and waits for that no longer than FLUSH_SECONDS."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()

    def flush() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the waiting is over
            loop.call_soon_threadsafe(done.set)

    start_thread(flush, "headwater traces")
    with suppress(TimeoutError):
        async with asyncio.timeout(FLUSH_SECONDS):
            await done.wait()
