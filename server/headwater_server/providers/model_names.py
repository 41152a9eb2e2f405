"""Reads names of models, for every provider."""

from __future__ import annotations

import re


def base_name(model: str) -> str:
    """The name without `@something` (a date, a deployment), which does not name the model."""
    return model.partition("@")[0]


def version(found: re.Match[str]) -> tuple[int, int]:
    """The two groups of a match as a version; the second may be missing."""
    major, minor = found.groups()
    return int(major), int(minor or 0)
