"""Puts the pieces of a reply together: tool calls for the final chunk, the whole reply for Run."""

from __future__ import annotations

from collections.abc import Iterable

from headwater_server.domain.chunks import Chunk, ToolCallDelta
from headwater_server.domain.messages import ToolCall

CALL_COST = 512
PIECE_COST = 32


class ToolCallAccumulator:
    """Collects the pieces of tool calls by their index.

    Attributes:
        size: characters so far, and for each call what its objects cost.
    """

    def __init__(self) -> None:
        self.size = 0
        self._calls: dict[int, _Call] = {}

    def add(self, deltas: Iterable[ToolCallDelta]) -> None:
        """Adds pieces, in the order in which they came."""
        for delta in deltas:
            call = self._calls.get(delta.index)
            if call is None:
                call = self._calls[delta.index] = _Call()
                self.size += CALL_COST
            call.id = call.id or delta.id
            call.name = call.name or delta.name
            call.arguments.append(delta.arguments)
            self.size += len(delta.id) + len(delta.name) + len(delta.arguments) + PIECE_COST

    def complete(self) -> list[ToolCall]:
        """The calls, in the order in which they began. A call without arguments has `{}`."""
        calls = (self._calls[index] for index in sorted(self._calls))
        return [ToolCall(call.id, call.name, "".join(call.arguments) or "{}") for call in calls]


class _Call:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class ReplyAccumulator:
    """Collects the text, the thinking and the words of refusal of a reply.

    Attributes:
        size: characters so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._refusal: list[str] = []

    def add(self, chunk: Chunk) -> None:
        """Adds the next chunk."""
        self._content.append(chunk.delta.content)
        self._thinking.append(chunk.delta.thinking)
        self._refusal.append(chunk.delta.refusal)
        self.size += len(chunk.delta.content) + len(chunk.delta.thinking) + len(chunk.delta.refusal)

    @property
    def content(self) -> str:
        """The text so far."""
        return "".join(self._content)

    @property
    def thinking(self) -> str:
        """The thinking so far."""
        return "".join(self._thinking)

    @property
    def refusal(self) -> str:
        """The words of refusal so far."""
        return "".join(self._refusal)
