"""The conversation of an agent: questions and answers, kept by the caller's side.

A call takes a snapshot when it is made and hands back prompt and reply together when it ends. A reply with rounds of
tool calls is several messages, which stay together: providers refuse a result without its call. Ends may come from
anywhere, also from `__del__` of a dropped stream, which may run in any thread and in the middle of any statement. So
ending only appends to a deque, which is atomic; the next snapshot moves the new entries under the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater._values.messages import to_dict, to_messages
from headwater._values.validation import invalid
from headwater.v1 import agent_pb2


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt with its reply: one message, or with tools several; `interrupted` marks one that is only a part."""

    prompt: agent_pb2.ChatMessage
    reply: tuple[agent_pb2.ChatMessage, ...]
    interrupted: bool

    def __len__(self) -> int:
        return 1 + len(self.reply)

    def in_short(self) -> Turn:
        """The same with the words of the reply only, as one message."""
        spoken = [part for message in self.reply for part in message.parts if part.text]
        return Turn(
            self.prompt, (agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=spoken),), self.interrupted
        )


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call's view of the history: the messages to send, and the place of the new turn."""

    messages: Sequence[agent_pb2.ChatMessage]
    prompt: agent_pb2.ChatMessage
    _history: History
    _replaces: Turn | None
    _epoch: int

    def end(self, reply: Sequence[agent_pb2.ChatMessage], *, interrupted: bool) -> None:
        """Add prompt and reply, unless the history was cleared since the call was made."""
        self._history._ended.append((self._epoch, Turn(self.prompt, tuple(reply), interrupted), self._replaces))


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

    def begin(self, prompt: agent_pb2.ChatMessage, limit: int | None = None) -> Exchange | None:
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
            *others, last = [to_dict(message) for message in (turn.prompt, *turn.reply)]
            result += [*others, last | {"interrupted": True} if turn.interrupted else last]
        return result

    def clear(self) -> None:
        """Forget everything, and what calls that are still running would add."""
        with self._lock:
            self._epoch += 1
            self._ended.clear()
            self._turns.clear()

    def replace(self, turns: Sequence[Turn]) -> None:
        """Keep these in place of all that is kept."""
        self.clear()
        with self._lock:
            self._turns = _newest(list(turns), self.limit)

    def _take_ended(self) -> None:
        while self._ended:
            epoch, turn, replaced = self._ended.popleft()
            if epoch != self._epoch:
                continue
            self._turns = [kept for kept in self._turns if kept is not replaced]
            self._turns.append(turn)
        self._turns = _newest(self._turns, self.limit)

    @staticmethod
    def _newest(turns: list[Turn], limit: int) -> list[agent_pb2.ChatMessage]:
        """The last messages that may be sent: they begin with a question, and no tool call lacks its result."""
        spoken = [Turn(turn.prompt, closed(turn.reply), turn.interrupted) for turn in turns]
        newest = _newest([turn for turn in spoken if turn.reply], limit)
        return [message for turn in newest for message in (turn.prompt, *turn.reply)]


def to_turns(messages: Any) -> list[Turn]:
    """A conversation as a caller gives it, such as one that was stored. Raises ValidationError."""
    turns: list[Turn] = []
    prompt: agent_pb2.ChatMessage | None = None
    reply: list[agent_pb2.ChatMessage] = []
    interrupted = False
    for index, message in enumerate(to_messages(messages)):
        if message.role == agent_pb2.ROLE_USER and (prompt is None or reply):
            if prompt is not None:
                turns.append(Turn(prompt, tuple(reply), interrupted))
            prompt, reply, interrupted = message, [], False
        elif prompt is None:
            cure = "; give the instructions as instructions=" if message.role == agent_pb2.ROLE_SYSTEM else ""
            raise invalid(f"messages[{index}].role", f"must be user: a conversation begins with a question{cure}")
        else:
            reply.append(message)
            given = messages[index]
            interrupted = isinstance(given, Mapping) and bool(given.get("interrupted"))
    if prompt is None:
        return turns
    if not reply or reply[-1].role == agent_pb2.ROLE_USER:
        raise invalid("messages", "must end with a reply; ask the last question with agent.run or agent.stream")
    return [*turns, Turn(prompt, tuple(reply), interrupted)]


def _newest(turns: list[Turn], limit: int) -> list[Turn]:
    """The last turns that have `limit` messages at most; half a turn is never kept or sent.

    The very last, if it is longer than that by itself, is kept in short.
    """
    left, first = limit, len(turns)
    while first and len(turns[first - 1]) <= left:
        first -= 1
        left -= len(turns[first])
    if first == len(turns) > 0 and limit >= len(short := turns[-1].in_short()) and short.reply[0].parts:
        return [short]
    return turns[first:]


def closed(reply: Sequence[agent_pb2.ChatMessage]) -> tuple[agent_pb2.ChatMessage, ...]:
    """The reply up to the last words of the model, so that no call lacks its result and no result a word on it."""
    while reply:
        *before, last = reply
        if last.role == agent_pb2.ROLE_ASSISTANT and (spoken := _without_open_calls(last)).parts:
            return (*before, spoken)
        reply = before
    return ()


def _without_open_calls(reply: agent_pb2.ChatMessage) -> agent_pb2.ChatMessage:
    """The reply without its tool calls: they have no results, and providers refuse a call without its result."""
    if not any(part.HasField("tool_call") for part in reply.parts):
        return reply
    spoken = [part for part in reply.parts if not part.HasField("tool_call")]
    if not any(part.text for part in spoken):
        spoken = []  # thinking that led to a call only
    return agent_pb2.ChatMessage(role=reply.role, parts=spoken)


class Reply:
    """The content of a reply: its text as it comes, and at its end the message to keep and to send back.

    The server makes the message of a reply that ends in tool calls, with all that the provider wants back. Any other is
    its thinking and its text, in the order in which they came. Thinking is kept with its signature only: without one no
    provider takes it back. The words of a refusal count as text.
    """

    def __init__(self) -> None:
        self._parts: list[agent_pb2.Part | list[str]] = []  # a list: the pieces of one text
        self._thinking: list[str] = []
        self._made: agent_pb2.ChatMessage | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(["".join(part) for part in self._parts if isinstance(part, list)])

    def message(self, *, interrupted: bool) -> agent_pb2.ChatMessage | None:
        """The assistant's message; None when there is nothing to keep. One that was interrupted has no tool calls."""
        if self._made is not None and not interrupted:
            return self._made
        parts = [agent_pb2.Part(text="".join(part)) if isinstance(part, list) else part for part in self._parts]
        if not any(part.text for part in parts):
            return None
        return agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=parts)

    def add(self, chunk: agent_pb2.StreamChunk) -> None:
        """Append a chunk."""
        if chunk.thinking:
            self._thinking.append(chunk.thinking)
        if chunk.thinking_signature:
            thinking = agent_pb2.Thinking(text="".join(self._thinking), signature=chunk.thinking_signature)
            self._thinking = []
            self._parts.append(agent_pb2.Part(thinking=thinking))
        if chunk.redacted_thinking:
            redacted = agent_pb2.RedactedThinking(data=chunk.redacted_thinking)
            self._parts.append(agent_pb2.Part(redacted_thinking=redacted))
        if chunk.content:
            self._add_text(chunk.content)
        if chunk.refusal:
            self._add_text(chunk.refusal)
        if chunk.is_final and chunk.HasField("message"):
            self._made = chunk.message

    def _add_text(self, piece: str) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(last, list):
            last.append(piece)
        else:
            self._parts.append([piece])
