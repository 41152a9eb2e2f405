"""A collector of traces: an HTTP server that takes what OpenTelemetry's exporters send, and shows the spans."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

PATH = "/v1/traces"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
"""Spans are sent at once."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it arrived; ids are hexadecimal, `parent` is empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    status: str
    state: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[str]
    links: int


class Collector:
    """Takes spans on a free port, from `with` to the end of its block.

    Attributes:
        bodies: the requests, as they came.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._spans: list[Span] = []
        self._arrived = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def url(self) -> str:
        """The endpoint, as a setting names it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def variables(self) -> dict[str, str]:
        """Variables that make a server send its spans here."""
        return {"HEADWATER_OTLP_ENDPOINT": self.url, **QUICK}

    @property
    def spans(self) -> list[Span]:
        """All spans so far."""
        with self._arrived:
            return list(self._spans)

    def wait(self, *names: str, seconds: float = 10.0) -> dict[str, Span]:
        """The spans with these names, by name, once all are there; the last of several."""
        end = time.monotonic() + seconds
        with self._arrived:
            while True:
                found = {span.name: span for span in self._spans}
                if set(names) <= found.keys():
                    return found
                if not self._arrived.wait(end - time.monotonic()):
                    raise AssertionError(f"{sorted(set(names) - found.keys())} did not come, {sorted(found)} did")

    async def arrived(self, *names: str, seconds: float = 10.0) -> dict[str, Span]:
        """Likewise, while the event loop has its turns."""
        return await asyncio.to_thread(self.wait, *names, seconds=seconds)

    def named(self, name: str) -> list[Span]:
        """The spans with this name."""
        return [span for span in self.spans if span.name == name]

    def _take(self, path: str, body: bytes) -> None:
        assert path == PATH, path
        message = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            self.bodies.append(body)
            self._spans.extend(_spans(message))
            self._arrived.notify_all()


def _spans(message: ExportTraceServiceRequest) -> Iterator[Span]:
    for process in message.resource_spans:
        resource = _attributes(process.resource.attributes)
        for scope in process.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    status=span.status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    state=span.trace_state,
                    attributes=_attributes(span.attributes),
                    resource=resource,
                    events=[event.name for event in span.events],
                    links=len(span.links),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
