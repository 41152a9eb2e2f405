"""From the arguments of a call to the request that is sent. No I/O: every mistake is found before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias

from google.protobuf.struct_pb2 import Struct

from headwater._grpc.errors import CallersNames
from headwater._grpc.server import Server
from headwater._tools.calls import Toolbox
from headwater._values.json_values import json_text
from headwater._values.messages import to_messages, user_message
from headwater._values.validation import finite, header, int32, invalid, struct, text
from headwater.exceptions import MessageTooLargeError
from headwater.v1 import agent_pb2, agent_service_pb2

LARGEST_REQUEST = 32 * 1024 * 1024
"""Bytes of the largest message that a server takes."""

UnsupportedParams: TypeAlias = Literal["error", "drop", "ERROR", "DROP"]
ResponseFormatLike: TypeAlias = str | Mapping[str, Any]

_FLOATS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_INTS = ("max_tokens", "seed")
_UNSUPPORTED_PARAMS = {
    "error": agent_pb2.UNSUPPORTED_PARAMS_ERROR,
    "drop": agent_pb2.UNSUPPORTED_PARAMS_DROP,
}
_NO_OPTIONS = {
    name: f"is a setting of the agent, not of a call: Agent({name}=...)"
    for name in ("name", "target", "connection", "token", "tool_timeout", "max_tool_rounds")
}
_NO_OPTIONS["system"] = "is called instructions"
_SCHEMA_KEYS = ("$schema", "$ref", "properties", "anyOf", "oneOf", "allOf", "enum", "items")


@dataclass(slots=True)
class PreparedCall:
    """A checked call.

    `options` are those whose provider is not known yet; `names` are for its errors; `toolbox` has the tools that it
    offers and runs, None for none.
    """

    server: Server
    request: agent_service_pb2.StreamRequest
    timeout: float | None
    options: Struct | None
    names: CallersNames
    toolbox: Toolbox | None = None


def refuse_base_url() -> NoReturn:
    """Providers belong to the server's configuration; the error shows how."""
    raise invalid(
        "base_url",
        "providers are configured in the server. Write there\n"
        "    [providers.NAME]\n"
        '    type = "openai"\n'
        '    base_url = "https://..."\n'
        '    api_key_env = "NAME_API_KEY"\n'
        'and call with provider="NAME".',
    )


def check_options(options: Iterable[str]) -> None:
    """Refuse keywords that are no options of a provider: a token must not leave the house."""
    for name in options:
        if name in _NO_OPTIONS:
            raise invalid(name, f"{_NO_OPTIONS[name]}; a provider's field of this name goes into provider_options=")


def message_count(value: Any) -> int:
    """How many messages of the history a call sends."""
    count = int32("history", value)
    if count < 0:
        raise invalid("history", "must be 0 or more messages")
    return count


def tool_rounds(value: Any) -> int:
    """How often a model may ask for tools in one call."""
    count = int32("max_tool_rounds", value)
    if count < 1:
        raise invalid("max_tool_rounds", "must be at least 1")
    return count


def sampling(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling fields that are set (not None), checked for type; their ranges are the provider's matter."""
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in _FLOATS:
            checked[name] = finite(name, value)
        elif name in _INTS:
            checked[name] = int32(name, value)
        else:
            checked[name] = _stop(value)
    return checked


def _stop(value: Any) -> list[str]:
    if not isinstance(value, str | list | tuple):
        raise invalid("stop", "must be a str or a list of str")
    sequences = [value] if isinstance(value, str) else value
    stop = [text(f"stop[{index}]", sequence) for index, sequence in enumerate(sequences)]
    if "" in stop:
        raise invalid("stop", "holds an empty sequence; leave it out")
    return stop


def conversation(prompt: Any, messages: Any) -> tuple[list[agent_pb2.Message], agent_pb2.Message | None]:
    """The messages that a caller gave in place of the history, and the prompt as a message, if there is one."""
    given = to_messages(messages) if messages is not None else []
    if not prompt and not given:
        raise invalid("prompt", "is empty; write a question, or give messages=")
    return given, user_message(prompt) if prompt else None


def build_request(
    *,
    messages: Iterable[agent_pb2.Message],
    instructions: str,
    context: Any,
    model: str | None,
    provider: str | None,
    sampling_values: Mapping[str, Any],
    response_format: Any,
    unsupported_params: Any,
    provider_options: Any,
    api_key: str | None,
    toolbox: Toolbox | None,
) -> agent_service_pb2.StreamRequest:
    """The request of a call."""
    request = agent_service_pb2.StreamRequest(
        model=text("model", model or ""),
        provider=text("provider", provider or ""),
        instructions=_with_context(text("instructions", instructions), context),
        api_key=header("api_key", api_key) if api_key else "",
        messages=messages,
        **sampling(sampling_values),
    )
    if toolbox is not None:
        request.tools.extend(tool.definition() for tool in toolbox.tools.values())
    if response_format is not None:
        request.response_format.CopyFrom(_response_format(response_format))
    if unsupported_params is not None:
        choice = unsupported_params.lower() if isinstance(unsupported_params, str) else None
        if choice not in _UNSUPPORTED_PARAMS:
            raise invalid("unsupported_params", 'must be "error" or "drop"')
        request.unsupported_params = _UNSUPPORTED_PARAMS[choice]
    if provider_options is not None:
        for name, options in struct_by_provider(provider_options).items():
            request.provider_options[name].CopyFrom(options)
    return request


def struct_by_provider(provider_options: Any) -> dict[str, Struct]:
    """`provider_options=`: for each provider its options."""
    if not isinstance(provider_options, Mapping):
        raise invalid("provider_options", 'must be a dict such as {"ollama": {"num_ctx": 8192}}')
    return {
        text("provider_options (a key)", name): struct(f"provider_options.{name}", options)
        for name, options in provider_options.items()
    }


def check_size(request: agent_service_pb2.StreamRequest) -> None:
    """Refuse a request that no server would take."""
    size = request.ByteSize()
    if size > LARGEST_REQUEST:
        raise MessageTooLargeError(
            f"the request has {size:,} bytes; a message may have {LARGEST_REQUEST:,}: "
            "shorten the prompt or messages, or give images by url"
        )


def _with_context(instructions: str, context: Any) -> str:
    if context is None:
        return instructions
    if not isinstance(context, Mapping):
        raise invalid("context", "must be a dict")
    lines = [
        f"{text('context (a key)', key)}: "
        + (text(f"context.{key}", value) if isinstance(value, str) else json_text(f"context.{key}", value))
        for key, value in context.items()
    ]
    return "\n".join([instructions, *lines]) if instructions else "\n".join(lines)


def _response_format(value: Any) -> agent_pb2.ResponseFormat:
    kind = value if isinstance(value, str) else value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return agent_pb2.ResponseFormat(type=agent_pb2.RESPONSE_FORMAT_TYPE_TEXT)
    if kind in ("json", "json_object"):
        return agent_pb2.ResponseFormat(type=agent_pb2.RESPONSE_FORMAT_TYPE_JSON_OBJECT)
    if isinstance(value, Mapping):
        if kind == "json_schema":
            return _schema_format(value.get("json_schema", value))
        if isinstance(kind, str | list) or any(key in value for key in _SCHEMA_KEYS):
            return _schema_format({"schema": value})
    raise invalid("response_format", 'must be "text", "json", {"type": "json_schema", ...} or a JSON Schema')


def _schema_format(spec: Any) -> agent_pb2.ResponseFormat:
    schema = spec.get("schema") if isinstance(spec, Mapping) else None
    if not isinstance(schema, Mapping):
        raise invalid("response_format.json_schema", "must be a dict with `schema`, a JSON Schema")
    result = agent_pb2.ResponseFormat(
        type=agent_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA,
        schema=json_text("response_format.json_schema.schema", schema),
        name=text("response_format.json_schema.name", spec.get("name") or ""),
    )
    strict = spec.get("strict")
    if strict is not None:
        if not isinstance(strict, bool):
            raise invalid("response_format.json_schema.strict", "must be True or False")
        result.strict = strict
    return result
