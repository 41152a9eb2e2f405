"""The truth about a stream: the words of its provider, to compare with those that its caller has."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from tests.support.faults.plan import chance_of

WORDS = (
    "a",
    "be",
    "sea",
    "wind",
    "river",
    "mountain",
    "Zürich",
    "naïve",
    "雨",
    "🌊",
    "𝔘nicode",
    "line\nbreak",
    '"quoted"',
)


@dataclass(frozen=True, slots=True)
class Round:
    """One reply of a provider.

    Attributes:
        calls: name and arguments of each call of a tool.
    """

    thinking: str
    text: str
    calls: tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """One stream: a round, or two with a call of tools between them.

    Attributes:
        pause: seconds between two pieces.
    """

    name: str
    rounds: tuple[Round, ...]
    pause: float

    @property
    def text(self) -> str:
        """All text."""
        return "".join(each.text for each in self.rounds)

    @property
    def thinking(self) -> str:
        """All thinking."""
        return "".join(each.thinking for each in self.rounds)


def truth_of(seed: int, number: int) -> Truth:
    """The stream with this number; every fifth has two rounds."""
    chance = chance_of("truth", seed, number)
    count = 2 if number % 5 == 4 else 1
    pause = chance.choice((0.0, 0.001, 0.004, 0.01))
    rounds = tuple(_round(chance, index, count) for index in range(count))
    return Truth(f"{seed} {number}", rounds, pause)


def truth_named(name: str) -> Truth:
    """The stream with the name of a truth."""
    seed, number = name.split()
    return truth_of(int(seed), int(number))


def _round(chance: random.Random, index: int, count: int) -> Round:
    """A round; the last of several calls no tools, since no answer follows their results."""
    thinking = _words(chance, chance.choice((0, 0, 5, 30)))
    text = _words(chance, chance.choice((0, 1, 20, 60, 100)))
    calls: list[tuple[str, dict[str, Any]]] = []
    if index < count - 1 or (count == 1 and chance.random() < 0.2):
        calls = [("look_up", {"word": f"{i} {_words(chance, 3)}"}) for i in range(chance.choice((1, 1, 3)))]
    elif not text:
        text = "."
    return Round(thinking, text, tuple(calls))


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(count))


def result_of(word: str) -> str:
    """The result of the tool."""
    return word[::-1]


def pieces(text: str, chance: random.Random) -> list[str]:
    """The text in pieces of a few characters."""
    found, start = [], 0
    while start < len(text):
        end = start + chance.choice((1, 3, 5, 8, 20))
        found.append(text[start:end])
        start = end
    return found


def deltas(answer: Round, chance: random.Random) -> list[dict[str, Any]]:
    """The round as deltas of Chat Completions."""
    found: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    found += [{"reasoning_content": piece} for piece in pieces(answer.thinking, chance)]
    found += [{"content": piece} for piece in pieces(answer.text, chance)]
    for index, (name, arguments) in enumerate(answer.calls):
        function = {"name": name, "arguments": ""}
        found.append(
            {"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}
        )
        for piece in pieces(json.dumps(arguments, ensure_ascii=False), chance):
            found.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return found
