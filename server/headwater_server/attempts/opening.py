"""From a parsed request to a running stream of a provider, for callers and for steps of workflows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from functools import partial
from random import random

from headwater_server.attempts.allowed import Allowed
from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.policy import AttemptLimits
from headwater_server.attempts.reply import AttemptedReply
from headwater_server.attempts.request import ParsedRequest
from headwater_server.attempts.target import Target, Targets
from headwater_server.callers.accounts import Accounts, Entry
from headwater_server.callers.caller import caller
from headwater_server.callers.limits import CallerLimits
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
        self.offers = offers
        self.streams = streams
        self.circuits = circuits
        self.accounts = accounts
        self.chance = chance
        self.tracer = tracer

    def open_stream(self, request: ParsedRequest, *, whole: bool = False) -> AbstractAsyncContextManager[LiveStream]:
        """The stream, closed when the block is left. Raises HeadwaterError.

        Args:
            request: the request.
            whole: whether the final chunk has the assistant message of any reply, and not only of one with tool calls.
        """
        return _Block(self, request, whole=whole)

    def targets(self, offer: Offer, request: ParsedRequest, who: str, own: CallerLimits) -> list[Target]:
        """The models that the request may ask."""
        allowed = None if own.models is None and own.providers is None else Allowed(who, own, offer.providers)
        return Targets(offer.providers, offer.timeouts, self.chance, offer.prices, allowed).of(request)

    def terms(self, request: ParsedRequest, who: str, *, whole: bool) -> StreamTerms:
        """The facts of the stream that are known before it runs."""
        agent, tracer = request.agent, self.tracer
        # Fields of the provider's own can bring tools too.
        collects = whole or bool(agent.tools or agent.provider_options) or (tracer is not None and tracer.has_content)
        return StreamTerms(collects, request.resumable, agent.labels, who)


def allowed_of(offer: Offer) -> Allowed:
    """The models of an offer that the caller of this task may ask."""
    who = caller.get().name
    return Allowed(who, offer.callers.of(who), offer.providers)


class _Block(AbstractAsyncContextManager[LiveStream]):
    """Opens the stream of a request and closes it; a class, because a generator costs several times as much."""

    __slots__ = ("_entry", "_offer", "_opener", "_request", "_source", "_stream", "_whole")

    def __init__(self, opener: StreamOpener, request: ParsedRequest, *, whole: bool) -> None:
        self._opener, self._request, self._whole = opener, request, whole
        self._entry: Entry | None = None
        self._stream: LiveStream | None = None

    async def __aenter__(self) -> LiveStream:
        self._offer = self._opener.offers.hold()
        try:
            return await self._open(self._opener, self._offer)
        except BaseException:
            await self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._entry is not None and self._entry.limits.counts_tokens and self._stream is not None:
            self._entry.tokens = self._source.tokens(self._stream.outcome, self._stream.chunk_count)
        await self._leave()

    async def _open(self, opener: StreamOpener, offer: Offer) -> LiveStream:
        request, who = self._request, caller.get().name
        del self._request  # a reply can take minutes
        own = offer.callers.of(who)
        is_counted = own.has_account
        counts_tokens = is_counted and own.counts_tokens
        try:
            targets = opener.targets(offer, request, who, own)
            if is_counted:
                prompt = prompt_tokens(targets[0].chat) if counts_tokens else 0
                self._entry = await opener.accounts.enter(who, own, prompt)
            settings = offer.settings
            if request.agent.max_attempts is not None:
                settings = replace(settings, max_attempts=request.agent.max_attempts)
            limits = AttemptLimits(settings, request.deadline, request.asks_once, counts_tokens)
            answerer = Answerer("")
            source = AttemptedReply(targets, answerer, limits, opener.circuits, opener.chance, opener.tracer)
            source.begin()
        except HeadwaterError as error:
            if error.violations:
                raise error.renamed(partial(_as_sent, request.agent)) from error
            raise
        terms = opener.terms(request, who, whole=self._whole)
        self._stream = stream = await opener.streams.begin(answerer, source, request.continues, terms)
        self._source = source
        return stream

    async def _leave(self) -> None:
        """Closes the stream, counts the request, and lets the offer go, as far as it came."""
        try:
            if self._stream is not None:
                await self._opener.streams.end(self._stream)
        finally:
            try:
                if self._entry is not None:
                    await self._opener.accounts.leave(self._entry)
            finally:
                self._opener.offers.let_go(self._offer)


def _as_sent(agent: AgentConfig, field: str) -> str:
    """A bad field by the name that the caller knows: most are the agent's, and its instructions are no message."""
    message = _MESSAGE.match(field)
    if message is None:
        return field if field.startswith((PROVIDER_KEY, PROVIDER_HEADER)) else f"agent.{field}"
    before = 1 if agent.instructions else 0
    return f"messages[{int(message[1]) - before}]{field[message.end() :]}"


@contextmanager
def naming(**facts: str) -> Iterator[None]:
    """Adds to an error which provider and model it is about."""
    try:
        yield
    except HeadwaterError as error:
        error.about(**facts)
        raise
