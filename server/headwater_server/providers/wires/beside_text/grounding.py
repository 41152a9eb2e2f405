"""Citations of Gemini: its grounding names sources once, and for each part of the text the numbers of its sources.

Places are given in bytes of UTF-8 of a text part, which a stream sends in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headwater_server.domain.citations import Citation
from headwater_server.providers.wires.beside_text.citations import MAX_QUOTE, MAX_TITLE, range_of, read_citations
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_TEXT = 1024 * 1024
_MOST = 1_000_000


class Grounding:
    """Reads the sources of one reply, whose text it must see to know its characters."""

    def __init__(self) -> None:
        self._sources: list[Citation] = []
        self._pieces: list[str] = []
        self._size = 0
        self._block = 0

    def add_text(self, text: str, block: int) -> None:
        """Adds a piece of the text. No places are known in a block over 1 Mi characters."""
        if block != self._block:
            self._pieces, self._size, self._block = [], 0, block
        self._size += len(text)
        if self._size <= MAX_TEXT:
            self._pieces.append(text)
        else:
            self._pieces.clear()

    def read(self, metadata: Any, citation_metadata: Any, url_metadata: Any) -> Iterator[Citation]:
        """The citations in the fields that a candidate has beside its text."""
        text = "".join(self._pieces).encode("utf-8", "replace")
        for each in _dicts(metadata):
            yield from self._grounding(each, text)
        for each in _dicts(citation_metadata):
            found = _dicts(each.get("citations")) + _dicts(each.get("citationSources"))
            for citation in found:
                for source in read_citations(citation):
                    yield self._placed(source, citation, text)
        for each in _dicts(url_metadata):
            yield from read_citations([site.get("retrievedUrl") for site in _dicts(each.get("urlMetadata"))])

    def _grounding(self, metadata: dict[str, Any], text: bytes) -> Iterator[Citation]:
        if chunks := metadata.get("groundingChunks"):
            self._sources = [_source(chunk) for chunk in _dicts(chunks)]
        used = set()
        for support in _dicts(metadata.get("groundingSupports")):
            for number in _numbers(support.get("groundingChunkIndices")):
                if number < len(self._sources):
                    used.add(number)
                    segment = support.get("segment")
                    yield self._placed(self._sources[number], segment if isinstance(segment, dict) else {}, text)
        if chunks:
            yield from (source for number, source in enumerate(self._sources) if number not in used and _named(source))

    def _placed(self, source: Citation, place: dict[str, Any], text: bytes) -> Citation:
        # A start of 0 is left out, as all zeros are.
        start, end = range_of(place.get("startIndex", 0), place.get("endIndex"))
        if start is None or end is None or end > len(text):
            return msgspec.structs.replace(source, block=self._block, start=None, end=None)
        before = len(text[:start].decode("utf-8", "ignore"))
        within = len(text[start:end].decode("utf-8", "ignore"))
        return msgspec.structs.replace(source, block=self._block, start=before, end=before + within)


def _source(chunk: dict[str, Any]) -> Citation:
    """The source of one of `web`, `retrievedContext`, `maps` and their like."""
    facts = without_surrogates(next((value for value in chunk.values() if isinstance(value, dict)), {}))
    url, title, quote = (_text(facts.get(name)) for name in ("uri", "title", "text"))
    return Citation(url, (title or _text(facts.get("domain")))[:MAX_TITLE], quote[:MAX_QUOTE])


def _named(source: Citation) -> bool:
    return bool(source.url or source.title or source.quoted_text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _numbers(value: Any) -> list[int]:
    numbers = [each for each in value if isinstance(each, int | float)] if isinstance(value, list) else []
    return [int(each) for each in numbers if 0 <= each < _MOST]


def _dicts(value: Any) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, dict)]
