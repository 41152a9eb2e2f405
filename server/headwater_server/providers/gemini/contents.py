"""The messages of a conversation as Google's contents: turns of parts, of user and model alternately.

The model's opaque data goes back with the part it came with: the signature of a thought on a text, a thought or a call,
the id of a call, and whole parts of kinds that only the provider can read.
"""

from __future__ import annotations

from typing import Any

from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from headwater_server.providers import call_ids
from headwater_server.providers.own_data import data_object
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.result_images import images_after_results

UNSIGNED = "skip_thought_signature_validator"
"""Google's word for a call that the model did not make: it stands where the signature would."""


def contents(request: ChatRequest, needs_signatures: bool) -> list[dict[str, Any]]:
    """The turns. Raises HeadwaterError (INVALID_REQUEST) for a part that cannot be sent.

    Args:
        request: the request.
        needs_signatures: whether the model refuses calls without one.
    """
    request = call_ids.with_ids(request, call_ids.ANY)
    own_ids = _ids(request)
    turns: list[dict[str, Any]] = []
    for number, message in images_after_results(request.messages):
        if message.role is Role.SYSTEM:
            continue
        role = "model" if message.role is Role.ASSISTANT else "user"
        parts = _parts(message, f"messages[{number}]", own_ids)
        if needs_signatures:
            _sign_first_call(parts)
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    for turn in turns:
        if turn["role"] == "user":
            turn["parts"].sort(key=lambda part: "functionResponse" not in part)
    return turns


def _parts(message: Message, field: str, own_ids: frozenset[str]) -> list[dict[str, Any]]:
    found = (_part(part, f"{field}.parts[{number}]", own_ids) for number, part in enumerate(message.parts))
    return [part for part in found if part is not None]


def _part(part: Part, field: str, own_ids: frozenset[str]) -> dict[str, Any] | None:
    """A part as Google's; None for one that it does not take: blank text, thinking of others."""
    match part:
        case Text():
            return {"text": part.text} | _signature(part, field) if part.text.strip() else None
        case Image():
            if part.url:
                file = {"fileUri": part.url}
                return {"fileData": file | ({"mimeType": part.media_type} if part.media_type else {})}
            return {"inlineData": {"mimeType": part.media_type, "data": bodies.base64_text(part)}}
        case Thinking():
            signature = _signature(part, field)
            return {"text": part.text, "thought": True} | signature if signature else None
        case Opaque():
            whole = data_object(part, field).get("part")
            return whole if isinstance(whole, dict) else None
        case ToolCall():
            call: dict[str, Any] = {"name": part.name, "args": bodies.arguments_object(part, field)}
            if part.id in own_ids:
                call["id"] = part.id
            return {"functionCall": call} | _signature(part, field)
        case ToolResult():
            result: dict[str, Any] = {
                "name": part.name,
                "response": {"error" if part.is_error else "output": part.content},
            }
            if part.tool_call_id in own_ids:
                result["id"] = part.tool_call_id
            return {"functionResponse": result}
        case RedactedThinking():
            return None


def _signature(part: Part, field: str) -> dict[str, Any]:
    signature = data_object(part, field).get("thoughtSignature")
    return {"thoughtSignature": signature} if isinstance(signature, str) else {}


def _ids(request: ChatRequest) -> frozenset[str]:
    """The ids of calls that the provider gave itself; those of others mean nothing to it, and Vertex refuses them."""
    return frozenset(
        call.id
        for number, message in enumerate(request.messages)
        for call in bodies.parts(message, ToolCall)
        if call.id and data_object(call, f"messages[{number}]").get("id") == call.id
    )


def _sign_first_call(parts: list[dict[str, Any]]) -> None:
    """Marks the first call of a turn that has no signature: Google signs the first of calls that come together."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", UNSIGNED)
