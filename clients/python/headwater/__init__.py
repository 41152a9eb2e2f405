"""Headwater: stream replies of language models over gRPC as if they were in-process.

    from headwater import Agent

    async for chunk in Agent().stream("Tell me a story"):
        print(chunk.content, end="", flush=True)

Names are loaded when they are first used, so that the generated contract (`headwater.v1`) can be imported alone.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.agent import Agent, AgentResponse, AgentStream, Image
    from headwater.exceptions import (
        AuthenticationError,
        ContextWindowError,
        ForkError,
        HeadwaterError,
        MessageTooLargeError,
        ProviderAuthError,
        ProviderError,
        ProviderNotFoundError,
        ProviderRateLimitError,
        ServerOverloadedError,
        ServerUnavailableError,
        StreamExpiredError,
        StreamInterruptedError,
        StreamTimeoutError,
        ValidationError,
    )
    from headwater.streaming import (
        StreamChunk,
        StreamingManager,
        StreamingResponse,
        collect_stream,
        create_mock_stream,
        stream_to_string,
    )

# gRPC's core writes its notes ("Got goaway ...") to standard error unless it is told otherwise before it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

__all__ = [
    "Agent",
    "AgentResponse",
    "AgentStream",
    "AuthenticationError",
    "ContextWindowError",
    "ForkError",
    "HeadwaterError",
    "Image",
    "MessageTooLargeError",
    "ProviderAuthError",
    "ProviderError",
    "ProviderNotFoundError",
    "ProviderRateLimitError",
    "ServerOverloadedError",
    "ServerUnavailableError",
    "StreamChunk",
    "StreamExpiredError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "StreamingManager",
    "StreamingResponse",
    "ValidationError",
    "collect_stream",
    "create_mock_stream",
    "stream_to_string",
]

_AGENT = {"Agent", "AgentResponse", "AgentStream", "Image"}
_STREAMING = {
    "StreamChunk",
    "StreamingManager",
    "StreamingResponse",
    "collect_stream",
    "create_mock_stream",
    "stream_to_string",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "agent" if name in _AGENT else "streaming" if name in _STREAMING else "exceptions"
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
