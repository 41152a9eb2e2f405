"""A reply of the embedded model, whose process may have ended since it was last asked."""

from __future__ import annotations

from typing import Protocol

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.base import Provider, ProviderStream
from headwater_server.providers.local.share import Share


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
    costs nothing.
    """

    def __init__(self, provider: Connector, request: ChatRequest, share: Share) -> None:
        self._provider = provider
        self._request = request
        self._share = share
        self._reply: ProviderStream | None = None
        self._using = False

    @property
    def request_id(self) -> str:
        """The id that the model's server gave the request; empty until it has."""
        return self._reply.request_id if self._reply else ""

    async def aclose(self) -> None:
        """Ends the reply, and with its connection the work of the model."""
        try:
            await self._hang_up()
        finally:
            if self._using:
                self._using = False
                self._share.end_use()

    async def read(self) -> list[ProviderEvent]:
        """The next events."""
        if self._reply is not None:
            return await self._reply.read()
        self._share.begin_use()
        self._using = True
        try:
            return await self._begin()
        except HeadwaterError as error:
            if not _connection_failed(error):
                raise
        await self._hang_up()
        await self._provider.settle()
        return await self._begin()

    async def _hang_up(self) -> None:
        if self._reply is not None:
            await self._reply.aclose()

    async def _begin(self) -> list[ProviderEvent]:
        provider = await self._provider.connection()
        self._reply = provider.stream(self._request)
        return await self._reply.read()


def _connection_failed(error: HeadwaterError) -> bool:
    """Whether nothing was answered: with an HTTP status, the model's server itself has said no."""
    return error.reason is Reason.PROVIDER_UNAVAILABLE and "http_status" not in error.metadata
