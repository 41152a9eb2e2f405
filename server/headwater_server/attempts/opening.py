"""From a parsed request to a running stream of a provider, for callers and for steps of workflows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from random import random

from headwater_server.attempts.allowed import Allowed
from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.policy import AttemptLimits, AttemptSettings
from headwater_server.attempts.reply import AttemptedReply
from headwater_server.attempts.request import ParsedRequest
from headwater_server.attempts.target import Target, Targets
from headwater_server.callers.accounts import Accounts
from headwater_server.callers.caller import caller
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import PROVIDER_HEADER, PROVIDER_KEY, AgentConfig
from headwater_server.providers.admitted import prompt_tokens
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.terms import StreamTerms
from headwater_server.telemetry.tracing.spans import Tracer

_MESSAGE = re.compile(r"messages\[(\d+)\]")


class StreamOpener:
    """Finds the targets of a request, and opens the stream.

    Args:
        offers: the providers that can answer; a stream keeps to the offer that was current when it began.
        streams: owns the running streams.
        circuits: those of the process.
        accounts: count the requests of callers with limits.
        allow_caller_api_keys: whether a request may bring a key for the provider.
        chance: a number from 0 to 1, another one each time.
        tracer: makes spans of attempts; None: there are no traces.
    """

    def __init__(
        self,
        offers: Offers,
        streams: RunningStreams,
        circuits: Circuits,
        accounts: Accounts,
        allow_caller_api_keys: bool,
        chance: Callable[[], float] = random,
        tracer: Tracer | None = None,
    ) -> None:
        self.allow_caller_api_keys = allow_caller_api_keys
        self._offers = offers
        self._streams = streams
        self._circuits = circuits
        self._accounts = accounts
        self._chance = chance
        self._tracer = tracer

    @asynccontextmanager
    async def open_stream(self, request: ParsedRequest, *, whole: bool = False) -> AsyncIterator[LiveStream]:
        """The stream, closed when the block is left. Raises HeadwaterError.

        Args:
            request: the request.
            whole: whether the final chunk has the assistant message of any reply, and not only of one with tool calls.
        """
        who = caller.get().name
        offer = self._offers.hold()
        try:
            own = offer.callers.of(who)
            targets = self._targets(offer, request)
            prompt = prompt_tokens(targets[0].chat) if own.counts_tokens else 0
            async with self._accounts.entered(who, own, prompt) as entry:
                answerer, limits = Answerer(""), _limits(offer.settings, request, counts_tokens=own.counts_tokens)
                source = AttemptedReply(targets, answerer, limits, self._circuits, self._chance, self._tracer)
                with _FieldsOf(request.agent):
                    source.begin()
                terms = self._terms(request, who, whole=whole)
                opening = self._streams.open_stream(answerer, source, request.continues, terms)
                del targets, request  # a reply can take minutes
                async with opening as stream:
                    try:
                        yield stream
                    finally:
                        entry.tokens = source.tokens(stream.outcome, stream.chunk_count) if own.counts_tokens else 0
        finally:
            self._offers.let_go(offer)

    def _targets(self, offer: Offer, request: ParsedRequest) -> list[Target]:
        with _FieldsOf(request.agent):
            allowed = allowed_of(offer)
            return Targets(offer.providers, offer.timeouts, self._chance, offer.prices, allowed).of(request)

    def _terms(self, request: ParsedRequest, who: str, *, whole: bool) -> StreamTerms:
        agent, tracer = request.agent, self._tracer
        # Fields of the provider's own can bring tools too.
        collects = whole or bool(agent.tools or agent.provider_options) or (tracer is not None and tracer.has_content)
        return StreamTerms(collects, request.resumable, agent.labels, who)


def allowed_of(offer: Offer) -> Allowed:
    """The models of an offer that the caller of this task may ask."""
    who = caller.get().name
    return Allowed(who, offer.callers.of(who), offer.providers)


def _limits(settings: AttemptSettings, request: ParsedRequest, *, counts_tokens: bool) -> AttemptLimits:
    if request.agent.max_attempts is not None:
        settings = replace(settings, max_attempts=request.agent.max_attempts)
    return AttemptLimits(settings, request.deadline, request.asks_once, counts_tokens)


class _FieldsOf:
    """Names the bad fields of an error as the caller has sent them: most are the agent's, and its instructions are no
    message of the conversation.
    """

    __slots__ = ("_agent",)

    def __init__(self, agent: AgentConfig) -> None:
        self._agent = agent

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HeadwaterError) and error.violations:
            raise error.renamed(self._rename) from error

    def _rename(self, field: str) -> str:
        message = _MESSAGE.match(field)
        if message is None:
            return field if field.startswith((PROVIDER_KEY, PROVIDER_HEADER)) else f"agent.{field}"
        before = 1 if self._agent.instructions else 0
        return f"messages[{int(message[1]) - before}]{field[message.end() :]}"


@contextmanager
def naming(**facts: str) -> Iterator[None]:
    """Adds to an error which provider and model it is about."""
    try:
        yield
    except HeadwaterError as error:
        error.about(**facts)
        raise
