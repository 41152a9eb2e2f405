"""Pieces of request bodies that several wires need."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from headwater_server.domain.errors import invalid
from headwater_server.domain.messages import (
    CacheHint,
    ChatRequest,
    Image,
    Message,
    Part,
    Role,
    Tool,
    ToolCall,
    ToolResult,
)
from headwater_server.providers.wires.json import parse_json
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_SAFETY_IDENTIFIER = 64
_MAX_MARKS = 4
_SHORT_SECONDS = 300.0

P = TypeVar("P", bound=Part)


def sampling(request: ChatRequest, names: Mapping[str, str], api: str) -> dict[str, Any]:
    """The sampling parameters that were set, by the provider's names.

    Raises HeadwaterError (INVALID_REQUEST) for one that has no name there.
    """
    body = {}
    for name, value in request.sampling.items():
        if name not in names:
            raise invalid(name, f"{api} has no such parameter; leave it out, or ask for unsupported_params DROP")
        body[names[name]] = list(value) if isinstance(value, list | tuple) else value
    return body


def merge(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the options over it: an object is merged into an object, anything else replaces."""
    merged = dict(body)
    for key, value in options.items():
        ours = merged.get(key)
        merged[key] = merge(ours, value) if isinstance(ours, dict) and isinstance(value, dict) else value
    return merged


def without_api(options: Mapping[str, Any]) -> dict[str, Any]:
    """The provider's options without `api`, which chooses between wires and is never sent."""
    return {key: value for key, value in options.items() if key != "api"}


def parts(message: Message, kind: type[P]) -> Iterator[P]:
    """The parts of one kind."""
    return (part for part in message.parts if isinstance(part, kind))


def images(request: ChatRequest) -> Iterator[tuple[str, Image]]:
    """All images, those in results of tools too, each with the name of its field."""
    for number, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            field = f"messages[{number}].parts[{place}]"
            if isinstance(part, Image):
                yield f"{field}.image", part
            elif isinstance(part, ToolResult):
                for index, item in enumerate(part.parts):
                    if isinstance(item, Image):
                        yield f"{field}.tool_result.parts[{index}].image", item


def instructions(request: ChatRequest) -> str:
    """All system messages, joined by blank lines, for wires that keep them apart."""
    texts = [message.text for message in request.messages if message.role is Role.SYSTEM]
    return "\n\n".join(text for text in texts if text.strip())


def names_of_calls(request: ChatRequest) -> dict[str, str]:
    """The names of the tools that were called, by the ids of the calls."""
    return {call.id: call.name for message in request.messages for call in parts(message, ToolCall) if call.id}


def cache_mark(hint: CacheHint) -> dict[str, Any]:
    """The fields of a marked block, for 5 minutes or an hour: the least that is long enough."""
    is_long = hint.seconds is not None and hint.seconds > _SHORT_SECONDS
    return {"cache_control": {"type": "ephemeral", "ttl": "1h"} if is_long else {"type": "ephemeral"}}


def limit_cache_marks(blocks: list[dict[str, Any]]) -> None:
    """Takes marks away that are refused: all but the last four, and an hour after five minutes."""
    marked = [block for block in blocks if "cache_control" in block]
    for block in marked[:-_MAX_MARKS]:
        del block["cache_control"]
    was_short = False
    for block in marked[-_MAX_MARKS:]:
        if was_short:
            block["cache_control"] = {"type": "ephemeral"}
        was_short = was_short or "ttl" not in block["cache_control"]


def base64_text(image: Image) -> str:
    """The image's data in base64."""
    return base64.b64encode(image.data).decode("ascii")


def image_url(image: Image) -> str:
    """The image's URL, or its data as a `data:` URL."""
    return image.url or f"data:{image.media_type};base64,{base64_text(image)}"


def safety_identifier(user: str) -> str:
    """The caller's id of the end user as OpenAI takes one, at most 64 characters: a longer one as its hash."""
    return user if len(user) <= MAX_SAFETY_IDENTIFIER else hashlib.sha256(user.encode()).hexdigest()


def tool_parameters(tool: Tool) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments; every wire wants one also where there are none."""
    return tool.parameters or {"type": "object", "properties": {}}


def arguments_object(call: ToolCall, field: str) -> dict[str, Any]:
    """The arguments of a call as an object. Raises HeadwaterError (INVALID_REQUEST) when they are none."""
    try:
        arguments = parse_json(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        what = "must be the text of a JSON object for this provider, nested at most 100 levels"
        raise invalid(f"{field}.tool_call.arguments_json", what)
    cleaned: dict[str, Any] = without_surrogates(arguments)
    return cleaned
