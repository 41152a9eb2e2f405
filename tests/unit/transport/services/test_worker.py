"""The WorkerService over a real socket: registration, checks, bounds, and the ends of a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from headwater.v1 import worker_service_pb2, worker_service_pb2_grpc
from headwater.v1.worker_service_pb2 import (
    Heartbeat,
    Register,
    ServerMessage,
    TaskChunk,
    TaskError,
    TaskResult,
    WorkerMessage,
)
from headwater_server.domain.workflow import Outcome, Step, StepError
from headwater_server.transport.convert import workers as worker_messages
from headwater_server.transport.interceptors.chain import interceptors
from headwater_server.transport.services import worker as worker_service
from headwater_server.transport.services.worker import WorkerService
from headwater_server.workflows.workers.pool import TaskSpec, WorkerPool
from headwater_server.workflows.workers.tasks import Assign, Cancel

KIB = 1024
MIB = 1024 * KIB


class Site:
    """A server with nothing but the WorkerService."""

    def __init__(self, heartbeat_timeout_seconds: float = 60.0) -> None:
        self.pool = WorkerPool(heartbeat_timeout_seconds)
        self.remembered: list[tuple[str, frozenset[str]]] = []
        self.service = WorkerService(self.pool, self.remember)
        self.server = grpc.aio.server(
            interceptors=interceptors(),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 32 * MIB)],
        )
        self.chunks: list[tuple[str, str]] = []

    async def remember(self, queue: str, names: Collection[str]) -> None:
        self.remembered.append((queue, frozenset(names)))

    async def __aenter__(self) -> Site:
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self.service, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.http2.bdp_probe", 0)])
        self.stub = worker_service_pb2_grpc.WorkerServiceStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.server.stop(None)
        self.pool.close()

    def execute(self, spec: TaskSpec | None = None) -> asyncio.Task[Outcome]:
        async def nothing(*_: object) -> None: ...

        async def on_chunk(content: str, thinking: str) -> None:
            self.chunks.append((content, thinking))

        return asyncio.create_task(
            self.pool.execute(
                spec or TaskSpec("run", "workflow", Step("step", handler="h"), 1),
                "q",
                schedule_timeout_seconds=30,
                timeout_seconds=None,
                on_waiting=nothing,
                on_started=nothing,
                on_chunk=on_chunk,
            )
        )


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


class Caller:
    """A worker as any language has it: the generated stub, and nothing else."""

    def __init__(self, site: Site) -> None:
        self.call = site.stub.Connect()

    async def say(self, **kind: Any) -> None:
        await self.call.write(WorkerMessage(**kind))

    async def register(self, **fields: Any) -> worker_service_pb2.Registered:
        await self.say(register=Register(**({"worker_id": "w", "queue": "q", "handlers": ["h"]} | fields)))
        return (await self.hear("registered")).registered

    async def hear(self, kind: str) -> ServerMessage:
        message = await asyncio.wait_for(self.call.read(), 10)
        assert isinstance(message, ServerMessage), message
        assert message.WhichOneof("kind") == kind
        return message

    async def task_id(self) -> str:
        return (await self.hear("task")).task.task_id

    async def status(self) -> tuple[grpc.StatusCode, str, dict[str, str]]:
        """How the call ended: code, reason and the bad fields."""
        code = await asyncio.wait_for(self.call.code(), 10)
        error = grpc.aio.AioRpcError(
            code, await self.call.initial_metadata(), await self.call.trailing_metadata(), await self.call.details()
        )
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details if status else ():
            detail.Unpack(info)
            detail.Unpack(bad)
        return code, info.reason, {violation.field: violation.description for violation in bad.field_violations}

    async def refused_fields(self) -> dict[str, str]:
        code, reason, fields = await self.status()
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        return fields


async def test_a_worker_is_registered_and_its_handlers_are_remembered_first(site: Site) -> None:
    answer = await Caller(site).register(handlers=["b", "a"], task_ids=["old"])
    assert site.remembered == [("q", frozenset({"a", "b"}))]
    assert answer.heartbeat_timeout_ms == 60_000
    assert answer.heartbeat_interval_ms == 20_000
    assert list(answer.unwanted_task_ids) == ["old"]


async def test_a_worker_whose_handlers_cannot_be_remembered_is_not_registered(site: Site) -> None:
    async def broken(queue: str, names: Collection[str]) -> None:
        raise OSError("disk full")

    site.service._remember_handlers = broken
    caller = Caller(site)
    await caller.say(register=Register(worker_id="w", queue="q", handlers=["h"]))
    assert (await caller.status())[:2] == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert not site.pool._workers


async def test_every_mistake_of_a_register_is_named_at_once(site: Site) -> None:
    caller = Caller(site)
    await caller.say(register=Register(worker_id="", queue="q" * 257, handlers=["ok", ""], concurrency=-1))
    fields = await caller.refused_fields()
    assert list(fields) == [
        "register.worker_id",
        "register.queue",
        "register.handlers[1]",
        "register.concurrency",
    ]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("register.handlers", {"handlers": []}),
        ("register.handlers", {"handlers": ["h"] * 1001}),
        ("register.concurrency", {"concurrency": 10_001}),
        ("register.task_ids", {"task_ids": ["t"] * 20_001}),
        ("register.task_ids[0]", {"task_ids": ["t" * 257]}),
    ],
)
async def test_a_bad_register_is_refused(site: Site, field: str, fields: dict[str, Any]) -> None:
    caller = Caller(site)
    good = {"worker_id": "w", "queue": "q", "handlers": ["h"]}
    await caller.say(register=Register(**(good | fields)))
    assert list(await caller.refused_fields()) == [field]


@pytest.mark.parametrize("kind", [{"heartbeat": Heartbeat()}, {}, {"result": TaskResult(task_id="t", value="1")}])
async def test_the_first_message_must_be_register(site: Site, kind: dict[str, Any]) -> None:
    caller = Caller(site)
    await caller.say(**kind)
    assert list(await caller.refused_fields()) == ["register"]


async def test_a_worker_that_leaves_before_it_registers_is_told_so(site: Site) -> None:
    caller = Caller(site)
    await caller.call.done_writing()
    assert list(await caller.refused_fields()) == ["register"]


async def test_a_caller_that_says_nothing_is_not_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_service, "REGISTER_SECONDS", 0.05)
    assert list(await Caller(site).refused_fields()) == ["register"]


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("register", {"register": Register(worker_id="w", queue="q", handlers=["h"])}),
        ("kind", {}),
        ("result.task_id", {"result": TaskResult(value="1")}),
        ("chunk.content", {"chunk": TaskChunk(task_id="t", content="x" * (64 * KIB + 1))}),
        ("chunk.thinking", {"chunk": TaskChunk(task_id="t", thinking="x" * (64 * KIB + 1))}),
    ],
)
async def test_a_bad_message_ends_the_call_and_names_the_field(site: Site, field: str, kind: dict[str, Any]) -> None:
    caller = Caller(site)
    await caller.register()
    await caller.say(**kind)
    assert list(await caller.refused_fields()) == [field]
    assert not site.pool._workers


async def test_a_task_brings_all_that_its_handler_needs(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    step = Step("s", action="label", handler="h", depends_on=("a",), metadata='{"k": 1}', timeout_seconds=1.5)
    spec = TaskSpec("run", "flow", step, 3, {"n": "3.0", "é": '"x"'}, {"a": "10000000000000000000000000000000"})
    running = site.execute(spec)
    task = (await caller.hear("task")).task
    assert (task.run_id, task.workflow_name, task.attempt) == ("run", "flow", 3)
    assert (task.step.name, task.step.action, task.step.metadata) == ("s", "label", '{"k": 1}')
    assert task.context == '{"n": 3.0, "é": "x"}'
    assert task.dependency_results == '{"a": 10000000000000000000000000000000}'
    running.cancel()
    assert (await caller.hear("cancel")).cancel.task_id == task.task_id


async def test_chunks_and_a_result_reach_the_run_in_order_and_the_result_is_acknowledged(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    running = site.execute()
    task_id = await caller.task_id()
    await caller.say(chunk=TaskChunk(task_id=task_id, content="a"))
    await caller.say(chunk=TaskChunk(task_id="unknown", content="dropped"))
    await caller.say(chunk=TaskChunk(task_id=task_id, content="b", thinking="t"))
    changes = '{"i": 3, "f": 3.0, "big": 1000000000000000000000000000000, "o": {"z": 1, "a": null}}'
    await caller.say(result=TaskResult(task_id=task_id, value=" 3.0 ", context_changes=changes, deleted_keys=["d"]))
    assert await running == Outcome(
        "3.0",
        {"i": "3", "f": "3.0", "big": "1000000000000000000000000000000", "o": '{"z": 1, "a": null}'},
        ("d",),
    )
    assert site.chunks == [("a", ""), ("b", "t")]
    ack = (await caller.hear("ack")).ack
    assert (ack.task_id, ack.accepted) == (task_id, True)


async def test_a_result_that_nobody_wants_is_acknowledged_too(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    await caller.say(result=TaskResult(task_id="unknown", value="1"))
    ack = (await caller.hear("ack")).ack
    assert (ack.task_id, ack.accepted) == ("unknown", False)


def test_the_error_of_a_handler_is_passed_on_with_its_kind_and_cut() -> None:
    def parsed(**fields: Any) -> StepError:
        outcome = worker_messages.parse_result(TaskResult(task_id="t", error=TaskError(**fields)))
        assert isinstance(outcome, StepError)
        return outcome

    error = parsed(message="no", type="ValueError", retryable=True)
    assert (error.message, error.retryable) == ("ValueError: no", True)
    assert parsed(message="ValueError: no", type="ValueError").message == "ValueError: no"
    assert not parsed(message="no").retryable
    assert len(parsed(message="x" * 2000).message) == 1000
    assert parsed().message


DEEP = 101


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (TaskResult(), "neither a value nor an error"),
        (TaskResult(value=""), "value is not JSON"),
        (TaskResult(value="{"), "value is not JSON"),
        (TaskResult(value="1 2"), "value is not JSON"),
        (TaskResult(value="NaN"), "NaN"),
        (TaskResult(value="[-Infinity]"), "-Infinity"),
        (TaskResult(value="1e999"), "1e999 is too large"),
        (TaskResult(value="9" * 5000), "number"),
        (TaskResult(value=r'"\ud800"'), "surrogate"),
        (TaskResult(value="[" * DEEP + "]" * DEEP), "nested more than 100"),
        (TaskResult(value='{"a":' * DEEP + "1" + "}" * DEEP), "nested more than 100"),
        (TaskResult(value="[" * 100_000 + "]" * 100_000), "nested more than 100"),
        (TaskResult(value='"' + "x" * MIB + '"'), "more than 1048576"),
        (TaskResult(value='"' + "é" * (MIB // 2) + '"'), "more than 1048576"),
        (TaskResult(value="1", context_changes="[]"), "context_changes must be a JSON object"),
        (TaskResult(value="1", context_changes="{"), "context_changes is not JSON"),
        (TaskResult(value="1", context_changes='{"k": NaN}'), "it has a number"),
        (TaskResult(value="1", context_changes='{"k": 1}', deleted_keys=["k"]), "deleted_keys has `k`"),
        (TaskResult(value="1", deleted_keys=["k" * MIB, "kk"]), "deleted_keys are larger"),
    ],
)
def test_a_result_that_is_not_as_agreed_fails_its_step_for_good(message: TaskResult, said: str) -> None:
    error = worker_messages.parse_result(message)
    assert isinstance(error, StepError)
    assert said in error.message
    assert len(error.message) < 500
    assert not error.retryable


JSON_LIKE = st.one_of(
    st.text(),
    st.text('[]{}",:\\\\u d8nulltrefasNI0123456789.eE+-'),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps),
)


@given(JSON_LIKE, JSON_LIKE)
def test_whatever_a_worker_sends_is_an_error_or_json_that_every_language_reads(value: str, changes: str) -> None:
    outcome = worker_messages.parse_result(TaskResult(value=value, context_changes=changes))
    if isinstance(outcome, Outcome):
        for text in (outcome.result, *outcome.changes.values()):
            json.dumps(json.loads(text), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text", ["null", "0", "-0.0", "3", "3.0", '"é\\u0000"', "[" * 100 + "]" * 100, '{"a": {"a": [1, true]}}', "1e300"]
)
def test_a_result_comes_through_as_it_was_written(text: str) -> None:
    outcome = worker_messages.parse_result(TaskResult(value=text, context_changes=f'{{"k": {text}}}'))
    assert isinstance(outcome, Outcome)
    assert outcome.result == text
    assert outcome.changes["k"] in (text, text.replace("1e300", "1e+300"))


def test_a_task_that_no_message_holds_is_an_error_that_says_so() -> None:
    spec = TaskSpec("run", "flow", Step("s", handler="h"), 1, {"k": '"' + "é" * (3 * MIB // 2) + '"'})
    with pytest.raises(StepError, match="more than 3145728 bytes") as caught:
        worker_messages.task(Assign("t", spec))
    assert not caught.value.retryable


async def test_a_task_that_no_message_holds_fails_and_its_worker_goes_on(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    with pytest.raises(StepError, match="more than 3145728 bytes"):
        await site.execute(TaskSpec("run", "flow", Step("s", handler="h"), 1, {"k": '"' + "x" * (3 * MIB) + '"'}))
    running = site.execute()
    await caller.say(result=TaskResult(task_id=await caller.task_id(), value="1"))
    assert (await running).result == "1"


async def test_a_worker_that_is_cut_off_takes_up_its_task_over_another_call(site: Site) -> None:
    first = Caller(site)
    await first.register()
    running = site.execute()
    task_id = await first.task_id()
    first.call.cancel()
    second = Caller(site)
    assert not (await second.register(task_ids=[task_id])).unwanted_task_ids
    await second.say(result=TaskResult(task_id=task_id, value="1"))
    assert (await running).result == "1"


async def test_a_second_worker_under_the_same_id_ends_the_call_of_the_first(site: Site) -> None:
    first, second = Caller(site), Caller(site)
    await first.register()
    await second.register()
    assert list(await first.refused_fields()) == ["register.worker_id"]
    running = site.execute()
    await second.say(result=TaskResult(task_id=await second.task_id(), value="1"))
    await running


async def test_heartbeats_keep_a_worker_alive_and_silence_does_not() -> None:
    async with Site(0.3) as site:
        caller = Caller(site)
        interval = (await caller.register()).heartbeat_interval_ms / 1000
        running = site.execute()
        await caller.task_id()
        for _ in range(6):
            await asyncio.sleep(interval)
            await caller.say(heartbeat=Heartbeat())
        assert not running.done()
        with pytest.raises(StepError, match="vanished"):
            await running


async def test_a_worker_that_closes_its_side_gets_its_acks_and_then_the_end(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    running = site.execute()
    task_id = await caller.task_id()
    await caller.say(result=TaskResult(task_id=task_id, value="1"))
    await caller.call.done_writing()
    assert (await caller.hear("ack")).ack.accepted
    assert await caller.call.read() is grpc.aio.EOF
    assert (await caller.status())[0] is grpc.StatusCode.OK
    await running
    assert not site.pool._workers


async def test_draining_ends_every_call_and_takes_no_more(site: Site) -> None:
    registered, silent = Caller(site), Caller(site)
    await registered.register()
    await silent.call.wait_for_connection()
    site.service.drain()
    late = Caller(site)
    for caller in (registered, silent, late):
        assert (await caller.status())[:2] == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")


async def test_a_worker_that_takes_no_message_is_disconnected(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_service, "WRITE_SECONDS", 0.2)
    caller = Caller(site)
    await caller.register(concurrency=20)
    running = [
        site.execute(TaskSpec("run", "flow", Step("s", handler="h"), 1, {"k": '"' + "x" * MIB + '"'}))
        for _ in range(20)
    ]
    while site.pool._workers["w"].link is not None:
        await caller.say(heartbeat=Heartbeat())
        await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
    with pytest.raises(grpc.aio.AioRpcError):
        while True:
            await caller.call.read()
    assert (await caller.status())[:2] == (grpc.StatusCode.ABORTED, "STREAM_INTERRUPTED")


async def test_from_a_worker_that_reads_no_acks_nothing_more_is_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    parse_result = worker_messages.parse_result

    def counted(message: TaskResult) -> Outcome | StepError:
        taken.append(message.task_id)
        return parse_result(message)

    monkeypatch.setattr(worker_messages, "parse_result", counted)
    monkeypatch.setattr(worker_service, "MAX_WAITING_ACKS", 10)
    caller = Caller(site)
    await caller.register()

    async def flood() -> None:
        for number in range(200_000):
            await caller.say(result=TaskResult(task_id=f"{number:0250}", value="1"))

    flooding = asyncio.create_task(flood())
    before = -1
    while before != len(taken):
        before = len(taken)
        await asyncio.sleep(0.5)
    assert not flooding.done()
    assert len(taken) < 20_000
    caller.call.cancel()
    await asyncio.wait([flooding])


def test_a_task_cancelled_before_it_was_written_is_not_sent_at_all() -> None:
    outbox = worker_service._Outbox()
    outbox.send(Assign("t", TaskSpec("run", "flow", Step("s"), 1)))
    outbox.send(Cancel("t"))
    assert not outbox._waiting


async def test_acks_sent_twice_for_one_task_count_once() -> None:
    outbox = worker_service._Outbox()
    for _ in range(3 * worker_service.MAX_WAITING_ACKS):
        await asyncio.wait_for(outbox.acknowledge("t", False), 1)
    assert await outbox.next() is not None
    assert outbox._acks == 0
