"""Every method of a server, as it describes them itself, and calls of them that say how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.stubs.stub import details

LONGEST_SECONDS = 10.0
WATCH_SECONDS = 2.0
"""How long a call of several answers is listened to: some never end."""
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
OF_GRPC = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
"""Statuses that gRPC gives to a call by itself, without details."""


@dataclass(frozen=True)
class Method:
    """A method of a service.

    Attributes:
        path: `/package.Service/Method`.
        request: the type of its requests.
        answer: the type of its answers.
        takes_many: whether its caller may send several requests.
        gives_many: whether it may give several answers.
    """

    path: str
    request: Descriptor
    answer: Descriptor
    takes_many: bool
    gives_many: bool

    @property
    def is_headwaters(self) -> bool:
        """Whether it is of our own contract, whose errors all have details."""
        return self.path.startswith("/headwater.")


@dataclass(frozen=True)
class Ending:
    """How a call ended: its code, the reason of its ErrorInfo, its message."""

    code: grpc.StatusCode
    reason: str = ""
    text: str = ""


def methods_of(target: str) -> list[Method]:
    """All methods of all services, asked of the server by reflection."""
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(described)
        return methods_in(pool.FindServiceByName(name) for name in described.get_services())


def methods_in(services: Iterable[ServiceDescriptor]) -> list[Method]:
    """All methods of these services."""
    return [
        Method(
            f"/{service.full_name}/{method.name}",
            method.input_type,
            method.output_type,
            method.client_streaming,
            method.server_streaming,
        )
        for service in services
        for method in service.methods
    ]


async def call(
    channel: grpc.aio.Channel,
    method: Method,
    requests: Sequence[bytes],
    most_answers: int,
    metadata: Sequence[tuple[str, str]] = (),
) -> tuple[Ending, list[Message]]:
    """Makes a call and leaves it after so many answers; how it ended, and the answers."""
    answers: list[Message] = []
    parse = message_factory.GetMessageClass(method.answer).FromString
    connect: grpc.aio.StreamStreamMultiCallable[bytes, Message] = channel.stream_stream(method.path, None, parse)
    running = connect(timeout=WATCH_SECONDS if method.gives_many else LONGEST_SECONDS, metadata=tuple(metadata))
    writing = asyncio.create_task(_write(running, requests))
    try:
        while (answer := await running.read()) is not grpc.aio.EOF:
            answers.append(answer)
            if len(answers) >= most_answers:
                return Ending(grpc.StatusCode.OK), answers
        return Ending(await running.code()), answers
    except grpc.aio.AioRpcError as error:
        info = details(error).get("ErrorInfo")
        return Ending(error.code(), info.reason if info else "", str(error.details())), answers  # type: ignore[attr-defined]
    finally:
        running.cancel()
        await writing


async def _write(running: grpc.aio.StreamStreamCall[bytes, Message], requests: Sequence[bytes]) -> None:
    """Sends the requests, as far as the server takes them."""
    with suppress(grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.CancelledError):
        await running.wait_for_connection()
        for request in requests:
            # `running.write` would invent a status INTERNAL for a call that the server has ended.
            await running._cython_call.send_serialized_message(request)  # type: ignore[attr-defined]
        await running.done_writing()


def is_fault(method: Method, ending: Ending) -> bool:
    """Whether a call has ended by a fault of the server, or by an error of ours without its details."""
    is_typed = ending.reason or ending.code is grpc.StatusCode.OK or ending.code in OF_GRPC
    return ending.code in FAULTS or (method.is_headwaters and not is_typed)
