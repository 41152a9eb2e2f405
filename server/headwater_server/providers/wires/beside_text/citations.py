"""Citations of a reply.

Most providers write a citation as an object, in which the same fact has one of a few names (`_URL` and so on). Some put
that object under the name of its type, and some give addresses alone. So one reader serves all of them; Gemini's
grounding, which keeps sources and places apart, has another (`grounding`).

Providers repeat themselves: in each chunk, or once more with the whole. `Citations` lets each citation through once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from headwater_server.domain.citations import Citation, SourceRange, SourceUnit
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_CITATIONS = 1000
MAX_CHARACTERS = 256 * 1024
MAX_URL = 8 * 1024
MAX_TITLE = 1024
MAX_QUOTE = 8 * 1024

_MAX_POSITION = 2**31 - 1
_DEEPEST = 3

_URL = ("url", "uri", "link", "source")
_TITLE = ("title", "document_title", "filename", "filepath", "name")
_QUOTE = ("cited_text", "quoted_text", "snippet", "content", "description")
_ID = ("source_id", "file_id", "document_id", "document_index", "source", "id")
_SOURCE_RANGES = (
    (SourceUnit.CHARACTERS, "start_char_index", "end_char_index"),
    (SourceUnit.PAGES, "start_page_number", "end_page_number"),
    (SourceUnit.BLOCKS, "start_block_index", "end_block_index"),
)


class Citations:
    """The citations of one reply.

    Attributes:
        found: each of them once, in the order in which they came.
        dropped: the number of those that were too many or too large.
    """

    def __init__(self) -> None:
        self.found: list[Citation] = []
        self.dropped = 0
        self._size = 0
        self._known: set[Citation] = set()
        self._places: dict[str, int] = {}
        self._bare: dict[str, int] = {}

    def add(self, citations: Iterable[Citation], *, repeated: bool = False) -> list[Citation] | None:
        """Adds citations. Returns those that are new; None for none.

        Args:
            citations: in their order.
            repeated: they may have come before, under the number of another block.
        """
        return [each for each in citations if self._is_new(each, repeated=repeated)] or None

    def _is_new(self, citation: Citation, *, repeated: bool) -> bool:
        anywhere = msgspec.structs.replace(citation, block=-1)
        if citation in self._known or (repeated and anywhere in self._known):
            return False
        if citation.is_bare and self._is_poorer(citation):
            return False
        size = len(citation.url) + len(citation.title) + len(citation.quoted_text) + len(citation.source_id)
        is_full = len(self._known) >= 2 * MAX_CITATIONS or self._size + size > MAX_CHARACTERS
        if is_full or len(citation.url) > MAX_URL or len(citation.source_id) > MAX_TITLE:
            self.dropped += 1
            return False
        self._size += size
        self._known |= {citation, anywhere}
        self._keep(citation)
        return True

    def _is_poorer(self, citation: Citation) -> bool:
        """Whether one of the same source is known that says as much."""
        place = self._places.get(_source(citation))
        return place is not None and bool(self.found[place].title or not citation.title)

    def _keep(self, citation: Citation) -> None:
        """Puts it last, or in the place of one that only names the same source: texts refer to places by number."""
        source = _source(citation)
        if (place := self._bare.pop(source, None)) is not None:
            title = citation.title or self.found[place].title
            self.found[place] = msgspec.structs.replace(citation, title=title)
        else:
            place = len(self.found)
            self.found.append(citation)
        self._places.setdefault(source, place)
        if citation.is_bare:
            self._bare[source] = place


def read_citations(value: Any, block: int = 0, depth: int = 0) -> Iterator[Citation]:
    """The citations in a value of any shape: objects, addresses, lists of them.

    Args:
        value: as it came.
        block: number of the content block that they support.
        depth: how deep the value lies in lists.
    """
    if isinstance(value, list) and depth < _DEEPEST:
        for item in value:
            yield from read_citations(item, block, depth + 1)
    elif isinstance(value, str) and "://" in value:
        yield Citation(url=without_surrogates(value))
    elif isinstance(value, dict) and (citation := _citation(value, block)) is not None:
        yield citation


def _source(citation: Citation) -> str:
    return citation.url or citation.source_id or citation.title


def _citation(value: dict[str, Any], block: int) -> Citation | None:
    kind = value.get("type")
    inner = value.get(kind) if isinstance(kind, str) else None
    facts = without_surrogates(inner if isinstance(inner, dict) else value)
    url = next((text for name in _URL if "://" in (text := _word(facts, (name,)))), "")
    title, quote = _word(facts, _TITLE)[:MAX_TITLE], _word(facts, _QUOTE)[:MAX_QUOTE]
    source_id = "" if url else _word(facts, _ID)
    if not (url or title or quote or source_id):
        return None
    start, end = range_of(facts.get("start_index"), facts.get("end_index"))
    return Citation(url, title, quote, source_id, block, start, end, _source_range(facts))


def references_in(content: Any) -> list[Any]:
    """The citations in the parts of a content: Mistral's references between texts, and the annotations of a text."""
    found: list[Any] = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict):
            kind = str(part.get("type"))
            ids = part.get("reference_ids")
            found += [{"source_id": each} for each in (ids if isinstance(ids, list) else ())]
            found.append(part if kind.endswith("reference") else part.get("annotations"))
    return found


def range_of(start: Any, end: Any) -> tuple[int, int] | tuple[None, None]:
    """A range, if it makes sense and is not empty."""
    first, last = _position(start), _position(end)
    return (first, last) if first is not None and last is not None and first < last else (None, None)


def _source_range(facts: dict[str, Any]) -> SourceRange | None:
    for unit, start, end in _SOURCE_RANGES:
        first, last = range_of(facts.get(start), facts.get(end))
        if first is not None and last is not None:
            return SourceRange(unit, first, last)
    return None


def _word(facts: dict[str, Any], names: tuple[str, ...]) -> str:
    """The first of the facts that is text or a number, as text."""
    for name in names:
        fact = facts.get(name)
        if isinstance(fact, int | str) and not isinstance(fact, bool) and fact != "":
            return str(fact)
    return ""


def _position(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 11:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_POSITION:
        return None
    return int(value)
