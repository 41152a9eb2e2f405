"""The conversation of an agent: what was asked and answered, kept by the caller's side.

A call takes a snapshot when it is made and hands back prompt and reply together when it ends. Ends may come from
anywhere, also from `__del__` of a dropped stream, which may run in any thread and in the middle of any statement. So
ending only appends to a deque, which is atomic; whoever next takes a snapshot moves what has arrived under the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater._messages import to_dict
from headwater.v1 import agent_pb2


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt with its reply; `interrupted` marks a reply that is only a part."""

    prompt: agent_pb2.Message
    reply: agent_pb2.Message
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call's view of the history: what it sends, and where its own turn goes."""

    messages: Sequence[agent_pb2.Message]
    prompt: agent_pb2.Message
    _history: History
    _replaces: Turn | None
    _epoch: int

    def end(self, reply: agent_pb2.Message, *, interrupted: bool) -> None:
        """Add prompt and reply, unless the history was cleared since the call was made."""
        self._history._ended.append((self._epoch, Turn(self.prompt, reply, interrupted), self._replaces))


class History:
    """The last turns of a conversation, `limit` messages at most. Safe for threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._turns: list[Turn] = []
        self._ended: deque[tuple[int, Turn, Turn | None]] = deque()
        self._epoch = 0
        self._lock = threading.Lock()

    def set_limit(self, limit: int) -> None:
        """Keep `limit` messages from now on; older ones are forgotten."""
        with self._lock:
            self.limit = limit
            self._take_ended()

    def begin(self, prompt: agent_pb2.Message, limit: int | None = None) -> Exchange | None:
        """The view of a call that asks `prompt` and sends `limit` messages at most; None when nothing is kept.

        An interrupted turn with the same prompt at the end of the history is what this call tries again: it is not
        sent, and replaced when the call ends.
        """
        if not self.limit:
            return None
        with self._lock:
            self._take_ended()
            turns = list(self._turns)
            retried = turns.pop() if turns and turns[-1].interrupted and turns[-1].prompt == prompt else None
            return Exchange(
                self._newest(turns, self.limit if limit is None else limit), prompt, self, retried, self._epoch
            )

    def as_dicts(self) -> list[dict[str, Any]]:
        """The kept messages, oldest first; a partial reply has `interrupted: True`."""
        with self._lock:
            self._take_ended()
            turns = list(self._turns)
        result = []
        for turn in turns:
            reply = to_dict(turn.reply)
            result += [to_dict(turn.prompt), reply | {"interrupted": True} if turn.interrupted else reply]
        return result

    def clear(self) -> None:
        """Forget everything, and what calls that are still running would add."""
        with self._lock:
            self._epoch += 1
            self._ended.clear()
            self._turns.clear()

    def _take_ended(self) -> None:
        while self._ended:
            epoch, turn, replaced = self._ended.popleft()
            if epoch != self._epoch:
                continue
            self._turns = [kept for kept in self._turns if kept is not replaced]
            self._turns.append(turn)
        # Two messages a turn; half a turn is never sent.
        del self._turns[: max(0, len(self._turns) - self.limit // 2)]

    @staticmethod
    def _newest(turns: list[Turn], limit: int) -> list[agent_pb2.Message]:
        """The last messages that may be sent: they begin with a question, and no tool call lacks its result."""
        messages: list[agent_pb2.Message] = []
        for turn in turns:
            reply = _without_open_calls(turn.reply)
            if reply.parts:
                messages += [turn.prompt, reply]
        newest = messages[-limit:]
        while newest and newest[0].role != agent_pb2.ROLE_USER:
            del newest[0]
        return newest


def _without_open_calls(reply: agent_pb2.Message) -> agent_pb2.Message:
    """The reply without its tool calls: nobody has answered them, and providers refuse a call without its result."""
    if not any(part.HasField("tool_call") for part in reply.parts):
        return reply
    spoken = [part for part in reply.parts if not part.HasField("tool_call")]
    if not any(part.text for part in spoken):
        spoken = []  # thinking that led to a call only
    return agent_pb2.Message(role=reply.role, parts=spoken)


class Reply:
    """Puts a reply together from its chunks, as the assistant's message and as plain text.

    Parts keep the order in which they came. Thinking is kept with its signature only: without one no provider takes it
    back. The words of a refusal count as text.
    """

    def __init__(self) -> None:
        self._parts: list[agent_pb2.Part | list[str]] = []  # a list: the pieces of one text
        self._text: list[str] | None = None  # the text that the next content continues
        self._thinking: list[str] = []
        self._calls: dict[int, agent_pb2.Part] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(["".join(part) for part in self._parts if isinstance(part, list)])

    def message(self, *, interrupted: bool) -> agent_pb2.Message | None:
        """The assistant's message; None when there is nothing to keep. Unfinished tool calls are left out."""
        parts = [agent_pb2.Part(text="".join(part)) if isinstance(part, list) else part for part in self._parts]
        if interrupted:
            parts = [part for part in parts if not part.HasField("tool_call")]
        if not any(part.text or part.HasField("tool_call") for part in parts):
            return None
        return agent_pb2.Message(role=agent_pb2.ROLE_ASSISTANT, parts=parts)

    def add(self, chunk: agent_pb2.StreamChunk) -> None:
        """Append a chunk."""
        if chunk.thinking:
            self._text = None
            self._thinking.append(chunk.thinking)
        if chunk.thinking_signature:
            thinking = agent_pb2.Thinking(text="".join(self._thinking), signature=chunk.thinking_signature)
            self._thinking = []
            self._add_part(agent_pb2.Part(thinking=thinking))
        if chunk.redacted_thinking:
            redacted = agent_pb2.RedactedThinking(data=chunk.redacted_thinking)
            self._add_part(agent_pb2.Part(redacted_thinking=redacted))
        if chunk.content:
            self._add_text(chunk.content)
        if chunk.refusal:
            self._add_text(chunk.refusal)
        # A delta only marks the place of its call; the final chunk has the calls whole.
        for delta in chunk.tool_call_deltas:
            self._call(delta.index)
        for index, call in enumerate(chunk.tool_calls):
            self._call(index).tool_call.CopyFrom(call)

    def _call(self, index: int) -> agent_pb2.Part:
        part = self._calls.get(index)
        if part is None:
            part = self._calls[index] = agent_pb2.Part(tool_call=agent_pb2.ToolCall())
            self._add_part(part)
        return part

    def _add_text(self, piece: str) -> None:
        if self._text is None:
            self._text = []
            self._parts.append(self._text)
        self._text.append(piece)

    def _add_part(self, part: agent_pb2.Part) -> None:
        self._text = None
        self._parts.append(part)
