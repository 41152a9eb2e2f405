"""The metrics of siblings: a method on the socket of each process, which only its siblings reach."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue

from headwater_server.domain.errors import HeadwaterError
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.metrics_text import text_of
from headwater_server.transport.handlers import Context
from headwater_server.transport.interceptors.authentication import OF_SIBLINGS
from headwater_server.transport.owners.relay import Method, Relay
from headwater_server.transport.server import AddService

SERVICE = f"{OF_SIBLINGS}Metrics"
ASK_SECONDS = 2.0
"""How long a sibling may take to answer; after that its metrics are missing."""

_GET = Method(f"/{SERVICE}/Get", BytesValue.FromString)


def metrics_service(metrics: Metrics) -> AddService:
    """The service with the metrics of this process."""
    return partial(_add, metrics)


def _add(metrics: Metrics, server: grpc.aio.Server) -> None:
    async def get(_request: Empty, _context: Context) -> BytesValue:
        return BytesValue(value=await asyncio.to_thread(text_of, metrics.registry))

    handler = grpc.unary_unary_rpc_method_handler(get, Empty.FromString, BytesValue.SerializeToString)
    server.add_registered_method_handlers(SERVICE, {"Get": handler})


async def metrics_of(relay: Relay, sibling: int) -> bytes | None:
    """The text of a sibling; None while it does not answer."""
    try:
        answer: BytesValue = await relay.ask(sibling, _GET, Empty(), ASK_SECONDS)
    except (grpc.aio.AioRpcError, HeadwaterError):
        return None
    return answer.value
