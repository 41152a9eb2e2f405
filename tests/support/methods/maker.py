"""Requests of any type, made from nothing but its descriptor: a new field or a new method is tried by itself.

Theory of operation. Each value is drawn by the type of its field: from the edges of that type, from words that hurt
parsers, and from values that the server has sent in a field of that name, so that ids of real streams and runs come
back to it. A request that was drawn field by field is nearly always refused, so half of them begin with an example of
its type that is right (`EXAMPLES`) and have none to three of their fields drawn again.

Example. `ResumeStreamRequest` has `stream_id` and `after_sequence`. The server has sent `stream_id: "str_0_ab"` and
`sequence: 3` on a chunk: then `{stream_id: "str_0_ab", after_sequence: 3}` is among the requests, and so is
`{stream_id: "\\0", after_sequence: -2147483648}`.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

DEEPEST = 5
MOST_ELEMENTS = 4
KEPT, NEWEST = 50, 5
LONG = "x" * 70_000
WORDS = (
    "", "a", "b", "x", " ", "\0", "\n", "ä", "🙂", "\u202e", "\ufffe", "a" * 300, LONG, "../../etc/passwd", "%s%n", "-1",
    "null", "1e999", "true", "a == 'b'", "matches(a, '(a+)+$')", "http://127.0.0.1:1/", "http://[::1", "file:///etc",
    "data:image/png;base64,AAAA", "image/png", "user", "{{a}}", "{a.b.c}", "${x}", "__proto__", "\ud7ff\ue000", "1.5",
)  # fmt: skip
JSON = (
    "", "{}", "[]", "null", "1", '"x"', '{"a":1}', '{"a":{"b":[1,2,{"c":null}]}}', '{"type":"object"}', "{", '{"a":1,}',
    '{"a":1e999}', '{"a":NaN}', r'{"a":"\ud800"}', "[" * 5_000, '{"a":' * 500 + "1" + "}" * 500, '{"a":1,"a":2}',
    '{"a":9007199254740993}', "1" * 5_000, '{"": 0}', '{"type":"object","properties":{"x":{"$ref":"#"}}}',
)  # fmt: skip
INTS = (0, 1, 2, 3, -1, 5, 10, 100, 1_000, 65_535, 2**31 - 1, -(2**31), 2**31 - 2)
FLOATS = (0.0, 1.0, -0.0, 0.5, 2.0, -1.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
BYTES = (b"", b"\0", b"\xff" * 20, b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(range(256)))

ECHO: dict[str, Any] = {"model": "scripted/echo"}
SLOW: dict[str, Any] = {**ECHO, "providerOptions": {"scripted": {"text": "one two three", "delay_ms": 5}}}
THINKS: dict[str, Any] = {
    **ECHO,
    "providerOptions": {"scripted": {"thinking": "hm", "text": "one two", "tool_calls": [{"name": "f"}]}},
    "tools": [{"function": {"name": "f", "parametersJson": '{"type":"object"}'}}],
}
FAILS: dict[str, Any] = {**ECHO, "providerOptions": {"scripted": {"text": "one two three", "fail_after": 1}}}
REPLAYED = ("openai/m@openai-plain", "openai/m@openai-tool-calls-parallel", "anthropic/m@anthropic-thinking",
            "anthropic/m@anthropic-cut", "ollama/m@ollama-chat-thinking", "openai/m@openai-429-retry-after")  # fmt: skip
"""Models of the replay server: so a request meets the wire of each provider."""
AGENTS = (ECHO, SLOW, THINKS, FAILS, *({"model": model} for model in REPLAYED))
ASKS = [{"agent": agent, "prompt": "hi"} for agent in AGENTS]
WORKFLOW = {
    "name": "w",
    "agent": ECHO,
    "steps": [
        {"name": "a", "action": "hi"},
        {"name": "b", "action": "{a}", "dependsOn": ["a"], "condition": "a == 'hi'", "timeout": "5s"},
    ],
}
HOSTED = {"name": "w", "steps": [{"name": "a", "handler": "h"}]}
STARTS = [{"workflow": WORKFLOW, "contextJson": '{"x":1}'}, {"workflow": HOSTED, "queue": "q"}]
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "StreamRequest": [*ASKS, *({**ask, "resumable": True} for ask in ASKS * 3)],
    "RunRequest": ASKS,
    "GetProviderInfoRequest": [ECHO],
    "ListModelsRequest": [{"provider": "scripted"}],
    "ValidateWorkflowRequest": [{"workflow": WORKFLOW}],
    "StartWorkflowRunRequest": STARTS,
    "ExecuteWorkflowRequest": [{"start": start} for start in STARTS],
    "AttachRequest": [
        {"registration": {"workerId": "w", "queue": "q", "handlers": ["h"], "concurrency": 1}},
        {"heartbeat": {}},
    ],
    "ServerReflectionRequest": [{"listServices": "*"}, {"fileContainingSymbol": "headwater.v1.AgentService"}],
    "HealthCheckRequest": [{"service": "headwater.v1.AgentService"}],
}
"""Right requests by the name of their type, for the types of which a message drawn at random hardly ever is right."""


class RequestMaker:
    """Makes requests.

    Args:
        chance: decides.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._said: dict[str, deque[Any]] = defaultdict(lambda: deque(maxlen=KEPT))

    def learn(self, reply: Message) -> None:
        """Keeps the words and numbers of a reply, by the names of their fields."""
        for field, value in reply.ListFields():
            for each in _elements(field, value):
                if isinstance(each, Message):
                    self.learn(each)
                elif isinstance(each, str | int) and not isinstance(each, bool):
                    self._said[field.name].append(each)

    def make(self, kind: Descriptor) -> Message:
        """A request of this type."""
        message: Message = message_factory.GetMessageClass(kind)()
        examples = EXAMPLES.get(kind.name)
        if examples and self._chance.random() < 0.6:
            ParseDict(self._chance.choice(examples), message)
            for _ in range(self._chance.choice((0, 0, 1, 1, 2, 3))):
                self._change(message)
        else:
            self._fill(message, 0)
        return message

    def _change(self, message: Message) -> None:
        """Draws a field again, at any depth."""
        set_before = [
            each for field, value in message.ListFields() for each in _elements(field, value) if _is_message(each)
        ]
        if set_before and self._chance.random() < 0.6:
            self._change(self._chance.choice(set_before))
        elif message.DESCRIPTOR.fields:
            self._draw(message, self._chance.choice(message.DESCRIPTOR.fields), 1)

    def _fill(self, message: Message, depth: int) -> None:
        share = self._chance.choice((0.0, 0.15, 0.3, 0.6, 1.0)) if depth else self._chance.choice((0.2, 0.5, 1.0))
        for field in message.DESCRIPTOR.fields:
            if self._chance.random() < share:
                self._draw(message, field, depth)

    def _draw(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type and depth >= DEEPEST:
            return
        message.ClearField(field.name)
        if not field.is_repeated:
            if field.message_type:
                getattr(message, field.name).SetInParent()
                self._fill(getattr(message, field.name), depth + 1)
            else:
                setattr(message, field.name, self._value(field))
            return
        elements = getattr(message, field.name)
        for _ in range(self._chance.randint(0, MOST_ELEMENTS)):
            if not field.message_type:
                elements.append(self._value(field))
            elif field.message_type.GetOptions().map_entry:
                self._draw_entry(elements, field.message_type, depth)
            else:
                self._fill(elements.add(), depth + 1)

    def _draw_entry(self, entries: Any, entry: Descriptor, depth: int) -> None:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        name = self._value(key)
        if value.message_type:
            self._fill(entries[name], depth + 1)
        else:
            entries[name] = self._value(value)

    def _value(self, field: FieldDescriptor) -> Any:
        """A value of a field that is no message."""
        chance = self._chance
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            numbers = [value.number for value in field.enum_type.values]
            return chance.choice([*numbers, *numbers, max(numbers) + 1, -1, 2**31 - 1])
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._bytes() if field.type == FieldDescriptor.TYPE_BYTES else self._text(field.name)
        if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return chance.choice((*FLOATS, chance.uniform(-2, 2)))
        number = self._remembered(field.name, int)
        if number is None or chance.random() < 0.6:
            number = chance.choice((*INTS, chance.randint(-(2**31), 2**31 - 1)))
        smallest = 0 if kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64) else -(2**31)
        return max(number, smallest)

    def _text(self, name: str) -> str:
        word = self._remembered(name, str)
        if word is not None and self._chance.random() < 0.6:
            return str(word)
        if name.endswith("_json") and self._chance.random() < 0.9:
            return self._chance.choice(JSON)
        if self._chance.random() < 0.1:
            count = self._chance.randint(1, 30)
            return "".join(chr(self._chance.choice((self._chance.randrange(128), 0x20AC))) for _ in range(count))
        return self._chance.choice(WORDS)

    def _bytes(self) -> bytes:
        return self._chance.choice((*BYTES, self._chance.randbytes(self._chance.randrange(100))))

    def _remembered(self, name: str, kind: type) -> Any:
        """A value that the server has said in a field of this name, or of one that ends alike: `next_page_token`."""
        alike = [name] if self._said.get(name) and self._chance.random() < 0.7 else list(self._said)
        alike = [other for other in alike if other.endswith(name) or name.endswith(other)]
        newest = NEWEST if self._chance.random() < 0.5 else KEPT
        said = [word for other in alike for word in list(self._said[other])[-newest:] if isinstance(word, kind)]
        return self._chance.choice(said) if said else None


def _elements(field: FieldDescriptor, value: Any) -> Iterator[Any]:
    """The values of a field: one, or those of a list or a map."""
    if not field.is_repeated:
        yield value
    elif field.message_type and field.message_type.GetOptions().map_entry:
        yield from (value[key] for key in value)
    else:
        yield from value


def _is_message(value: Any) -> bool:
    return isinstance(value, Message)
