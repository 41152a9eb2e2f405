"""Which caller may call which method: every method of the contract, from the descriptors, for each kind of token.

Each test runs against one process and against two, and makes its calls over several connections, so that both of two
take some: a call is passed to the process that has the stream or the runs. Nothing that is refused leaves a trace: the
stream and the run of `alice` are as before, and no others were begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from headwater.v1 import agent_service_pb2, operator_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater.v1.workflow_pb2 import WORKFLOW_RUN_STATUS_RUNNING
from headwater_server.callers.token_file import add_token, revoke_tokens
from headwater_server.callers.tokens import make_token
from tests.support.methods.calls import OPTIONS, Ending, Method, call, methods_in
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub, workflow_stub

CONNECTIONS = 6
OK = (grpc.StatusCode.OK, "")
FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, "CALLER_FORBIDDEN")
UNKNOWN_CALLER = (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED")
NO_STREAM = (grpc.StatusCode.NOT_FOUND, "STREAM_NOT_FOUND")
NO_RUN = (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")

FILES = (agent_service_pb2, workflow_service_pb2, worker_service_pb2, operator_service_pb2)
METHODS = methods_in(service for file in FILES for service in file.DESCRIPTOR.services_by_name.values())
HEALTH = methods_in(health_pb2.DESCRIPTOR.services_by_name.values())
REFLECTION = methods_in(reflection_pb2.DESCRIPTOR.services_by_name.values())
SCOPES = {
    "AgentService": "stream",
    "WorkflowService": "workflow",
    "WorkerService": "worker:mine",
    "OperatorService": "operator",
}
OF_CALLERS = tuple(scope for scope in SCOPES.values() if scope != "operator")

HANGS = {"model": "scripted/echo", "providerOptions": {"scripted": {"text": "one two", "hang_after": 1}}}
WAITS = {"workflow": {"name": "w", "steps": [{"name": "a", "handler": "h"}]}, "queue": "mine", "requestId": "first"}
BEGUN = {**WAITS, "requestId": "second"}


@dataclass(frozen=True)
class Place:
    """A server with callers, and what alice has there.

    Attributes:
        tokens: by the names of their kinds.
        stream_id, run_id: of her stream and of her run, neither of which ends by itself.
    """

    target: str
    tokens: dict[str, str]
    stream_id: str
    run_id: str

    def requests(self, method: Method) -> dict[str, Any]:
        """A right request for the method, about what alice has."""
        stream, run = {"streamId": self.stream_id}, {"runId": self.run_id}
        return {
            "Stream": {"agent": HANGS, "prompt": "x", "resumable": True, "continuesStreamId": self.stream_id,
                       "continuesSequence": 1},
            "Run": {"agent": HANGS, "prompt": "x"},
            "ResumeStream": stream,
            "CancelStream": stream,
            "ValidateWorkflow": {"workflow": WAITS["workflow"], "queue": "mine"},
            "StartWorkflowRun": BEGUN,
            "ExecuteWorkflow": {"start": BEGUN},
            "WatchWorkflowRun": run,
            "GetWorkflowRun": run,
            "CancelWorkflowRun": run,
            "ResumeWorkflowRun": run,
            "DeleteWorkflowRun": run,
            "Attach": {"registration": {"workerId": "w", "queue": "mine", "handlers": ["h"]}},
        }.get(name_of(method), {})  # fmt: skip

    async def ask(self, method: Method, token: str | None, request: dict[str, Any] | None = None) -> set[Any]:
        """Makes the call over each of several connections; the codes and reasons with which it ended."""
        message = GetMessageClass(method.request)()
        ParseDict(self.requests(method) if request is None else request, message)
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(self.target, options=OPTIONS))
                for _ in range(CONNECTIONS)
            ]
            data = [message.SerializeToString()]
            calls = (call(channel, method, data, 1 if method.gives_many else 2, bearer(token)) for channel in channels)
            endings: list[Ending] = [ending for ending, _ in await asyncio.gather(*calls)]
        return {(ending.code, ending.reason) for ending in endings}

    async def left(self) -> tuple[list[str], list[tuple[str, int]]]:
        """The streams and the runs that the server has, as an operator sees them."""
        operator = bearer(self.tokens["operator"])
        async with agent_stub(self.target) as agents, workflow_stub(self.target) as workflows:
            streams = await agents.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=operator)
            runs = await workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=operator)
        return [stream.stream_id for stream in streams.streams], [(run.run_id, run.status) for run in runs.runs]


def name_of(method: Method) -> str:
    return method.path.rpartition("/")[2]


def service_of(method: Method) -> str:
    return method.path.split("/")[1].rpartition(".")[2]


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


def tokens_in(folder: Path) -> dict[str, str]:
    """Makes a token of each kind in the data directory."""
    now, texts = time.time(), {}
    every = OF_CALLERS
    for kind, caller, scopes in (
        ("alice", "alice", every),
        ("alice's second", "alice", every),
        ("bob", "bob", every),
        ("operator", "carol", ("operator",)),
        ("revoked", "revoked", every),
        *((f"only {scope}", "dave", (scope,)) for scope in every),
    ):
        token, texts[kind] = make_token(caller, scopes, now)
        add_token(folder, token)
    expired, texts["expired"] = make_token("alice", every, now - 10 * 86_400, days=1)
    add_token(folder, expired)
    revoke_tokens(folder, "revoked", now)
    return {**texts, "wrong": "hw_" + "A" * 43, "empty": ""}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    folder = tmp_path_factory.mktemp("callers")
    tokens = tokens_in(folder)
    variables = {"HEADWATER_DATA_DIR": str(folder), "HEADWATER_LOG_LEVEL": "debug", "HEADWATER_DRAIN_SECONDS": "0.2"}
    with ServerProcess("--scripted", variables=variables, processes=request.param) as running:
        yield running.target, tokens
        running.stop()
        assert [kind for kind, token in tokens.items() if token and token in running.log] == []


@pytest.fixture
async def place(server: tuple[str, dict[str, str]]):
    """The server, where alice has a stream and a run."""
    target, tokens = server
    alice = bearer(tokens["alice"])
    async with agent_stub(target) as agents, workflow_stub(target) as workflows:
        asked = ParseDict({"agent": HANGS, "prompt": "x", "resumable": True}, agent_service_pb2.StreamRequest())
        stream = agents.Stream(asked, metadata=alice)
        first = await stream.read()
        start = ParseDict(WAITS, workflow_service_pb2.StartWorkflowRunRequest())
        run_id = (await workflows.StartWorkflowRun(start, metadata=alice)).run_id
        yield Place(target, tokens, first.stream_id, run_id)
        stream.cancel()
        mine = await workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=alice)
        for run in mine.runs:
            if run.status == WORKFLOW_RUN_STATUS_RUNNING:
                cancel = workflow_service_pb2.CancelWorkflowRunRequest(run_id=run.run_id)
                await workflows.CancelWorkflowRun(cancel, metadata=alice)
            delete = workflow_service_pb2.DeleteWorkflowRunRequest(run_id=run.run_id)
            await workflows.DeleteWorkflowRun(delete, metadata=alice)
        for each in (await agents.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=alice)).streams:
            cancelled = agent_service_pb2.CancelStreamRequest(stream_id=each.stream_id)
            await agents.CancelStream(cancelled, metadata=alice)


@pytest.mark.parametrize("kind", [None, "empty", "wrong", "revoked", "expired"])
async def test_without_a_token_in_force_no_method_is_there(place: Place, kind: str | None) -> None:
    token = None if kind is None else place.tokens[kind]
    before = await place.left()
    for method in (*METHODS, *REFLECTION):
        assert await place.ask(method, token) == {UNKNOWN_CALLER}, method.path
    assert await place.left() == before == ([place.stream_id], [(place.run_id, WORKFLOW_RUN_STATUS_RUNNING)])


@pytest.mark.parametrize("scope", OF_CALLERS)
async def test_a_token_without_the_scope_of_a_method_may_not_call_it(place: Place, scope: str) -> None:
    before = await place.left()
    for method in METHODS:
        if SCOPES[service_of(method)] != scope:
            assert await place.ask(method, place.tokens[f"only {scope}"]) == {FORBIDDEN}, method.path
    assert await place.left() == before


async def test_what_belongs_to_another_caller_is_not_there(place: Place) -> None:
    before = await place.left()
    expected = {
        **dict.fromkeys(("Stream", "ResumeStream", "CancelStream"), NO_STREAM),
        **dict.fromkeys(("Watch", "Get", "Cancel", "Resume", "Delete"), NO_RUN),
    }
    seen = set()
    for method in METHODS:
        name = name_of(method).removesuffix("WorkflowRun")
        if name in expected:
            seen.add(name)
            assert await place.ask(method, place.tokens["bob"]) == {expected[name]}, method.path
    assert seen == set(expected)
    (stream,) = (method for method in METHODS if name_of(method) == "Stream")
    plain = {**place.requests(stream), "resumable": False}
    assert await place.ask(stream, place.tokens["bob"], plain) == {NO_STREAM}
    assert await place.left() == before


async def test_lists_have_what_belongs_to_their_caller_and_an_operators_have_all(place: Place) -> None:
    first = agent_service_pb2.ListStreamsRequest(show_ended=True)
    async with agent_stub(place.target) as agents, workflow_stub(place.target) as workflows:
        for kind, count in (("alice", 1), ("alice's second", 1), ("operator", 1), ("bob", 0)):
            with_token = bearer(place.tokens[kind])
            streams = await agents.ListStreams(first, metadata=with_token)
            assert [each.stream_id for each in streams.streams if each.stream_id == place.stream_id] == [
                place.stream_id
            ] * count
            runs = await workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=with_token)
            assert [each.run_id for each in runs.runs] == [place.run_id] * count


async def test_a_page_token_shows_nothing_of_another_caller(place: Place) -> None:
    alice, bob = bearer(place.tokens["alice"]), bearer(place.tokens["bob"])
    request = workflow_service_pb2.ListWorkflowRunsRequest(page_size=1)
    async with workflow_stub(place.target) as workflows:
        start = ParseDict(BEGUN, workflow_service_pb2.StartWorkflowRunRequest())
        newer = (await workflows.StartWorkflowRun(start, metadata=alice)).run_id
        first = await workflows.ListWorkflowRuns(request, metadata=alice)
        assert [run.run_id for run in first.runs] == [newer]
        request.page_token = first.next_page_token
        assert [run.run_id for run in (await workflows.ListWorkflowRuns(request, metadata=alice)).runs] == [
            place.run_id
        ]
        assert not (await workflows.ListWorkflowRuns(request, metadata=bob)).runs


async def test_an_operator_calls_every_method_for_what_belongs_to_others_but_is_no_worker(place: Place) -> None:
    operator = place.tokens["operator"]
    by_name = {name_of(method): method for method in METHODS}
    for name in (
        "GetWorkflowRun",
        "WatchWorkflowRun",
        "ListStreams",
        "ListModels",
        "ValidateWorkflow",
        "GetServerStatus",
    ):
        assert await place.ask(by_name[name], operator) == {OK}, name
    assert await place.ask(by_name["ResumeStream"], operator, {"streamId": place.stream_id}) == {OK}
    assert await place.ask(by_name["Attach"], operator) == {FORBIDDEN}
    async with agent_stub(place.target) as agents, workflow_stub(place.target) as workflows:
        cancel = agent_service_pb2.CancelStreamRequest(stream_id=place.stream_id)
        await agents.CancelStream(cancel, metadata=bearer(operator))
        run = workflow_service_pb2.CancelWorkflowRunRequest(run_id=place.run_id)
        await workflows.CancelWorkflowRun(run, metadata=bearer(operator))


async def test_another_token_of_the_same_caller_reaches_what_is_its_own(place: Place) -> None:
    second = place.tokens["alice's second"]
    by_name = {name_of(method): method for method in METHODS}
    assert await place.ask(by_name["ResumeStream"], second) == {OK}
    assert await place.ask(by_name["GetWorkflowRun"], second) == {OK}


async def test_a_request_id_is_the_callers_own(place: Place) -> None:
    async with workflow_stub(place.target) as workflows:
        start = ParseDict(WAITS, workflow_service_pb2.StartWorkflowRunRequest())
        again = await workflows.StartWorkflowRun(start, metadata=bearer(place.tokens["alice's second"]))
        assert again.run_id == place.run_id
        bob = bearer(place.tokens["bob"])
        other = await workflows.StartWorkflowRun(start, metadata=bob)
        assert other.run_id != place.run_id
        await workflows.CancelWorkflowRun(
            workflow_service_pb2.CancelWorkflowRunRequest(run_id=other.run_id), metadata=bob
        )
        await workflows.DeleteWorkflowRun(
            workflow_service_pb2.DeleteWorkflowRunRequest(run_id=other.run_id), metadata=bob
        )


async def test_a_stream_of_a_step_belongs_to_the_caller_whose_run_it_is(place: Place) -> None:
    listing = agent_service_pb2.ListStreamsRequest()
    asking = {"workflow": {"name": "w", "agent": HANGS, "steps": [{"name": "a", "action": "x"}]}}
    start = ParseDict(asking, workflow_service_pb2.StartWorkflowRunRequest())
    alice, bob = bearer(place.tokens["alice"]), bearer(place.tokens["bob"])
    async with agent_stub(place.target) as agents, workflow_stub(place.target) as workflows:
        run_id = (await workflows.StartWorkflowRun(start, metadata=alice)).run_id
        await until_it_speaks(workflows, run_id, alice)
        assert len((await agents.ListStreams(listing, metadata=alice)).streams) == 2
        assert not (await agents.ListStreams(listing, metadata=bob)).streams
        cancel = workflow_service_pb2.CancelWorkflowRunRequest(run_id=run_id)
        await workflows.CancelWorkflowRun(cancel, metadata=alice)
        resume = workflow_service_pb2.ResumeWorkflowRunRequest(run_id=run_id)
        resumed = await workflows.ResumeWorkflowRun(resume, metadata=bearer(place.tokens["operator"]))
        await until_it_speaks(workflows, run_id, alice, resumed.sequence)
        assert len((await agents.ListStreams(listing, metadata=alice)).streams) == 2


async def until_it_speaks(workflows: Any, run_id: str, metadata: Any, after: int = 0) -> None:
    """Waits for the first output of a step."""
    watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id, after_sequence=after)
    events = workflows.WatchWorkflowRun(watch, metadata=metadata)
    async for event in events:
        if event.WhichOneof("event") == "step_chunk":
            break
    events.cancel()


async def test_a_worker_attaches_to_the_queues_that_its_scopes_name(place: Place) -> None:
    (attach,) = (method for method in METHODS if name_of(method) == "Attach")
    registration = {"workerId": "w", "handlers": ["other"]}
    for queue, ending in (("mine", OK), ("theirs", FORBIDDEN)):
        request = {"registration": {**registration, "queue": queue}}
        assert await place.ask(attach, place.tokens["only worker:mine"], request) == {ending}, queue


async def test_health_is_open_and_reflection_takes_any_token(place: Place) -> None:
    for method in HEALTH:
        assert await place.ask(method, None, {}) == {OK}, method.path
    for method in REFLECTION:
        assert await place.ask(method, place.tokens["only worker:mine"], {"listServices": "*"}) == {OK}
