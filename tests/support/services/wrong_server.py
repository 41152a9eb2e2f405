"""A server on a real socket that answers as no right server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc


@dataclass
class WrongServer(grpc.GenericRpcHandler):
    """A server whose answers to a method are those of the test, as messages or bytes.

    Attributes:
        answers: by the name of the method: the messages of an answer, or a function that makes them for each call.
            `FOREVER` among them: then nothing more comes, and the call stays open.
        status: the code and the trailing metadata of every call.
        calls: names of the methods that were called.
        left: calls that the client has left.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    status: tuple[grpc.StatusCode, tuple[tuple[str, bytes | str], ...]] = (grpc.StatusCode.OK, ())
    calls: list[str] = field(default_factory=list)
    left: int = 0

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]

        async def answer(requests: Any, context: Any) -> None:
            self.calls.append(name)
            async for _ in requests:
                break
            try:
                await self._write(self.answers.get(name, ()), context)
            except asyncio.CancelledError:
                self.left += 1
                raise
            code, trailers = self.status
            context.set_trailing_metadata(trailers)
            if code is not grpc.StatusCode.OK:
                context.set_code(code)
                context.set_details("wrong")

        return grpc.stream_stream_rpc_method_handler(answer)

    async def _write(self, messages: Any, context: Any) -> None:
        for message in messages() if callable(messages) else messages:
            if message is FOREVER:
                await asyncio.Event().wait()
            await context.write(message if isinstance(message, bytes) else message.SerializeToString())


FOREVER = object()
GARBAGE = b"\xff\xff\xff"


@asynccontextmanager
async def serving(wrong: WrongServer) -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((wrong,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
