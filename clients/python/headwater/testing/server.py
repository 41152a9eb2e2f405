"""A server for one test."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Generator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

from headwater.exceptions import HeadwaterError, ToolError, ValidationError, WorkflowError
from headwater.testing.process import ANSWER_SECONDS, ControlledProcess
from headwater.testing.requests import Request

ToolCall: TypeAlias = Mapping[str, Any]
"""`{"name": "population", "arguments": {"city": "Bern"}}`; arguments that are text are sent as they are."""

Failing: TypeAlias = HeadwaterError | type[HeadwaterError]


class ReplyOptions(TypedDict, total=False):
    """Further options of a reply; docs/scripted.md explains them."""

    thinking: str
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "refusal", "pause", "other"]
    usage: Mapping[str, int]
    repeat: int
    chunk_size: int
    first_delay_ms: float
    delay_ms: float
    fail_after: int
    fail_reason: str
    truncate_after: int
    hang_after: int


class ScriptedServer:
    """A real server on a free port, from `with` to the end of its block.

    It has every provider and every model. Each call of a model takes the first planned reply that is for it; without
    one the call fails with ProviderError. Runs of workflows are real, in an empty data directory.

    Args:
        process: the process in which to make it; None: another one for it alone.

    Attributes:
        target: its address.
    """

    def __init__(self, process: ControlledProcess | None = None) -> None:
        self.target = ""
        self._given = process
        self._stack = ExitStack()

    def __enter__(self) -> ScriptedServer:
        with ExitStack() as stack:
            self._process = self._given or stack.enter_context(ControlledProcess())
            self.target = f"127.0.0.1:{self._order('open')}"
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def reply(
        self,
        text: str | Sequence[str] = "",
        *,
        tool_call: ToolCall | None = None,
        tool_calls: Sequence[ToolCall] = (),
        when: str = "",
        **options: Unpack[ReplyOptions],
    ) -> None:
        """Plan a reply for one call of a model.

        Args:
            text: the reply. A str comes word by word; a list has the text of each chunk.
            tool_call: a call that the model makes after the text. Its results come with the next request.
            tool_calls: several.
            when: only for a prompt that has this text in it; for calls whose order is not certain.
            options: see ReplyOptions. They go with a str.

        Raises:
            ValidationError: for a wrong option; the message names it.
        """
        if not isinstance(text, str):
            if options or tool_call or tool_calls:
                raise ValidationError("text: must be a str beside other options; a list of chunks stands alone")
            reply = self.stream(when=when)
            for piece in text:
                reply.send(piece)
            reply.end()
            return
        calls = [*([tool_call] if tool_call else []), *tool_calls]
        given = {"text": text, **options, **({"tool_calls": calls} if calls else {})}
        self._order("reply", when=when, options=given)

    def stream(self, *, when: str = "") -> OpenReply:
        """Plan a reply whose chunks and end the test sends while it runs. Arguments as for `reply`."""
        return OpenReply(self._process, self._order("open_reply", when=when))

    def fail(self, error: Failing, *, after: str | Sequence[str] = (), when: str = "") -> None:
        """Plan a failure for one call of a model.

        Args:
            error: as the agent is to raise it, or its class: `ProviderRateLimitError("slow down", retry_after=2)`.
            after: the text that comes before, in one chunk, or one for each entry. After text the agent raises
                StreamInterruptedError, as for every reply that is cut.
            when: as for `reply`.

        Raises:
            ValidationError: a call of a model cannot fail so.
        """
        failure = _failure(error)
        reply = self.stream(when=when)
        for piece in [after] if isinstance(after, str) else after:
            reply.send(piece)
        reply._end(failure)

    @property
    def requests(self) -> list[Request]:
        """The calls of models so far, in the order in which they came."""
        return [Request.from_json(each) for each in self._order("requests")]

    def wait_for_worker(self, queue: str, timeout: float = 10.0) -> Awaitable[None]:
        """Wait until a worker is registered for a queue. In an async test `await` it; elsewhere it blocks.

        Raises:
            TimeoutError: none is after `timeout` seconds.
        """
        waiting = self._process.order("wait_for_worker", queue=queue, timeout=timeout)
        return _waited(waiting, timeout, f"no worker serves the queue {queue!r} after {timeout:g} seconds")

    def _order(self, order: str, **arguments: Any) -> Any:
        return self._process.order(order, **arguments).result(ANSWER_SECONDS)

    def _close(self) -> None:
        from headwater._grpc.channels import close_target
        from headwater._grpc.loading import is_loaded
        from headwater._grpc.portal import portal

        if is_loaded():
            portal().call(close_target(self.target))
        self._order("close")


class OpenReply:
    """A reply whose chunks and end the test sends. `ScriptedServer.stream` makes it."""

    def __init__(self, process: ControlledProcess, number: int) -> None:
        self._process = process
        self._number = number

    def send(self, text: str) -> None:
        """Send a chunk; before the call has come too."""
        self._process.order("send", number=self._number, content=text).result(ANSWER_SECONDS)

    def end(self) -> None:
        """End the reply: the agent gets the final chunk."""
        self._end(None)

    def fail(self, error: Failing) -> None:
        """End the reply with an error, as for `ScriptedServer.fail`."""
        self._end(_failure(error))

    def wait_closed(self, timeout: float = 10.0) -> Awaitable[None]:
        """Wait until the work on the reply has ended: at its end, or when the agent has left the stream before.

        In an async test `await` it; elsewhere it blocks.

        Raises:
            TimeoutError: it has not after `timeout` seconds, or the call has not come.
        """
        waiting = self._process.order("wait_closed", number=self._number, timeout=timeout)
        return _waited(waiting, timeout, f"the reply is not closed after {timeout:g} seconds")

    def _end(self, failure: Mapping[str, Any] | None) -> None:
        self._process.order("end", number=self._number, failure=failure).result(ANSWER_SECONDS)


class _Done:
    """Nothing is left to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def _waited(waiting: concurrent.futures.Future[bool], timeout: float, late: str) -> Awaitable[None]:
    """Waits here, or gives what is to be awaited where an event loop runs."""

    def check(there: bool) -> None:
        if not there:
            raise TimeoutError(late)

    async def awaited() -> None:
        check(await asyncio.wrap_future(waiting))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        check(waiting.result(timeout + ANSWER_SECONDS))
        return _Done()
    return awaited()


def _failure(error: Failing) -> dict[str, Any]:
    from headwater._grpc.errors import BY_REASON  # imports protobuf

    kind = error if isinstance(error, type) else type(error)
    reasons = [reason for reason, each in BY_REASON.items() if not issubclass(each, WorkflowError | ToolError)]
    given = error.reason if isinstance(error, HeadwaterError) else None
    reason = given or next((each for each in reasons if BY_REASON[each] is kind), None)
    if reason not in reasons:
        possible = ", ".join(dict.fromkeys(BY_REASON[each].__name__ for each in reasons))
        name = given or kind.__name__
        raise ValidationError(f"error: a call of a model cannot fail with {name}; possible are {possible}")
    facts = error if isinstance(error, HeadwaterError) else HeadwaterError("")
    return {
        "reason": reason,
        "message": str(facts) or "the test orders this failure",
        "metadata": facts.metadata,
        "retry_after": facts.retry_after,
    }
