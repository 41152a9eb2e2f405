"""Results of tools: the values that a tool may return, as the model gets them and as people see them.

A str is a text as it is, any other value its JSON. An `Image`, or a list with one in it, is sent as parts.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from headwater._values.failures import failure_message
from headwater._values.images import Image, to_image
from headwater._values.json_values import converted
from headwater._values.validation import invalid
from headwater.v1 import agent_pb2

MAX_TEXT = 1024 * 1024
MAX_IMAGES = 16 * 1024 * 1024
_IMAGE_KEYS = {
    "image": ({"type", "data", "media_type"}, {"type", "url"}, {"type", "data", "media_type", "url"}),
    "image_url": ({"type", "image_url"},),
}


Content: TypeAlias = str | list[agent_pb2.Part]


def read_result(name: str, value: Any) -> Content:
    """A value that a tool returned as the model gets it: text, or parts where there are images.

    Args:
        name: how the value is called in the error.
        value: the value.

    Raises:
        NotJsonError: it does not convert to JSON.
        TypeError: an image stands where only JSON can.
        ValidationError: an image in it is not one.
    """
    parts = image_parts(name, value)
    return clean(to_text(value)) if parts is None else parts


def too_large(content: Content) -> str:
    """The complaint about the size of a result; empty when there is none."""
    if isinstance(content, str):
        characters, images = len(content), 0
    else:
        characters = sum(len(part.text) for part in content)
        images = sum(len(part.image.data) for part in content)
    if characters > MAX_TEXT:
        return f"the result has {characters:,} characters; a tool may return {MAX_TEXT:,}"
    if images > MAX_IMAGES:
        return f"the result has {images:,} bytes of images; a tool may return {MAX_IMAGES:,}"
    return ""


def image_parts(name: str, value: Any) -> list[agent_pb2.Part] | None:
    """The parts of an image or of a list with one in it, whose other items are texts; None for any other value."""
    if isinstance(value, Image) or (isinstance(value, agent_pb2.Part) and _is_image(value)):
        return [_part(name, value)]
    if not isinstance(value, list | tuple) or not any(map(_is_image, value)):
        return None
    return [_part(f"{name}[{index}]", item) for index, item in enumerate(value)]


def _is_image(item: Any) -> bool:
    """Whether it is an image as prompts have it. A dict with other keys is data that only looks like one."""
    if isinstance(item, agent_pb2.Part):
        return item.HasField("image")
    if isinstance(item, dict):
        kind = item.get("type")
        return isinstance(kind, str) and item.keys() in _IMAGE_KEYS.get(kind, ())
    return isinstance(item, Image)


def _part(name: str, item: Any) -> agent_pb2.Part:
    if isinstance(item, agent_pb2.Part):
        if item.WhichOneof("kind") not in ("text", "image"):
            raise invalid(name, "has no place in the result of a tool, which takes texts and images")
        return agent_pb2.Part(text=item.text) if item.HasField("text") else agent_pb2.Part(image=item.image)
    if _is_image(item):
        if isinstance(item, dict) and item["type"] == "image_url":
            item = item["image_url"] if isinstance(item["image_url"], dict) else {"url": item["image_url"]}
        return agent_pb2.Part(image=to_image(name, item))
    if isinstance(item, dict) and item.keys() == {"type", "text"} and isinstance(item["text"], str):
        item = item["text"]
    return agent_pb2.Part(text=clean(to_text(item)))


class _InsideError(Exception):
    """An image stands where only JSON can."""


def to_text(result: Any) -> str:
    """The text of a result for the model: a str as it is, anything else as JSON. Raises TypeError, NotJsonError."""
    if isinstance(result, str):
        return result
    try:
        return json.dumps(result, ensure_ascii=False, allow_nan=False, default=_refuse)
    except _InsideError:
        raise TypeError(
            f"the tool returned a {type(result).__name__} with an Image inside; return the Image itself, or a list of "
            "texts and images"
        ) from None
    except (TypeError, ValueError):  # something in it is to be converted
        return json.dumps(converted("the result of the tool", result), ensure_ascii=False)


def _refuse(value: Any) -> Any:
    if isinstance(value, Image):
        raise _InsideError
    raise TypeError


def clean(text: str) -> str:
    """The text without halves of surrogate pairs, which no message can carry."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def tool_result(call_id: str, name: str, content: Content, *, is_error: bool, kind: str = "") -> agent_pb2.ToolResult:
    """The result of a call; of one that failed, `content` is the reason and `kind` that of the exception."""
    written, parts = (content, None) if isinstance(content, str) else ("", content)
    failure = failure_message(written, reason="TOOL_FAILED", kind=kind) if is_error else None
    return agent_pb2.ToolResult(tool_call_id=call_id, name=name, content=written, parts=parts, failure=failure)


def result_text(result: agent_pb2.ToolResult) -> str:
    """The text of a result, for people: an image stands in it as `[image/png, 108 bytes]` or as its address."""
    return "\n".join(map(_in_text, result.parts)) or result.content or result.failure.message


def _in_text(part: agent_pb2.Part) -> str:
    if not part.HasField("image"):
        return part.text
    return f"[{part.image.url or f'{part.image.media_type}, {len(part.image.data):,} bytes'}]"
