"""Texts that look like names."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z0-9_.:/@+=~,%#|\[\]-]{1,200}")


def looks_like_name(text: str) -> bool:
    """Whether a text of a caller or a provider may be shown where a name belongs."""
    return _NAME.fullmatch(text) is not None
