"""Between the contract's AgentConfig and the domain's, with every mistake in it named at once."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Any

from google.protobuf.duration_pb2 import Duration

from headwater.v1 import agent_pb2
from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.json_text import parse_json, to_json
from headwater_server.domain.limits import (
    MAX_ATTEMPTS,
    MAX_FALLBACKS,
    MAX_ITEMS,
    MAX_JSON,
    MAX_LABEL_VALUE,
    MAX_LABELS,
    MAX_LOGPROBS,
    MAX_NAME,
    MAX_OPTIONS_BYTES,
    MAX_TIMEOUT_SECONDS,
)
from headwater_server.domain.messages import (
    AgentConfig,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.transport.convert.cache import cache_message, parse_cache
from headwater_server.transport.convert.durations import duration, parse_duration
from headwater_server.transport.convert.structs import dict_to_struct, struct_to_dict

MAX_KNOWN = 256
MAX_KNOWN_AGENT_BYTES = 16 * 1024
MAX_KNOWN_BYTES = 512 * 1024

FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
LABEL_KEY = re.compile(r"[a-z0-9_.-]{1,63}")

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
_MODES = {mode: number for number, mode in _CHOICES.items()}
_CHOICE_MODES = frozenset(agent_pb2.ToolChoiceMode.values())
_UNSUPPORTED_PARAMS = frozenset(agent_pb2.UnsupportedParams.values())
_EFFORTS = frozenset(agent_pb2.ReasoningEffort.values())
_EFFORT = "REASONING_EFFORT_"
_FORMAT_TYPES = frozenset(agent_pb2.ResponseFormatType.values())
_FORMATS = {
    ResponseFormatType.JSON_OBJECT: agent_pb2.RESPONSE_FORMAT_TYPE_JSON_OBJECT,
    ResponseFormatType.JSON_SCHEMA: agent_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA,
}
_TIMEOUTS = tuple(agent_pb2.Timeouts.DESCRIPTOR.fields_by_name)
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


def parse_agent(message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> AgentConfig:
    """The agent as the domain has it; its mistakes are added to `bad` under `path` (`agent`, `workflow.agent`).

    Where there are any, the agent that is returned has no meaning.
    """
    too_long = len(bad)
    for name in ("model", "provider", "user"):
        if len(getattr(message, name)) > MAX_NAME:
            bad.append(FieldViolation(f"{path}.{name}", f"is longer than {MAX_NAME} characters"))
    for name in ("tools", "stop", "provider_options", "labels"):
        if len(getattr(message, name)) > MAX_ITEMS:
            bad.append(FieldViolation(f"{path}.{name}", f"has more than {MAX_ITEMS} items"))
    schemas = sum(len(tool.function.parameters_json) for tool in message.tools[:MAX_ITEMS])
    if schemas + len(message.response_format.schema_json) > MAX_JSON:
        what = f"have schemas of more than {MAX_JSON} characters in all, response_format included"
        bad.append(FieldViolation(f"{path}.tools", what))
    if len(bad) > too_long:
        return AgentConfig()
    tools = _tools(message.tools, f"{path}.tools", bad)
    if message.unsupported_params not in _UNSUPPORTED_PARAMS:
        bad.append(FieldViolation(f"{path}.unsupported_params", "is not a value of UnsupportedParams"))
    return AgentConfig(
        model=message.model,
        provider=message.provider,
        instructions=message.instructions,
        instructions_cache=parse_cache(message, path, bad, "instructions_cache"),
        sampling=_sampling(message, path, bad),
        tools=tools,
        tool_choice=_tool_choice(message, tools, path, bad),
        response_format=_response_format(message.response_format, f"{path}.response_format", bad),
        drop_unsupported=message.unsupported_params == agent_pb2.UNSUPPORTED_PARAMS_DROP,
        **{f"{name}_seconds": _timeout(message.timeouts, name, path, bad) for name in _TIMEOUTS},
        provider_options=_options(message, f"{path}.provider_options", bad),
        labels=_labels(message, f"{path}.labels", bad),
        user=message.user,
        max_attempts=_max_attempts(message, path, bad),
        fallback_models=_fallback_models(message, path, bad),
        no_fallback=message.no_fallback,
    )


class KnownAgents:
    """Parses agents, and remembers those of the last requests: most requests repeat the agent of another.

    An agent is known again by the bytes of its message, all of them. It is shared by requests from then on, and must
    not be changed. Remembered are at most MAX_KNOWN agents without a mistake. Their messages have at most
    MAX_KNOWN_BYTES in all, and a parsed message takes about 30 times its bytes at worst, so they take 16 MB.
    Threads may parse too.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[bytes, AgentConfig] = OrderedDict()
        self._size = 0

    def parse(self, message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> AgentConfig:
        """As `parse_agent`."""
        if message.ByteSize() > MAX_KNOWN_AGENT_BYTES:
            return parse_agent(message, path, bad)
        key = message.SerializeToString()
        with self._lock:
            if (agent := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return agent
        mistakes = len(bad)
        agent = parse_agent(message, path, bad)
        if len(bad) == mistakes:
            self._remember(key, agent)
        return agent

    def _remember(self, key: bytes, agent: AgentConfig) -> None:
        with self._lock:
            if key in self._known:
                return
            self._known[key] = agent
            self._size += len(key)
            while self._size > MAX_KNOWN_BYTES or len(self._known) > MAX_KNOWN:
                oldest, _ = self._known.popitem(last=False)
                self._size -= len(oldest)


def _max_attempts(message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> int | None:
    if not message.HasField("max_attempts"):
        return None
    if not 1 <= message.max_attempts <= MAX_ATTEMPTS:
        what = f"must be 1 to {MAX_ATTEMPTS}, is {message.max_attempts}"
        bad.append(FieldViolation(f"{path}.max_attempts", what))
    return message.max_attempts


def _fallback_models(message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> tuple[str, ...]:
    path = f"{path}.fallback_models"
    if len(message.fallback_models) > MAX_FALLBACKS:
        bad.append(FieldViolation(path, f"has more than {MAX_FALLBACKS} models"))
        return ()
    if message.fallback_models and message.no_fallback:
        bad.append(FieldViolation(path, "makes no sense with no_fallback; leave one of them out"))
    for i, name in enumerate(message.fallback_models):
        if not 0 < len(name) <= MAX_NAME:
            bad.append(FieldViolation(f"{path}[{i}]", f"must be the name of a model, 1 to {MAX_NAME} characters"))
    return tuple(message.fallback_models)


def _sampling(message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> dict[str, Any]:
    sampling: dict[str, Any] = {}
    for name, lowest, highest, open_end in _RANGES:
        if message.HasField(name):
            value: float = getattr(message, name)
            if not lowest <= value <= highest or (open_end and value == lowest):
                above = "above" if open_end else "from"
                what = f"must be {above} {lowest:g} up to {highest:g}, is {value:g}"
                bad.append(FieldViolation(f"{path}.{name}", what))
            sampling[name] = int(value) if math.isfinite(value) and value == int(value) else value
    if message.HasField("max_tokens"):
        if message.max_tokens < 1:
            bad.append(FieldViolation(f"{path}.max_tokens", f"must be at least 1, is {message.max_tokens}"))
        sampling["max_tokens"] = message.max_tokens
    if message.HasField("logprobs"):
        if not 0 <= message.logprobs <= MAX_LOGPROBS:
            what = f"must be 0 to {MAX_LOGPROBS}, the number of likely tokens for each place, is {message.logprobs}"
            bad.append(FieldViolation(f"{path}.logprobs", what))
        sampling["logprobs"] = message.logprobs
    if message.HasField("seed"):
        sampling["seed"] = message.seed
    if message.stop:
        for i, stop in enumerate(message.stop):
            if not stop:
                bad.append(FieldViolation(f"{path}.stop[{i}]", "is empty; leave it out"))
        sampling["stop"] = list(message.stop)
    if message.reasoning_effort not in _EFFORTS:
        bad.append(FieldViolation(f"{path}.reasoning_effort", "is not a value of ReasoningEffort"))
    elif message.reasoning_effort:
        name = agent_pb2.ReasoningEffort.Name(message.reasoning_effort)
        sampling["reasoning_effort"] = ReasoningEffort[name.removeprefix(_EFFORT)].value
    if message.HasField("parallel_tool_calls"):
        if not message.tools:
            bad.append(FieldViolation(f"{path}.parallel_tool_calls", "makes no sense without tools; leave it out"))
        sampling["parallel_tool_calls"] = message.parallel_tool_calls
    return sampling


def _tools(messages: Iterable[agent_pb2.Tool], path: str, bad: list[FieldViolation]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    names: set[str] = set()
    for i, tool in enumerate(messages):
        if tool.WhichOneof("kind") is None:
            bad.append(FieldViolation(f"{path}[{i}]", "says nothing; set function"))
            continue
        message, where = tool.function, f"{path}[{i}].function"
        if not FUNCTION_NAME.fullmatch(message.name):
            bad.append(FieldViolation(f"{where}.name", "must be 1 to 64 letters, digits, _ or -"))
        elif message.name in names:
            bad.append(FieldViolation(f"{where}.name", "is the name of an earlier tool; names must differ"))
        names.add(message.name)
        parameters = _NO_ARGUMENTS
        if message.parameters_json:
            parameters = _schema(f"{where}.parameters_json", message.parameters_json, bad)
        strict = message.strict if message.HasField("strict") else None
        cache = parse_cache(tool, f"{path}[{i}]", bad)
        tools.append(Tool(message.name, message.description, parameters, strict, cache))
    return tuple(tools)


def _tool_choice(
    message: agent_pb2.AgentConfig, tools: tuple[Tool, ...], path: str, bad: list[FieldViolation]
) -> ToolChoice | None:
    if not message.HasField("tool_choice"):
        return None
    choice = message.tool_choice
    if not message.tools:
        bad.append(FieldViolation(f"{path}.tool_choice", "makes no sense without tools; leave it out"))
    if choice.WhichOneof("choice") == "function":
        if choice.function not in {tool.name for tool in tools}:
            bad.append(FieldViolation(f"{path}.tool_choice.function", "is not the name of one of the tools"))
        return ToolChoice(ToolChoiceMode.REQUIRED, choice.function)
    if choice.mode not in _CHOICE_MODES:
        bad.append(FieldViolation(f"{path}.tool_choice.mode", "is not a value of ToolChoiceMode"))
    mode = _CHOICES.get(choice.mode)
    return ToolChoice(mode) if mode else None


def _response_format(form: agent_pb2.ResponseFormat, path: str, bad: list[FieldViolation]) -> ResponseFormat | None:
    if form.type not in _FORMAT_TYPES:
        bad.append(FieldViolation(f"{path}.type", "is not a value of ResponseFormatType"))
    strict = form.strict if form.HasField("strict") else None
    if form.type == agent_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
        if form.name and not FUNCTION_NAME.fullmatch(form.name):
            bad.append(FieldViolation(f"{path}.name", "must be 1 to 64 letters, digits, _ or -"))
        schema = _schema(f"{path}.schema_json", form.schema_json, bad)
        return ResponseFormat(ResponseFormatType.JSON_SCHEMA, schema, form.name or "response", strict)
    if form.schema_json:
        bad.append(FieldViolation(f"{path}.schema_json", "is only for type RESPONSE_FORMAT_TYPE_JSON_SCHEMA"))
    if form.type == agent_pb2.RESPONSE_FORMAT_TYPE_JSON_OBJECT:
        return ResponseFormat(ResponseFormatType.JSON_OBJECT)
    return None


def _timeout(message: agent_pb2.Timeouts, name: str, path: str, bad: list[FieldViolation]) -> float | None:
    if not message.HasField(name):
        return None
    value: Duration = getattr(message, name)
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        bad.append(FieldViolation(f"{path}.timeouts.{name}", str(error)))
        return None
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        what = f"must be above 0 and at most 1 day, is {seconds:g} s"
        bad.append(FieldViolation(f"{path}.timeouts.{name}", what))
    return seconds


def _options(message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> dict[str, dict[str, Any]]:
    if sum(struct.ByteSize() for struct in message.provider_options.values()) > MAX_OPTIONS_BYTES:
        bad.append(FieldViolation(path, f"has more than {MAX_OPTIONS_BYTES} bytes"))
        return {}
    options = {}
    for provider in sorted(message.provider_options):
        try:
            options[provider] = struct_to_dict(message.provider_options[provider])
        except ValueError as error:
            bad.append(FieldViolation(f"{path}.{provider[:MAX_NAME]}", str(error)))
    return options


def _labels(message: agent_pb2.AgentConfig, path: str, bad: list[FieldViolation]) -> dict[str, str]:
    if len(message.labels) > MAX_LABELS:
        bad.append(FieldViolation(path, f"has more than {MAX_LABELS} labels"))
        return {}
    labels = {key: message.labels[key] for key in sorted(message.labels)}
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            what = f"has the key {key[:63]!r}; a key has 1 to 63 lower-case letters, digits, _, - or ."
            bad.append(FieldViolation(path, what))
        elif len(value) > MAX_LABEL_VALUE:
            bad.append(FieldViolation(f"{path}.{key}", f"is longer than {MAX_LABEL_VALUE} characters"))
    return labels


def _schema(path: str, text: str, bad: list[FieldViolation]) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        bad.append(FieldViolation(path, str(error)))
        return {}
    if not isinstance(value, dict):
        bad.append(FieldViolation(path, 'must be a JSON object, a schema such as {"type": "object"}'))
        return {}
    return value


def agent_message(agent: AgentConfig) -> agent_pb2.AgentConfig:
    """An agent as a message: `parse_agent` makes the same agent of it again."""
    sampling = dict(agent.sampling)
    effort = sampling.pop("reasoning_effort", "unspecified")
    message = agent_pb2.AgentConfig(
        model=agent.model,
        provider=agent.provider,
        instructions=agent.instructions,
        instructions_cache=cache_message(agent.instructions_cache) if agent.instructions_cache else None,
        reasoning_effort=_EFFORT + effort.upper(),
        tools=map(_tool_message, agent.tools),
        tool_choice=_choice_message(agent.tool_choice),
        response_format=_format_message(agent.response_format),
        unsupported_params=agent_pb2.UNSUPPORTED_PARAMS_DROP if agent.drop_unsupported else None,
        provider_options={name: dict_to_struct(options) for name, options in agent.provider_options.items()},
        labels=agent.labels,
        user=agent.user,
        max_attempts=agent.max_attempts,
        fallback_models=agent.fallback_models,
        no_fallback=agent.no_fallback,
        **sampling,
    )
    for name in _TIMEOUTS:
        if (seconds := getattr(agent, f"{name}_seconds")) is not None:
            getattr(message.timeouts, name).CopyFrom(duration(seconds))
    return message


def _tool_message(tool: Tool) -> agent_pb2.Tool:
    parameters = "" if tool.parameters == _NO_ARGUMENTS else to_json(tool.parameters)
    function = agent_pb2.FunctionTool(name=tool.name, description=tool.description, parameters_json=parameters)
    if tool.strict is not None:
        function.strict = tool.strict
    return agent_pb2.Tool(function=function, cache=cache_message(tool.cache) if tool.cache else None)


def _choice_message(choice: ToolChoice | None) -> agent_pb2.ToolChoice | None:
    if choice is None:
        return None
    return agent_pb2.ToolChoice(function=choice.name) if choice.name else agent_pb2.ToolChoice(mode=_MODES[choice.mode])


def _format_message(form: ResponseFormat | None) -> agent_pb2.ResponseFormat | None:
    if form is None:
        return None
    message = agent_pb2.ResponseFormat(type=_FORMATS[form.type])
    if form.type is ResponseFormatType.JSON_SCHEMA:
        message.schema_json, message.name = to_json(form.schema), form.name
    if form.strict is not None:
        message.strict = form.strict
    return message
