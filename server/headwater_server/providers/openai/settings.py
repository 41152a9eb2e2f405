"""The settings of a provider of the type `openai`."""

from __future__ import annotations

from typing import Literal

from headwater_server.providers.settings import HttpSettings


class OpenAISettings(HttpSettings):
    """OpenAI itself, or a server that speaks its API. `api` empty: OpenAI's model decides, else Chat Completions."""

    type: Literal["openai"] = "openai"
    api: Literal["", "chat_completions", "responses"] = ""
