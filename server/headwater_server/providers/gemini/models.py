"""Facts about Google's models that follow from their names: whether and how they think.

From 3 on a model has levels of thinking, and wants its signatures back with the calls that it made. 2.5 has a budget of
tokens instead, which only Flash takes as zero. Names without a version (`gemini-flash-latest`) are of the newest.
"""

from __future__ import annotations

import re
from typing import Any

from headwater_server.providers.model_names import base_name, version

_VERSION = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?-")
_LATEST = re.compile(r"gemini-(pro|flash|flash-lite)-latest$")
_NO_THINKING = re.compile(r"-(image|tts|audio|live|embedding|computer-use|robotics)")
_FIRST_WITH_LEVELS = (3, 0)
_WITH_BUDGET = (2, 5)

_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""Tokens for each effort, as Google's own OpenAI-shaped door maps them."""

_LEVELS = frozenset({"minimal", "low", "medium", "high", "xhigh"})


def efforts(model: str) -> frozenset[str]:
    """The efforts that the model takes; none where it does not think, or is not known to."""
    if has_levels(model):
        return _LEVELS
    if not thinks(model):
        return frozenset()
    return frozenset(_BUDGETS) - ({"none"} if "-pro" in model else set())


def thinking_config(model: str, effort: str) -> dict[str, Any] | None:
    """How the model is to think, its thoughts included; None to leave it to the model. `effort` may be empty."""
    if not thinks(model):
        return None
    config: dict[str, Any] = {"includeThoughts": effort != "none"}
    if effort and has_levels(model):
        config["thinkingLevel"] = effort.upper()
    elif effort:
        config["thinkingBudget"] = _BUDGETS[effort]
    return config


def thinks(model: str) -> bool:
    """Whether the model thinks, by its name."""
    found = _found(model)
    return found is not None and found >= _WITH_BUDGET


def has_levels(model: str) -> bool:
    """Whether the model has levels of thinking, and wants signatures back with its calls."""
    found = _found(model)
    return found is not None and found >= _FIRST_WITH_LEVELS


def _found(model: str) -> tuple[int, int] | None:
    name = base_name(model)
    if _NO_THINKING.search(name):
        return None
    if _LATEST.match(name):
        return _FIRST_WITH_LEVELS
    found = _VERSION.match(name)
    return version(found) if found else None
