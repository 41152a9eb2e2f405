"""The events that a decoder makes of bytes, gathered for comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from headwater_server.domain.chunks import Delta, Finish, ProviderEvent, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ToolCall
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.base import Decoder, Wire
from headwater_server.providers.ollama.wire import OllamaWire
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.responses import OpenAIResponsesWire

WIRES: dict[str, Wire] = {
    "/v1/chat/completions": OpenAIChatWire(genuine=False),
    "/v1/responses": OpenAIResponsesWire(genuine=False),
    "/v1/messages": AnthropicWire(),
    "/api/chat": OllamaWire(),
}


def wire_for(endpoint: str) -> Wire | None:
    """The wire that is spoken at `POST /v1/messages` and the like; None where no reply is streamed."""
    path = endpoint.rpartition(" ")[2]
    return next((wire for prefix, wire in WIRES.items() if path.startswith(prefix)), None)


@dataclass
class Outcome:
    """All that came out of a decoder, deltas joined."""

    events: list[ProviderEvent] = field(default_factory=list)
    error: HeadwaterError | None = None

    @property
    def deltas(self) -> list[Delta]:
        return [event for event in self.events if isinstance(event, Delta)]

    @property
    def text(self) -> str:
        return "".join(delta.content for delta in self.deltas)

    @property
    def thinking(self) -> str:
        return "".join(delta.thinking for delta in self.deltas)

    @property
    def refusal(self) -> str:
        return "".join(delta.refusal for delta in self.deltas)

    @property
    def signatures(self) -> list[str]:
        return [delta.thinking_signature for delta in self.deltas if delta.thinking_signature]

    @property
    def redacted(self) -> list[str]:
        return [delta.redacted_thinking for delta in self.deltas if delta.redacted_thinking]

    @property
    def tool_call_pieces(self) -> list[ToolCallDelta]:
        return [piece for delta in self.deltas for piece in delta.tool_calls or ()]

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls, in the order of their index."""
        calls: dict[int, list[str]] = {}
        for piece in self.tool_call_pieces:
            parts = calls.setdefault(piece.index, ["", "", ""])
            parts[0] += piece.id
            parts[1] += piece.name
            parts[2] += piece.arguments
        return [ToolCall(*calls[index]) for index in sorted(calls)]

    @property
    def finish(self) -> Finish | None:
        finishes = [event for event in self.events if isinstance(event, Finish)]
        assert len(finishes) <= 1
        assert not finishes or self.events[-1] is finishes[0]
        return finishes[0] if finishes else None


def decode(decoder: Decoder, pieces: Iterable[bytes], *, close: bool = True) -> Outcome:
    """Feeds the pieces, and closes the decoder unless the body was cut. Keeps the events that come before an error."""
    outcome = Outcome()
    try:
        for piece in pieces:
            decoder.feed(piece, outcome.events)
        if close:
            decoder.close(outcome.events)
    except HeadwaterError as error:
        outcome.error = error
    return outcome
