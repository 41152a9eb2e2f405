r"""Halves of surrogate pairs: joined where a pair was split over two deltas, replaced by U+FFFD where one is alone.

JSON writes a character beyond the basic plane as two escapes, and servers that cut their output by bytes or UTF-16
units send them in two deltas: `"\ud83d"`, then `"\ude00"`. A half cannot be encoded as UTF-8, so none may leave a
decoder. At most one half waits at a time: a high one at the very end of a delta. When the next delta continues the
same kind of text in the same block, the two are joined. Anything else shows that the half is alone, and it comes out
as U+FFFD before the next delta, so that the order stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from headwater_server.domain.chunks import Delta, ToolCallDelta

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def has_halves(data: bytes) -> bool:
    """Whether JSON text has escapes of halves: only from those do halves come, for UTF-8 has none."""
    return _ESCAPE.search(data) is not None


def without_surrogates(value: Any) -> Any:
    """A JSON value with pairs of halves joined and lone halves replaced by U+FFFD, keys included."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): without_surrogates(item) for key, item in value.items()}
    return value


class _Slot(NamedTuple):
    """A place in a delta that holds running text; two deltas with the same key continue the same text."""

    key: tuple[str, int]
    owner: Delta | ToolCallDelta
    field: str


class SurrogateJoiner:
    """Cleans the deltas of one reply, in their order. Changes them in place."""

    def __init__(self) -> None:
        self._held: tuple[tuple[str, int], Delta] | None = None

    def join(self, delta: Delta) -> Sequence[Delta]:
        """The deltas to pass on: nearly always this one; none while a half waits; two after a lone half."""
        text = delta.content + delta.thinking + delta.refusal + delta.event_type
        if delta.thinking_signature or delta.redacted_thinking or delta.tool_calls:
            text += _rarer_text(delta)
        if self._held is None and (text.isascii() or not _SURROGATE.search(text)):
            return (delta,)
        slots = _slots(delta)
        passed_on = self._go_on(slots)
        for number, (key, owner, field) in enumerate(slots, 1):
            text = getattr(owner, field)
            if number == len(slots) and "\ud800" <= text[-1] <= "\udbff":
                self._held = key, _only(delta, owner, field, text[-1])
                text = text[:-1]
            setattr(owner, field, _clean(text))
        _clean_the_rest(delta)
        if delta.says_something() or delta.provider_data is not None:
            passed_on.append(delta)
        return passed_on

    def flush(self) -> list[Delta]:
        """The half that still waits, as U+FFFD."""
        if self._held is None:
            return []
        _, delta = self._held
        self._held = None
        for _, owner, field in _slots(delta):
            setattr(owner, field, "\ufffd")
        return [delta]

    def _go_on(self, slots: list[_Slot]) -> list[Delta]:
        """Puts the waiting half before the text that it belongs to, or lets it out."""
        if self._held is None or not slots or slots[0].key != self._held[0]:
            return self.flush()
        _, held = self._held
        self._held = None
        _, half_owner, field = _slots(held)[0]
        _, owner, _ = slots[0]
        setattr(owner, field, getattr(half_owner, field) + getattr(owner, field))
        return []


def _rarer_text(delta: Delta) -> str:
    calls = (call.id + call.name + call.arguments for call in delta.tool_calls or ())
    return "".join((delta.thinking_signature, delta.redacted_thinking, *calls))


def _slots(delta: Delta) -> list[_Slot]:
    texts = [_Slot((name, delta.block), delta, name) for name in ("thinking", "content", "refusal")]
    calls = [_Slot(("call", call.index), call, "arguments") for call in delta.tool_calls or ()]
    return [slot for slot in texts + calls if getattr(slot.owner, slot.field)]


def _only(delta: Delta, owner: Delta | ToolCallDelta, field: str, half: str) -> Delta:
    """A delta like this one that has nothing but a half in this place."""
    if isinstance(owner, ToolCallDelta):
        calls = [ToolCallDelta(owner.index, arguments=half)]
        return Delta(tool_calls=calls, event_type=_clean(delta.event_type), block=delta.block)
    only = Delta(event_type=_clean(delta.event_type), block=delta.block)
    setattr(only, field, half)
    return only


def _clean_the_rest(delta: Delta) -> None:
    delta.thinking_signature = _clean(delta.thinking_signature)
    delta.redacted_thinking = _clean(delta.redacted_thinking)
    delta.event_type = _clean(delta.event_type)
    for call in delta.tool_calls or ():
        call.id = _clean(call.id)
        call.name = _clean(call.name)
    if delta.tool_calls is not None:
        delta.tool_calls = [call for call in delta.tool_calls if call.id or call.name or call.arguments] or None


def _clean(text: str) -> str:
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
