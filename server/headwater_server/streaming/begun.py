"""A coroutine that runs at once until it must wait, and is awaited later.

A coroutine does nothing before it is awaited, and a task begins in the next round of the event loop. With neither does
the question to a provider go out while its stream is still being made. A `Begun` runs as far as it can in the call that
makes it, and on from there when it is awaited. Tasks of Python 3.12 can begin in this way (`eager_start`).

Example. `begun = Begun(ask())` writes a request to a socket, and comes back at the first wait in `ask`. `await begun`
then waits for the answer in place of `ask`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """The coroutine. The task that makes this must await it or close it; no other task may, nor twice."""

    __slots__ = ("_coroutine", "_error", "_result", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine: Coroutine[Any, Any, T] | None = coroutine
        self._error: Exception | None = None
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as end:
            self._coroutine, self._result = None, end.value
        except Exception as error:  # noqa: BLE001  raised where it is awaited
            self._coroutine, self._error = None, error

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine = self._coroutine
        if coroutine is None:
            return self._outcome()
        waits_for = self._waits_for
        del self._waits_for
        while True:
            fault: BaseException | None = None
            try:
                yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001  the coroutine decides what to do about it
                fault = error
            try:
                waits_for = coroutine.send(None) if fault is None else coroutine.throw(fault)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                del fault  # this frame, to which the traceback refers, would keep it

    def close(self) -> None:
        """Ends the coroutine where it waits, if it has not ended."""
        if self._coroutine is not None:
            if (waits_for := getattr(self, "_waits_for", None)) is not None:
                waits_for.cancel()  # as a task does: its maker may ask how it ended
            self._coroutine.close()

    def _outcome(self) -> T:
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            result: T = self._result
            return result
        finally:
            del error  # this frame, to which the traceback refers, would keep the error
