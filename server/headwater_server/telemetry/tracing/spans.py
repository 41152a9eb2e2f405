"""The spans of a trace, as the rest of the server makes them: where there are no traces, there is no tracer.

Theory of operation. The context variable `call_origin.origin` has the headers with which a task names the trace that it
is part of: first those of the caller. Each span puts its own in their place for all that happens inside it. So one
variable says which span is the parent of the next one, what a provider is sent, and what a worker is given; a run
stores it, and its steps in the next process find it there.

Spans begin and end with a call, an attempt, a step or a run. Nothing happens for a chunk.

Example. A caller's `traceparent` names trace T and its span 1. The span of its call is 2, below 1. While the call runs,
`origin` names T and 2. The first attempt is span 3, below 2, and its provider gets T and 3. It fails. The second
attempt is span 4, below 2 again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from headwater_server.domain.call_origin import origin
from headwater_server.domain.chunks import FinalChunk
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest


class Span(Protocol):
    """A span that has begun."""

    @property
    def headers(self) -> Mapping[str, str]:
        """They name it as the parent of others, as in `domain.call_origin`."""
        ...

    @property
    def trace_id(self) -> str:
        """The id of its trace, in hexadecimal."""
        ...


class CallSpan(Span, Protocol):
    """The span of a caller's call."""

    def end(self, code: str, facts: Mapping[str, object]) -> None:
        """The call has ended with the status code; `facts` are those of its line in the log."""
        ...


class AttemptSpan(Span, Protocol):
    """The span of one provider's attempt at a reply."""

    def fail(self, error: HeadwaterError) -> None:
        """It failed before its first chunk."""
        ...

    def end(self, stream_id: str, end: FinalChunk | HeadwaterError | None, first_token_seconds: float | None) -> None:
        """Its reply has ended; None: the reader left before."""
        ...


class StepSpan(Span, Protocol):
    """The span of a run, or of an attempt of one of its steps."""

    def note(self, status: str) -> None:
        """It has another status, such as that it waits."""
        ...

    def end(self, outcome: str, *, is_error: bool) -> None:
        """It has ended so."""
        ...


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """The facts of an attempt at its beginning.

    Attributes:
        provider: name of the provider in the configuration.
        service: the service behind it, by its preset or its type.
        address: URL of its server; empty for a model of this machine.
        chat: the request.
        number: which attempt at this reply it is, from 1.
    """

    provider: str
    service: str
    address: str
    chat: ChatRequest
    number: int


class Tracer(Protocol):
    """Makes spans. The parent of each is the span that `origin` names.

    Attributes:
        has_content: spans have prompts and replies.
    """

    has_content: bool

    def call(self, path: str) -> CallSpan:
        """Begins the span of a call of the method `/package.Service/Method`."""
        ...

    def attempt(self, facts: AttemptFacts) -> AttemptSpan:
        """Begins the span of an attempt."""
        ...

    def run(self, run_id: str, workflow: str) -> StepSpan:
        """Begins the span of a run that this process drives."""
        ...

    def step(self, run_id: str, name: str, attempt: int, handler: str, queue: str) -> StepSpan:
        """Begins the span of an attempt of a step; `handler` is empty for a prompt."""
        ...


@contextmanager
def inside(span: Span) -> Iterator[None]:
    """Makes the span the parent of those that begin in the block, in this task."""
    before = origin.set(span.headers)
    try:
        yield
    finally:
        origin.reset(before)
