"""A reply of the embedded model, whose process may have ended since it was last asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.base import Provider, ProviderStream
from headwater_server.providers.local.schemas import has_schema
from headwater_server.providers.local.share import Share
from headwater_server.streaming.source import Receiver

REPLY_SECONDS = 600.0

STALLED = "the embedded model gave no sign of life and was ended; it is started again by the next call"
TOO_MUCH = (
    "; the JSON Schema of this request, or of its tools, may be too much for it: use fewer alternatives, and no "
    "references from a schema to itself"
)


class Connector(Protocol):
    """Reaches the process that runs the model."""

    async def connection(self) -> Provider:
        """The provider that reaches the running model, which is started if need be. Raises HeadwaterError."""
        ...

    async def settle(self) -> None:
        """After a failed connection: waits a moment for the end of the process, should it be ending."""
        ...


class LocalStream:
    """A reply under way; see ProviderStream.

    A connection that fails before the first event is tried once more: a process that was just killed still looks alive
    for some milliseconds, and llama.cpp closes a kept connection after two streams without saying so. Asking twice
    costs nothing. Only a request with a schema is not asked again once the model has stalled: it may be the one that
    made the model compute without end, and would do so again.

    Args:
        provider: reaches the model.
        request: the request.
        share: the meeting place of the servers that use the model.
        seconds: how long the whole reply may take.
    """

    def __init__(self, provider: Connector, request: ChatRequest, share: Share, seconds: float = REPLY_SECONDS) -> None:
        self._provider = provider
        self._request = request
        self._share = share
        self._reply: ProviderStream | None = None
        self._using = False
        self._seconds = seconds
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._receiver: Receiver | None = None
        self._stall = ""

    @property
    def request_id(self) -> str:
        """The id that the model's server gave the request; empty until it has."""
        return self._reply.request_id if self._reply else ""

    @property
    def heard(self) -> float:
        """See ProviderStream."""
        return self._reply.heard if self._reply else 0.0

    async def aclose(self) -> None:
        """Ends the reply, and with its connection the work of the model."""
        self._receiver = None
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._hang_up()
        finally:
            if self._using:
                self._using = False
                self._share.end_use()

    def follow(self, receiver: Receiver) -> None:
        """See Source; the first events have come."""
        if self._reply is not None and self._deadline is not None:
            self._receiver = receiver
            self._timer = asyncio.get_running_loop().call_at(self._deadline, self._pass)
            self._reply.follow(self)

    def resume(self) -> None:
        """See Source."""
        if self._reply is not None:
            self._reply.resume()

    def arrived(self, events: Sequence[ProviderEvent]) -> bool:
        """See Receiver."""
        return self._receiver is None or self._receiver.arrived(events)

    def ended(self, error: Exception | None) -> None:
        """See Receiver."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.ended(self._explained(error) if isinstance(error, HeadwaterError) else error)

    def _pass(self) -> None:
        """The reply took too long."""
        self.ended(self._too_long())

    def _too_long(self) -> HeadwaterError:
        message = f"the embedded model's reply took longer than {self._seconds:g} seconds, its reply_seconds"
        return HeadwaterError(Reason.STREAM_TIMEOUT, message)

    async def read(self) -> Sequence[ProviderEvent]:
        """The next events."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                return await (self._first() if self._reply is None else self._next(self._reply))
        except TimeoutError as error:
            raise self._too_long() from error

    async def _first(self) -> Sequence[ProviderEvent]:
        self._share.begin_use()
        self._using = True
        self._stall = self._share.last_stall()
        try:
            return await self._begin()
        except HeadwaterError as error:
            if not _connection_failed(error):
                raise
        await self._hang_up()
        await self._provider.settle()
        if has_schema(self._request) and self._has_stalled():
            raise _stalled(self._request)
        return await self._begin()

    async def _next(self, reply: ProviderStream) -> Sequence[ProviderEvent]:
        try:
            return await reply.read()
        except HeadwaterError as error:
            raise self._explained(error) from error.__cause__

    def _explained(self, error: HeadwaterError) -> HeadwaterError:
        """The error; that of a model that has stalled, where it broke the connection."""
        return _stalled(self._request) if _connection_failed(error) and self._has_stalled() else error

    def _has_stalled(self) -> bool:
        return self._share.last_stall() != self._stall

    async def _hang_up(self) -> None:
        if self._reply is not None:
            await self._reply.aclose()

    async def _begin(self) -> Sequence[ProviderEvent]:
        provider = await self._provider.connection()
        self._reply = provider.stream(self._request)
        return await self._reply.read()


def _connection_failed(error: HeadwaterError) -> bool:
    """Whether nothing was answered: with an HTTP status, the model's server itself has said no."""
    return error.reason is Reason.PROVIDER_UNAVAILABLE and "http_status" not in error.metadata


def _stalled(request: ChatRequest) -> HeadwaterError:
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, STALLED + (TOO_MUCH if has_schema(request) else ""))
