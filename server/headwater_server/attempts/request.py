"""A caller's request before it is known which model answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from msgspec.structs import replace

from headwater_server.domain.messages import AgentConfig, Message, QuietStruct
from headwater_server.streaming.terms import Continuation


class ParsedRequest(QuietStruct, frozen=True):
    """A validated request before its provider is known.

    Attributes:
        agent: the agent that is asked.
        messages: the conversation with the question, without the agent's instructions.
        provider_key: the caller's own key for the provider; empty for the server's.
        provider_headers: the caller's own headers for the provider.
        continues: the stream whose next round this is; None for a new stream.
        resumable: whether the caller wants to resume it when its connection is lost.
        size: about how many bytes the caller has sent.
        heartbeat_seconds: after so long without a chunk the caller wants a sign of life; None for none.
        deadline: when the caller stops waiting, as the event loop's time; None for never.
        asks_once: no model is asked twice, for the caller tries again by itself.
    """

    UNSEEN: ClassVar = ("provider_key", "provider_headers")

    agent: AgentConfig
    messages: tuple[Message, ...]
    provider_key: str = ""
    provider_headers: Mapping[str, str] = {}
    continues: Continuation | None = None
    resumable: bool = False
    size: int = 0
    heartbeat_seconds: float | None = None
    deadline: float | None = None
    asks_once: bool = False

    def until(self, deadline: float) -> ParsedRequest:
        """The request with this deadline."""
        return replace(self, deadline=deadline)
