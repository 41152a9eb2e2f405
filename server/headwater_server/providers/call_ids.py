"""Ids of tool calls as a service takes them, where those of the conversation come from another one or are missing.

A service refuses ids that are not of its shape, ids that come twice, and results whose call it does not find. So an id
that it would refuse is replaced, in the call and in the result. The caller's conversation keeps its ids: they are
replaced for each request in the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from msgspec.structs import replace

from headwater_server.domain.messages import ChatRequest, Message, Part, ToolCall, ToolResult, kinds_of
from headwater_server.providers.model_names import MISTRALS, MODELS, base_name

ANY = re.compile(r".+", re.DOTALL)
"""A service that takes any id."""

OPENAI = re.compile(r".{1,40}", re.DOTALL)
RESPONSES = re.compile(r".{1,64}", re.DOTALL)
ANTHROPIC = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MISTRAL = re.compile(r"[a-zA-Z0-9]{9}")
"""The narrowest: an id of this shape is taken everywhere."""

# Kimi reads the number of a call from its id, and a router of Gemini keeps signatures in ids: theirs are not replaced.
_FAMILIES = (
    (MISTRALS, MISTRAL),
    (re.compile(r"claude-", re.IGNORECASE), ANTHROPIC),
    (re.compile(r"kimi|gemini-", re.IGNORECASE), ANY),
)


@lru_cache(maxsize=MODELS)
def shape_for_model(model: str) -> re.Pattern[str] | None:
    """The shape that a model's own service wants, which others that serve it check too; None for an unknown model."""
    name = base_name(model)
    return next((shape for family, shape in _FAMILIES if family.search(name)), None)


def with_ids(request: ChatRequest, own: re.Pattern[str], foreign: re.Pattern[str] | None = None) -> ChatRequest:
    """The request with an id in each call and result, each of the right shape and for one call only.

    Args:
        request: the request.
        own: the shape of ids that are taken.
        foreign: the shape for calls that this provider did not make, as far as it is known; None: as `own`.
    """
    if kinds_of(request.messages).isdisjoint((ToolCall, ToolResult)):
        return request
    ids = _Ids(own, foreign or own)
    return replace(request, messages=tuple(ids.message(message) for message in request.messages))


class _Ids:
    """The ids of one conversation, read from its beginning."""

    def __init__(self, own: re.Pattern[str], foreign: re.Pattern[str]) -> None:
        self._own = own
        self._foreign = foreign
        self._taken: set[str] = set()
        self._unanswered: list[tuple[ToolCall, str]] = []

    def message(self, message: Message) -> Message:
        calls = [(part, self._id_of(part)) for part in message.parts if isinstance(part, ToolCall)]
        self._unanswered = calls + self._unanswered
        return replace(message, parts=tuple(self._parts(message.parts, [id for _, id in calls])))

    def _parts(self, parts: Iterable[Part], ids: list[str]) -> Iterable[Part]:
        of_calls = iter(ids)
        for part in parts:
            if isinstance(part, ToolCall):
                yield replace(part, id=next(of_calls))
            elif isinstance(part, ToolResult):
                yield self._answer(part)
            else:
                yield part

    def _id_of(self, call: ToolCall) -> str:
        shape = self._foreign if call.provider_data is None else self._own
        id, copies = call.id, 0
        while id in self._taken or not shape.fullmatch(id):
            seed = f"{call.id}/{copies}" if call.id else f"/{call.name}/{len(self._taken)}/{copies}"
            id, copies = _made(seed), copies + 1
        self._taken.add(id)
        return id

    def _answer(self, result: ToolResult) -> ToolResult:
        """The result with the id of the latest call that it can belong to, and with the name of its tool."""
        for place, (call, id) in enumerate(self._unanswered):
            if call.id == result.tool_call_id and (call.id or result.name in ("", call.name)):
                del self._unanswered[place]
                return replace(result, tool_call_id=id, name=result.name or call.name)
        id = result.tool_call_id
        fits = self._own.fullmatch(id) and self._foreign.fullmatch(id)
        return result if fits else replace(result, tool_call_id=_made(f"{id}/0"))


def _made(seed: str) -> str:
    return hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()[:9]
