"""An AgentService with the replies of a test, over a real socket, on a separate event loop.

For tests of the client alone. It records each call and its request, and the moment at which a caller left.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import grpc
import psutil  # type: ignore[import-untyped]
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message as ProtoMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from headwater.v1 import agent_pb2, agent_service_pb2, agent_service_pb2_grpc
from tests.support.servers.service_thread import ServiceThread

Chunks: TypeAlias = AsyncGenerator[agent_pb2.StreamChunk, None]
Reply = Callable[[agent_service_pb2.StreamRequest, Any], Chunks]


def first(content: str = "", **fields: Any) -> agent_pb2.StreamChunk:
    """A first chunk."""
    facts: dict[str, Any] = {"sequence": 1, "stream_id": "w0-1", "model": "fake-1", "provider": "fake"}
    return agent_pb2.StreamChunk(content=content, **(facts | fields))


def final(**fields: Any) -> agent_pb2.StreamChunk:
    """A final chunk."""
    return agent_pb2.StreamChunk(**({"is_final": True, "finish_reason": agent_pb2.FINISH_REASON_STOP} | fields))


async def say(*words: str) -> Chunks:
    """A reply that ends well."""
    for number, word in enumerate(words, start=1):
        yield first(word) if number == 1 else agent_pb2.StreamChunk(content=word, sequence=number)
    yield final(sequence=len(words) + 1)


async def say_forever(word: str = "word ") -> Chunks:
    """A reply without end, a word each 5 ms."""
    number = 0
    while True:
        number += 1
        yield first(word) if number == 1 else agent_pb2.StreamChunk(content=word, sequence=number)
        await asyncio.sleep(0.005)


async def say_then_wait(*words: str) -> Chunks:
    """Some words, and then nothing for as long as the caller stays."""
    for number, word in enumerate(words, start=1):
        yield first(word) if number == 1 else agent_pb2.StreamChunk(content=word, sequence=number)
    await asyncio.Event().wait()


async def fail(context: Any, code: grpc.StatusCode, message: str, *details: ProtoMessage) -> NoReturn:
    """End a call with a status and its details."""
    packed = []
    for detail in details:
        any_message = AnyMessage()
        any_message.Pack(detail)
        packed.append(any_message)
    await context.abort_with_status(rpc_status.to_status(Status(code=code.value[0], message=message, details=packed)))
    raise AssertionError("abort returned")


def error_info(reason: str, **metadata: str) -> ErrorInfo:
    """The detail that every error of Headwater carries."""
    return ErrorInfo(reason=reason, domain="headwater.ai", metadata=metadata)


@dataclass
class FakeAgentService(agent_service_pb2_grpc.AgentServiceServicer, ServiceThread):
    """The service; use it as a context manager.

    Attributes:
        reply: makes the answer to a Stream call.
        requests: the Stream requests so far.
        headers: the metadata of each Stream call.
        asked: gets each Stream request.
        info_asked: gets each GetProviderInfo request.
        left: gets the time of each Stream call whose caller went before its end.
        info: the answer to GetProviderInfo.
        info_requests: the GetProviderInfo requests so far.
        info_seconds: how long that answer takes.
        stream_id: the id in the response headers.
    """

    reply: Reply = lambda request, context: say("Hello", " ", "world")
    requests: list[agent_service_pb2.StreamRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: queue.Queue[agent_service_pb2.StreamRequest] = field(default_factory=queue.Queue)
    info_asked: queue.Queue[agent_service_pb2.GetProviderInfoRequest] = field(default_factory=queue.Queue)
    left: queue.Queue[float] = field(default_factory=queue.Queue)
    info: agent_service_pb2.ProviderInfo = field(
        default_factory=lambda: agent_service_pb2.ProviderInfo(
            name="fake", type="openai", model="fake-1", supports_streaming=True, supports_tools=True
        )
    )
    info_requests: list[agent_service_pb2.GetProviderInfoRequest] = field(default_factory=list)
    info_seconds: float = 0.0
    stream_id: str = "w0-1"

    def connections(self) -> int:
        """How many connections of this process lead to it."""
        found = psutil.Process().net_connections(kind="tcp")
        return sum(1 for c in found if c.raddr and c.raddr[1] == self.port and c.status == psutil.CONN_ESTABLISHED)

    def wait_for_request(self, timeout: float = 30.0) -> agent_service_pb2.StreamRequest:
        """The next Stream request that was not waited for yet; fails if none comes."""
        return self.asked.get(timeout=timeout)

    def wait_for_info_request(self, timeout: float = 30.0) -> agent_service_pb2.GetProviderInfoRequest:
        """The next GetProviderInfo request that was not waited for yet; fails if none comes."""
        return self.info_asked.get(timeout=timeout)

    def wait_for_leaving(self, timeout: float = 30.0) -> float:
        """When the next caller left, by `time.monotonic`; fails if none does."""
        return self.left.get(timeout=timeout)

    async def Stream(self, request: agent_service_pb2.StreamRequest, context: Any) -> Chunks:  # noqa: N802
        self.requests.append(request)
        self.asked.put(request)
        self.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        chunks = self.reply(request, context)
        try:
            if self.stream_id:
                await context.send_initial_metadata((("headwater-stream-id", self.stream_id),))
            async for chunk in chunks:
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            self.left.put(time.monotonic())
            raise
        finally:
            await chunks.aclose()

    async def GetProviderInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.info_requests.append(request)
        self.info_asked.put(request)
        await asyncio.sleep(self.info_seconds)
        return agent_service_pb2.GetProviderInfoResponse(provider=self.info)

    async def ListProviders(self, request: Any, context: Any) -> Any:  # noqa: N802
        name = "other" if request.page_token else "fake"
        return agent_service_pb2.ListProvidersResponse(
            providers=[agent_service_pb2.ProviderSummary(name=name)],
            next_page_token="" if request.page_token else "2",
        )

    async def _unused(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the fake has no such call")

    Run = CancelStream = ListStreams = ListModels = _unused

    def _begin(self, server: grpc.aio.Server) -> None:
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, server)
