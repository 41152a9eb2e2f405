"""The settings of a provider of the type `local`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater_server.providers.settings import ProviderSettings


class LocalSettings(ProviderSettings):
    """The embedded model. `eager` starts it with the server; `threads` compute, 0 is half the cores, at least 1;
    `max_tokens` holds when the caller sets none. A model that gives no sign of life for `stall_seconds` is ended and
    started again; a reply that takes longer than `reply_seconds` is ended.
    """

    type: Literal["local"] = "local"
    eager: bool = False
    model_path: str = ""
    context: int = Field(4096, ge=256, le=1_048_576)
    max_tokens: int = Field(512, ge=1)
    parallel: int = Field(2, ge=1, le=64)
    threads: int = Field(0, ge=0, le=256)
    stall_seconds: float = Field(15.0, ge=5, le=3_600)
    reply_seconds: float = Field(600.0, gt=0, le=86_400)
