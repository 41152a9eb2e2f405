"""Providers whose replies are planned call by call, and an opener of streams over them, for tests in virtual time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headwater.v1 import agent_service_pb2
from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.opening import StreamOpener
from headwater_server.attempts.policy import AttemptSettings
from headwater_server.callers.accounts import Accounts
from headwater_server.callers.limits import LimitsOfCallers
from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, ProviderEvent
from headwater_server.domain.costs.prices import NO_PRICES, PriceTable
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import SAMPLING_PARAMS, ChatRequest
from headwater_server.providers.gate import Gate
from headwater_server.providers.registry import Alias, ProviderRegistry, ProviderTerms
from headwater_server.streaming.answerer import Timeouts
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.source import ReadSource
from headwater_server.telemetry.metrics import Metrics
from headwater_server.transport.convert.requests import parse_stream_request

NO_ACCOUNTS = Accounts(Path(os.devnull))
"""For callers without limits."""

Plan = HeadwaterError | float | Sequence[ProviderEvent]
"""How a call goes: it fails, it is silent for so many seconds and then answers, or these events come."""

HELLO: Sequence[ProviderEvent] = (Delta(content="Hello"), Finish(FinishReason.STOP))


def fails(reason: Reason, retry_after: float | None = None, **metadata: str) -> HeadwaterError:
    """A failure, as a provider has it."""
    return HeadwaterError(reason, "no luck", metadata=metadata, retry_after_seconds=retry_after)


class PlannedStream(ReadSource):
    """A reply that goes as planned."""

    heard = 0.0

    def __init__(self, plan: Plan, request_id: str) -> None:
        self.request_id = request_id
        self.closed = False
        self._plan = plan
        self.left = list(plan) if isinstance(plan, Sequence) else list(HELLO)

    async def read(self) -> list[ProviderEvent]:
        if isinstance(self._plan, HeadwaterError):
            raise self._plan.again()
        if isinstance(self._plan, float):
            await asyncio.sleep(self._plan)
        return [self.left.pop(0)] if self.left else []

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


class PlannedProvider:
    """Answers its calls as planned, the last plan again and again; remembers them."""

    type = "planned"
    default_model = "m"

    def __init__(self, name: str, *plans: Plan, params: Sequence[str] = SAMPLING_PARAMS) -> None:
        self.name = name
        self.plans = list(plans) or [HELLO]
        self.params = frozenset(params)
        self.asked: list[ChatRequest] = []
        self.times: list[float] = []
        self.streams: list[PlannedStream] = []
        self.cannot_express: HeadwaterError | None = None

    def supported_params(self, request: ChatRequest) -> frozenset[str]:
        return self.params

    def account(self, request: ChatRequest) -> str:
        return f"account-of-{self.name}{request.api_key}"

    def stream(self, request: ChatRequest) -> PlannedStream:
        if self.cannot_express:
            raise self.cannot_express
        self.asked.append(request)
        self.times.append(asyncio.get_running_loop().time())
        plan = self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
        self.streams.append(PlannedStream(plan, f"req-{self.name}-{len(self.asked)}"))
        return self.streams[-1]


@dataclass
class Answered:
    """The answer that a caller got: the text, the stream's facts and the time that it took."""

    text: str
    stream: LiveStream
    seconds: float
    final: FinalChunk

    @property
    def who(self) -> str:
        return f"{self.stream.answerer.provider}/{self.stream.answerer.model}"

    @property
    def tried(self) -> list[tuple[str, Reason]]:
        return [(attempt.provider, attempt.failure.reason) for attempt in self.stream.answerer.tried]


class Calls:
    """Calls of a server with these providers."""

    def __init__(
        self,
        *providers: PlannedProvider,
        chance: Callable[[], float] = lambda: 0.0,
        aliases: Mapping[str, Alias] | None = None,
        cool_down: float = 5.0,
        gates: Mapping[str, Gate] | None = None,
        prices: PriceTable = NO_PRICES,
        metrics: Metrics | None = None,
        accounts: Accounts = NO_ACCOUNTS,
        callers: LimitsOfCallers = LimitsOfCallers(),  # noqa: B008  it is frozen
        **settings: Any,
    ) -> None:
        self.streams = RunningStreams(metrics=metrics)
        self.circuits = Circuits(cool_down)
        named = {each.name: each for each in providers}
        terms = {name: ProviderTerms(gate=gate) for name, gate in (gates or {}).items()}
        registry = ProviderRegistry(named, frozenset(), terms=terms, aliases=aliases)  # type: ignore[arg-type]
        offers = Offers(Offer(registry, Timeouts(30, 10), AttemptSettings(**settings), prices, callers))
        self.opener = StreamOpener(offers, self.streams, self.circuits, accounts, True, chance=chance)

    @asynccontextmanager
    async def open_stream(
        self, deadline: float | None = None, key: str = "", messages: Sequence[Any] = (), **agent: Any
    ) -> AsyncIterator[LiveStream]:
        message = agent_service_pb2.StreamRequest(agent={"model": "a/m", **agent}, messages=messages, prompt="Hi")
        request = parse_stream_request(message, [key] if key else [], True)
        if deadline is not None:
            request = request.until(asyncio.get_running_loop().time() + deadline)
        async with self.opener.open_stream(request) as stream:
            yield stream

    async def ask(self, **request: Any) -> Answered:
        began, text = asyncio.get_running_loop().time(), ""
        async with self.open_stream(**request) as stream:
            while isinstance(chunk := await stream.next(), Chunk):
                text += chunk.delta.content
        return Answered(text, stream, asyncio.get_running_loop().time() - began, chunk)

    async def refused(self, **request: Any) -> tuple[HeadwaterError, float]:
        """The error, and the seconds until it came."""
        began = asyncio.get_running_loop().time()
        with pytest.raises(HeadwaterError) as caught:
            await self.ask(**request)
        return caught.value, asyncio.get_running_loop().time() - began
