"""A channel with nothing but the generated stub, for tests of the server alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from headwater.v1 import error_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub

_OPTIONS = (("grpc.max_send_message_length", 64 * 1024 * 1024),)


@asynccontextmanager
async def agent_stub(target: str) -> AsyncIterator[AgentServiceStub[Any]]:
    """The stub on a new channel."""
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        yield AgentServiceStub(channel)


@asynccontextmanager
async def workflow_stub(target: str) -> AsyncIterator[WorkflowServiceStub[Any]]:
    """The stub of WorkflowService on a new channel."""
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        yield WorkflowServiceStub(channel)


def details(error: grpc.aio.AioRpcError) -> dict[str, Message]:
    """The details of a failed call, by the name of their kind."""
    found: dict[str, Message] = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                name = packed.type_url.rpartition(".")[2]
                message = getattr(error_details_pb2 if "google.rpc" in packed.type_url else error_pb2, name)()
                packed.Unpack(message)
                found[name] = message
    return found
