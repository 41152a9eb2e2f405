"""The settings of a provider of the type `openai`."""

from __future__ import annotations

from typing import ClassVar, Literal

from headwater_server.providers.settings import HttpSettings


class OpenAISettings(HttpSettings):
    """OpenAI itself, or a server that speaks its API. `api` empty: OpenAI's model decides, else Chat Completions.

    `max_tokens_field` is the server's name of the limit in Chat Completions; empty: that of its preset or its host.
    """

    ENDINGS: ClassVar[tuple[str, ...]] = ("/chat/completions", "/completions", "/responses", "/models")

    type: Literal["openai"] = "openai"
    max_tokens_field: Literal["", "max_tokens", "max_completion_tokens"] = ""
    api: Literal["", "chat_completions", "responses"] = ""
