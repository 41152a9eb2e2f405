"""Ollama: the chat wire over HTTP, with the facts that only Ollama tells: its models' abilities and the GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

from headwater_server.domain.chunks import Finish, ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.base import ProviderInfo, ProviderStream
from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.http.site import site
from headwater_server.providers.ollama import wire as ollama
from headwater_server.providers.ollama.settings import OllamaSettings
from headwater_server.providers.registration import BuildContext
from headwater_server.streaming.source import Receiver

GPU_SECONDS = 0.5

_Asking: TypeAlias = "asyncio.Task[dict[str, Any] | None]"


def build(name: str, settings: OllamaSettings, context: BuildContext) -> OllamaProvider:
    """The provider."""
    return OllamaProvider(
        name=name,
        type=settings.type,
        site=site(name, settings, context),
        wires={"chat": ollama.OllamaWire()},
        default_model=settings.default_model,
        models_path=ollama.TAGS_PATH,
        parse_models=parse_models,
    )


class OllamaProvider(HttpProvider):
    """Ollama, at its own address; see HttpProvider."""

    def stream(self, request: ChatRequest) -> ProviderStream:  # type: ignore[override]
        """Begins a reply; its Finish has the GPU's facts in `metadata["gpu"]`, where Ollama tells them in time."""
        return _WithGpu(self, super().stream(request), request.model)

    async def info(self, model: str) -> ProviderInfo:
        """Ollama's facts about the model. Raises HeadwaterError when it cannot be asked or lacks the model."""
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
        self._asking: _Asking | None = None
        self._end: Sequence[ProviderEvent] | None = None
        self._receiver: Receiver | None = None
        self._ending: asyncio.Task[None] | None = None
        self._has_ended = False

    @property
    def request_id(self) -> str:
        return self._reply.request_id

    @property
    def heard(self) -> float:
        return self._reply.heard

    async def aclose(self) -> None:
        self._receiver = None
        if tasks := [task for task in (self._asking, self._ending) if task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self._reply.aclose()

    async def read(self) -> Sequence[ProviderEvent]:
        events = self._end or await self._reply.read()
        if self._asking is None:
            self._asking = asyncio.create_task(self._provider.gpu(self._model))
        if events and isinstance(finish := events[-1], Finish):
            self._end = events
            await self._complete(finish, self._asking)
            self._end = None
        return events

    def follow(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._reply.follow(self)

    def resume(self) -> None:
        self._reply.resume()

    def arrived(self, events: Sequence[ProviderEvent]) -> bool:
        if self._receiver is None:
            return True
        if self._asking is None or not isinstance(finish := events[-1], Finish):
            return self._receiver.arrived(events)
        self._ending = asyncio.create_task(self._pass_on_end(events, finish, self._asking))
        return True

    def ended(self, error: Exception | None) -> None:
        self._has_ended = True
        if self._receiver is not None and self._ending is None:
            self._receiver.ended(error)

    async def _pass_on_end(self, events: Sequence[ProviderEvent], finish: Finish, asking: _Asking) -> None:
        await self._complete(finish, asking)
        if self._receiver is not None:
            self._receiver.arrived(events)
            self._ending = None
            if self._has_ended:
                self._receiver.ended(None)

    async def _complete(self, finish: Finish, asking: _Asking) -> None:
        await asyncio.wait([asking], timeout=GPU_SECONDS)
        if asking.done() and (gpu := asking.result()) is not None:
            finish.metadata["gpu"] = gpu
