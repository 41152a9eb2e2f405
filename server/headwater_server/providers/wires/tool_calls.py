"""The tool calls of one reply, numbered from 0 in the order in which they begin.

Providers agree on little: which of index, id and name says that a call begins, whether they are repeated, and whether
the arguments come whole. A piece continues the call of its key, unless it can only begin another:

- it has another name, and is no fragment of one: arguments have come, or come with it;
- it has a name or another id, and the call's arguments are complete;
- it has a name and another id, and neither has arguments.

A repetition says nothing new: a name with every piece, arguments as a whole, a call under another index. `{}` says
that there are no arguments yet: it is a placeholder of some servers, and comes out at the end if nothing else has come.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from headwater_server.domain.chunks import ToolCallDelta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.json_text import to_json
from headwater_server.providers.wires.events.scanner import JSONScanner
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_CALLS = 5000
MAX_NAME = 1000

_NO_ARGUMENTS = ("", "{}", "null")


def arguments_text(value: Any) -> str:
    """The JSON text of arguments, which come as text or as an object."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(without_surrogates(value))


class _Call:
    """A call so far. The pieces are kept to tell whether they are complete, which is asked for few of them.

    Attributes:
        fallback: arguments that count when none come in pieces.
        is_empty: `{}` has come and nothing else.
        is_named_again: its name has come again after its arguments, so that others belong to another call.
    """

    __slots__ = (
        "_scanned", "_scanner", "fallback", "id", "index", "is_empty", "is_named_again", "name", "pieces",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.fallback = ""
        self.is_empty = False
        self.is_named_again = False
        self._scanner = JSONScanner()
        self._scanned = 0

    @property
    def is_complete(self) -> bool:
        for piece in self.pieces[self._scanned :]:
            self._scanner.feed(piece)
        self._scanned = len(self.pieces)
        return self._scanner.complete

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def without_repetition(self, arguments: str) -> str:
        """The new part of arguments that may repeat all that has come: no object begins with another one."""
        if self.pieces and arguments.startswith("{") and arguments.startswith(whole := self.arguments):
            return arguments[len(whole) :]
        return arguments

    def is_followed_by(self, id: str, name: str, arguments: str) -> bool:
        """Whether a piece under the call's key begins another call."""
        other_id = bool(id and self.id and id != self.id)
        other_name = bool(name and self.name and name != self.name)
        if not self.pieces:
            if not name:
                return other_id and not arguments
            if not self.name:
                return False
            if other_id:
                return other_name or not arguments
            is_fragment = not self.is_empty and (not arguments or name.startswith(self.name))
            return other_name and not is_fragment
        if other_name:
            return True
        if not (name or other_id) or not self.is_complete:
            return False
        if not arguments:
            return bool(name) and other_id
        return other_id or not (self.id and arguments == self.arguments)


class ToolCalls:
    """Turns a provider's pieces of calls into ours: each call's id and name go out once.

    Attributes:
        begun: the calls that have begun.
    """

    __slots__ = ("_by_id", "_by_key", "begun")

    def __init__(self) -> None:
        self.begun: list[_Call] = []
        self._by_key: dict[Hashable, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def __len__(self) -> int:
        return len(self.begun)

    def begin(self, key: Hashable) -> None:
        """Makes the next piece of the key begin a call, whatever came under it before."""
        self._by_key.pop(key, None)

    def piece(self, key: Hashable, *, id: str = "", name: str = "", arguments: str = "") -> ToolCallDelta | None:
        """A piece of the call that the provider knows by `key`; None when it says nothing new.

        Raises HeadwaterError (REPLY_TOO_LARGE) for more calls than any reply has.
        """
        if arguments and not (id or name) and (next_piece := self.next_arguments(key, arguments)) is not None:
            return next_piece
        call = self._by_key.get(key)
        empty = arguments.strip() in _NO_ARGUMENTS
        known = "" if empty else arguments
        call = call or self._known(id, name, known)
        if call is None or ((id or name) and call.is_followed_by(id, name, known)):
            call = self._new(key)
        elif call.is_named_again and known and arguments != call.arguments:
            name = name or call.name
            call = self._new(key)
        piece = ToolCallDelta(call.index)
        if id and not call.id:
            call.id = piece.id = id
            self._by_id.setdefault(id, call)
        if name and name != call.name and not (call.name and call.pieces):
            piece.name = self._name(call, name)
        elif name and call.pieces and call.is_complete:
            call.is_named_again = True
        if empty:
            call.is_empty = call.is_empty or bool(arguments)
        elif new := call.without_repetition(arguments):
            call.pieces.append(new)
            piece.arguments = new
        return piece if piece.id or piece.name or piece.arguments else None

    def next_arguments(self, key: Hashable, arguments: str) -> ToolCallDelta | None:
        """A piece without id and name that surely continues the arguments of its call, as nearly all do; else None."""
        call = self._by_key.get(key)
        if call is None or not call.pieces or call.is_named_again or arguments[0] == "{":
            return None
        call.pieces.append(arguments)
        return ToolCallDelta(call.index, arguments=arguments)

    def whole(self, *, id: str, name: str, arguments: str) -> ToolCallDelta:
        """A call that came whole."""
        call = self._new(("whole", len(self.begun)))
        call.id, call.name = id, name
        return ToolCallDelta(call.index, id, name, self._last(call, arguments or "{}").arguments)

    def _known(self, id: str, name: str, arguments: str) -> _Call | None:
        """The call of this id, where a piece under another key can only continue or repeat it."""
        call = self._by_id.get(id) if id else None
        if call is None or (name and name != call.name):
            return None
        repeats = call.is_complete and arguments == call.arguments
        return call if repeats or (not name and not call.is_complete) else None

    def keep(self, key: Hashable, arguments: str) -> None:
        """Arguments of a call that are used only if none come in pieces."""
        if (call := self._by_key.get(key)) is not None and arguments not in _NO_ARGUMENTS:
            call.fallback = arguments

    def has_arguments(self, key: Hashable) -> bool:
        """Whether arguments of this call have come."""
        call = self._by_key.get(key)
        return call is not None and bool(call.pieces)

    def has_begun(self, key: Hashable) -> bool:
        """Whether this call has begun."""
        return key in self._by_key

    def is_open(self, key: Hashable) -> bool:
        """Whether this call has begun, and its arguments are not complete."""
        call = self._by_key.get(key)
        return call is not None and not call.is_complete

    def are_complete(self) -> bool:
        """Whether there are calls, each with a name and with whole arguments or none."""
        return bool(self.begun) and all(call.name and (not call.pieces or call.is_complete) for call in self.begun)

    def kept_arguments(self) -> list[ToolCallDelta]:
        """A last piece for each call whose arguments have only been kept."""
        return [self._last(call, call.fallback) for call in self.begun if not call.pieces and call.fallback]

    def empty_arguments(self) -> list[ToolCallDelta]:
        """For each call without arguments a last piece `{}`, so that the pieces of every call join to JSON text."""
        return [self._last(call, "{}") for call in self.begun if not call.pieces]

    def _last(self, call: _Call, arguments: str) -> ToolCallDelta:
        call.pieces.append(arguments)
        return ToolCallDelta(call.index, arguments=arguments)

    def _new(self, key: Hashable) -> _Call:
        if len(self.begun) >= MAX_CALLS:
            raise HeadwaterError(Reason.REPLY_TOO_LARGE, f"the reply has more than {MAX_CALLS} tool calls")
        call = _Call(len(self.begun))
        self.begun.append(call)
        self._by_key[key] = call
        return call

    @staticmethod
    def _name(call: _Call, name: str) -> str:
        """The part of a name that is new: names come in fragments, and longer each time."""
        new = name[len(call.name) :] if name.startswith(call.name) else name
        new = new[: MAX_NAME - len(call.name)] if call.name else new
        call.name += new
        return new
