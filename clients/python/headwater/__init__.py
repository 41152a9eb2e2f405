"""Headwater: stream replies of language models over gRPC as if they were in-process.

    from headwater import Agent

    async for chunk in Agent().stream("Tell me a story"):
        print(chunk.content, end="", flush=True)

Names are loaded when they are first used, so that the generated contract (`headwater.v1`) can be imported alone.
Importing and making agents changes nothing in the program; the first call imports gRPC.

This module imports nothing: until it is done, Ctrl-C gives the user of a command a traceback.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would import typing
if TYPE_CHECKING:
    from typing import Any

    __version__: str
    from headwater.agent import Agent, AgentResponse, AgentStream, Image
    from headwater.connection import Connection
    from headwater.exceptions import (
        AuthenticationError,
        ContextWindowError,
        Failure,
        ForkError,
        HeadwaterError,
        MessageTooLargeError,
        NonRetryableError,
        ProviderAuthError,
        ProviderError,
        ProviderNotFoundError,
        ProviderRateLimitError,
        ServerOverloadedError,
        ServerUnavailableError,
        StepExecutionError,
        StreamExpiredError,
        StreamInterruptedError,
        StreamTimeoutError,
        ToolError,
        ValidationError,
        WorkflowCancelledError,
        WorkflowError,
        WorkflowTimeoutError,
        WorkflowValidationError,
    )
    from headwater.streaming import (
        StreamChunk,
        StreamingManager,
        StreamingResponse,
        TokenLogprob,
        TopLogprob,
        collect_stream,
        create_mock_stream,
        stream_to_string,
    )
    from headwater.tools import tool
    from headwater.workflow import (
        RetryPolicy,
        SkipReason,
        Step,
        StepResult,
        StepStatus,
        Workflow,
        WorkflowAgent,
        WorkflowEvent,
        WorkflowEventType,
        WorkflowProgress,
        WorkflowResult,
        WorkflowRunHandle,
        WorkflowStream,
    )

__all__ = [
    "Agent",
    "AgentResponse",
    "AgentStream",
    "AuthenticationError",
    "Connection",
    "ContextWindowError",
    "Failure",
    "ForkError",
    "HeadwaterError",
    "Image",
    "MessageTooLargeError",
    "NonRetryableError",
    "ProviderAuthError",
    "ProviderError",
    "ProviderNotFoundError",
    "ProviderRateLimitError",
    "RetryPolicy",
    "ServerOverloadedError",
    "ServerUnavailableError",
    "SkipReason",
    "Step",
    "StepExecutionError",
    "StepResult",
    "StepStatus",
    "StreamChunk",
    "StreamExpiredError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "StreamingManager",
    "StreamingResponse",
    "TokenLogprob",
    "ToolError",
    "TopLogprob",
    "ValidationError",
    "Workflow",
    "WorkflowAgent",
    "WorkflowCancelledError",
    "WorkflowError",
    "WorkflowEvent",
    "WorkflowEventType",
    "WorkflowProgress",
    "WorkflowResult",
    "WorkflowRunHandle",
    "WorkflowStream",
    "WorkflowTimeoutError",
    "WorkflowValidationError",
    "collect_stream",
    "create_mock_stream",
    "stream_to_string",
    "tool",
]

_WORKFLOW = (
    "RetryPolicy",
    "SkipReason",
    "Step",
    "StepResult",
    "StepStatus",
    "Workflow",
    "WorkflowAgent",
    "WorkflowEvent",
    "WorkflowEventType",
    "WorkflowProgress",
    "WorkflowResult",
    "WorkflowRunHandle",
    "WorkflowStream",
)

# Where a name comes from; the others are exceptions.
_MODULES = {
    **dict.fromkeys(("Agent", "AgentResponse", "AgentStream", "Image"), "agent"),
    **dict.fromkeys(
        ("StreamChunk", "StreamingManager", "StreamingResponse", "TokenLogprob", "TopLogprob"), "streaming"
    ),
    **dict.fromkeys(("collect_stream", "create_mock_stream", "stream_to_string"), "streaming"),
    "Connection": "connection",
    "tool": "tools",
    **dict.fromkeys(_WORKFLOW, "workflow"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("headwater")
    if name not in __all__:
        from headwater._values.names import nearest

        meant = nearest(name, __all__)
        advice = f"; did you mean {meant}?" if meant else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")
    from importlib import import_module

    module = _MODULES.get(name, "exceptions")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
