"""Reflection: clients without the contract, such as grpcurl and ghz, ask the server for it.

grpcio's servicer does the work. Two things are added:
- the protocol's name since 2023, `grpc.reflection.v1`, beside `v1alpha`. The two differ in nothing but their package,
  so one servicer answers both, and the description of the newer is made from that of the older;
- a method is found by its name: the protocol asks for that, grpcio's servicer does not do it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

from headwater_server.transport.handlers import Context

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse

SERVICE_NAMES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def add_reflection(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Adds reflection, for these services and for itself."""
    _describe()
    servicer = _Servicer((*services, *SERVICE_NAMES))
    method = grpc.stream_stream_rpc_method_handler(servicer.answer, Request.FromString, Response.SerializeToString)
    for name in SERVICE_NAMES:
        handlers = {"ServerReflectionInfo": method}
        server.add_registered_method_handlers(name, handlers)


class _Servicer:
    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer(services)

    async def answer(self, requests: AsyncIterator[Request], context: Context) -> AsyncGenerator[Response, None]:
        """Answers each request; a method's name gets the answer of its service."""
        async for request in requests:
            asked = Request()
            asked.CopyFrom(request)
            if asked.HasField("file_containing_symbol"):
                asked.file_containing_symbol = _service_of(asked.file_containing_symbol)
            responses: AsyncGenerator[Response, None]
            responses = self._servicer.ServerReflectionInfo(_only(asked), context)  # type: ignore[assignment]
            async with aclosing(responses):
                async for response in responses:
                    response.original_request.CopyFrom(request)
                    yield response


async def _only(request: Request) -> AsyncIterator[Request]:
    yield request


def _service_of(symbol: str) -> str:
    """Returns the name of the method's service; a name that is no method's stays as it is."""
    try:
        return str(descriptor_pool.Default().FindMethodByName(symbol).containing_service.full_name)
    except KeyError:
        return symbol


def _describe() -> None:
    """Makes the description of the newer protocol from the older one's and adds it to the default pool."""
    older = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(older)
    text = text_format.MessageToString(older).replace("grpc_reflection/v1alpha", "grpc/reflection/v1")
    newer = text_format.Parse(text.replace("v1alpha", "v1"), descriptor_pb2.FileDescriptorProto())
    newer.options.ClearField("deprecated")
    descriptor_pool.Default().AddSerializedFile(newer.SerializeToString())
