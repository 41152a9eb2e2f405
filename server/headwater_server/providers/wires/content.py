"""Text, thinking and refusals in the shapes in which servers put them: a string, a list of parts, parts of parts."""

from __future__ import annotations

from typing import Any, NamedTuple

_DEEPEST = 5
_THINKING = ("thinking", "reasoning", "reasoning_text", "reasoning_content", "summary_text")
_TEXTS = ("text", "content", "output_text", "value")
_THOUGHTS = ("thinking", "reasoning", "reasoning_content", "summary", "text", "content")


class Content(NamedTuple):
    """The words of a content by their kind."""

    text: str = ""
    thinking: str = ""
    refusal: str = ""


def read_content(value: Any) -> Content:
    """The words in a content of any shape; parts of kinds that hold no words say nothing."""
    if isinstance(value, str):
        return Content(value)
    if isinstance(value, dict):
        return _part(value)
    if not isinstance(value, list):
        return Content()
    parts = [Content(item) if isinstance(item, str) else _part(item) for item in value if isinstance(item, str | dict)]
    return Content(*("".join(words) for words in zip(*parts, strict=True))) if parts else Content()


def words(value: Any, keys: tuple[str, ...] = _THOUGHTS, depth: int = 0) -> str:
    """All text of a value: itself, its items', or that of an object under the first of the keys that has some."""
    if isinstance(value, str):
        return value
    if depth > _DEEPEST:
        return ""
    if isinstance(value, list):
        return "".join(words(item, keys, depth + 1) for item in value)
    if isinstance(value, dict):
        return next((found for key in keys if (found := words(value.get(key), keys, depth + 1))), "")
    return ""


def _part(part: dict[Any, Any]) -> Content:
    kind = str(part.get("type") or "").lower()
    if kind in _THINKING or part.get("thought") is True:
        return Content(thinking=words(part))
    if kind == "refusal":
        return Content(refusal=words(part.get("refusal") or part.get("text")))
    return Content(words(part, _TEXTS)) if kind in ("", "text", "output_text", "input_text") else Content()
