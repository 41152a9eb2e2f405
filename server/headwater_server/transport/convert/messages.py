"""Between the contract's messages and parts and the domain's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headwater.v1 import agent_pb2
from headwater_server.domain.errors import FieldViolation, Reason
from headwater_server.domain.limits import MAX_JSON, MAX_NAME, MAX_URL
from headwater_server.domain.messages import (
    Image,
    Message,
    Opaque,
    Part,
    ProviderData,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from headwater_server.transport.convert.cache import parse_cache
from headwater_server.transport.convert.failures import parse_failure

MEDIA_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")

_ROLES = {
    agent_pb2.ROLE_SYSTEM: Role.SYSTEM,
    agent_pb2.ROLE_USER: Role.USER,
    agent_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    agent_pb2.ROLE_TOOL: Role.TOOL,
}
_ALLOWED = {
    Role.SYSTEM: {"text"},
    Role.USER: {"text", "image"},
    Role.ASSISTANT: {"text", "thinking", "redacted_thinking", "tool_call"},
    Role.TOOL: {"tool_result"},
}


def parse_message(message: agent_pb2.ChatMessage, path: str, bad: list[FieldViolation]) -> Message:
    """One message; its mistakes are added to `bad` under their paths."""
    role = _ROLES.get(message.role)
    if role is None:
        bad.append(FieldViolation(f"{path}.role", "must be ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL"))
        return Message(Role.USER, ())
    if message.content and message.parts:
        bad.append(FieldViolation(f"{path}.content", "is set together with parts; use one of them"))
    elif not message.content and not message.parts:
        bad.append(FieldViolation(f"{path}.content", "is empty, and there are no parts"))
    elif message.content and role is Role.TOOL:
        bad.append(FieldViolation(f"{path}.content", "cannot say which call it answers; use parts with tool_result"))
    cache = parse_cache(message, path, bad)
    if message.content:
        return Message(role, (Text(message.content),), cache)
    parts = (_parse_part(part, role, f"{path}.parts[{i}]", bad) for i, part in enumerate(message.parts))
    return Message(role, tuple(part for part in parts if part is not None), cache)


def _parse_part(part: agent_pb2.Part, role: Role, path: str, bad: list[FieldViolation]) -> Part | None:
    kind = part.WhichOneof("kind")
    data = _parse_data(part, role, path, bad)
    if kind is None:
        if data is not None:
            return Opaque(data)
        if not part.HasField("provider_data"):
            bad.append(FieldViolation(path, "says nothing; set one of its fields"))
        return None
    if kind not in _ALLOWED[role]:
        bad.append(FieldViolation(f"{path}.{kind}", f"has no place in a message of role {role}"))
        return None
    match kind:
        case "text":
            return Text(part.text, data)
        case "image":
            return _parse_image(part.image, f"{path}.image", bad)
        case "thinking":
            return Thinking(part.thinking.text, part.thinking.signature, data)
        case "redacted_thinking":
            return RedactedThinking(part.redacted_thinking.data, data)
        case "tool_call":
            return _parse_call(part.tool_call, data, f"{path}.tool_call", bad)
        case _:
            return _parse_result(part.tool_result, f"{path}.tool_result", bad)


def _parse_data(part: agent_pb2.Part, role: Role, path: str, bad: list[FieldViolation]) -> ProviderData | None:
    if not part.HasField("provider_data"):
        return None
    data, path = part.provider_data, f"{path}.provider_data"
    found = len(bad)
    if role is not Role.ASSISTANT:
        bad.append(FieldViolation(path, f"has no place in a message of role {role}"))
    for name in ("provider", "account"):
        if len(getattr(data, name)) > MAX_NAME:
            bad.append(FieldViolation(f"{path}.{name}", f"is longer than {MAX_NAME} characters"))
    for name in ("provider", "data_json"):
        if not getattr(data, name):
            bad.append(
                FieldViolation(f"{path}.{name}", "is empty; copy provider_data as it was in the reply's message")
            )
    if len(data.data_json) > MAX_JSON:
        bad.append(FieldViolation(f"{path}.data_json", f"has more than {MAX_JSON} characters"))
    return ProviderData(data.provider, data.account, data.data_json) if len(bad) == found else None


def _parse_image(image: agent_pb2.Image, path: str, bad: list[FieldViolation]) -> Image | None:
    match image.WhichOneof("source"):
        case "data" if image.data:
            if not MEDIA_TYPE.fullmatch(image.media_type):
                bad.append(FieldViolation(f"{path}.media_type", "must be an image's, such as image/png"))
            return Image(data=image.data, media_type=image.media_type)
        case "url" if len(image.url) > MAX_URL:
            bad.append(FieldViolation(f"{path}.url", f"is longer than {MAX_URL} characters; send the image's data"))
        case "url" if image.url.startswith(("https://", "http://")):
            return Image(url=image.url)
        case "url":
            bad.append(FieldViolation(f"{path}.url", "must begin with https:// or http://"))
        case _:
            bad.append(FieldViolation(path, "has neither data nor url"))
    return None


def _parse_call(call: agent_pb2.ToolCall, data: ProviderData | None, path: str, bad: list[FieldViolation]) -> ToolCall:
    if not call.name:
        bad.append(FieldViolation(f"{path}.name", "is empty"))
    return ToolCall(call.id, call.name, call.arguments_json or "{}", data)


def _parse_result(result: agent_pb2.ToolResult, path: str, bad: list[FieldViolation]) -> ToolResult:
    if not result.tool_call_id and not result.name:
        bad.append(FieldViolation(f"{path}.tool_call_id", "is empty; give the id of the call, or its tool's name"))
    parts = tuple(_parse_result_parts(result, path, bad))
    content = result.content or "\n".join(part.text for part in parts if isinstance(part, Text))
    if result.HasField("failure"):
        try:
            content = content or parse_failure(result.failure, Reason.TOOL_FAILED).text or "the tool failed"
        except ValueError as error:
            bad.append(FieldViolation(f"{path}.failure", str(error)))
    has_images = any(isinstance(part, Image) for part in parts)
    if has_images and result.HasField("failure"):
        bad.append(FieldViolation(f"{path}.failure", "stands beside an image; a result that failed takes text only"))
    return ToolResult(
        result.tool_call_id, result.name, content, result.HasField("failure"), parts if has_images else ()
    )


def _parse_result_parts(result: agent_pb2.ToolResult, path: str, bad: list[FieldViolation]) -> Iterator[Text | Image]:
    if result.content and result.parts:
        bad.append(FieldViolation(f"{path}.content", "is set together with parts; use one of them"))
    for i, part in enumerate(result.parts):
        kind = part.WhichOneof("kind")
        if part.HasField("provider_data") or kind not in ("text", "image"):
            place = f"{path}.parts[{i}].{kind or 'kind'}"
            bad.append(FieldViolation(place, "has no place in the result of a tool, which takes texts and images"))
        elif kind == "text":
            if part.text:  # providers refuse an empty one beside an image
                yield Text(part.text)
        elif (image := _parse_image(part.image, f"{path}.parts[{i}].image", bad)) is not None:
            yield image


def chat_message(message: Message) -> agent_pb2.ChatMessage:
    """An assistant message as a message of the contract."""
    return agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=map(_part, message.parts))


def tool_call(call: ToolCall) -> agent_pb2.ToolCall:
    """A call as a message."""
    return agent_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments)


def _part(part: Part) -> agent_pb2.Part:
    match part:
        case Text():
            message = agent_pb2.Part(text=part.text)
        case Thinking():
            message = agent_pb2.Part(thinking=agent_pb2.Thinking(text=part.text, signature=part.signature))
        case RedactedThinking():
            message = agent_pb2.Part(redacted_thinking=agent_pb2.RedactedThinking(data=part.data))
        case ToolCall():
            message = agent_pb2.Part(tool_call=tool_call(part))
        case Opaque():
            message = agent_pb2.Part()
        case _:
            raise TypeError(f"no reply has a part of type {type(part).__name__}")
    if (data := part.provider_data) is not None:
        message.provider_data.provider = data.provider
        message.provider_data.account = data.account
        message.provider_data.data_json = data.data_json
    return message
