"""A caller's question: a conversation, sampling parameters, tools and the form of the reply.

Mirrors `StreamRequest` of the contract. A `ChatRequest` is validated: code that holds one need not check it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, TypeAlias


class Role(StrEnum):
    """The speaker of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Text:
    """Text, in any role."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image: either `data` with its `media_type`, or a `url` that is handed on unfetched."""

    data: bytes = b""
    media_type: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Thinking:
    """Thinking of the model, with the signature of the provider that may receive it again."""

    text: str
    signature: str


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    """Thinking that only the provider can read."""

    data: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call; `arguments` is JSON text as the model wrote it. `id` is empty where the provider has none."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The value that a call returned, or its error."""

    tool_call_id: str
    name: str
    content: str
    is_error: bool = False


Part: TypeAlias = Text | Image | Thinking | RedactedThinking | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the model may call; `parameters` is its JSON Schema, keys in the caller's order."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool | None = None


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


SAMPLING_PARAMS = (
    "temperature",
    "max_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
)
"""The sampling fields of a request, by their name in the contract."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A validated question.

    Attributes:
        model: the provider's own name for the model.
        messages: the whole conversation, system messages first, the question last.
        sampling: the sampling parameters that the caller set, by name (see SAMPLING_PARAMS).
        provider_options: fields to merge into the provider's request body, the caller's order kept.
        api_key: the caller's own key for the provider; empty for the server's.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: dict[str, Any] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    provider_options: dict[str, Any] = field(default_factory=dict)
    api_key: str = field(default="", repr=False)
