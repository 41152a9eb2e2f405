"""The tool calls of one reply, numbered from 0 in the order in which they begin."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from headwater_server.domain.chunks import ToolCallDelta
from headwater_server.domain.errors import HeadwaterError, Reason

MAX_CALLS = 5000


@dataclass(slots=True)
class _Call:
    index: int
    id: str = ""
    name: str = ""
    has_arguments: bool = False


class ToolCalls:
    """Turns a provider's pieces of calls into ours: each call's id and name go out once."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_key: dict[Hashable, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def piece(self, key: Hashable, *, id: str = "", name: str = "", arguments: str = "") -> ToolCallDelta | None:
        """A piece of the call that the provider knows by `key`; None when it says nothing new.

        A new id under a known key is a new call: some servers number all their calls 0. Raises HeadwaterError
        (REPLY_TOO_LARGE) for more calls than any reply has.
        """
        call = self._by_key.get(key)
        if call is None or (id and call.id and id != call.id):
            if len(self._calls) >= MAX_CALLS:
                raise HeadwaterError(Reason.REPLY_TOO_LARGE, f"the reply has more than {MAX_CALLS} tool calls")
            call = _Call(len(self._calls))
            self._calls.append(call)
            self._by_key[key] = call
        piece = ToolCallDelta(call.index, arguments=arguments)
        if id and not call.id:
            call.id = piece.id = id
        if name and not call.name:
            call.name = piece.name = name
        if arguments:
            call.has_arguments = True
        return piece if piece.id or piece.name or arguments else None

    def has_arguments(self, key: Hashable) -> bool:
        """Whether arguments of this call have come."""
        call = self._by_key.get(key)
        return call is not None and call.has_arguments

    def empty_arguments(self) -> list[ToolCallDelta]:
        """For each call without arguments a last piece `{}`, so that the pieces of every call join to JSON text."""
        return [ToolCallDelta(call.index, arguments="{}") for call in self._calls if not call.has_arguments]
