"""A chunk on its way to the caller: never a message that gRPC refuses."""

from __future__ import annotations

import itertools

import pytest

from headwater_server.domain.chunks import Delta, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.streaming.merging import MAX_DELTA_CHARACTERS, merge
from headwater_server.transport.services.chunk_messages import chunk_bytes

SIZES = (0, MAX_DELTA_CHARACTERS, 4 * MAX_DELTA_CHARACTERS)
WIDEST = "🌊"  # four bytes of UTF-8


@pytest.mark.parametrize(
    "event_type", ["", "content_block_delta", "n" * 4 * 1024 * 1024], ids=["none", "usual", "huge"]
)
@pytest.mark.parametrize(("content", "thinking", "opaque"), list(itertools.product(SIZES, repeat=3)))
def test_a_message_is_within_the_limit_or_the_stream_ends_with_an_error(content, thinking, opaque, event_type):
    deltas = [
        Delta(
            content=WIDEST * content,
            thinking=WIDEST * thinking,
            thinking_signature=WIDEST * opaque,
            tool_calls=[ToolCallDelta(0, id="i" * opaque, name="n" * opaque)] if opaque else None,
            event_type=event_type,
        ),
        Delta(content="the next", event_type=event_type),
    ]
    for several in (deltas, deltas[:1]):
        for chunk in merge(several, 0, 0.0):
            try:
                size = len(chunk_bytes(chunk))
            except HeadwaterError as error:
                assert error.reason is Reason.REPLY_TOO_LARGE
            else:
                assert size <= MAX_MESSAGE_BYTES
