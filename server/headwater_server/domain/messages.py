"""A caller's question: a conversation, and the agent that answers it.

Mirrors `AgentConfig` and `ChatMessage` of the contract. All values here are validated already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, TypeAlias

import msgspec

PROVIDER_KEY = "headwater-provider-key"
"""Metadata of a call: the caller's own key for the provider."""

PROVIDER_HEADER = "headwater-provider-header-"
"""The beginning of metadata that is sent to the provider as a header: its name follows."""

_PARTS = attrgetter("parts")


class QuietStruct(msgspec.Struct, frozen=True):
    """A struct with fields that `repr` does not show, so that no log has them.

    Attributes:
        UNSEEN: the names of these fields.
    """

    UNSEEN: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self.UNSEEN]


class Role(StrEnum):
    """The speaker of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ProviderData:
    """Data that a provider wants back with a part, as JSON text that only it can read.

    Attributes:
        provider: name of the provider.
        account: fingerprint of its address and key (see `providers.base.Provider.account`).
        data_json: the data.
    """

    provider: str
    account: str
    data_json: str = field(repr=False)


class Text(msgspec.Struct, frozen=True):
    """Text, in any role."""

    text: str
    provider_data: ProviderData | None = None


class Image(msgspec.Struct, frozen=True):
    """An image: either `data` with its `media_type`, or a `url` that is handed on unfetched."""

    data: bytes = b""
    media_type: str = ""
    url: str = ""


class Thinking(msgspec.Struct, frozen=True):
    """Thinking of the model, with the signature of the provider that may receive it again."""

    text: str
    signature: str
    provider_data: ProviderData | None = None


class RedactedThinking(msgspec.Struct, frozen=True):
    """Thinking that only the provider can read."""

    data: str
    provider_data: ProviderData | None = None


class Opaque(msgspec.Struct, frozen=True):
    """A part that is nothing but the provider's data; None when the data is for another provider than the one asked."""

    provider_data: ProviderData | None


class ToolCall(msgspec.Struct, frozen=True):
    """A complete call; `arguments` is JSON text as the model wrote it. `id` is empty where the provider has none."""

    id: str
    name: str
    arguments: str
    provider_data: ProviderData | None = None


class ToolResult(msgspec.Struct, frozen=True):
    """The value that a call returned, or its error.

    Attributes:
        tool_call_id: id of the call; may be empty.
        name: name of the tool; may be empty.
        content: the result as text: of one with images, its texts joined by line breaks.
        is_error: the call failed.
        parts: texts and images in order; empty for a result without images.
    """

    tool_call_id: str
    name: str
    content: str
    is_error: bool = False
    parts: tuple[Text | Image, ...] = ()


Part: TypeAlias = Text | Image | Thinking | RedactedThinking | Opaque | ToolCall | ToolResult


class CacheHint(msgspec.Struct, frozen=True):
    """Asks the provider to keep the prompt up to a place, for so many seconds at least; None: its default."""

    seconds: float | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; `cache` asks to keep the prompt up to its end."""

    role: Role
    parts: tuple[Part, ...]
    cache: CacheHint | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        if len(self.parts) == 1 and isinstance(only := self.parts[0], Text):
            return only.text
        return "".join(part.text for part in self.parts if isinstance(part, Text))


def kinds_of(messages: Iterable[Message]) -> set[type[Part]]:
    """The kinds of parts that messages have: nearly all have text alone, and need no closer look."""
    return set(map(type, chain.from_iterable(map(_PARTS, messages))))


class Tool(msgspec.Struct, frozen=True):
    """A tool the model may call; `parameters` is its JSON Schema, keys in the caller's order.

    `cache` asks to keep the prompt up to this tool.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool | None = None
    cache: CacheHint | None = None


class ToolChoiceMode(Enum):
    """Whether the model may, must not or must call tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools may be called; with REQUIRED, `name` may single one out."""

    mode: ToolChoiceMode
    name: str = ""


class ResponseFormatType(Enum):
    """A form of reply other than text."""

    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """Form of the reply other than text; `schema` is set for JSON_SCHEMA."""

    type: ResponseFormatType
    schema: dict[str, Any] = field(default_factory=dict)
    name: str = "response"
    strict: bool | None = None


class ReasoningEffort(StrEnum):
    """How hard a reasoning model thinks."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


ALL_EFFORTS: frozenset[str] = frozenset(ReasoningEffort)
"""Every value of `reasoning_effort`."""


SAMPLING_PARAMS = (
    "temperature",
    "max_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
    "reasoning_effort",
    "parallel_tool_calls",
    "logprobs",
)
"""The fields of an agent that a provider or a model may not have, by their name in the contract."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """A configured persona: the model, the instructions and the settings, apart from the question.

    Attributes:
        model: as named by the caller; may be empty, or have the provider in front.
        provider: as named by the caller; may be empty.
        instructions_cache: asks to keep the prompt up to the end of the instructions.
        sampling: the parameters of SAMPLING_PARAMS that are set, by name, as JSON values. `reasoning_effort` is a value
            of ReasoningEffort.
        drop_unsupported: leave out parameters that the provider does not have.
        connect_seconds: how long to wait for a connection to the provider; None: as the server is set.
        first_chunk_seconds: how long to wait for the first chunk; None: as the server is set.
        next_chunk_seconds: how long to wait between two chunks; None: as the server is set.
        total_seconds: how long the reply may take in all; None: as the server is set.
        provider_options: provider name to fields of the request to it; JSON values.
        labels: the caller's labels, for the log.
        user: the caller's id of the end user.
        max_attempts: how often providers are asked at most; None: as the server is set.
        fallback_models: those that are asked when the model fails, in order.
        no_fallback: only the first model of an alias is asked.
    """

    model: str = ""
    provider: str = ""
    instructions: str = field(default="", repr=False)
    instructions_cache: CacheHint | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    drop_unsupported: bool = False
    connect_seconds: float | None = None
    first_chunk_seconds: float | None = None
    next_chunk_seconds: float | None = None
    total_seconds: float | None = None
    provider_options: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = field(default="", repr=False)
    max_attempts: int | None = None
    fallback_models: tuple[str, ...] = ()
    no_fallback: bool = False

    def overlaid(self, other: AgentConfig | None) -> AgentConfig:
        """This agent with the settings of another one that are set; a model comes with provider and fallbacks."""
        if other is None:
            return self
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        given = {name: value for name in own if (value := getattr(other, name)) not in ("", None, False, (), {})}
        if other.model or other.provider:
            own["model"] = own["provider"] = ""
            own["fallback_models"] = ()
        for name in ("sampling", "provider_options", "labels"):
            given[name] = {**own[name], **getattr(other, name)}
        return AgentConfig(**{**own, **given})


class ChatRequest(QuietStruct, frozen=True):
    """A validated question to one provider.

    Attributes:
        model: the provider's own name for the model.
        messages: the whole conversation, system messages first, the question last.
        sampling: as in AgentConfig.
        provider_options: fields to merge into the provider's request body.
        user: the caller's id of the end user; empty for none.
        api_key: the caller's own key for the provider; empty for the server's.
        headers: the caller's own headers for the provider, names in lower case.
        size: about how many bytes the caller has sent.
        connect_seconds: how long a connection may take; None: as the provider is set.
    """

    UNSEEN: ClassVar = ("user", "api_key", "headers")

    model: str
    messages: tuple[Message, ...]
    sampling: Mapping[str, Any] = {}
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    provider_options: Mapping[str, Any] = {}
    user: str = ""
    api_key: str = ""
    headers: Mapping[str, str] = {}
    size: int = 0
    connect_seconds: float | None = None
