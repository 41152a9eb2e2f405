"""The common part of the decoders of all wires.

Theory of operation. A framing (SSE, NDJSON) cuts bytes into messages. A wire reads each message into at most one
delta, and says with `_finish` when a message ends the reply. Round that, this module joins surrogate halves, completes
tool calls without arguments, yields the one Finish last and ignores what follows it. `feed` and `close` are generators,
so that the events before a fault are delivered before it is raised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ProviderEvent, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.errors import stream_error
from headwater_server.providers.wires.json import JSONShape
from headwater_server.providers.wires.sse import ServerSentEvent
from headwater_server.providers.wires.surrogates import SurrogateJoiner, without_surrogates
from headwater_server.providers.wires.tool_calls import ToolCalls

Message = TypeVar("Message")
Message_co = TypeVar("Message_co", covariant=True)

Count = int | float | None
"""A count as servers write it: some write 12.0."""

_MAX_COUNT = 2**31 - 1
_MAX_NUMBER = 2**63 - 1


class Framing(Protocol[Message_co]):
    """Cuts bytes into messages."""

    def feed(self, data: bytes) -> Iterable[Message_co]:
        """The messages that these bytes complete."""
        ...

    def close(self) -> Iterable[Message_co]:
        """The messages that the end of the body completes."""
        ...


class StreamDecoder(ABC, Generic[Message]):
    """A decoder for one answer; see `base.Decoder`."""

    def __init__(self, framing: Framing[Message]) -> None:
        self._framing = framing
        self._joiner = SurrogateJoiner()
        self._calls = ToolCalls()
        self._refused = False
        self._final: Finish | None = None
        self._kept: str | None = None
        self._ended = False

    def feed(self, data: bytes, events: list[ProviderEvent]) -> None:
        """Adds the events that these bytes complete."""
        if not self._ended:
            self._add(self._framing.feed(data), events)

    def close(self, events: list[ProviderEvent]) -> None:
        """Adds the events that the proper end of the body completes."""
        if not self._ended:
            self._add(self._framing.close(), events)
        if not self._ended:
            self._at_end()
            self._add_last(events)

    @abstractmethod
    def _read(self, message: Message) -> Delta | None:
        """Reads a message."""

    def _at_end(self) -> None:
        """The body ended without an end by the protocol. A wire that takes this for a proper end calls `_finish`.

        Data that the provider wants back with the whole reply it leaves in `_kept`.
        """

    def _finish(
        self,
        reason: FinishReason,
        provider_reason: str,
        usage: Usage | None,
        *,
        stop_sequence: str | None = None,
        event_type: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Ends the reply. A stop with tool calls is TOOL_CALLS, one with words of a refusal REFUSAL."""
        if reason is FinishReason.STOP and len(self._calls):
            reason = FinishReason.TOOL_CALLS
        elif reason is FinishReason.STOP and self._refused:
            reason = FinishReason.REFUSAL
        self._final = Finish(
            reason,
            without_surrogates(provider_reason),
            without_surrogates(stop_sequence),
            usage,
            without_surrogates(event_type),
            without_surrogates(metadata or {}),
        )

    def _add(self, messages: Iterable[Message], events: list[ProviderEvent]) -> None:
        for message in messages:
            delta = self._read(message)
            if delta is not None:
                events.extend(self._joiner.join(delta))
            if self._final is not None or self._ended:
                self._add_last(events)
                return

    def _add_last(self, events: list[ProviderEvent]) -> None:
        self._ended = True
        events.extend(self._joiner.flush())
        if self._final is None:
            return
        if self._kept is not None:
            events.append(Delta(provider_data=self._kept))
        if self._final.reason is FinishReason.TOOL_CALLS and (empty := self._calls.empty_arguments()):
            events.append(Delta(tool_calls=empty, event_type=self._final.event_type))
        events.append(self._final)


class _Typed(msgspec.Struct):
    type: str | None = None
    error: Any = None


_TYPED = JSONShape(_Typed, "an event with a type")


def event_type(event: ServerSentEvent) -> str:
    """The type of an event whose JSON repeats it as `type`; proxies lose the line that names it.

    Raises HeadwaterError for an event that has no type and is an error.
    """
    if event.event or event.data.startswith(b"[DONE]"):
        return event.event
    typed = _TYPED.decode(event.data)
    if not typed.type and typed.error:
        raise stream_error(typed.error)
    return typed.type or ""


def media_type(content_type: str) -> str:
    """The type of content without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def not_a_stream(content_type: str) -> HeadwaterError:
    """The error for an answer of another type of content."""
    shown = media_type(content_type)[:100] or "no type of content"
    message = f"the provider answered with {shown}, not a stream; check its base URL"
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)


def require_event_stream(content_type: str) -> None:
    """Raises HeadwaterError unless the answer is an event stream; one without a type is taken for one."""
    if media_type(content_type) not in ("text/event-stream", ""):
        raise not_a_stream(content_type)


def whole_number(value: Count, limit: int = _MAX_NUMBER) -> int | None:
    """A number from 0 to the limit; None where there is none, or none that makes sense."""
    return int(value) if value is not None and 0 <= value <= limit else None


def token_count(value: Count) -> int | None:
    """A count of tokens; None where there is none, or none that makes sense."""
    return whole_number(value, _MAX_COUNT)


def total(*counts: int | None) -> int | None:
    """The sum of the counts that were reported; None unless the first (input) and the last (output) were."""
    if counts[0] is None or counts[-1] is None:
        return None
    return min(sum(count for count in counts if count is not None), _MAX_COUNT)
