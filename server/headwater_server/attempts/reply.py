"""The reply of the first model that answers: one source of events, whatever was tried before its first one.

Theory of operation. A failure before the first chunk costs the caller nothing but time, since nothing of the reply
was passed on. So the first `read` asks one target after the other, until one gives an event that makes a chunk. From
then on that provider's reply is the reply: `read` becomes the provider's own, so a chunk costs nothing here, and a
failure is the reader's. Events before the first chunk, such as data that the provider wants back, are held with their
attempt, and go with it.

A target that fails gives way to the next one at once, also to one that cools down. When all have failed, those that
may succeed in another attempt are asked again, each after its wait. The reply fails when no target is left, when
`max_attempts` were made, and when the next wait is longer than allowed or does not fit before the caller's deadline or
the end of the total time: then at once, and the error says how long to wait.

Example. Targets A and B, three attempts. A says 429 and to wait 20 seconds; B, asked at once, breaks its connection;
its wait is 0.4 seconds, that of A 20; so B is asked again after 0.4 seconds, and answers. The first chunk names B,
and lists two attempts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import msgspec
import structlog

from headwater_server.attempts.circuits import Circuits, Key
from headwater_server.attempts.policy import AGAIN, COOLS, ELSEWHERE, LATER, AttemptLimits, wait_after
from headwater_server.attempts.spending import tokens_of
from headwater_server.attempts.target import Target
from headwater_server.domain.attempts import Attempt
from headwater_server.domain.chunks import Delta, FinalChunk, Finish, FinishReason, ProviderEvent, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import failure_of
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.providers.admitted import prompt_tokens
from headwater_server.providers.base import ProviderStream
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.source import Receiver
from headwater_server.streaming.times.bound import Bound
from headwater_server.streaming.times.watchdog import passed
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.telemetry.frames import forget_frames
from headwater_server.telemetry.tracing.spans import Tracer, inside

EVENT_BYTES = 400
"""Memory of an event besides its texts."""

log = structlog.get_logger("headwater")


class _Candidate(msgspec.Struct):
    """A target, and how it did so far.

    Attributes:
        ready: when it may be asked again, as the loop's time; 0 for at once.
        error: of its last attempt.
        is_out: it is not asked again.
    """

    target: Target
    failures: int = 0
    ready: float = 0.0
    error: HeadwaterError | None = None
    is_out: bool = False

    __repr__ = object.__repr__  # the error may quote the prompt


class AttemptedReply:
    """The reply of the first target that answers; see the module's theory of operation.

    Args:
        targets: those that may be asked, best first.
        answerer: learns who answers.
        limits: the bounds.
        circuits: say which targets had better wait.
        chance: a number from 0 to 1, another one each time.
        tracer: makes a span of each attempt; None: there are no traces.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        answerer: Answerer,
        limits: AttemptLimits,
        circuits: Circuits,
        chance: Callable[[], float],
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()
        self._candidates = list(map(_Candidate, targets))
        if circuits.known:
            for candidate in self._candidates:
                candidate.ready = circuits.ready(candidate.target.key)
        self._answerer = answerer
        self._limits = limits
        self._circuits = circuits
        self._probe: Key | None = None
        self._chance = chance
        self._tried: list[Attempt] = []
        self._deadline = limits.deadline if limits.deadline is not None else math.inf
        self._made = 0
        self._asked = self._candidates[0] if len(targets) == 1 else self._best(self._candidates)
        self._began = 0.0
        self._spent = 0  # tokens of the attempts before the one that answers
        self._is_asking = False
        self._prompt: int | None = None  # tokens of the prompt, once it is answered
        self._stream: ProviderStream | None = None
        self._name()

    @property
    def request_id(self) -> str:
        """The provider's id of the request, once known."""
        return self._stream.request_id if self._stream else ""

    @property
    def heard(self) -> float:
        """When the provider last gave a sign of life that is no event, as the loop's time; 0 for never."""
        return self._stream.heard if self._stream else 0.0

    def tokens(self, outcome: FinalChunk | HeadwaterError | None, deltas: int) -> int:
        """The tokens that all attempts have used.

        Args:
            outcome: the end of the reply; None: its caller left.
            deltas: how many came.
        """
        if not self._is_asking:
            return self._spent
        usage = outcome.finish.usage if isinstance(outcome, FinalChunk) else None
        prompt = prompt_tokens(self._asked.target.chat) if self._prompt is None else self._prompt
        return self._spent + tokens_of(usage, prompt, deltas)

    async def read(self) -> Sequence[ProviderEvent]:
        """The first events. Raises the HeadwaterError with which the attempts ended."""
        events = await self._attempt()
        while events is None:
            await asyncio.sleep(self._wait_seconds())
            events = await self._attempt()
        assert self._stream is not None  # noqa: S101  its events have come
        if self._circuits.known:
            self._circuits.succeeded(self._asked.target.key)
        self._probe = None
        self.read = self._stream.read  # type: ignore[method-assign]  # nothing is left to do here
        self._prompt = prompt_tokens(self._asked.target.chat) if self._limits.counts_tokens else 0
        self._candidates.clear()
        del self._asked  # it has the request, and a reply can take minutes
        return events

    def follow(self, receiver: Receiver) -> None:
        """See Source; the first events have come."""
        if self._stream is not None:
            self._stream.follow(receiver)

    def resume(self) -> None:
        """See Source."""
        if self._stream is not None:
            self._stream.resume()

    async def aclose(self) -> None:
        """Ends the reply and frees its connection."""
        self._candidates.clear()
        if self._probe is not None:
            self._leave_probe()
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

    def _leave_probe(self) -> None:
        if self._probe is not None:
            self._circuits.left(self._probe)
            self._probe = None

    def _best(self, candidates: Sequence[_Candidate]) -> _Candidate:
        """The one that may be asked first; of several, the one that stands first."""
        return min(candidates, key=lambda candidate: candidate.ready)

    def _name(self) -> None:
        """Says who is asked next."""
        target, answerer = self._asked.target, self._answerer
        answerer.provider, answerer.fingerprint = target.route.provider.name, target.account
        answerer.model, answerer.dropped = target.route.model, target.dropped
        answerer.timeouts, answerer.tried = target.timeouts, tuple(self._tried)
        answerer.price = target.price
        add_facts(provider=answerer.provider, model=answerer.model)

    def begin(self) -> None:
        """Chooses the first target that can express the request. Raises HeadwaterError when none can."""
        while self._stream is None:
            try:
                self._ask()
            except HeadwaterError as error:
                self._note(error)
                left = [candidate for candidate in self._candidates if not candidate.is_out]
                if not left:
                    raise self._end() from None
                self._asked = self._best(left)
                self._name()
        self._deadline = min(self._deadline, self._began + self._answerer.timeouts.total_seconds)

    def start(self) -> None:
        """Asks the first target as far as that needs no wait; see Source."""
        if self._tracer is None and (start := getattr(self._stream, "start", None)) is not None:
            start()  # with traces the work of the provider belongs to a span that begins later

    def _ask(self) -> ProviderStream:
        """Begins the next attempt. Raises HeadwaterError (INVALID_REQUEST) when its target cannot express it."""
        self._began, target = self._loop.time(), self._asked.target
        self._stream, key = target.ask(), target.key
        self._probe = key if self._circuits.known and self._circuits.ask(key) else None
        return self._stream

    async def _attempt(self) -> Sequence[ProviderEvent] | None:
        """The first events of the target that is next; None when it failed."""
        try:
            stream = self._stream or self._ask()
            self._made += 1
            self._is_asking = True
            if self._tracer is None:
                return await self._first_events(stream)
            with self._traced(self._tracer):
                return await self._first_events(stream)
        except HeadwaterError as error:
            self._note(error)
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None
        return None

    def _traced(self, tracer: Tracer) -> AbstractContextManager[None]:
        """Makes the attempt a span, the parent of all work of the provider."""
        span = self._answerer.span = tracer.attempt(self._asked.target.facts(len(self._tried) + 1))
        return inside(span)

    def _note(self, error: HeadwaterError) -> None:
        """Remembers how an attempt failed."""
        asked, now = self._asked, self._loop.time()
        self._is_asking = False
        self._spent += _tokens_of_failed(error, asked.target)
        provider, model = asked.target.route.provider.name, asked.target.route.model
        error.about(provider=provider, model=model, provider_request_id=self.request_id)
        asked.error = error
        if self._answerer.span is not None:
            self._answerer.span.fail(error)
            self._answerer.span = None
        asked.failures += 1
        asked.ready = now + wait_after(error, asked.failures, self._limits.settings, self._chance)
        asked.is_out = error.reason not in AGAIN or self._limits.asks_once
        self._tell_circuit(error)
        if error.reason is Reason.SERVER_OVERLOADED:
            self._made -= 1  # the provider was not asked
        if self._leads_elsewhere(error):
            forget_frames(error)  # it is kept while others are asked, and its frames refer to this reply
        usage = error.usage if isinstance(error, _RefusedError) else None
        price = asked.target.price
        cost = price.cost(usage) if price and usage else None
        self._tried.append(Attempt(provider, model, failure_of(error), now - self._began, usage=usage, cost=cost))

    def _wait_seconds(self) -> float:
        """Chooses the target of the next attempt: seconds until then.

        Raises the HeadwaterError with which the reply fails.
        """
        failed, now = self._asked, self._loop.time()
        left = [candidate for candidate in self._candidates if not candidate.is_out]
        if failed.error is None or not self._leads_elsewhere(failed.error):
            left = []
        if not left or self._made >= self._limits.settings.max_attempts:
            raise self._end()
        unasked = [candidate for candidate in left if candidate.error is None]
        self._asked = self._best(unasked or left)
        wait = 0.0 if unasked else max(self._asked.ready - now, 0.0)
        if wait > self._limits.settings.max_wait_seconds or now + wait >= self._deadline:
            raise self._end(wait)
        self._tried[-1] = replace(self._tried[-1], wait_seconds=wait)
        _log(self._tried[-1])
        self._name()
        return wait

    def _end(self, wait: float | None = None) -> HeadwaterError:
        """The error of the first target that could succeed later, or else of the first target.

        `wait`: the seconds to wait until then, where that is known.
        """
        failed, *_ = errors = [candidate.error for candidate in self._candidates if candidate.error is not None]
        last = self._asked.error
        if last is not None and not self._leads_elsewhere(last):
            failed = last  # the request itself is wrong
        else:
            failed = next((error for error in errors if error.reason in LATER), failed)
        if failed.retry_after_seconds is None and failed.reason in AGAIN:
            failed.retry_after_seconds = wait
        if len(self._tried) > 1:
            failed.attempts = tuple(self._tried)
        for candidate in self._candidates:
            candidate.error = None
        return failed

    async def _first_events(self, stream: ProviderStream) -> Sequence[ProviderEvent]:
        """The events up to the first one that makes a chunk. Raises HeadwaterError, also when it comes too late."""
        seconds = self._asked.target.timeouts.first_chunk_seconds
        waits_for_text = self._limits.settings.falls_back_on_refusal and self._has_another()
        held: list[ProviderEvent] = []
        size = 0
        limit = Bound(self._loop, seconds)
        try:
            with limit:
                while events := await stream.read():
                    held.extend(events)
                    if waits_for_text and isinstance(events[-1], Finish) and not any(map(_says_more, held[:-1])):
                        _check_refusal(events[-1])
                    if any(map(_says_more if waits_for_text else _makes_chunk, events)):
                        return held
                    if (size := size + sum(map(_size, events))) > MAX_MESSAGE_BYTES:
                        raise HeadwaterError(
                            Reason.PROVIDER_UNAVAILABLE, "the provider sent 3 MiB of data before any text"
                        )
        except TimeoutError as error:
            if not limit.is_passed:
                raise
            raise passed("first_chunk", seconds) from error
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "the provider's reply broke off before its end")

    def _has_another(self) -> bool:
        """Whether another target can be asked at once when this one refuses."""
        others = [each for each in self._candidates if each is not self._asked and not each.is_out]
        ready = [each for each in others if each.ready <= self._loop.time()]
        return bool(ready) and self._made < self._limits.settings.max_attempts

    def _leads_elsewhere(self, error: HeadwaterError) -> bool:
        """Whether another target may succeed."""
        return error.reason in ELSEWHERE or isinstance(error, _RefusedError)

    def _tell_circuit(self, error: HeadwaterError) -> None:
        target = self._asked.target
        if target.is_measured and error.reason in COOLS:
            self._circuits.failed(target.key, error.retry_after_seconds)
            self._probe = None
        self._leave_probe()


class _RefusedError(HeadwaterError):
    """The model refused before any text, and another one is to be asked.

    Attributes:
        usage: the tokens of the refusal, where the provider reported them.
    """

    usage: Usage | None = None


def _check_refusal(finish: Finish) -> None:
    if finish.reason in (FinishReason.REFUSAL, FinishReason.CONTENT_FILTER):
        text = f"the reply ended with {finish.reason.value} before any text"
        facts = {"provider_code": finish.provider_reason}
        error = _RefusedError(Reason.PROVIDER_REJECTED_REQUEST, text, metadata=facts)
        error.usage = finish.usage
        raise error


def _tokens_of_failed(error: HeadwaterError, target: Target) -> int:
    """The tokens of an attempt that failed so: a provider that refuses or breaks off before it answers takes none."""
    if isinstance(error, _RefusedError):
        return tokens_of(error.usage, prompt_tokens(target.chat))
    return prompt_tokens(target.chat) if error.reason is Reason.STREAM_TIMEOUT else 0


def _says_more(event: ProviderEvent) -> bool:
    """Whether a chunk comes of it that has more than the words of a refusal."""
    return _makes_chunk(event) and not (isinstance(event, Delta) and event.refusal and not event.content)


def _makes_chunk(event: ProviderEvent) -> bool:
    """Whether a chunk comes of it: data that the provider wants back comes with the reply's message alone."""
    return isinstance(event, Finish) or event.provider_data is None or event.says_something()


def _size(event: ProviderEvent) -> int:
    """About how many bytes an event takes that makes no chunk, or has the words of a refusal alone."""
    return EVENT_BYTES + (0 if isinstance(event, Finish) else len(event.provider_data or "") + len(event.refusal))


def _log(attempt: Attempt) -> None:
    """Logs an attempt that another one follows. The message is left out: a provider may quote the prompt in it."""
    facts = {"provider": attempt.provider, "model": attempt.model, "reason": attempt.failure.reason.value}
    if (provider := attempt.failure.provider) is not None:
        more = {"http_status": provider.http_status, "provider_code": provider.code}
        facts |= {name: value for name, value in more.items() if value}  # type: ignore[misc]
    log.warning(
        "attempt failed",
        **facts,
        seconds=round(attempt.duration_seconds, 4),
        wait_seconds=round(attempt.wait_seconds, 4),
    )
