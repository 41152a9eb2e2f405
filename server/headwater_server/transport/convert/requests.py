"""From the contract's StreamRequest to the domain, with every mistake in it named at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.domain.errors import FieldViolation, invalid, invalid_request
from headwater_server.domain.json_text import parse_json
from headwater_server.domain.limits import MAX_NAME
from headwater_server.domain.messages import (
    ChatRequest,
    Message,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.domain.stream_id import index_of
from headwater_server.streaming.live import Continuation, Timeouts
from headwater_server.transport.convert.messages import parse_message
from headwater_server.transport.convert.structs import struct_to_dict

MAX_ITEMS = 10_000
MAX_API_KEY = 4096
MAX_JSON = 1024 * 1024
MAX_OPTIONS_BYTES = 256 * 1024
MAX_VIOLATIONS = 100
MAX_TIMEOUT_MS = 86_400_000
MAX_CONTINUED_SEQUENCE = 2_000_000_000
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# name, lowest, highest, whether the lowest itself is refused
_RANGES = (
    ("temperature", 0.0, 2.0, False),
    ("top_p", 0.0, 1.0, True),
    ("frequency_penalty", -2.0, 2.0, False),
    ("presence_penalty", -2.0, 2.0, False),
)
_CHOICES = {
    agent_pb2.TOOL_CHOICE_MODE_AUTO: ToolChoiceMode.AUTO,
    agent_pb2.TOOL_CHOICE_MODE_NONE: ToolChoiceMode.NONE,
    agent_pb2.TOOL_CHOICE_MODE_REQUIRED: ToolChoiceMode.REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A validated request before its provider is known.

    Attributes:
        provider: as named by the caller; may be empty.
        model: as named by the caller; may be empty, or have the provider in front.
        request: the question; its model and provider_options are still to be filled in.
        drop_unsupported: leave out sampling parameters that the provider does not have.
        timeouts: the caller's, over the server's.
        continues: the stream whose next round this is; None for a stream of its own.
    """

    provider: str
    model: str
    request: ChatRequest
    drop_unsupported: bool
    timeouts: Timeouts
    continues: Continuation | None


def parse_request(message: agent_service_pb2.StreamRequest, timeouts: Timeouts, allow_caller_api_keys: bool) -> Ask:
    """The request as the domain has it. Raises HeadwaterError (INVALID_REQUEST) with every bad field."""
    bad: list[FieldViolation] = []
    for name in ("model", "provider"):
        if len(getattr(message, name)) > MAX_NAME:
            bad.append(FieldViolation(name, f"is longer than {MAX_NAME} characters"))
    for field_name in ("messages", "tools", "stop", "provider_options"):
        if len(getattr(message, field_name)) > MAX_ITEMS:
            raise invalid(field_name, f"has more than {MAX_ITEMS} items")
    if sum(len(m.parts) for m in message.messages) > MAX_ITEMS:
        raise invalid("messages", f"have more than {MAX_ITEMS} parts in all")
    _check_json_sizes(message)
    if len(message.api_key) > MAX_API_KEY or not (message.api_key.isascii() and message.api_key.isprintable()):
        bad.append(FieldViolation("api_key", f"must be printable ASCII of at most {MAX_API_KEY} characters"))
    elif message.api_key and not allow_caller_api_keys:
        bad.append(FieldViolation("api_key", "is not taken here: the server's allow_caller_api_keys is false"))
    tools = _tools(message.tools, bad)
    request = ChatRequest(
        model="",
        messages=_messages(message, bad),
        sampling=_sampling(message, bad),
        tools=tools,
        tool_choice=_tool_choice(message, tools, bad),
        response_format=_response_format(message, bad),
        api_key=message.api_key,
    )
    limits = _timeouts(message.timeouts, timeouts, bad)
    continues = _continuation(message, bad)
    if message.unsupported_params not in agent_pb2.UnsupportedParams.values():
        bad.append(FieldViolation("unsupported_params", "is not a value of UnsupportedParams"))
    if bad:
        raise invalid_request(bad)
    drop = message.unsupported_params == agent_pb2.UNSUPPORTED_PARAMS_DROP
    return Ask(message.provider, message.model, request, drop, limits, continues)


def refuse_continuation(message: agent_service_pb2.StreamRequest) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) for a request that goes on with a stream."""
    for name in ("continues_stream_id", "continues_sequence"):
        if getattr(message, name):
            raise invalid(name, "is only for Stream; a Run has no id to go on under")


def without_instructions(violation: FieldViolation) -> FieldViolation:
    """The violation with the number of its message as the caller counts, who did not send the instructions as one."""
    match = re.match(r"messages\[(\d+)\]", violation.field)
    if match is None:
        return violation
    return FieldViolation(f"messages[{int(match[1]) - 1}]{violation.field[match.end() :]}", violation.description)


def _messages(message: agent_service_pb2.StreamRequest, bad: list[FieldViolation]) -> tuple[Message, ...]:
    messages = []
    for i, m in enumerate(message.messages):
        messages.append(parse_message(m, f"messages[{i}]", bad))
        if len(bad) > MAX_VIOLATIONS:
            break
    if message.instructions:
        messages.insert(0, Message(Role.SYSTEM, (Text(message.instructions),)))
    if message.prompt.strip():
        messages.append(Message(Role.USER, (Text(message.prompt),)))
    elif message.prompt or not message.messages:
        bad.append(FieldViolation("prompt", "is empty; ask something, here or in messages"))
    return tuple(messages)


def _sampling(message: agent_service_pb2.StreamRequest, bad: list[FieldViolation]) -> dict[str, Any]:
    sampling: dict[str, Any] = {}
    for name, lowest, highest, open_end in _RANGES:
        if message.HasField(name):
            value: float = getattr(message, name)
            if not lowest <= value <= highest or (open_end and value == lowest):
                above = "above" if open_end else "from"
                bad.append(FieldViolation(name, f"must be {above} {lowest:g} up to {highest:g}, is {value:g}"))
            sampling[name] = int(value) if math.isfinite(value) and value == int(value) else value
    if message.HasField("max_tokens"):
        if message.max_tokens < 1:
            bad.append(FieldViolation("max_tokens", f"must be at least 1, is {message.max_tokens}"))
        sampling["max_tokens"] = message.max_tokens
    if message.HasField("seed"):
        sampling["seed"] = message.seed
    if message.stop:
        for i, stop in enumerate(message.stop):
            if not stop:
                bad.append(FieldViolation(f"stop[{i}]", "is empty; leave it out"))
        sampling["stop"] = list(message.stop)
    return sampling


def _tools(messages: Iterable[agent_pb2.Tool], bad: list[FieldViolation]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    names: set[str] = set()
    for i, message in enumerate(messages):
        if not TOOL_NAME.fullmatch(message.name):
            bad.append(FieldViolation(f"tools[{i}].name", "must be 1 to 64 letters, digits, _ or -"))
        elif message.name in names:
            bad.append(FieldViolation(f"tools[{i}].name", "is the name of an earlier tool; names must differ"))
        names.add(message.name)
        parameters: dict[str, Any] = {"type": "object", "properties": {}}
        if message.parameters:
            parameters = _json_object(f"tools[{i}].parameters", message.parameters, bad)
        strict = message.strict if message.HasField("strict") else None
        tools.append(Tool(message.name, message.description, parameters, strict))
    return tuple(tools)


def _tool_choice(
    message: agent_service_pb2.StreamRequest, tools: tuple[Tool, ...], bad: list[FieldViolation]
) -> ToolChoice | None:
    if not message.HasField("tool_choice"):
        return None
    choice = message.tool_choice
    if not tools:
        bad.append(FieldViolation("tool_choice", "makes no sense without tools; leave it out"))
    if choice.mode not in agent_pb2.ToolChoiceMode.values():
        bad.append(FieldViolation("tool_choice.mode", "is not a value of ToolChoiceMode"))
    if choice.name and choice.mode != agent_pb2.TOOL_CHOICE_MODE_REQUIRED:
        bad.append(FieldViolation("tool_choice.name", "is only for mode TOOL_CHOICE_MODE_REQUIRED"))
    if choice.name and choice.name not in {tool.name for tool in tools}:
        bad.append(FieldViolation("tool_choice.name", "is not the name of one of the tools"))
    mode = _CHOICES.get(choice.mode)
    return ToolChoice(mode, choice.name) if mode else None


def _response_format(message: agent_service_pb2.StreamRequest, bad: list[FieldViolation]) -> ResponseFormat | None:
    form = message.response_format
    if form.type not in agent_pb2.ResponseFormatType.values():
        bad.append(FieldViolation("response_format.type", "is not a value of ResponseFormatType"))
    strict = form.strict if form.HasField("strict") else None
    if form.type == agent_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
        if form.name and not TOOL_NAME.fullmatch(form.name):
            bad.append(FieldViolation("response_format.name", "must be 1 to 64 letters, digits, _ or -"))
        schema = _json_object("response_format.schema", form.schema, bad)
        return ResponseFormat(ResponseFormatType.JSON_SCHEMA, schema, form.name or "response", strict)
    if form.schema:
        bad.append(FieldViolation("response_format.schema", "is only for type RESPONSE_FORMAT_TYPE_JSON_SCHEMA"))
    if form.type == agent_pb2.RESPONSE_FORMAT_TYPE_JSON_OBJECT:
        return ResponseFormat(ResponseFormatType.JSON_OBJECT)
    return None


def _continuation(message: agent_service_pb2.StreamRequest, bad: list[FieldViolation]) -> Continuation | None:
    stream_id, sequence = message.continues_stream_id, message.continues_sequence
    if not stream_id and not sequence:
        return None
    if index_of(stream_id) is None:
        bad.append(FieldViolation("continues_stream_id", "must be the id of a stream, as its first chunk has it"))
    if not 1 <= sequence <= MAX_CONTINUED_SEQUENCE:
        what = f"must be 1 to {MAX_CONTINUED_SEQUENCE}, the sequence of the stream's last chunk, is {sequence}"
        bad.append(FieldViolation("continues_sequence", what))
    return Continuation(stream_id, sequence)


def _timeouts(message: agent_pb2.Timeouts, default: Timeouts, bad: list[FieldViolation]) -> Timeouts:
    def seconds(name: str, fallback: float) -> float:
        if not message.HasField(name):
            return fallback
        value: int = getattr(message, name)
        if not 1 <= value <= MAX_TIMEOUT_MS:
            bad.append(FieldViolation(f"timeouts.{name}", f"must be 1 to {MAX_TIMEOUT_MS} milliseconds, is {value}"))
        return value / 1000

    return Timeouts(
        first_chunk_seconds=seconds("first_chunk_ms", default.first_chunk_seconds),
        next_chunk_seconds=seconds("next_chunk_ms", default.next_chunk_seconds),
    )


def parse_options(message: agent_service_pb2.StreamRequest, provider: str) -> dict[str, Any]:
    """The options of the provider that answers; those of others are never looked at.

    Raises HeadwaterError (INVALID_REQUEST) for more than 256 KiB, and for a value that JSON does not have.
    """
    if provider not in message.provider_options:
        return {}
    struct = message.provider_options[provider]
    if struct.ByteSize() > MAX_OPTIONS_BYTES:
        raise invalid(f"provider_options.{provider}", f"has more than {MAX_OPTIONS_BYTES} bytes")
    try:
        return struct_to_dict(struct)
    except ValueError as error:
        raise invalid(f"provider_options.{provider}", str(error)) from error


def _check_json_sizes(message: agent_service_pb2.StreamRequest) -> None:
    """JSON is parsed here, on everybody's time: what is larger than anybody needs is refused before."""
    schemas = sum(len(tool.parameters) for tool in message.tools) + len(message.response_format.schema)
    if schemas > MAX_JSON:
        raise invalid("tools", f"have schemas of more than {MAX_JSON} characters in all, response_format included")
    arguments = sum(len(part.tool_call.arguments) for m in message.messages for part in m.parts)
    if arguments > MAX_JSON:
        raise invalid("messages", f"have arguments of tool calls of more than {MAX_JSON} characters in all")


def _json_object(path: str, text: str, bad: list[FieldViolation]) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        bad.append(FieldViolation(path, str(error)))
        return {}
    if not isinstance(value, dict):
        bad.append(FieldViolation(path, 'must be a JSON object, a schema such as {"type": "object"}'))
        return {}
    return value
