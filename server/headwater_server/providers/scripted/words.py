"""Words of a reply: how a text is counted, cut and divided; and the texts that the models know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

STORY_DELAY_MS = 20.0

STORY = (
    "This is a scripted reply, not the words of a model. "
    "High above the valley a spring fills a small stone basin, drop by drop. Nobody carries the water away in buckets. "
    "As soon as the basin is full, it runs over, and a thread of water finds its own way down between the roots. "
    "Other threads join it. The brook does not wait until all the rain of the year has fallen; it brings what it has, "
    "the moment it has it. At the mill a boy holds his hand into the current. When he has felt enough, he takes the "
    "hand away, and the miller, who sees it, closes the gate at once. Not a drop runs for nobody. That is all a stream "
    "has to do: begin early, keep its order, and stop when it is asked to."
)

_WORD = re.compile(r"\s*\S+|\s+")


def count(text: str) -> int:
    """The number of words; white space at the end counts as one."""
    return sum(1 for _ in _WORD.finditer(text))


def first_words(text: str, count: int) -> str:
    """So many words from the beginning."""
    return "".join(match[0] for match in islice(_WORD.finditer(text), count))


def pieces(text: str, size: int | None) -> Iterator[str]:
    """The text in pieces of so many characters, or of words; joined they are the text."""
    if size is None:
        return (match[0] for match in _WORD.finditer(text))
    return (text[at : at + size] for at in range(0, len(text), size or 1))


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    """The text before the first stop sequence in it, and that sequence; of two at one place the longer."""
    found = [(at, -len(sequence), sequence) for sequence in stop if (at := text.find(sequence)) >= 0]
    if not found:
        return text, None
    at, _, sequence = min(found)
    return text[:at], sequence


def _story(question: str) -> str:
    return STORY


def _short_reply(question: str) -> str:
    return f"This is a scripted reply, not the words of a model. You said: {question}"


def _echo(question: str) -> str:
    return question


REPLIES = {"story": _story, "reply": _short_reply, "echo": _echo}
