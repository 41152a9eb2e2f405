"""The limits of requests for a reply."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from headwater.v1 import RunRequest, StreamRequest
from headwater.v1.agent_pb2 import (
    RESPONSE_FORMAT_TYPE_JSON_SCHEMA,
    ROLE_ASSISTANT,
    ROLE_USER,
    UNSUPPORTED_PARAMS_DROP,
    AgentConfig,
    CacheHint,
    ChatMessage,
    FunctionTool,
    Image,
    Part,
    ProviderData,
    ResponseFormat,
    Timeouts,
    Tool,
    ToolCall,
)
from headwater_server.domain import json_text, limits
from headwater_server.transport.fronts import MAX_METADATA_BYTES
from headwater_server.transport.incoming import reader
from tests.support.limits.place import Call, Limit, Place, agent, asking, number, sending

INVALID = "INVALID_REQUEST"
DAY = limits.MAX_TIMEOUT_SECONDS
NAME = limits.MAX_NAME
AROUND = 1_000
"""Bytes of metadata beside the value that a test sends."""


def names(field: str, fine: str = "") -> Limit:
    """The limit of a name of an agent."""
    row = f"`agent.{field}`"
    most = f"{NAME} characters"
    return Limit(row, most, INVALID, asking(**{field: "x" * NAME}), asking(**{field: "x" * (NAME + 1)}), fine)


def user(**fields: Any) -> ChatMessage:
    return ChatMessage(role=ROLE_USER, **fields)


def assistant(*parts: Part) -> ChatMessage:
    return ChatMessage(role=ROLE_ASSISTANT, parts=parts)


def text_call(characters: int) -> ChatMessage:
    arguments = f'"{"x" * (characters - 2)}"'
    return assistant(Part(tool_call=ToolCall(id="c", name="t", arguments_json=arguments)))


def data(characters: int, name: str = "p") -> ChatMessage:
    text = f'{{"a":"{"x" * (characters - 8)}"}}'
    return assistant(Part(text="x", provider_data=ProviderData(provider=name, account="a", data_json=text)))


def tool(name: str = "t", schema: str = "") -> Tool:
    return Tool(function=FunctionTool(name=name, parameters_json=schema))


def schema(characters: int) -> str:
    return f'{{"description":"{"x" * (characters - 18)}"}}'


def nested(levels: int) -> str:
    return '{"items":' * levels + "1" + "}" * levels


def options(size: int) -> Call:
    """Options of another provider than the one asked, of so many bytes in all."""

    async def call(place: Place) -> str:
        config = agent()
        config.provider_options["other"].update({"a": ""})
        missing = size - sum(struct.ByteSize() for struct in config.provider_options.values())
        for filled in range(missing - 20, missing + 1):
            config.provider_options["other"].update({"a": "x" * filled})
            if sum(struct.ByteSize() for struct in config.provider_options.values()) == size:
                break
        return await place.run(RunRequest(prompt="Hi", agent=config))

    return call


def of_bytes(size: int) -> Call:
    """A request of so many bytes."""

    async def call(place: Place) -> str:
        request = RunRequest(agent=agent())
        room = size - request.ByteSize()
        for frame in range(2, 8):  # the bytes of the prompt's tag and length
            request.prompt = "x" * (room - frame)
            if request.ByteSize() == size:
                return await place.run(request)
        raise AssertionError(f"no request has {size} bytes")

    return call


def with_metadata(name: str, size: int) -> Call:
    return lambda place: place.run(RunRequest(prompt="Hi", agent=agent()), [(name, "x" * size)])


def timeouts(seconds: float) -> Call:
    return asking(timeouts=Timeouts(total=timedelta(seconds=seconds)))


def heartbeat(seconds: float) -> Call:
    return lambda place: place.stream(
        StreamRequest(prompt="Hi", agent=agent(), heartbeat_interval=timedelta(seconds=seconds))
    )


def continued(sequence: int) -> Call:
    stream_id = f"str_0_{'x' * 22}"
    return lambda place: place.stream(
        StreamRequest(prompt="Hi", agent=agent(), continues_stream_id=stream_id, continues_sequence=sequence)
    )


def logprobs(tokens: int) -> Call:
    return asking(logprobs=tokens, unsupported_params=UNSUPPORTED_PARAMS_DROP)


def image(url: int) -> Call:
    address = "https://example.org/"
    part = Part(image=Image(url=address + "x" * (url - len(address))))
    config = AgentConfig(model="openai/m", max_attempts=1)  # nothing listens there
    return lambda place: place.run(RunRequest(messages=[user(parts=[part])], agent=config))


def labels(count: int) -> Call:
    return asking(labels={f"l{i}": "x" for i in range(count)})


def formats(text: str) -> Call:
    form = ResponseFormat(type=RESPONSE_FORMAT_TYPE_JSON_SCHEMA, schema_json=text)
    return asking(response_format=form)


ITEMS, JSON = limits.MAX_ITEMS, limits.MAX_JSON
KIB = 1024

REPLIES = [
    Limit("a request of Stream or Run", "32 MiB", "RESOURCE_EXHAUSTED", of_bytes(reader.MAX_REQUEST_BYTES), of_bytes(reader.MAX_REQUEST_BYTES + 1)),
    Limit("its fields and items in all", number(reader.MAX_ELEMENTS), INVALID, asking(stop=["x"] * 9_000), asking(labels={str(i): "" for i in range(reader.MAX_ELEMENTS)})),
    Limit("metadata of a call", "64 KiB", "RESOURCE_EXHAUSTED", with_metadata("x-note", MAX_METADATA_BYTES - AROUND), with_metadata("x-note", MAX_METADATA_BYTES + 1)),
    Limit("`headwater-provider-key`", f"{number(limits.MAX_PROVIDER_KEY)} characters", INVALID, with_metadata("headwater-provider-key", limits.MAX_PROVIDER_KEY), with_metadata("headwater-provider-key", limits.MAX_PROVIDER_KEY + 1)),
    Limit("`messages`", number(ITEMS), INVALID, sending(messages=[user(content="x")] * ITEMS, prompt="x"), sending(messages=[user(content="x")] * (ITEMS + 1))),
    Limit("parts of all messages, those in results of tools too", number(ITEMS), INVALID, sending(messages=[user(parts=[Part(text="x")] * ITEMS)]), sending(messages=[user(parts=[Part(text="x")] * (ITEMS + 1))])),
    Limit("arguments of all tool calls in `messages`", "1 MiB characters", INVALID, sending(messages=[text_call(JSON)], prompt="x"), sending(messages=[text_call(JSON + 1)], prompt="x")),
    Limit("`provider_data.data_json`", "1 MiB characters", INVALID, sending(messages=[data(JSON)], prompt="x"), sending(messages=[data(JSON + 1)], prompt="x")),
    Limit("`provider_data.provider` and `account`", f"{NAME} characters", INVALID, sending(messages=[data(20, "x" * NAME)], prompt="x"), sending(messages=[data(20, "x" * (NAME + 1))], prompt="x")),
    Limit("the URL of an image", f"{number(limits.MAX_URL)} characters", INVALID, image(limits.MAX_URL), image(limits.MAX_URL + 1), "PROVIDER_UNAVAILABLE"),
    names("model", "PROVIDER_NOT_FOUND"),
    names("provider", "PROVIDER_NOT_FOUND"),
    names("user"),
    Limit("`agent.stop`", number(ITEMS), INVALID, asking(stop=["x"] * ITEMS), asking(stop=["x"] * (ITEMS + 1))),
    Limit("`agent.tools`", number(ITEMS), INVALID, asking(tools=[tool(f"t{i}") for i in range(ITEMS)]), asking(tools=[tool(f"t{i}") for i in range(ITEMS + 1)])),
    Limit("the name of a tool or a schema", "64 letters, digits, `_` or `-`", INVALID, asking(tools=[tool("t" * 64)]), asking(tools=[tool("t" * 65)])),
    Limit("all schemas of a request", "1 MiB characters", INVALID, asking(tools=[tool(schema=schema(JSON))]), asking(tools=[tool(schema=schema(JSON + 1))])),
    Limit("levels of a schema", number(json_text.MAX_DEPTH), INVALID, formats(nested(json_text.MAX_DEPTH)), formats(nested(json_text.MAX_DEPTH + 1))),
    Limit("`agent.provider_options`, all together", "256 KiB", INVALID, options(limits.MAX_OPTIONS_BYTES), options(limits.MAX_OPTIONS_BYTES + 1)),
    Limit("`agent.labels`", number(limits.MAX_LABELS), INVALID, labels(limits.MAX_LABELS), labels(limits.MAX_LABELS + 1)),
    Limit("the key of a label", "63 characters", INVALID, asking(labels={"x" * 63: "x"}), asking(labels={"x" * 64: "x"})),
    Limit("the value of a label", f"{limits.MAX_LABEL_VALUE} characters", INVALID, asking(labels={"x": "x" * limits.MAX_LABEL_VALUE}), asking(labels={"x": "x" * (limits.MAX_LABEL_VALUE + 1)})),
    Limit("`agent.logprobs`", number(limits.MAX_LOGPROBS), INVALID, logprobs(limits.MAX_LOGPROBS), logprobs(limits.MAX_LOGPROBS + 1)),
    Limit("`agent.max_attempts`", number(limits.MAX_ATTEMPTS), INVALID, asking(max_attempts=limits.MAX_ATTEMPTS), asking(max_attempts=limits.MAX_ATTEMPTS + 1)),
    Limit("`agent.fallback_models`", number(limits.MAX_FALLBACKS), INVALID, asking(fallback_models=["scripted/a"] * limits.MAX_FALLBACKS), asking(fallback_models=["scripted/a"] * (limits.MAX_FALLBACKS + 1))),
    Limit("each of `agent.timeouts`", "1 day", INVALID, timeouts(DAY), timeouts(DAY + 1)),
    Limit("`cache.ttl`", "1 day", INVALID, sending(messages=[user(content="x", cache=CacheHint(ttl=timedelta(days=1)))], prompt="x"), sending(messages=[user(content="x", cache=CacheHint(ttl=timedelta(days=1, seconds=1)))], prompt="x")),
    Limit("the shortest `heartbeat_interval`", "1 s", INVALID, heartbeat(limits.MIN_HEARTBEAT_SECONDS), heartbeat(limits.MIN_HEARTBEAT_SECONDS - 0.1)),
    Limit("the longest `heartbeat_interval`", "1 day", INVALID, heartbeat(DAY), heartbeat(DAY + 1)),
    Limit("`continues_sequence`", number(limits.MAX_CONTINUED_SEQUENCE), INVALID, continued(limits.MAX_CONTINUED_SEQUENCE), continued(limits.MAX_CONTINUED_SEQUENCE + 1)),
]  # fmt: skip
