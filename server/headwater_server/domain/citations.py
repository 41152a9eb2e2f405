"""The sources that a provider names for its reply."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec


class SourceUnit(Enum):
    """The unit in which a provider counts within a source; the names are those of the contract."""

    CHARACTERS = "characters"
    PAGES = "pages"
    BLOCKS = "blocks"


class SourceRange(NamedTuple):
    """A part of a source: the first that belongs to it, and the first after it."""

    unit: SourceUnit
    start: int
    end: int


class Citation(msgspec.Struct, frozen=True, gc=False):
    """A source of the reply.

    Attributes:
        url: address of the source, as the provider wrote it.
        title: title of the source, or name of the file.
        quoted_text: the words of the source.
        source_id: the provider's id or number of a document or a file.
        block: content block of the reply that the citation supports.
        start: first character of that block's text that it supports; None where the provider does not say.
        end: first character after that text.
        source_range: the part of the source.
    """

    url: str = ""
    title: str = ""
    quoted_text: str = ""
    source_id: str = ""
    block: int = 0
    start: int | None = None
    end: int | None = None
    source_range: SourceRange | None = None

    @property
    def is_bare(self) -> bool:
        """Whether it only names a source."""
        return not self.quoted_text and self.start is None and self.source_range is None
