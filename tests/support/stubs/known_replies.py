"""A server for one run of a stub program: it streams known text and waits where a test wants to look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from headwater.v1 import AgentServiceServicer, StreamChunk, StreamRequest, add_AgentServiceServicer_to_server
from tests.support.services.fake_agent_service import fail


class KnownReplies(AgentServiceServicer):
    """Answers a stream with two chunks, another one with a single chunk and no end, and then a Run with an error.

    Attributes:
        second_chunk: set by the test; the first stream sends its second chunk then.
        left: set when the caller of the second stream has gone. The Run is not answered before.
        target: the address for clients.
    """

    def __init__(self) -> None:
        self.second_chunk = asyncio.Event()
        self.left = asyncio.Event()
        self.target = ""
        self._streams = 0

    async def Stream(self, request: StreamRequest, context: Any) -> AsyncIterator[StreamChunk]:  # noqa: N802
        self._streams += 1
        if self._streams == 1:
            yield StreamChunk(content="first")
            await self.second_chunk.wait()
            yield StreamChunk(content="second")
            yield StreamChunk(is_final=True)
        else:
            # Not a `finally`: a call that dies while a chunk is on its way leaves this generator open.
            context.add_done_callback(lambda _: self.left.set())
            yield StreamChunk(content="first")
            await asyncio.Event().wait()

    async def Run(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        await self.left.wait()
        bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="prompt", description="is a lie")])
        info = ErrorInfo(reason="INVALID_REQUEST", domain="headwater.ai")
        await fail(context, grpc.StatusCode.INVALID_ARGUMENT, "prompt: is a lie", info, bad)


@asynccontextmanager
async def known_replies() -> AsyncIterator[KnownReplies]:
    """Serves on a free loopback port."""
    replies = KnownReplies()
    server = grpc.aio.server()
    add_AgentServiceServicer_to_server(replies, server)  # type: ignore[abstract]  # a program calls Stream and Run only
    replies.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield replies
    finally:
        await server.stop(None)
