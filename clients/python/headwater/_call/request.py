"""From the arguments of a call to the request that is sent. No I/O: every mistake is found before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from google.protobuf.struct_pb2 import Struct

from headwater._call.arguments import attempts, check_labels, check_user, effort, fallbacks, logprob_count, sampling
from headwater._call.reply_type import ReplyType
from headwater._grpc.errors import CallersNames
from headwater._grpc.server import Server
from headwater._tools.calls import Toolbox
from headwater._values.durations import bounded_seconds, cache_hint, to_duration
from headwater._values.json_values import json_text
from headwater._values.messages import to_messages, user_message
from headwater._values.validation import invalid, struct, text
from headwater.exceptions import MessageTooLargeError
from headwater.v1 import agent_pb2, agent_service_pb2

LARGEST_REQUEST = 32 * 1024 * 1024
"""Bytes of the largest message that a server takes."""
PROVIDER_KEY_HEADER = "headwater-provider-key"
PROVIDER_HEADER = "headwater-provider-header-"

UnsupportedParams: TypeAlias = Literal["error", "drop", "ERROR", "DROP"]
ResponseFormatLike: TypeAlias = str | Mapping[str, Any] | type

_UNSUPPORTED_PARAMS = {
    "error": agent_pb2.UNSUPPORTED_PARAMS_ERROR,
    "drop": agent_pb2.UNSUPPORTED_PARAMS_DROP,
}
_SCHEMA_KEYS = ("$schema", "$ref", "properties", "anyOf", "oneOf", "allOf", "enum", "items")


@dataclass(slots=True)
class PreparedCall:
    """A checked call.

    Attributes:
        server: the server that gets it.
        request: the message to send.
        timeout: seconds; None for no limit.
        options: those whose provider is not known yet.
        names: for its errors.
        toolbox: the tools that it offers and runs; None for none.
        provider_key: the caller's own key for the provider, which never stands in a message; empty for none.
        provider_headers: the caller's own headers for the provider, which never stand in a message.
        resumes: the stream that it continues, and the sequence of the last chunk that came; None for a new one.
    """

    server: Server
    request: agent_service_pb2.StreamRequest
    timeout: float | None
    options: Struct | None
    names: CallersNames
    toolbox: Toolbox | None = None
    provider_key: str = field(default="", repr=False)
    provider_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    resumes: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        for name, secret in (("api_key", self.provider_key), ("provider_headers", self.provider_headers)):
            if secret:
                self.server.check_secret(name)

    async def headers(self) -> tuple[tuple[str, str], ...]:
        """The metadata of the call."""
        key = ((PROVIDER_KEY_HEADER, self.provider_key),) if self.provider_key else ()
        own = ((PROVIDER_HEADER + name, value) for name, value in self.provider_headers.items())
        return (*await self.server.headers(), *key, *own)


def conversation(prompt: Any, messages: Any) -> tuple[list[agent_pb2.ChatMessage], agent_pb2.ChatMessage | None]:
    """The messages that a caller gave in place of the history, and the prompt as a message, if there is one."""
    given = to_messages(messages) if messages is not None else []
    if not prompt and not given:
        raise invalid("prompt", "is empty; write a question, or give messages=")
    return given, user_message(prompt) if prompt else None


def build_agent(
    *,
    instructions: str,
    model: str | None,
    provider: str | None,
    sampling_values: Mapping[str, Any],
    reasoning_effort: Any = None,
    labels: Mapping[str, str] | None = None,
    user: str | None = None,
    logprobs: Any = None,
    instructions_cache: Any = None,
    timeouts: Any = None,
    fallback_models: Any = None,
    max_attempts: Any = None,
) -> agent_pb2.AgentConfig:
    """The persona that answers, as far as it needs no tools."""
    config = agent_pb2.AgentConfig(
        model=text("model", model or ""),
        provider=text("provider", provider or ""),
        instructions=text("instructions", instructions),
        labels=check_labels(labels),
        user=check_user(user),
        logprobs=logprob_count(logprobs),
        instructions_cache=cache_hint("instructions_cache", instructions_cache),
        timeouts=_timeouts(timeouts),
        fallback_models=fallbacks(fallback_models),
        no_fallback=fallback_models is not None and not fallback_models,
        max_attempts=attempts(max_attempts),
        **sampling(sampling_values),
    )
    if reasoning_effort is not None:
        config.reasoning_effort = effort(reasoning_effort)
    return config


def _timeouts(given: Any) -> agent_pb2.Timeouts | None:
    """`timeouts=`: for each limit its seconds."""
    if given is None:
        return None
    known = list(agent_pb2.Timeouts.DESCRIPTOR.fields_by_name)
    if not isinstance(given, Mapping) or not all(name in known for name in given):
        raise invalid("timeouts", f"must be a dict with seconds for some of {', '.join(known)}")
    return agent_pb2.Timeouts(
        **{name: to_duration(bounded_seconds(f"timeouts.{name}", value)) for name, value in given.items()}
    )


def add_heartbeat(request: agent_service_pb2.StreamRequest, heartbeat: Any) -> None:
    """Ask the server for a sign of life after so many quiet seconds; None for none."""
    if heartbeat is not None:
        request.heartbeat_interval.CopyFrom(to_duration(bounded_seconds("heartbeat", heartbeat, least=1)))


def add_choices(
    config: agent_pb2.AgentConfig,
    *,
    response_format: Any,
    unsupported_params: Any,
    provider_options: Any,
    toolbox: Toolbox | None,
    parallel_tool_calls: bool | None,
) -> None:
    """Add what only a call has: tools, the form of the reply, options."""
    if toolbox is not None:
        config.tools.extend(tool.definition() for tool in toolbox.tools.values())
        if parallel_tool_calls is not None:
            config.parallel_tool_calls = parallel_tool_calls
    if response_format is not None:
        config.response_format.CopyFrom(_response_format(response_format))
    if unsupported_params is not None:
        choice = unsupported_params.lower() if isinstance(unsupported_params, str) else None
        if choice not in _UNSUPPORTED_PARAMS:
            raise invalid("unsupported_params", 'must be "error" or "drop"')
        config.unsupported_params = _UNSUPPORTED_PARAMS[choice]
    if provider_options is not None:
        for name, options in struct_by_provider(provider_options).items():
            config.provider_options[name].CopyFrom(options)


def struct_by_provider(provider_options: Any) -> dict[str, Struct]:
    """`provider_options=`: for each provider its options."""
    if not isinstance(provider_options, Mapping):
        raise invalid("provider_options", 'must be a dict such as {"ollama": {"num_ctx": 8192}}')
    return {
        text("provider_options (a key)", name): struct(f"provider_options.{name}", options)
        for name, options in provider_options.items()
    }


def merge_struct(into: Struct, options: Struct) -> None:
    """Set the members of one Struct in another."""
    for key, value in options.fields.items():
        into.fields[key].CopyFrom(value)


def check_size(request: agent_service_pb2.StreamRequest) -> None:
    """Refuse a request that no server would take."""
    size = request.ByteSize()
    if size > LARGEST_REQUEST:
        raise MessageTooLargeError(
            f"the request has {size:,} bytes; a message may have {LARGEST_REQUEST:,}: "
            "shorten the prompt or messages, or give images by url"
        )


def with_context(instructions: str, context: Any) -> str:
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
    if isinstance(value, type):
        made = ReplyType(value)
        return _schema_format({"schema": made.schema, "name": made.name[:64]})
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
    raise invalid(
        "response_format", 'must be "text", "json", {"type": "json_schema", ...}, a JSON Schema or a pydantic model'
    )


def _schema_format(spec: Any) -> agent_pb2.ResponseFormat:
    schema = spec.get("schema") if isinstance(spec, Mapping) else None
    if not isinstance(schema, Mapping):
        raise invalid("response_format.json_schema", "must be a dict with `schema`, a JSON Schema")
    result = agent_pb2.ResponseFormat(
        type=agent_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA,
        schema_json=json_text("response_format.json_schema.schema", schema),
        name=text("response_format.json_schema.name", spec.get("name") or ""),
    )
    strict = spec.get("strict")
    if strict is not None:
        if not isinstance(strict, bool):
            raise invalid("response_format.json_schema.strict", "must be True or False")
        result.strict = strict
    return result
