"""The words that make English hard for readers of other languages stay out, but for those that have a reason.

Read are the documentation, docstrings, comments, and the texts that the product prints. `CONTRIBUTING.md` states the
rule. The change log is history and is not read, nor are generated files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from tests.support.prose import Passage, passages, passages_of

UNWANTED = {
    "whoever": r"\bwhoever\b",
    "anew": r"\banew\b",
    "of its own": r"\bof (?:its|their) own\b",
    "goes on": r"\b(?:go|goes|going|went|gone) on\b",
    "is told": r"\b(?:is|are) told\b",
    "takes up": r"\b(?:take|takes|taking|took|taken) (?:\w+ )?up\b",
    "lets go of": r"\blets? go of\b",
    "nobody": r"\bnobody\b",
    # A clause without a head: at the beginning of a sentence, of an entry or of a cell, after a preposition, and after
    # a word that begins a clause. A question is none, nor is what follows a verb: "says what it takes".
    "what, at the beginning": r"(?:^|[.;:!|(—] ?|^[-*] )(?:who|what|whatever)\b(?=[^.!?|]*(?:[.!|]|$))",
    "what, after a preposition": r"\b(?:of|for|from|with|by|to|than|in|on|all|at|after|before|like|beside) (?:who|what|whatever)\b",
    "what, after a conjunction": r"\b(?:but|so|while|since|because|if|when|that) (?:who|what)\b",
}


class Kept(NamedTuple):
    """A phrase that stays in a file, so many times."""

    path: str
    phrase: str
    count: int
    reason: str


KEPT = [
    Kept(
        "server/headwater_server/providers/scripted/words.py",
        "nobody",
        2,
        "the story that the provider tells is content, not explanation; the documentation states its length",
    ),
]


def unwanted(texts: Iterable[Passage]) -> Iterator[tuple[Passage, str]]:
    for passage in texts:
        for expression in UNWANTED.values():
            for match in re.finditer(expression, passage.text, re.IGNORECASE):
                yield passage, match[0].strip(" .;:!|(—-*").lower()


@pytest.mark.timeout(180)  # it reads a thousand files
def test_each_unwanted_word_that_remains_has_a_reason():
    found = list(unwanted(passages()))
    counted = Counter((passage.path, phrase) for passage, phrase in found)
    kept = Counter({(entry.path, entry.phrase): entry.count for entry in KEPT})
    added = [
        f"{passage.path}:{passage.line}: {phrase!r} in: {passage.text[:120]}"
        for passage, phrase in found
        if counted[passage.path, phrase] > kept[passage.path, phrase]
    ]
    assert not added, "\n".join(["Write these in plainer words:", *added])
    assert not kept - counted, "these are gone: take them out of the table"
    assert all(entry.reason for entry in KEPT)


@pytest.mark.parametrize(
    ("path", "content", "phrase"),
    [
        ("docs/page.md", "A run\ngoes\non.", "goes on"),
        ("docs/page.md", "Who has the lock writes.", "who"),
        ("docs/page.md", "| key | what it says |", "what"),
        ("docs/page.md", "It depends on what was asked.", "on what"),
        ("server/a.py", '"""Begins anew."""', "anew"),
        ("server/a.py", '"""A class.\n\nArgs:\n    text: what is said.\n"""', "what"),
        ("server/a.py", "# It lets\n# go of the lock.\nx = 1", "lets go of"),
        ("server/a.py", "raise ValueError(f'{x} is told to stop')", "is told"),
        ("tests/test_a.py", "def f():\n    '''Whoever asks.'''", "whoever"),
        ("protos/a.proto", "// Nobody\n// reads.\nmessage A {}  // Nobody writes.", "nobody"),
        ("Makefile", "test: ## Take up the tests", "take up"),
    ],
)
def test_each_is_found_where_prose_stands(path, content, phrase):
    assert phrase in [found for _, found in unwanted(passages_of(path, content.encode()))]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("docs/page.md", "The page says what a key means. What is a stream? A caller, who may leave, reads."),
        ("docs/page.md", "```python\nprint('nobody goes on')\n```\nThe code `nobody` is a name."),
        ("tests/test_a.py", "text = 'nobody goes on'"),
    ],
)
def test_questions_and_code_are_not_counted(path, content):
    assert not list(unwanted(passages_of(path, content.encode())))
