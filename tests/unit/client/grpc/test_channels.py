"""Which calls a channel repeats by itself when a server that ends has refused them; how it notices a lost connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import chain, count, repeat
from typing import Any

import grpc
import pytest

from headwater._grpc import channels
from headwater._grpc.channels import OpenChannel
from headwater._grpc.server import Server
from headwater.v1 import agent_service_pb2, operator_service_pb2, worker_service_pb2, workflow_service_pb2

SERVICES = {
    service.name: service
    for file in (agent_service_pb2, workflow_service_pb2, worker_service_pb2, operator_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}
REPEATED = {
    *(("AgentService", method.name) for method in SERVICES["AgentService"].methods),
    ("OperatorService", "GetServerStatus"),
    ("WorkflowService", "ValidateWorkflow"),
    ("WorkflowService", "StartWorkflowRun"),  # its request_id makes it one run
    ("WorkflowService", "WatchWorkflowRun"),
    ("WorkflowService", "GetWorkflowRun"),
    ("WorkflowService", "ListWorkflowRuns"),
    ("WorkflowService", "CancelWorkflowRun"),
}
METHODS = [(service.name, method.name) for service in SERVICES.values() for method in service.methods]


class Refusing(grpc.GenericRpcHandler):
    """Refuses the first call of each method by a bare CANCELLED, and answers the next one with nothing."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method

        async def answer(requests: Any, context: Any) -> None:
            self.calls[path] += 1
            if self.calls[path] == 1:
                await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
            await context.write(b"")

        return grpc.stream_stream_rpc_method_handler(answer)


@pytest.mark.parametrize(("service", "method"), METHODS)
async def test_a_call_that_is_safe_to_repeat_is_repeated(service, method):
    refusing = Refusing()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((refusing,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = OpenChannel(Server(f"127.0.0.1:{port}", owner=method))
    path = f"/{SERVICES[service].full_name}/{method}"
    call = channel.channel.unary_unary(path)(b"", timeout=20)
    try:
        code = await call.code()
    finally:
        await channel.close()
        await server.stop(0)
    again = (service, method) in REPEATED
    assert code is (grpc.StatusCode.OK if again else grpc.StatusCode.CANCELLED)
    assert refusing.calls[path] == 1 + again


class StubChannel:
    """Is connected for so many looks, then idle; None: for ever."""

    def __init__(self, looks: int | None) -> None:
        ready = grpc.ChannelConnectivity.READY
        rest = repeat(ready) if looks is None else chain(repeat(ready, looks), repeat(grpc.ChannelConnectivity.IDLE))
        self._states: Iterator[grpc.ChannelConnectivity] = rest
        self.looks = count()

    def get_state(self) -> grpc.ChannelConnectivity:
        next(self.looks)
        return next(self._states)


@pytest.fixture
async def channel() -> AsyncIterator[OpenChannel]:
    channel = OpenChannel(Server("127.0.0.1:1", owner="loss"))
    real = channel.channel
    yield channel
    await real.close()


@pytest.mark.parametrize("looks", [0, 1, 5])
async def test_the_loss_of_a_connection_is_waited_for_until_the_channel_has_noticed_it(channel, looks):
    channel.channel = stub = StubChannel(looks)
    await channel.notice_loss()
    assert next(stub.looks) == looks + 1


async def test_a_channel_that_stays_connected_is_waited_for_a_moment_only(channel, monkeypatch):
    monkeypatch.setattr(channels, "_NOTICE_SECONDS", 0.01)
    channel.channel = stub = StubChannel(None)
    await channel.notice_loss()
    assert next(stub.looks) > 1
