"""Reads names of models, for every provider."""

from __future__ import annotations

import re
from urllib.parse import quote

from headwater_server.domain.errors import invalid

MISTRALS = re.compile(r"mi[sx]tral|ministral|magistral|codestral|devstral|pixtral", re.IGNORECASE)
"""Found in the names of Mistral's models, at any service."""

MODELS = 512
"""How many names of models a function of the name alone remembers: they come from callers, of up to 256 characters."""


def base_name(model: str) -> str:
    """The name without `@something` (a date, a deployment), which does not name the model."""
    return model.partition("@")[0]


def version(found: re.Match[str]) -> tuple[int, int]:
    """The two groups of a match as a version; the second may be missing."""
    major, minor = found.groups()
    return int(major), int(minor or 0)


def path_piece(name: str) -> str:
    """The name of a model as one piece of a path. Raises HeadwaterError for one that leads elsewhere."""
    if name in (".", ".."):
        raise invalid("model", "is not the name of a model")
    return quote(name, safe="")
