"""Chunks and streams, under the path `headwater.core.streaming`."""

from headwater.streaming import (
    ManagedStream,
    StreamChunk,
    StreamingManager,
    StreamingResponse,
    StreamInterruptedError,
    StreamTimeoutError,
    collect_stream,
    create_mock_stream,
    stream_to_string,
)

__all__ = [
    "ManagedStream",
    "StreamChunk",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "StreamingManager",
    "StreamingResponse",
    "collect_stream",
    "create_mock_stream",
    "stream_to_string",
]
