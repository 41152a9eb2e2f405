"""The orders of a test, as lines of JSON: they come on standard input, the answers go to standard output.

An order has an `id`, an `order` and its arguments; its answer has the same `id`, and either `value` or `error`. Orders
are begun as they come; one that waits does not hold up the others. The end of the input ends the program: so it
does not outlive its test run, however that ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from pydantic import ValidationError

from headwater_server.bootstrap import Running
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.scripted.options import ScriptedOptions, violation
from headwater_server.testing.replies import OpenReply, PlannedReplies, ScriptedReply
from headwater_server.testing.requests import described
from headwater_server.testing.serving import serving

LOOK_SECONDS = 0.005
MAX_LINE = 64 * 1024 * 1024


class _RefusedError(Exception):
    """The order has a mistake; the message says which."""


class Control:
    """Carries out the orders. At most one server runs at a time; `open` makes a new one, `close` ends it."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._server: Running | None = None
        self._replies = PlannedReplies()
        self._open: list[OpenReply] = []

    async def open(self) -> int:
        """Starts a server; its port."""
        self._replies, self._open = PlannedReplies(), []
        self._server = await self._stack.enter_async_context(serving(self._replies))
        return self._server.port

    async def close(self) -> None:
        """Ends the server and all that runs on it."""
        self._server = None
        await self._stack.aclose()

    async def reply(self, when: str, options: dict[str, Any]) -> None:
        """Plans a reply by the options of a script."""
        if "after_tools" in options:
            raise _RefusedError("after_tools: plan one reply for each round instead")
        try:
            checked = ScriptedOptions.model_validate(options)
        except ValidationError as error:
            found = [violation("", each["loc"], each["type"], each["msg"]) for each in error.errors()]
            raise _RefusedError(
                "; ".join(f"{each.field.removeprefix('provider_options..')}: {each.description}" for each in found)
            ) from None
        self._replies.add(ScriptedReply(checked, when))

    async def open_reply(self, when: str) -> int:
        """Plans a reply whose chunks and end are ordered later; its number."""
        planned = OpenReply(when)
        self._replies.add(planned)
        self._open.append(planned)
        return len(self._open) - 1

    async def send(self, number: int, content: str) -> None:
        """Adds a chunk to an open reply."""
        self._open[number].send(content)

    async def end(self, number: int, failure: dict[str, Any] | None) -> None:
        """Ends an open reply."""
        self._open[number].end(None if failure is None else _failure(**failure))

    async def wait_closed(self, number: int, timeout: float) -> bool:
        """Waits until the reader of an open reply has gone; whether it has."""
        try:
            async with asyncio.timeout(timeout):
                await self._open[number].closed.wait()
        except TimeoutError:
            return False
        return True

    async def requests(self) -> list[dict[str, Any]]:
        """The requests that came so far."""
        return [described(provider, request) for provider, request in self._replies.requests]

    async def wait_for_worker(self, queue: str, timeout: float) -> bool:
        """Waits until a worker is registered for the queue; whether one is."""
        try:
            async with asyncio.timeout(timeout):
                while self._server is None or not self._server.workers.handlers(queue):  # noqa: ASYNC110  the pool has no event for tests
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return True


def _failure(reason: str, message: str, metadata: dict[str, str], retry_after: float | None) -> HeadwaterError:
    return HeadwaterError(Reason(reason), message, metadata=metadata, retry_after_seconds=retry_after)


async def obey() -> None:
    """Carries out orders until their end."""
    control = Control()
    tasks: set[asyncio.Task[None]] = set()
    lines = asyncio.StreamReader(limit=MAX_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        work = getattr(control, order.pop("order"))
        task = asyncio.create_task(_answer(order.pop("id"), work, order))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    await control.close()


async def _answer(number: int, work: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> None:
    answer: dict[str, Any] = {"id": number}
    try:
        answer["value"] = await work(**arguments)
    except _RefusedError as error:
        answer["refused"] = str(error)
    except Exception as error:  # noqa: BLE001  the test gets it
        answer["error"] = repr(error)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
