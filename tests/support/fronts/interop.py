"""The service that gRPC's interop clients test: the messages from their fields, and what each method has to do.

Facts: "gRPC Interop Test Case Descriptions" and the fields of grpc.testing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "grpc.testing.TestService"
_PACKAGE = "headwater.tests.interop"  # another one, so that it meets no other program's messages
_ECHO_FIRST, _ECHO_LAST = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"

_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Empty": {},
    "Payload": {"body": (2, "bytes")},
    "Status": {"code": (1, "int32"), "message": (2, "string")},
    "SimpleRequest": {"response_size": (2, "int32"), "payload": (3, "Payload"), "response_status": (7, "Status")},
    "SimpleResponse": {"payload": (1, "Payload")},
    "InputRequest": {"payload": (1, "Payload")},
    "InputResponse": {"aggregated_payload_size": (1, "int32")},
    "Parameters": {"size": (1, "int32"), "interval_us": (2, "int32")},
    "OutputRequest": {
        "response_parameters": (2, "Parameters*"),
        "payload": (3, "Payload"),
        "response_status": (7, "Status"),
    },
    "OutputResponse": {"payload": (1, "Payload")},
}


def _messages() -> dict[str, Any]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="headwater/tests/interop.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number)
            added.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            if kind.rstrip("*") in _FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind.rstrip('*')}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


M = _messages()


async def _echo_metadata(context: Any) -> None:
    sent = dict(context.invocation_metadata())
    if _ECHO_FIRST in sent:
        await context.send_initial_metadata(((_ECHO_FIRST, sent[_ECHO_FIRST]),))
    if _ECHO_LAST in sent:
        context.set_trailing_metadata(((_ECHO_LAST, sent[_ECHO_LAST]),))


async def _check_status(request: Any, context: Any) -> None:
    if request.HasField("response_status") and request.response_status.code:
        codes = {code.value[0]: code for code in grpc.StatusCode}
        await context.abort(codes[request.response_status.code], request.response_status.message)


def _payload(size: int) -> Any:
    return M["Payload"](body=bytes(size))


async def _empty(request: Any, context: Any) -> Any:
    return M["Empty"]()


async def _unary(request: Any, context: Any) -> Any:
    await _echo_metadata(context)
    await _check_status(request, context)
    return M["SimpleResponse"](payload=_payload(request.response_size))


async def _outputs(request: Any) -> AsyncIterator[Any]:
    for parameters in request.response_parameters:
        await asyncio.sleep(parameters.interval_us / 1e6)
        yield M["OutputResponse"](payload=_payload(parameters.size))


async def _output(request: Any, context: Any) -> AsyncIterator[Any]:
    async for response in _outputs(request):
        yield response


async def _input(requests: AsyncIterator[Any], context: Any) -> Any:
    sizes = [len(request.payload.body) async for request in requests]
    return M["InputResponse"](aggregated_payload_size=sum(sizes))


async def _duplex(requests: AsyncIterator[Any], context: Any) -> None:
    await _echo_metadata(context)
    async for request in requests:
        await _check_status(request, context)
        async for response in _outputs(request):
            await context.write(response)


def add_test_service(server: grpc.aio.Server) -> None:
    """Adds the service to a server."""

    def handler(kind: str, method: Any, request: str, response: str) -> Any:
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(method, M[request].FromString, M[response].SerializeToString)

    methods = {
        "EmptyCall": handler("unary_unary", _empty, "Empty", "Empty"),
        "UnaryCall": handler("unary_unary", _unary, "SimpleRequest", "SimpleResponse"),
        "StreamingOutputCall": handler("unary_stream", _output, "OutputRequest", "OutputResponse"),
        "StreamingInputCall": handler("stream_unary", _input, "InputRequest", "InputResponse"),
        "FullDuplexCall": handler("stream_stream", _duplex, "OutputRequest", "OutputResponse"),
    }
    server.add_registered_method_handlers(SERVICE, methods)
