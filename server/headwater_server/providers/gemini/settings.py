"""The settings of a provider of the type `gemini`."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from headwater_server.providers.settings import HttpSettings


class GeminiSettings(HttpSettings):
    """The Gemini API, or Vertex AI: its `base_url` is the address above `/models`; a bare host gets `/v1beta`.

    A key goes in the header `x-goog-api-key`, a token of a command as a bearer.
    """

    ENDINGS: ClassVar[tuple[str, ...]] = ("/models", "/openai")

    type: Literal["gemini"] = "gemini"

    @field_validator("base_url")
    @classmethod
    def _with_version(cls, url: str) -> str:
        return url if urlsplit(url).path else f"{url}/v1beta"

    @property
    def key_header(self) -> str:
        """See HttpSettings."""
        return self.auth or ("bearer" if self.token_command else "x-goog-api-key")
