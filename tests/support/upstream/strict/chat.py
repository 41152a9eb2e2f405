"""Chat Completions as strict vendors have them: each wants back with a call what it sent with it.

The answer follows from the request alone: the number of calls since the last prompt is the round.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.upstream.strict.rules import ROUNDS, refuse, sse

_PLAIN_KEYS = frozenset({"role", "content", "tool_calls", "tool_call_id", "name"})
_SYSTEM_FIRST = re.compile(r"s?[^s]*")


@dataclass(frozen=True)
class ChatVendor:
    """A vendor.

    Attributes:
        id: makes the id of the call of a round.
        said: the fields of a round's message beside its calls; `{n}` in their text is the round.
        on_call: the fields of a round's call beside its function.
        back: the fields of the message that are wanted back; None: those of `said` that are no text.
        shape: the ids that are taken.
        refuses: fields of the body that are not known.
    """

    id: str = "call_{n}"
    said: Mapping[str, Any] = field(default_factory=dict)
    on_call: Mapping[str, Any] = field(default_factory=dict)
    back: frozenset[str] = frozenset()
    shape: str = r".+"
    refuses: frozenset[str] = frozenset()

    def answer(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        """The next round, or the last word."""
        self._check_fields(body)
        number = self._check_turns(body["messages"])
        if number == ROUNDS:
            return _events({"role": "assistant", "content": "Done."}, "stop")
        made = {"index": 0, "id": self.id.format(n=number), "type": "function", "function": _function(number)}
        delta = {"role": "assistant", "content": None, **_numbered(self.said, number)}
        return _events(delta | {"tool_calls": [made | _numbered(self.on_call, number)]}, "tool_calls")

    def _check_fields(self, body: dict[str, Any]) -> None:
        refuse(bool(self.refuses & body.keys()), f"unknown fields {self.refuses & body.keys()}")
        refuse(None in body.values() or body.get("tools") == [], "null or an empty list stands for a field")

    def _check_turns(self, messages: list[dict[str, Any]]) -> int:
        roles = "".join(message["role"][0] for message in messages)
        refuse(not _SYSTEM_FIRST.fullmatch(roles), "the system message must come once, and first")
        calls_of_turn, seen, waiting = 0, set(), []
        for message in messages:
            refuse(bool(message.keys() - _PLAIN_KEYS - self.back), f"unknown keys in {message}")
            refuse("content" not in message, "the field content is missing")
            if message["role"] == "tool":
                refuse(message["tool_call_id"] not in waiting, f"no call {message['tool_call_id']}")
                waiting.remove(message["tool_call_id"])
                continue
            refuse(bool(waiting), f"calls without results: {waiting}")
            if message["role"] == "user":
                calls_of_turn = 0
            for call in message.get("tool_calls", ()):
                refuse(not re.fullmatch(self.shape, call["id"]) or call["id"] in seen, f"the id {call['id']}")
                seen.add(call["id"])
                waiting.append(call["id"])
            if message.get("tool_calls"):
                self._check_back(message, calls_of_turn)
                calls_of_turn += 1
        refuse(bool(waiting), f"calls without results: {waiting}")
        return calls_of_turn

    def _check_back(self, message: dict[str, Any], number: int) -> None:
        wanted = {key: value for key, value in _numbered(self.said, number).items() if key in self.back}
        got = {key: message[key] for key in self.back & message.keys()}
        refuse(got != wanted, f"round {number} must come back with {wanted}, not {got}")
        [call] = message["tool_calls"]
        extra = {key: call[key] for key in call.keys() - {"id", "type", "function"}}
        refuse(extra != _numbered(self.on_call, number), f"the call of round {number} has {extra}")
        refuse(call["function"] != _function(number), f"the call of round {number} was changed: {call}")


def _function(number: int) -> dict[str, str]:
    return {"name": "get_weather", "arguments": json.dumps({"city": f"City {number}"})}


def _numbered(fields: Mapping[str, Any], number: int) -> dict[str, Any]:
    numbered: dict[str, Any] = json.loads(json.dumps(fields).replace("{n}", str(number)))
    return numbered


def _events(delta: dict[str, Any], finish: str) -> bytes:
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [{"index": 0, "delta": delta}, {"index": 0, "delta": {}, "finish_reason": finish}]
    return b"".join(sse(frame | {"choices": [choice]}) for choice in choices) + b"data: [DONE]\n\n"


_DETAILS = [
    {"type": "reasoning.summary", "summary": "Look {n}.", "format": "anthropic-claude-v1", "index": 0},
    {
        "type": "reasoning.text",
        "text": "Think {n}.",
        "signature": "sig{n}",
        "format": "anthropic-claude-v1",
        "index": 1,
    },
    {"type": "reasoning.encrypted", "data": "ENC{n}", "id": "r{n}", "format": "anthropic-claude-v1", "index": 2},
]

CHAT_VENDORS = {
    "deepseek": ChatVendor(
        said={"reasoning_content": "Think {n}."},
        back=frozenset({"reasoning_content"}),
        refuses=frozenset({"parallel_tool_calls", "seed"}),
    ),
    "kimi": ChatVendor(
        id="functions.get_weather:{n}",
        said={"reasoning_content": "Think {n}."},
        back=frozenset({"reasoning_content"}),
        shape=r"functions\.get_weather:\d+",
    ),
    "gemini-openai": ChatVendor(
        id="function-call-{n}",
        on_call={"extra_content": {"google": {"thought_signature": "sig{n}"}}},
    ),
    "openrouter": ChatVendor(
        said={"reasoning": "Think {n}.", "reasoning_details": _DETAILS}, back=frozenset({"reasoning_details"})
    ),
    "mistral": ChatVendor(id="Ab12{n:05}", shape=r"[a-zA-Z0-9]{9}", refuses=frozenset({"stream_options", "seed"})),
}
"""By the name of their provider."""
