"""Three processes of a server in one: each on another port here, so that a test says which one a call comes to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from structlog.testing import capture_logs

from headwater.v1 import agent_pb2, agent_service_pb2, worker_service_pb2, workflow_pb2, workflow_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.opening import StreamOpener
from headwater_server.attempts.policy import AttemptSettings
from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.eventlog.memory_log import MemoryLog
from headwater_server.providers.registry import ProviderRegistry
from headwater_server.providers.scripted.provider import ScriptedProvider
from headwater_server.streaming.answerer import Timeouts
from headwater_server.streaming.replays import Replays
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.terms import ReplayLimits
from headwater_server.transport.convert import paging
from headwater_server.transport.owners import routing
from headwater_server.transport.process_server import ProcessServer, RunServices, StreamServices
from headwater_server.transport.services.actions import Actions
from headwater_server.transport.services.worker import WorkerService
from headwater_server.transport.services.workflow import WorkflowService
from headwater_server.workflows.journal.sqlite import SqliteJournal
from headwater_server.workflows.workers.pool import WorkerPool
from tests.support.runs.expressions import fake_runs
from tests.support.servers.callers import NO_CALLERS
from tests.support.services.attempts import NO_ACCOUNTS
from tests.support.stubs.stub import details

PB = agent_service_pb2
COUNT = 3


class Process:
    """One of the processes, from `open` to `close`.

    Attributes:
        agents, workflows, workers: stubs that call it.
    """

    def __init__(self, identity: ProcessIdentity, data: Path) -> None:
        self.identity = identity
        self.streams = RunningStreams(identity.index)
        self._data = data
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        providers = ProviderRegistry({"scripted": ScriptedProvider()}, frozenset({"scripted"}), "", {})
        offers = Offers(Offer(providers, Timeouts(), AttemptSettings()))
        opener = StreamOpener(offers, self.streams, Circuits(5), NO_ACCOUNTS, False)
        replays = Replays(ReplayLimits(), MemoryLog)
        self._stack.push_async_callback(replays.close)
        services = None
        if self.identity.owns_runs:
            journal = await SqliteJournal.open(self._data)
            self._stack.push_async_callback(journal.close)
            pool = WorkerPool(60)
            self._stack.callback(pool.close)
            runs = fake_runs(journal, pool, Actions(opener).act, 3600)
            self._stack.push_async_callback(runs.close)
            await runs.open()
            workers = WorkerService(pool, journal.remember_handlers, "1", runs.all_resumed)
            services = RunServices(WorkflowService(runs), workers)
        made_of = StreamServices(opener, offers, self.streams, replays, "1")
        self.server = ProcessServer(self.identity, made_of, services, NO_CALLERS)
        self._stack.push_async_callback(self.server.stop)
        await self.server.start("127.0.0.1", 0)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}")
        self._stack.push_async_callback(channel.close)
        self.agents: Any = AgentServiceStub(channel)
        self.workflows: Any = WorkflowServiceStub(channel)
        self.workers: Any = WorkerServiceStub(channel)

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Process]]:
    monkeypatch.setattr("headwater_server.transport.process_server.SIBLINGS_LATE_SECONDS", 0)  # they end together
    made = [Process(ProcessIdentity(index, COUNT, tmp_path), tmp_path / "data") for index in range(COUNT)]
    for process in made:
        await process.open()
    yield made
    await asyncio.gather(*(process.close() for process in made))


async def soon(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, 10)


def hanging(label: str = "", **fields: Any) -> PB.StreamRequest:
    """A request that is answered with one word and nothing more."""
    request = PB.StreamRequest(agent=agent_pb2.AgentConfig(model="scripted/echo"), prompt="one two", **fields)
    request.agent.provider_options["scripted"].update({"hang_after": 1})
    request.agent.labels["label"] = label
    return request


async def running(process: Process, label: str = "", **fields: Any) -> tuple[Any, str]:
    """A stream of this process that has begun, and its id."""
    call = process.agents.Stream(hanging(label, **fields))
    chunk = await soon(call.read())
    assert chunk.content == "one"
    return call, chunk.stream_id


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """The status and the reason that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            while await soon(call.read()) is not grpc.aio.EOF:
                pass
        else:
            await soon(call)
    info: Any = details(caught.value).get("ErrorInfo")
    return caught.value.code(), info.reason if info else ""


def cancel(stream_id: str) -> PB.CancelStreamRequest:
    return PB.CancelStreamRequest(stream_id=stream_id)


CANCELLED = (grpc.StatusCode.CANCELLED, "STREAM_CANCELLED")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "STREAM_NOT_FOUND")


async def test_the_id_of_a_stream_names_its_process(processes):
    for index, process in enumerate(processes):
        call, stream_id = await running(process)
        assert stream_id.startswith(f"str_{index}_")
        call.cancel()


# CancelStream


@pytest.mark.parametrize("asked", range(COUNT))
@pytest.mark.parametrize("owner", range(COUNT))
async def test_every_process_cancels_a_stream_of_any(processes, asked, owner):
    call, stream_id = await running(processes[owner])
    await soon(processes[asked].agents.CancelStream(cancel(stream_id)))
    assert await refusal(call) == CANCELLED


@pytest.mark.parametrize("stream_id", [f"str_{COUNT - 1}_{'a' * 22}", f"str_0_{'a' * 22}", "str_none", "ä" * 300])
async def test_a_stream_that_nobody_has_is_not_found(processes, stream_id):
    assert await refusal(processes[0].agents.CancelStream(cancel(stream_id))) == NOT_FOUND


async def test_what_is_passed_on_is_in_the_log_of_both(processes):
    call, stream_id = await running(processes[1])
    with capture_logs() as lines:
        await soon(processes[0].agents.CancelStream(cancel(stream_id)))
    assert [line["code"] for line in lines if line.get("rpc") == "CancelStream"] == ["OK", "OK"]
    assert await refusal(call) == CANCELLED


# Stream, for the next round of a stream


async def test_the_next_round_runs_where_the_first_did(processes):
    stream_id = f"str_2_{'a' * 22}"
    call, same_id = await running(processes[0], continues_stream_id=stream_id, continues_sequence=41)
    assert same_id == stream_id
    assert dict(await call.initial_metadata())["headwater-stream-id"] == stream_id
    assert [len(process.streams) for process in processes] == [0, 0, 1]
    again = processes[1].agents.Stream(hanging(continues_stream_id=stream_id, continues_sequence=41))
    assert await refusal(again) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    await soon(processes[1].agents.CancelStream(cancel(stream_id)))
    assert await refusal(call) == CANCELLED


async def test_the_chunks_of_a_round_elsewhere_are_those_of_one_here(processes):
    request = PB.StreamRequest(
        agent=agent_pb2.AgentConfig(model="scripted/echo"), prompt="one two", continues_sequence=41
    )
    request.agent.provider_options["scripted"].update({"delay_ms": 20})
    replies = []
    for index in (0, 1):
        request.continues_stream_id = f"str_{index}_{'a' * 22}"
        chunks = [chunk async for chunk in processes[0].agents.Stream(request)]
        replies.append([(chunk.content, chunk.sequence, chunk.is_final, chunk.usage) for chunk in chunks])
    assert replies[0] == replies[1]
    assert replies[1][-1][1] == 44


async def test_a_key_for_the_provider_reaches_the_owner_of_the_stream(processes):
    request = hanging(continues_stream_id=f"str_1_{'a' * 22}", continues_sequence=1)
    call = processes[0].agents.Stream(request, metadata=(("headwater-provider-key", "sk-mine"),))
    with pytest.raises(grpc.aio.AioRpcError, match="headwater-provider-key: is not taken here"):
        await soon(call.read())


async def test_a_reader_that_leaves_a_round_elsewhere_ends_it_there(processes):
    call, _ = await running(processes[0], continues_stream_id=f"str_1_{'a' * 22}", continues_sequence=1)
    assert len(processes[1].streams) == 1
    call.cancel()
    await soon(processes[1].streams.close())
    assert len(processes[1].streams) == 0


async def test_a_stream_of_a_process_that_is_no_more_goes_on_in_one_that_is(processes):
    stream_id = f"str_7_{'a' * 22}"
    call, _ = await running(processes[0], continues_stream_id=stream_id, continues_sequence=1)
    assert [len(process.streams) for process in processes] == [0, 1, 0]
    await soon(processes[2].agents.CancelStream(cancel(stream_id)))
    assert await refusal(call) == CANCELLED


async def test_what_is_no_id_is_refused_where_it_comes(processes):
    call = processes[1].agents.Stream(hanging(continues_stream_id="str_x", continues_sequence=1))
    assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


# ListStreams


async def listed(process: Process, **fields: Any) -> PB.ListStreamsResponse:
    return await soon(process.agents.ListStreams(PB.ListStreamsRequest(**fields)))


async def pages(asked: list[Process], size: int = 0) -> list[list[str]]:
    """The ids in all pages; the processes are asked in turn."""
    found, token = [], ""
    while token or not found:
        answer = await listed(asked[len(found) % len(asked)], page_size=size, page_token=token)
        found.append(ids(answer))
        token = answer.next_page_token
    return found


def ids(answer: PB.ListStreamsResponse) -> list[str]:
    return [stream.stream_id for stream in answer.streams]


async def test_every_process_lists_the_streams_of_all_oldest_first(processes):
    begun = [await running(processes[index]) for index in (1, 0, 2, 0, 1)]
    for process in processes:
        answer = await listed(process)
        assert ids(answer) == [stream_id for _, stream_id in begun]
        assert answer.next_page_token == ""


@pytest.mark.parametrize("owners", [(1, 1, 1, 2, 0), (2, 2, 2, 2, 2)], ids=["of several", "of one"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
async def test_the_pages_of_all_streams_whichever_process_is_asked(processes, size, owners):
    begun = [await running(processes[index]) for index in owners]
    found = await pages(processes, size)
    everything = [stream_id for _, stream_id in begun]
    assert found == [everything[i : i + size] for i in range(0, 5, size)]


@pytest.mark.parametrize("asked", range(COUNT))
async def test_a_page_has_no_more_than_fits_into_a_message_and_no_stream_is_left_out(processes, asked, monkeypatch):
    monkeypatch.setattr(paging, "MAX_MESSAGE_BYTES", 1000)  # two streams with long labels, and a short one
    begun = [
        await running(processes[owner], "x" * length)
        for owner, length in ((1, 200), (1, 200), (1, 200), (2, 0), (0, 0))
    ]
    everything = [stream_id for _, stream_id in begun]
    assert await pages([processes[asked]]) == [everything[:2], everything[2:]]


async def test_a_page_goes_on_where_the_one_before_ended_though_that_stream_is_gone(processes):
    begun = [await running(processes[index]) for index in (0, 1, 2)]
    first = await listed(processes[0], page_size=2)
    begun[1][0].cancel()
    await soon(processes[1].streams.close())
    assert ids(await listed(processes[1], page_token=first.next_page_token)) == [begun[2][1]]


@pytest.mark.parametrize("fields", [{"page_size": -1}, {"page_token": "x"}])
async def test_a_bad_page_is_refused(processes, fields):
    call = processes[1].agents.ListStreams(PB.ListStreamsRequest(**fields))
    assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_a_process_that_is_not_there_has_no_streams(processes):
    call, stream_id = await running(processes[0])
    await processes[1].close()
    assert ids(await listed(processes[0])) == [stream_id]
    call.cancel()


async def test_a_process_that_does_not_answer_is_no_empty_list(processes, tmp_path, monkeypatch):
    monkeypatch.setattr(routing, "LIST_SECONDS", 0.3)
    await processes[1].close()
    processes[1].identity.socket(1).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(processes[1].identity.socket(1)))
        silent.listen()
        async with asyncio.timeout(10):  # the connection that was closed may still be there
            while (told := await _told(processes[0])) == "OK":
                await asyncio.sleep(0.02)
    assert told == "SERVER_DRAINING"


async def _told(process: Process) -> str:
    try:
        await listed(process)
    except grpc.aio.AioRpcError as error:
        info: Any = details(error)["ErrorInfo"]
        return str(info.reason)
    return "OK"


# Runs and workers


def workflow(**step: Any) -> workflow_service_pb2.StartWorkflowRunRequest:
    definition = {"name": "test", "agent": {"model": "scripted/echo"}, "steps": [{"name": "a", **step}]}
    parsed = ParseDict(definition, workflow_pb2.Workflow())
    return workflow_service_pb2.StartWorkflowRunRequest(workflow=parsed, queue="q")


async def test_a_run_that_one_process_started_is_known_to_all(processes):
    run_id = (await soon(processes[1].workflows.StartWorkflowRun(workflow(action="hello")))).run_id
    watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)
    told = []
    for process in processes:
        events = [event async for event in process.workflows.WatchWorkflowRun(watch)]
        told.append([event.sequence for event in events])
        assert events[-1].HasField("run_finished")
    assert told[0] == told[1] == told[2]
    runs = await soon(processes[2].workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest()))
    assert [run.run_id for run in runs.runs] == [run_id]


async def test_a_worker_of_one_process_does_the_task_of_a_run_from_another(processes):
    worker = processes[1].workers.Attach()
    registration = worker_service_pb2.WorkerRegistration(worker_id="w", queue="q", handlers=["double"])
    await worker.write(worker_service_pb2.AttachRequest(registration=registration))
    assert (await soon(worker.read())).WhichOneof("kind") == "registered"
    request = workflow_service_pb2.ExecuteWorkflowRequest(start=workflow(handler="double"))
    run = processes[2].workflows.ExecuteWorkflow(request)
    task = (await soon(worker.read())).task
    assert task.step.handler == "double"
    result = worker_service_pb2.TaskResult(task_id=task.task_id, result_json='"4"')
    await worker.write(worker_service_pb2.AttachRequest(result=result))
    assert (await soon(worker.read())).ack.accepted
    events = [event async for event in run]
    assert events[-1].run_finished.status == workflow_pb2.WORKFLOW_RUN_STATUS_COMPLETED
    await worker.done_writing()
    assert await soon(worker.read()) is grpc.aio.EOF


async def test_the_errors_of_the_owner_of_the_runs(processes):
    get = workflow_service_pb2.GetWorkflowRunRequest(run_id="run_none")
    assert await refusal(processes[2].workflows.GetWorkflowRun(get)) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")
    worker = processes[1].workers.Attach()
    await worker.write(worker_service_pb2.AttachRequest(heartbeat=worker_service_pb2.WorkerHeartbeat()))
    assert await refusal(worker) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


@pytest.mark.parametrize("service", routing.SERVICES_OF_RUNS, ids=lambda service: service.name)
async def test_every_method_of_the_services_of_runs_is_passed_on(processes, service):
    """The owner alone answers: it says what is wrong with an empty request, or answers it, and never UNIMPLEMENTED."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{processes[1].server.port}") as channel:
        for method in service.methods:
            call: Any = channel.stream_stream(f"/{service.full_name}/{method.name}")()
            with capture_logs() as lines:
                await call.write(b"")
                await call.done_writing()
                assert await _code(call) in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
            assert [line["rpc"] for line in lines if line["event"] == "rpc"] == [method.name] * 2


async def _code(call: Any) -> grpc.StatusCode:
    try:
        while await soon(call.read()) is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_streams_of_a_process_go_on_while_the_owner_of_the_runs_is_away(processes):
    await processes[0].close()
    request = PB.StreamRequest(agent=agent_pb2.AgentConfig(model="scripted/echo"), prompt="one two")
    reply = await soon(processes[1].agents.Run(request))
    assert reply.content == "one two"


# The end


async def test_a_process_that_drains_keeps_what_it_passes_on_until_the_owner_ends_it(processes):
    call, stream_id = await running(processes[1], continues_stream_id=f"str_2_{'a' * 22}", continues_sequence=1)
    draining = asyncio.create_task(processes[1].server.drain(30))
    await asyncio.sleep(0)
    assert processes[1].server.relayed == 1
    await soon(processes[0].agents.CancelStream(cancel(stream_id)))
    assert await refusal(call) == CANCELLED
    await soon(draining)
    assert processes[1].server.relayed == 0
