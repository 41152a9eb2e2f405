"""Spans that the SDK makes, up to the bytes that a collector would get."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from headwater_server.domain.call_origin import origin
from headwater_server.domain.chunks import FinalChunk, Finish, FinishReason, StreamStats, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.telemetry.tracing.otel_spans import OtelTracer
from headwater_server.telemetry.tracing.spans import AttemptFacts, inside

CHAT = ChatRequest("gpt-4o", (Message(Role.USER, (Text("hi \ud800"),)),))


class Spans:
    """A tracer, and the spans that have ended."""

    def __init__(self, *, has_content: bool = False) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OtelTracer(provider, "1", has_content=has_content)

    def ended(self) -> tuple[ReadableSpan, ...]:
        """The spans; all can be sent."""
        spans = self._exporter.get_finished_spans()
        assert encode_spans(spans).SerializeToString()
        return spans


def facts(service: str = "openai", address: str = "https://user:secret@api.openai.com/v1/{model}") -> AttemptFacts:
    return AttemptFacts("mine", service, address, CHAT, 1)


def test_no_count_and_no_text_of_a_provider_keeps_a_span_from_being_sent() -> None:
    spans = Spans(has_content=True)
    usage = Usage(input_tokens=10**30, output_tokens=-5, cached_input_tokens=0)
    message = Message(Role.ASSISTANT, (Text("half \udc00"),))
    final = FinalChunk(
        2, 0.0, Finish(FinishReason.STOP, usage=usage), StreamStats(None, 0, 1, None), [], "request id", message
    )
    spans.tracer.attempt(facts()).end("str_1", final, None)
    (span,) = spans.ended()
    assert span.attributes is not None
    assert span.attributes["gen_ai.usage.input_tokens"] == 2**63 - 1
    assert span.attributes["gen_ai.usage.output_tokens"] == 0
    assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 0
    assert span.attributes["headwater.provider_request_id"] == "(not shown)"
    assert (
        span.attributes["gen_ai.input.messages"] == '[{"role": "user", "parts": [{"type": "text", "content": "hi ?"}]}]'
    )


def test_of_an_address_only_host_and_port_are_shown() -> None:
    spans = Spans()
    spans.tracer.attempt(facts()).fail(HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "planted"))
    (span,) = spans.ended()
    assert span.attributes is not None
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("api.openai.com", 443)
    assert b"secret" not in encode_spans([span]).SerializeToString()
    assert b"planted" not in encode_spans([span]).SerializeToString()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)


def test_services_have_the_names_of_the_conventions() -> None:
    spans = Spans()
    for service in ("gemini", "azure-classic", "mistral", "groq"):
        spans.tracer.attempt(facts(service)).end("str_1", None, None)
    names = [span.attributes["gen_ai.provider.name"] for span in spans.ended() if span.attributes]
    assert names == ["gcp.gemini", "azure.ai.openai", "mistral_ai", "groq"]


def test_a_span_inside_another_is_below_it_and_the_request_id_goes_along() -> None:
    spans = Spans()
    before = origin.set({"x-request-id": "r7"})
    outer = spans.tracer.run("wfr_1", "a name with spaces")
    with inside(outer):
        assert origin.get()["x-request-id"] == "r7"
        spans.tracer.step("wfr_1", "draft", 1, "", "").end("completed", is_error=False)
    outer.end("completed", is_error=False)
    assert origin.get() == {"x-request-id": "r7"}
    origin.reset(before)
    step, run = spans.ended()
    assert step.parent is not None
    assert run.context is not None
    assert (step.parent.span_id, step.parent.is_remote) == (run.context.span_id, False)
    assert (run.name, step.kind) == ("invoke_workflow (not shown)", SpanKind.INTERNAL)
