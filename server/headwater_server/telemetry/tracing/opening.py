"""Decides whether this process makes traces. OpenTelemetry is imported only where it does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from headwater_server.telemetry.tracing.spans import Tracer

log = structlog.get_logger("headwater.traces")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_CURE = "install headwater with its extra `otel`: pip install '.[otel]' in its folder"


class NoOpenTelemetryError(Exception):
    """Traces are set, and the packages for them are not installed."""


@asynccontextmanager
async def tracing(endpoint: str, version: str, process: int, *, has_content: bool) -> AsyncIterator[Tracer | None]:
    """The tracer of a process for the length of the block; None where no traces are wanted.

    Args:
        endpoint: URL of the collector without the path; empty: as the OTEL_ variables say.
        version: of Headwater.
        process: which of the server's processes this is.
        has_content: whether spans have prompts and replies.

    Raises NoOpenTelemetryError where `endpoint` is set and the extra `otel` is not installed; where only the variables
    ask for traces, which are often set for all programs of a machine, that is a warning.
    """
    if not is_wanted(endpoint, os.environ):
        yield None
        return
    try:
        from headwater_server.telemetry.tracing import exporting, otel_spans
    except ImportError as error:
        if endpoint:
            raise NoOpenTelemetryError(f"traces need packages that are not installed: {_CURE}") from error
        log.warning("no traces", why="OTEL_ variables ask for traces, and packages are missing", cure=_CURE)
        yield None
        return
    protocol = next((value for name in _PROTOCOLS if (value := os.environ.get(name))), _HTTP)
    if protocol != _HTTP:
        why = "traces are sent by http/protobuf, whatever OTEL_EXPORTER_OTLP_PROTOCOL says"
        log.warning("traces", why=why, cure="name the collector's address for it, mostly port 4318")
    provider = exporting.open_provider(endpoint, version, process)
    try:
        yield otel_spans.OtelTracer(provider, version, has_content=has_content)
    finally:
        await exporting.close(provider)


def is_wanted(endpoint: str, environment: Mapping[str, str]) -> bool:
    """Whether an exporter is configured, by the setting or by OpenTelemetry's own variables."""
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").replace(" ", "")
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or (exporters and "otlp" not in exporters.split(",")):
        return False
    return bool(endpoint or exporters or any(environment.get(name) for name in _ENDPOINTS))
