"""The requests that the models of a test received."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of a model: a question, or one round of a question with tools.

    Attributes:
        provider: the provider that would answer elsewhere; `scripted` for a model that belongs to none.
        model: the model asked for, by the provider's own name; `scripted` when none was named.
        instructions: those of the agent.
        messages: the whole conversation, instructions included, in the shape of `agent.messages`.
        parameters: the sampling parameters that were set, such as `temperature`.
        tools: `name`, `description` and `parameters` (JSON Schema) of each tool.
        tool_choice: `auto`, `none`, `required` or the name of a tool; None when it was not set.
        response_format: the JSON Schema of the reply, or `{"type": "json_object"}`; None for text.
        provider_options: fields for the provider alone.
        user: id of the end user; empty for none.
    """

    provider: str
    model: str
    instructions: str = field(default="", repr=False)
    messages: list[dict[str, Any]]
    parameters: Mapping[str, Any]
    tools: list[dict[str, Any]] = field(repr=False)
    tool_choice: str | None
    response_format: Mapping[str, Any] | None = field(repr=False)
    provider_options: Mapping[str, Any] = field(repr=False)
    user: str = ""

    @property
    def prompt(self) -> str:
        """The text of the last message of the user; empty when there is none."""
        contents = (message["content"] for message in reversed(self.messages) if message["role"] == "user")
        content = next(contents, "")
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    @property
    def tool_results(self) -> list[dict[str, Any]]:
        """The results of tools that are new here: `name`, `content`, `is_error` and `tool_call_id` of each."""
        last = self.messages[-1]
        return last["content"] if last["role"] == "tool" else []

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Makes one of the server's JSON."""
        request = cls(**data)
        for message in request.messages:
            for part in message["content"] if isinstance(message["content"], list) else ():
                if part["type"] == "image":
                    part["data"] = base64.b64decode(part["data"])
        return request
