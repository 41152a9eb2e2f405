"""A reply that a provider's gate lets through when it begins, and that leaves the gate when it is closed."""

from __future__ import annotations

from collections.abc import Sequence

from headwater_server.domain.chunks import Finish, ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest, Text, ToolResult
from headwater_server.providers.base import ProviderStream
from headwater_server.providers.gate import Gate
from headwater_server.streaming.source import Receiver

CHARACTERS_PER_TOKEN = 4
"""About so many characters of English are a token; the provider's own count puts it right."""


class AdmittedStream:
    """A reply behind a gate; see ProviderStream. Nothing is asked before it is let through.

    `read` also raises HeadwaterError (SERVER_OVERLOADED) when it is not.
    """

    def __init__(self, stream: ProviderStream, gate: Gate, request: ChatRequest) -> None:
        self._stream = stream
        self._gate = gate
        # A prompt of more than a minute's tokens takes a minute's: any caller can send one, and all others wait for it.
        self._tokens = min(prompt_tokens(request), most) if (most := gate.limits.tokens_per_minute) else 0
        self._used: int | None = None
        self._is_inside = False
        self._has_answered = False
        self._receiver: Receiver | None = None

    @property
    def request_id(self) -> str:
        """The provider's id of the request."""
        return self._stream.request_id

    @property
    def heard(self) -> float:
        """See ProviderStream."""
        return self._stream.heard

    async def read(self) -> Sequence[ProviderEvent]:
        """The next events."""
        if not self._is_inside:
            await self._gate.enter(self._tokens)
            self._is_inside = True
            if not self._gate.limits.tokens_per_minute:
                self.read = self._stream.read  # type: ignore[method-assign]  # nothing is left to do here
        try:
            events = await self._stream.read()
        except HeadwaterError:
            if not self._has_answered:
                self._used = 0  # a refusal costs no tokens
            raise
        self._has_answered = True
        self._note(events)
        return events

    def follow(self, receiver: Receiver) -> None:
        """See Source."""
        if self._gate.limits.tokens_per_minute:
            self._receiver = receiver
            self._stream.follow(self)
        else:
            self._stream.follow(receiver)

    def resume(self) -> None:
        """See Source."""
        self._stream.resume()

    def arrived(self, events: Sequence[ProviderEvent]) -> bool:
        """See Receiver."""
        self._note(events)
        return self._receiver is None or self._receiver.arrived(events)

    def ended(self, error: Exception | None) -> None:
        """See Receiver."""
        if self._receiver is not None:
            self._receiver.ended(error)

    def _note(self, events: Sequence[ProviderEvent]) -> None:
        if events and isinstance(finish := events[-1], Finish) and finish.usage is not None:
            self._used = finish.usage.total_tokens

    async def aclose(self) -> None:
        """Ends the reply and frees its connection, then its place."""
        self._receiver = None
        try:
            await self._stream.aclose()
        finally:
            if self._is_inside:
                self._is_inside = False
                self._gate.leave(0 if self._used is None else self._used - self._tokens)


def prompt_tokens(request: ChatRequest) -> int:
    """About how many tokens the prompt of a request has, 1 or more."""
    parts = [part for message in request.messages for part in message.parts]
    texts = [p.text if isinstance(p, Text) else p.content for p in parts if isinstance(p, Text | ToolResult)]
    return max(sum(map(len, texts)) // CHARACTERS_PER_TOKEN, 1)
