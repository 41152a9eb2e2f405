"""The spans by OpenTelemetry's SDK: names and attributes follow its conventions for RPC (1.45.0) and GenAI (0.1.0).

Attributes that the conventions lack begin with `headwater.`. A text that a caller or a provider names is shown only
where it looks like a name, as in the log; the words of an error never are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from headwater_server.domain.call_origin import PARENT, REQUEST_ID, STATE, is_traceparent, origin
from headwater_server.domain.chunks import FinalChunk, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import looks_like_name
from headwater_server.telemetry.metrics import LEFT
from headwater_server.telemetry.safe_fields import HIDDEN
from headwater_server.telemetry.tracing.content import prompt_attributes, reply_attributes
from headwater_server.telemetry.tracing.spans import AttemptFacts

SCHEMA_URL = "https://opentelemetry.io/schemas/1.45.0"
SCOPE = "headwater"

_FAULTS_OF_SERVERS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""The codes that make the span of a call an error; others are the caller's."""

_FACTS = {
    "stream_id": "headwater.stream.id",
    "run_id": "headwater.run.id",
    "caller": "headwater.caller",
    "reason": "headwater.reason",
}
"""Facts of a call's line in the log that its span has too."""

_SERVICES = {
    "azure": "azure.ai.openai",
    "azure-classic": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock-responses": "aws.bedrock",
    "bedrock-anthropic": "aws.bedrock",
    "gemini": "gcp.gemini",
    "gemini-openai": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "vertex-openai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""The names of services that the conventions spell in another way."""

_MOST = 2**63 - 1
"""The largest number of OTLP. A provider may report any, and one more would cost all spans that are sent with it."""

_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_COUNTS = ("max_tokens", "seed")
_USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}


class _Headers(dict[str, str]):
    """The headers of a span of this process, with the span itself."""

    def __init__(self, span: SpanContext) -> None:
        parent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
        super().__init__({PARENT: parent})
        if span.trace_state:
            self[STATE] = span.trace_state.to_header()
        if request_id := origin.get().get(REQUEST_ID):
            self[REQUEST_ID] = request_id
        self.span = span


def _parent() -> Context:
    """The context of OpenTelemetry with the span that `origin` names; an empty one for a root."""
    found = origin.get()
    span = found.span if isinstance(found, _Headers) else _remote(found)
    return set_span_in_context(NonRecordingSpan(span), Context()) if span is not None else Context()


def _remote(headers: Mapping[str, str]) -> SpanContext | None:
    parent = headers.get(PARENT, "")
    if not is_traceparent(parent):
        return None
    _, trace_id, span_id, flags = parent.split("-")[:4]
    state = TraceState.from_header([headers[STATE]]) if STATE in headers else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), state)


class _Span:
    """A span of the SDK."""

    def __init__(self, tracer: Tracer, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> None:
        self._span = tracer.start_span(name, _parent(), kind, attributes)
        self.headers: Mapping[str, str] = _Headers(self._span.get_span_context())

    @property
    def trace_id(self) -> str:
        return f"{self._span.get_span_context().trace_id:032x}"

    def _fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))


class _CallSpan(_Span):
    def end(self, code: str, facts: Mapping[str, object]) -> None:
        span = self._span
        if span.is_recording():
            span.set_attribute("rpc.response.status_code", code)
            found = {name: str(facts[fact]) for fact, name in _FACTS.items() if fact in facts}
            span.set_attributes({name: _shown(text) for name, text in found.items()})
            if code in _FAULTS_OF_SERVERS:
                self._fail(found.get("headwater.reason", code))
        span.end()


class _AttemptSpan(_Span):
    def __init__(self, tracer: Tracer, facts: AttemptFacts, *, has_content: bool) -> None:
        model = _shown(facts.chat.model)
        kind = SpanKind.CLIENT if facts.address else SpanKind.INTERNAL
        super().__init__(tracer, f"chat {model}", kind, _request(facts, model))
        self._has_content = has_content
        if has_content and self._span.is_recording():
            self._span.set_attributes(dict(prompt_attributes(facts.chat)))

    def fail(self, error: HeadwaterError) -> None:
        if self._span.is_recording():
            self._fail_with(error)
        self._span.end()

    def end(self, stream_id: str, end: FinalChunk | HeadwaterError | None, first_token_seconds: float | None) -> None:
        span = self._span
        if span.is_recording():
            span.set_attribute("headwater.stream.id", stream_id)
            if first_token_seconds is not None:
                span.set_attribute("gen_ai.response.time_to_first_chunk", first_token_seconds)
            if isinstance(end, FinalChunk):
                self._complete(end)
            elif end is None or end.reason is Reason.STREAM_CANCELLED:  # it is the caller's wish, and no error
                span.set_attribute("headwater.reason", LEFT if end is None else end.reason.value)
            else:
                self._fail_with(end)
        span.end()

    def _complete(self, final: FinalChunk) -> None:
        span = self._span
        span.set_attribute("gen_ai.response.finish_reasons", (final.finish.reason.value,))
        if final.provider_request_id:
            span.set_attribute("headwater.provider_request_id", _shown(final.provider_request_id))
        if final.finish.usage is not None:
            span.set_attributes(dict(_counts(final.finish.usage)))
        if self._has_content:
            span.set_attributes(dict(reply_attributes(final)))

    def _fail_with(self, error: HeadwaterError) -> None:
        self._fail(error.reason.value)
        for fact in ("http_status", "provider_request_id"):
            if value := error.metadata.get(fact):
                self._span.set_attribute(f"headwater.{fact}", _shown(str(value)))


class _StepSpan(_Span):
    def note(self, status: str) -> None:
        self._span.add_event(f"headwater.{status}")

    def end(self, outcome: str, *, is_error: bool) -> None:
        if self._span.is_recording():
            self._span.set_attribute("headwater.outcome", outcome)
            if is_error:
                self._fail(outcome)
        self._span.end()


class OtelTracer:
    """Makes spans with the SDK; see `spans.Tracer`.

    Args:
        provider: sends them.
        version: of Headwater.
        has_content: whether spans have prompts and replies.
    """

    def __init__(self, provider: TracerProvider, version: str, *, has_content: bool) -> None:
        self.has_content = has_content
        self._tracer = provider.get_tracer(SCOPE, version, schema_url=SCHEMA_URL)

    def call(self, path: str) -> _CallSpan:
        """Begins the span of a call."""
        method = path[1:]
        return _CallSpan(self._tracer, method, SpanKind.SERVER, {"rpc.system.name": "grpc", "rpc.method": method})

    def attempt(self, facts: AttemptFacts) -> _AttemptSpan:
        """Begins the span of an attempt."""
        return _AttemptSpan(self._tracer, facts, has_content=self.has_content)

    def run(self, run_id: str, workflow: str) -> _StepSpan:
        """Begins the span of a run."""
        name = _shown(workflow)
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.agent.name": name,
            "headwater.run.id": run_id,
        }
        return _StepSpan(self._tracer, f"invoke_workflow {name}", SpanKind.INTERNAL, attributes)

    def step(self, run_id: str, name: str, attempt: int, handler: str, queue: str) -> _StepSpan:
        """Begins the span of an attempt of a step."""
        shown = _shown(name)
        attributes: dict[str, Any] = {
            "headwater.run.id": run_id,
            "headwater.step.name": shown,
            "headwater.step.attempt": attempt,
        }
        if not handler:
            return _StepSpan(self._tracer, f"step {shown}", SpanKind.INTERNAL, attributes)
        attributes |= {"headwater.handler": _shown(handler), "headwater.queue": _shown(queue)}
        return _StepSpan(self._tracer, f"step {shown}", SpanKind.PRODUCER, attributes)


def _request(facts: AttemptFacts, model: str) -> dict[str, Any]:
    """The attributes of a request, as samplers see them."""
    sampling = facts.chat.sampling
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _SERVICES.get(facts.service, facts.service),
        "gen_ai.request.model": model,
        "gen_ai.request.stream": True,
        "headwater.provider": facts.provider,
        "headwater.attempt": facts.number,
        **{f"gen_ai.request.{name}": float(sampling[name]) for name in _NUMBERS if name in sampling},
        **{f"gen_ai.request.{name}": sampling[name] for name in _COUNTS if name in sampling},
    }
    if facts.chat.response_format is not None:
        attributes["gen_ai.output.type"] = "json"
    host, port = _place(facts.address)
    if host:
        attributes |= {"server.address": host, "server.port": port}
    return attributes


def _counts(usage: Usage) -> Iterator[tuple[str, int]]:
    for count, name in _USAGE.items():
        if (value := getattr(usage, count)) is not None:
            yield name, min(max(value, 0), _MOST)


@lru_cache(maxsize=256)
def _place(address: str) -> tuple[str, int]:
    """Host and port of a URL, without all else in it."""
    url = urlsplit(address)
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


def _shown(text: str) -> str:
    return text if looks_like_name(text) else HIDDEN
