"""Ollama: the chat wire over HTTP, with the facts that only Ollama tells: its models' abilities and the GPU."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from headwater_server.domain.chunks import Finish, ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers import ollama
from headwater_server.providers.base import ProviderInfo, ProviderStream
from headwater_server.providers.http_provider import HttpProvider

GPU_SECONDS = 0.5


class OllamaProvider(HttpProvider):
    """Ollama, at its own address; see HttpProvider."""

    def stream(self, request: ChatRequest) -> ProviderStream:  # type: ignore[override]
        """Begins a reply; its Finish has the GPU's facts in `metadata["gpu"]`, where Ollama tells them in time."""
        return _WithGpu(self, super().stream(request), request.model)

    async def info(self, model: str) -> ProviderInfo:
        """What Ollama says of the model. Raises HeadwaterError when it cannot be asked or lacks the model."""
        known = await super().info(model)
        shown = ollama.parse_show(await self.get("/api/show", {"model": known.model}))
        return ProviderInfo(
            name=known.name,
            type=known.type,
            model=known.model,
            supports_tools="tools" in shown.capabilities,
            supported_params=known.supported_params,
            context_window=shown.context_length,
        )

    async def gpu(self, model: str) -> dict[str, Any] | None:
        """Where the model runs (see `ollama.parse_ps`); None when it is not loaded or Ollama does not say."""
        try:
            return ollama.parse_ps(await self.get("/api/ps"), model)
        except HeadwaterError:
            return None  # a fact beside the reply; its absence says the same


class _WithGpu:
    """A reply whose GPU facts are asked for while it is written, so that they cost its end no time."""

    def __init__(self, provider: OllamaProvider, reply: ProviderStream, model: str) -> None:
        self._provider = provider
        self._reply = reply
        self._model = model
        self._events = self._read()

    @property
    def request_id(self) -> str:
        return self._reply.request_id

    def __aiter__(self) -> AsyncIterator[ProviderEvent]:
        return self._events

    async def aclose(self) -> None:
        await self._events.aclose()
        await self._reply.aclose()

    async def _read(self) -> AsyncGenerator[ProviderEvent, None]:
        asking: asyncio.Task[dict[str, Any] | None] | None = None
        try:
            async for event in self._reply:
                if asking is None:
                    asking = asyncio.create_task(self._provider.gpu(self._model))
                if isinstance(event, Finish):
                    await asyncio.wait([asking], timeout=GPU_SECONDS)
                    if asking.done() and (gpu := asking.result()) is not None:
                        event.metadata["gpu"] = gpu
                yield event
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.wait([asking])
