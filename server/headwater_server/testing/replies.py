"""Replies that a test plans ahead: each answers one call of a model, whatever the model is called.

A reply is either a script, with the options of `provider_options`, or open: then the test sends its chunks and its end,
one by one. Each request takes the first planned reply that is for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from headwater_server.domain.chunks import Delta, ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.base import ModelInfo, ProviderStream
from headwater_server.providers.scripted.options import ScriptedOptions
from headwater_server.providers.scripted.provider import ScriptedProvider, ScriptedStream
from headwater_server.providers.scripted.script import question, reply
from headwater_server.streaming.source import ReadSource

DEFAULT_MODEL = "scripted"
ANTHROPIC = "anthropic"

Pieces: TypeAlias = "asyncio.Queue[str | HeadwaterError | None]"
"""Chunks and, at last, the failure or None for a normal end."""

_NO_REPLY = (
    "the test has planned no reply for this request, which is number {number}; "
    "plan one for each call of the model, rounds of tools included"
)


class PlannedReply(Protocol):
    """A reply for one request.

    Attributes:
        when: text that the question must have in it; empty: any question.
    """

    when: str

    def begin(self, provider: PlannedProvider, request: ChatRequest) -> ProviderStream:
        """The reply to the request."""
        ...


class ScriptedReply:
    """A reply with the options of a script, with text in it or without."""

    def __init__(self, options: ScriptedOptions, when: str) -> None:
        self.when = when
        self._options = options.model_copy(update={"text": options.text or ""})

    def begin(self, provider: PlannedProvider, request: ChatRequest) -> ProviderStream:
        """See PlannedReply."""
        return ScriptedStream(provider.script(request, self._options))


class OpenReply:
    """A reply whose chunks and end come while it runs. The chunks that were added before are sent at once.

    Attributes:
        closed: set when its reader has gone, at its end or before.
    """

    def __init__(self, when: str) -> None:
        self.when = when
        self.closed = asyncio.Event()
        self._pieces: Pieces = asyncio.Queue()

    def send(self, content: str) -> None:
        """Adds a chunk."""
        self._pieces.put_nowait(content)

    def end(self, failure: HeadwaterError | None = None) -> None:
        """Adds the end: a normal one, or the failure."""
        self._pieces.put_nowait(failure)

    def begin(self, provider: PlannedProvider, request: ChatRequest) -> ProviderStream:
        """See PlannedReply."""
        return _OpenStream(request, self._pieces, self.closed)


class _OpenStream(ReadSource):
    """An open reply under way; see ProviderStream."""

    request_id = ""
    heard = 0.0

    def __init__(self, request: ChatRequest, pieces: Pieces, closed: asyncio.Event) -> None:
        self._request = replace(request, sampling={})  # no limit cuts it
        self._pieces = pieces
        self._closed = closed
        self._sent: list[str] = []
        self._ended = False

    async def read(self) -> list[ProviderEvent]:
        """The next event, once the test has sent it."""
        if self._ended:
            return []
        piece = await self._pieces.get()
        if isinstance(piece, str):
            self._sent.append(piece)
            return [Delta(content=piece)]
        self._ended = True
        if piece is not None:
            raise piece
        _, finish = reply(self._request, ScriptedOptions(), "".join(self._sent), None)
        return [finish]

    async def aclose(self) -> None:
        """Notes that the reader has gone."""
        self._closed.set()
        await super().aclose()


class _NamedStream(ReadSource):
    """A reply under way whose events have names, as Anthropic's have; see ProviderStream."""

    request_id = ""
    heard = 0.0

    def __init__(self, stream: ProviderStream) -> None:
        self._stream = stream

    async def read(self) -> Sequence[ProviderEvent]:
        """The next event, with its name."""
        events = await self._stream.read()
        for event in events:
            event.event_type = "content_block_delta" if isinstance(event, Delta) else "message_stop"
        return events

    async def aclose(self) -> None:
        """Ends the reply."""
        await super().aclose()
        await self._stream.aclose()


class PlannedReplies:
    """The replies that are planned and not yet taken, and the requests that came.

    Attributes:
        requests: name of the provider and request, in the order in which they came.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, ChatRequest]] = []
        self._waiting: deque[PlannedReply] = deque()

    def add(self, planned: PlannedReply) -> None:
        """Plans one more."""
        self._waiting.append(planned)

    def take(self, provider: str, request: ChatRequest) -> PlannedReply:
        """The reply for a request. Raises HeadwaterError (PROVIDER_REJECTED_REQUEST) when none is planned for it."""
        self.requests.append((provider, request))
        asked = question(request)
        for planned in self._waiting:
            if planned.when in asked:
                self._waiting.remove(planned)
                return planned
        raise HeadwaterError(Reason.PROVIDER_REJECTED_REQUEST, _NO_REPLY.format(number=len(self.requests)))


class PlannedProvider(ScriptedProvider):
    """A provider of any name, with any model; the planned replies are its answers."""

    default_model = DEFAULT_MODEL

    def __init__(self, name: str, replies: PlannedReplies) -> None:
        super().__init__(name)
        self._replies = replies

    def stream(self, request: ChatRequest) -> ProviderStream:
        """Begins the reply that is planned for the request. Raises HeadwaterError when there is none."""
        stream = self._replies.take(self.name, request).begin(self, request)
        return _NamedStream(stream) if self.name == ANTHROPIC else stream

    async def models(self) -> list[ModelInfo]:
        """The model of requests that name none."""
        return [ModelInfo(DEFAULT_MODEL)]

    def _check_model(self, model: str) -> None:
        """Takes any."""
