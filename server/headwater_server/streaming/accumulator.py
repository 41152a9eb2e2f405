"""Puts the pieces of a reply together: tool calls and the assistant message for its end, the whole reply for Run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

import msgspec

from headwater_server.domain.chunks import Beside, Chunk, Delta, ToolCallDelta
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.domain.logprobs import TokenLogprob, size_of
from headwater_server.domain.messages import (
    Image,
    Message,
    Opaque,
    Part,
    ProviderData,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
)

CALL_COST = 512
PIECE_COST = 32
PART_COST = 256


class Account(msgspec.Struct):
    """Whom a provider's data belongs to: its name, and the fingerprint of its address and key."""

    provider: str
    fingerprint: str = ""

    def data(self, data_json: str | None) -> ProviderData | None:
        """The provider's data with its owner."""
        return None if data_json is None else ProviderData(self.provider, self.fingerprint, data_json)


class ToolCallAccumulator:
    """Collects the pieces of tool calls by their index.

    Args:
        account: the provider and account that send them.

    Attributes:
        size: characters so far, and for each call what its objects cost.
    """

    __slots__ = ("_account", "_calls", "size")

    def __init__(self, account: Account) -> None:
        self.size = 0
        self._account = account
        self._calls: dict[int, _Call] = {}

    def add(self, deltas: Iterable[ToolCallDelta]) -> None:
        """Adds pieces, in the order in which they came."""
        for delta in deltas:
            call = self._calls.get(delta.index)
            if call is None:
                call = self._calls[delta.index] = _Call()
                self.size += CALL_COST
            call.id = call.id or delta.id
            call.name += delta.name  # once, but for providers that send it in fragments
            call.arguments.append(delta.arguments)
            self.size += len(delta.id) + len(delta.name) + len(delta.arguments) + PIECE_COST
            if delta.provider_data is not None:
                call.provider_data = delta.provider_data
                self.size += len(delta.provider_data)

    def complete(self) -> list[ToolCall]:
        """The calls, in the order in which they began. A call without arguments has `{}`."""
        if not self._calls:
            return []
        calls = (self._calls[index] for index in sorted(self._calls))
        data = self._account.data
        return [ToolCall(c.id, c.name, "".join(c.arguments) or "{}", data(c.provider_data)) for c in calls]


class _Call:
    __slots__ = ("arguments", "id", "name", "provider_data")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.provider_data: str | None = None


class MessageAccumulator:
    """Collects a reply as the assistant message to append to the conversation.

    Text of one block is one part; so is its thinking. Parts stand in the order in which they began.

    Only a reply that ends in tool calls needs the message, and only a request with tools gets such a reply. So that
    text alone costs nothing, collecting begins either with the reply or with its first call. In the second case, a
    call that the request did not allow, the message lacks the text and the thinking before that call.

    Args:
        account: the provider and account that answer.
        from_start: whether to collect from the start of the reply.

    Attributes:
        collecting: whether chunks are added.
        overflowed: whether the reply is larger than any message. Then nothing of it is kept.
    """

    __slots__ = ("_account", "_parts", "_size", "collecting", "overflowed")

    def __init__(self, account: Account, *, from_start: bool) -> None:
        self.collecting = from_start
        self.overflowed = False
        self._account = account
        self._size = 0
        self._parts: dict[tuple[str, int], _Part] = {}

    def add(self, delta: Delta) -> None:
        """Adds the next delta."""
        if self.overflowed:
            return
        self.collecting = True
        if delta.thinking or delta.thinking_signature:
            thinking = self._part("thinking", delta.block, delta.provider_data)
            thinking.text.write(delta.thinking)
            thinking.mark = delta.thinking_signature or thinking.mark
        if delta.redacted_thinking:
            redacted = self._part("redacted", len(self._parts), delta.provider_data)
            redacted.mark = delta.redacted_thinking
        if delta.content:
            self._part("text", delta.block, delta.provider_data).text.write(delta.content)
        for call in delta.tool_calls or ():
            self._part("call", call.index, None)
        if delta.provider_data is not None and not delta.is_part():
            self._part("opaque", len(self._parts), delta.provider_data)
        self._size += len(delta.content) + len(delta.thinking)
        self._size += len(delta.thinking_signature) + len(delta.redacted_thinking)
        if self._size > MAX_MESSAGE_BYTES:
            self.overflowed, self.collecting = True, False
            self._parts.clear()

    def complete(self, calls: Sequence[ToolCall]) -> Message | None:
        """The message with these calls, all that began; None when there is nothing in it."""
        return Message(Role.ASSISTANT, tuple(self._complete(iter(calls)))) if self._parts else None

    def _complete(self, calls: Iterator[ToolCall]) -> Iterator[Part]:
        for (kind, _), part in self._parts.items():
            data = self._account.data(part.data)
            match kind:
                case "thinking":
                    yield Thinking(part.text.getvalue(), part.mark, data)
                case "redacted":
                    yield RedactedThinking(part.mark, data)
                case "text":
                    yield Text(part.text.getvalue(), data)
                case "call":
                    yield next(calls)
                case _:
                    yield Opaque(data)

    def _part(self, kind: str, number: int, data: str | None) -> _Part:
        part = self._parts.get((kind, number))
        if part is None:
            part = self._parts[kind, number] = _Part()
            self._size += PART_COST
        if data is not None and data != part.data:
            self._size += len(data)
            part.data = data
        return part


class _Part:
    """A part under way: its text, its signature or encrypted data, the provider's data."""

    __slots__ = ("data", "mark", "text")

    def __init__(self) -> None:
        self.text = StringIO()
        self.mark = ""
        self.data: str | None = None


class ReplyAccumulator:
    """Collects the text, the thinking, the words of refusal, the pictures and the tokens of a reply.

    Attributes:
        size: characters, and bytes of pictures, so far.
        images: the pictures.
        logprobs: the tokens.
    """

    def __init__(self) -> None:
        self.size = 0
        self.images: list[Image] = []
        self.logprobs: list[TokenLogprob] = []
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._refusal: list[str] = []

    def add_chunk(self, chunk: Chunk) -> None:
        """Adds the next chunk."""
        self._content.append(chunk.delta.content)
        self._thinking.append(chunk.delta.thinking)
        self._refusal.append(chunk.delta.refusal)
        self.size += len(chunk.delta.content) + len(chunk.delta.thinking) + len(chunk.delta.refusal)
        if chunk.delta.beside is not None:
            self._add_beside(chunk.delta.beside)

    def _add_beside(self, beside: Beside) -> None:
        self.images += beside.images
        self.size += sum(len(image.data) + PART_COST for image in beside.images)
        self.logprobs += beside.logprobs
        self.size += size_of(beside.logprobs)

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
