"""Thinking that servers of Chat Completions want back with an assistant message: as it came, and only these servers.

`reasoning_content` (DeepSeek, Kimi) is the thinking itself, wanted back beside tool calls. The part of thinking has the
text, so its data only says that the text is wanted. `reasoning_details` (OpenRouter) is a list of objects, of which the
stream sends pieces. `extra_content` (Gemini) stands on a tool call and has the signature of the thought before it.
"""

from __future__ import annotations

from typing import Any

from headwater_server.domain.json_text import to_json
from headwater_server.domain.limits import MAX_JSON
from headwater_server.domain.messages import Message, Opaque, Thinking, ToolCall
from headwater_server.providers.own_data import data_object
from headwater_server.providers.wires.surrogates import without_surrogates

WANTED_BACK = '{"field":"reasoning_content"}'
"""The data of thinking that came as `reasoning_content`."""

_PIECES = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReasoningDetails:
    """Joins the pieces of `reasoning_details`. Details over the size of a message's data are left out as a whole."""

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []
        self._texts: list[list[str]] = []
        self._size = 0

    def add(self, pieces: object) -> None:
        """Adds the pieces of a chunk; anything but a list of objects says nothing."""
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict) and self._size <= MAX_JSON:
                self._add(piece)

    def _add(self, piece: dict[str, Any]) -> None:
        self._size += len(to_json(piece))
        field = _PIECES.get(str(piece.get("type")), "")
        text = piece.get(field)
        text = text if isinstance(text, str) else ""
        last = self._details[-1] if self._details else {}
        if field and all(piece.get(key) == last.get(key) for key in ("type", "index")):
            last.update({key: value for key, value in piece.items() if value is not None and key != field})
            self._texts[-1].append(text)
        else:
            self._details.append(piece)
            self._texts.append([text] if text else [])

    def data_json(self) -> str | None:
        """The whole details, as the data of a part; None when there are none."""
        if not self._details or self._size > MAX_JSON:
            return None
        for detail, texts in zip(self._details, self._texts, strict=True):
            if texts:
                detail[_PIECES[detail["type"]]] = "".join(texts)
        return to_json(without_surrogates({"reasoning_details": self._details}))


def extra_content_data(extra: object) -> str | None:
    """The data of a tool call that came with `extra_content`; None for none."""
    text = to_json(without_surrogates({"extra_content": extra})) if isinstance(extra, dict) and extra else ""
    return text if 0 < len(text) <= MAX_JSON else None


def fields_of_call(call: ToolCall, field: str) -> dict[str, Any]:
    """The fields of a tool call beside its function. Raises HeadwaterError for data that was changed."""
    data = data_object(call, field)
    return {"extra_content": data["extra_content"]} if "extra_content" in data else {}


def fields_of_message(message: Message, field: str) -> dict[str, Any]:
    """The fields of an assistant message beside its text and calls. Raises HeadwaterError for data that was changed."""
    thinking: list[str] = []
    details: list[Any] = []
    has_calls = any(isinstance(part, ToolCall) for part in message.parts)
    for number, part in enumerate(message.parts):
        if not isinstance(part, Thinking | Opaque):
            continue
        data = data_object(part, f"{field}.parts[{number}]")
        if isinstance(part, Thinking) and has_calls and data.get("field") == "reasoning_content":
            thinking.append(part.text)
        elif isinstance(found := data.get("reasoning_details"), list):
            details += found
    fields: dict[str, Any] = {"reasoning_content": "".join(thinking)} if thinking else {}
    return fields | {"reasoning_details": details} if details else fields
