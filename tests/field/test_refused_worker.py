"""A hosted worker behind a proxy that refuses it when it attaches again.

https://github.com/microsoft/durabletask-python/issues/175, https://github.com/hatchet-dev/hatchet/issues/4824
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from headwater._worker import worker
from headwater.exceptions import AuthenticationError, HeadwaterError
from headwater.workflow import Workflow, WorkflowAgent
from tests.support.servers.server import ServerProcess

REFUSAL = "the proxy has no such route just now"


class Proxy(grpc.GenericRpcHandler):
    """Passes every call on as it is, and refuses the next `refusals` calls of Attach."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.refusals = 0
        self.tokens: set[str] = set()  # those that it lets in; empty for all
        self.methods: list[str] = []  # of the calls so far
        self._channel = channel
        self._attached: list[Any] = []

    def cut(self) -> None:
        """Ends the connection of the worker."""
        self._attached[-1].cancel()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        attaching = details.method.endswith("/Attach")
        self.methods.append(details.method.rpartition("/")[2])

        async def stream(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            token = dict(context.invocation_metadata() or ()).get("authorization")
            if attaching and (self.refusals or (self.tokens and token not in self.tokens)):
                self.refusals -= bool(self.refusals)
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, REFUSAL)
            call = self._channel.stream_stream(details.method)(requests)
            if attaching:
                self._attached.append(call)
            try:
                async for message in call:
                    yield message
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "", error.trailing_metadata())
            except asyncio.CancelledError:
                if not call.cancelled():
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

        return grpc.stream_stream_rpc_method_handler(stream)


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, str]]:
    # One run is left without its worker, and the end of the server would wait for it.
    with ServerProcess("--scripted", variables={"HEADWATER_DRAIN_SECONDS": "0.2"}) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            proxy, relay = Proxy(channel), grpc.aio.server()
            relay.add_generic_rpc_handlers([proxy])
            port = relay.add_insecure_port("127.0.0.1:0")
            await relay.start()
            yield proxy, f"127.0.0.1:{port}"
            await relay.stop(None)


def two_steps(agent: WorkflowAgent, begun: asyncio.Event, finish: asyncio.Event) -> Workflow:
    async def work(agent: Any, step: Any, context: Any) -> str:
        begun.set()
        await finish.wait()
        return str(step.name)

    agent.register_handler("work", work)
    workflow = agent.create_workflow("w")
    workflow.add_step("a", handler="work", max_retries=0)
    workflow.add_step("b", handler="work", max_retries=0, depends_on=["a"])
    return workflow


async def test_a_worker_that_is_refused_once_tries_again() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    async with proxied() as (proxy, target):
        agent = WorkflowAgent(target=target)
        running = asyncio.create_task(agent.execute_workflow(two_steps(agent, begun, finish)))
        await asyncio.wait_for(begun.wait(), 10)
        proxy.refusals = 1
        proxy.cut()
        while proxy.refusals:
            await asyncio.sleep(0.01)
        finish.set()
        result = await asyncio.wait_for(running, 30)
    assert result.successful, result.error


async def test_a_caller_hears_at_once_why_its_worker_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_REFUSED_SECONDS", 0.3)
    begun = asyncio.Event()
    async with proxied() as (proxy, target):
        agent = WorkflowAgent(target=target)
        running = asyncio.create_task(agent.execute_workflow(two_steps(agent, begun, asyncio.Event())))
        await asyncio.wait_for(begun.wait(), 10)
        proxy.refusals = 1_000
        proxy.cut()
        with pytest.raises(HeadwaterError, match=REFUSAL):
            await asyncio.wait_for(running, 10)


async def test_a_worker_asks_for_its_token_again_when_it_attaches_again() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    tokens = ["first"]
    async with proxied() as (proxy, target):
        proxy.tokens = {"Bearer first"}
        agent = WorkflowAgent(target=target, token=lambda: tokens[-1])
        running = asyncio.create_task(agent.execute_workflow(two_steps(agent, begun, finish)))
        await asyncio.wait_for(begun.wait(), 10)
        proxy.tokens = {"Bearer second"}
        proxy.cut()
        await asyncio.sleep(0)
        tokens.append("second")
        finish.set()
        result = await asyncio.wait_for(running, 30)
    assert result.successful, result.error


async def test_a_token_function_that_fails_for_a_moment_does_not_end_the_worker() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    failures: list[int] = []
    broken = False

    def token() -> str:
        if broken and threading.current_thread() is not threading.main_thread():
            failures.append(1)
            if len(failures) == 1:
                raise FileNotFoundError("/run/token")
        return "t"

    async with proxied() as (proxy, target):
        agent = WorkflowAgent(target=target, token=token)
        running = asyncio.create_task(agent.execute_workflow(two_steps(agent, begun, finish)))
        await asyncio.wait_for(begun.wait(), 10)
        while "WatchWorkflowRun" not in proxy.methods:  # it asks for the token too
            await asyncio.sleep(0.01)
        broken = True
        proxy.cut()
        while len(failures) < 2:
            await asyncio.sleep(0.01)
        finish.set()
        result = await asyncio.wait_for(running, 30)
    assert result.successful, result.error


async def test_a_token_function_that_fails_is_the_error_of_the_call() -> None:
    def token() -> str:
        raise FileNotFoundError("/run/token")

    agent = WorkflowAgent(target="localhost:1", token=token)
    with pytest.raises(AuthenticationError, match="token raised FileNotFoundError: /run/token"):
        await agent.get_workflow_status("run")
    agent.token = lambda: "line\nbreak"
    with pytest.raises(AuthenticationError, match="returned a bad one"):
        await agent.get_workflow_status("run")
