"""The WorkerService over a real socket: registration, checks, bounds, and the ends of a call."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from headwater.v1 import error_pb2, worker_service_pb2, worker_service_pb2_grpc
from headwater.v1.worker_service_pb2 import (
    AttachRequest,
    AttachResponse,
    TaskChunk,
    TaskChunkAck,
    TaskHandback,
    TaskProgress,
    TaskResult,
    TaskWaiting,
    WorkerCapacity,
    WorkerHeartbeat,
    WorkerRegistration,
)
from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure, StepError
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import Outcome, Step
from headwater_server.telemetry.call_facts import merge_facts
from headwater_server.transport.convert import workers as worker_messages
from headwater_server.transport.interceptors.chain import interceptors
from headwater_server.transport.services import worker as worker_service
from headwater_server.transport.services.worker import WorkerService
from headwater_server.workflows.journal.base import JournalError
from headwater_server.workflows.workers.pool import WorkerPool
from headwater_server.workflows.workers.tasks import Assign, Cancel, Reports, TaskSpec
from tests.support.servers.callers import NO_CALLERS

KIB = 1024
MIB = 1024 * KIB


class Site:
    """A server with nothing but the WorkerService."""

    def __init__(self, heartbeat_timeout_seconds: float = 60.0) -> None:
        self.pool = WorkerPool(heartbeat_timeout_seconds)
        self.remembered: list[tuple[str, frozenset[str]]] = []
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.service = WorkerService(self.pool, self.remember, "1.2.3", self.all_resumed)
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 32 * MIB)]
        self.server = grpc.aio.server(interceptors=interceptors(NO_CALLERS), options=options)
        self.chunks: list[tuple[str, str]] = []

    async def all_resumed(self) -> None:
        await self.resumed.wait()

    async def remember(self, queue: str, names: Collection[str]) -> None:
        self.remembered.append((queue, frozenset(names)))

    async def __aenter__(self) -> Site:
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self.service, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.target = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.target, options=[("grpc.http2.bdp_probe", 0)])
        self.stub = worker_service_pb2_grpc.WorkerServiceStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.server.stop(None)
        self.pool.close()

    def run_task(self, spec: TaskSpec | None = None) -> asyncio.Task[Outcome]:
        async def nothing(*_: object) -> None: ...

        async def on_chunk(content: str, thinking: str) -> None:
            self.chunks.append((content, thinking))

        return asyncio.create_task(
            self.pool.run_task(
                spec or TaskSpec(uuid.uuid4().hex, "workflow", Step("step", handler="h"), 1),
                "q",
                schedule_timeout_seconds=30,
                timeout_seconds=None,
                on_waiting=nothing,
                on_started=nothing,
                reports=Reports(on_chunk, nothing, lambda _: None),
            )
        )


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


class Caller:
    """A worker as any language has it: the generated stub, and nothing else."""

    def __init__(self, site: Site) -> None:
        self.call = site.stub.Attach()

    async def say(self, **kind: Any) -> None:
        await self.call.write(AttachRequest(**kind))

    async def register(self, **fields: Any) -> worker_service_pb2.WorkerRegistered:
        await self.say(
            registration=WorkerRegistration(**({"worker_id": "w", "queue": "q", "handlers": ["h"]} | fields))
        )
        return (await self.hear("registered")).registered

    async def hear(self, kind: str) -> AttachResponse:
        message = await asyncio.wait_for(self.call.read(), 10)
        assert isinstance(message, AttachResponse), message
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


async def test_a_worker_that_holds_tasks_is_registered_when_the_runs_of_before_are_resumed(site: Site) -> None:
    site.resumed.clear()
    worker, other = Caller(site), Caller(site)
    registering = asyncio.create_task(worker.register(task_ids=["run/step/1"]))
    await other.register(worker_id="other")  # it holds none
    assert not registering.done()
    site.resumed.set()
    await registering


async def test_a_worker_that_waits_for_the_runs_of_before_is_sent_elsewhere_by_a_drain(site: Site) -> None:
    site.resumed.clear()
    worker = Caller(site)
    registration = {"worker_id": "w", "queue": "q", "handlers": ["h"], "task_ids": ["run/step/1"]}
    await worker.say(registration=WorkerRegistration(**registration))
    site.service.drain()
    assert (await worker.status())[:2] == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")


async def test_a_worker_is_registered_and_its_handlers_are_remembered_first(site: Site) -> None:
    answer = await Caller(site).register(handlers=["b", "a"], task_ids=["old"])
    assert site.remembered == [("q", frozenset({"a", "b"}))]
    assert answer.heartbeat_timeout.ToMilliseconds() == 60_000
    assert answer.heartbeat_interval.ToMilliseconds() == 20_000
    assert list(answer.unwanted_task_ids) == ["old"]
    assert answer.server_version == "1.2.3"


async def test_a_registration_is_logged_with_the_version_of_the_worker(site: Site) -> None:
    with capture_logs(processors=[merge_facts]) as lines:
        answer = await Caller(site).register(client_version="headwater-go/0.1.0", features=["not yet", "nor this"])
    assert not answer.features
    (line,) = [line for line in lines if line["event"] == "worker attached"]
    assert (line["worker_id"], line["queue"], line["handlers"]) == ("w", "q", 1)
    assert (line["client_version"], line["features"]) == ("headwater-go/0.1.0", [])


async def test_features_that_both_sides_know_are_in_use(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_messages, "FEATURES", frozenset({"b", "c"}))
    assert list((await Caller(site).register(features=["a", "b", "b"])).features) == ["b"]


async def test_a_worker_is_registered_although_the_journal_cannot_be_written(site: Site) -> None:
    async def broken(queue: str, names: Collection[str]) -> None:
        raise JournalError("the disk is full")

    site.service._remember_handlers = broken
    await Caller(site).register()
    assert site.pool._workers


async def test_every_mistake_of_a_register_is_named_at_once(site: Site) -> None:
    caller = Caller(site)
    await caller.say(
        registration=WorkerRegistration(worker_id="", queue="q" * 257, handlers=["ok", ""], concurrency=-1)
    )
    fields = await caller.refused_fields()
    assert list(fields) == [
        "registration.worker_id",
        "registration.queue",
        "registration.handlers[1]",
        "registration.concurrency",
    ]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("registration.handlers", {"handlers": []}),
        ("registration.handlers", {"handlers": ["h"] * 1001}),
        ("registration.concurrency", {"concurrency": 10_001}),
        ("registration.task_ids", {"task_ids": ["t"] * 20_001}),
        ("registration.task_ids[0]", {"task_ids": ["t" * 257]}),
        ("registration.client_version", {"client_version": "v" * 257}),
        ("registration.features", {"features": ["f"] * 101}),
        ("registration.features[1]", {"features": ["f", "f" * 65]}),
    ],
)
async def test_a_bad_register_is_refused(site: Site, field: str, fields: dict[str, Any]) -> None:
    caller = Caller(site)
    good = {"worker_id": "w", "queue": "q", "handlers": ["h"]}
    await caller.say(registration=WorkerRegistration(**(good | fields)))
    assert list(await caller.refused_fields()) == [field]


@pytest.mark.parametrize(
    "kind", [{"heartbeat": WorkerHeartbeat()}, {}, {"result": TaskResult(task_id="t", result_json="1")}]
)
async def test_the_first_message_must_be_register(site: Site, kind: dict[str, Any]) -> None:
    caller = Caller(site)
    await caller.say(**kind)
    assert list(await caller.refused_fields()) == ["registration"]


async def test_a_worker_that_leaves_before_it_registers_is_told_so(site: Site) -> None:
    caller = Caller(site)
    await caller.call.done_writing()
    assert list(await caller.refused_fields()) == ["registration"]


async def test_a_caller_that_says_nothing_is_not_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_service, "REGISTER_SECONDS", 0.05)
    assert list(await Caller(site).refused_fields()) == ["registration"]


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("registration", {"registration": WorkerRegistration(worker_id="w", queue="q", handlers=["h"])}),
        ("kind", {}),
        ("result.task_id", {"result": TaskResult(result_json="1")}),
        ("chunk.content", {"chunk": TaskChunk(task_id="t", content="x" * (64 * KIB + 1))}),
        ("chunk.thinking", {"chunk": TaskChunk(task_id="t", thinking="x" * (64 * KIB + 1))}),
        ("chunk.task_id", {"chunk": TaskChunk(task_id="t" * 257)}),
        ("chunk.position", {"chunk": TaskChunk(task_id="t", position=-1)}),
        ("chunk.position", {"chunk": TaskChunk(task_id="t", position=2**31 - 1)}),
        ("waiting.run_id", {"waiting": TaskWaiting(task_id="t", run_id="x" * 257)}),
        ("progress.progress_json", {"progress": TaskProgress(task_id="t", progress_json="")}),
        ("progress.progress_json", {"progress": TaskProgress(task_id="t", progress_json="{")}),
        ("progress.progress_json", {"progress": TaskProgress(task_id="t", progress_json=f'"{"x" * 64 * KIB}"')}),
        ("capacity.concurrency", {"capacity": WorkerCapacity(concurrency=-1)}),
        ("capacity.concurrency", {"capacity": WorkerCapacity(concurrency=10_001)}),
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
    results, agent = {"a": "10000000000000000000000000000000"}, AgentConfig("m", "openai")
    spec = TaskSpec("run", "flow", step, 3, {"n": "3.0", "é": '"x"'}, results, agent)
    running = site.run_task(spec)
    task = (await caller.hear("task")).task
    assert (task.run_id, task.workflow_name, task.attempt) == ("run", "flow", 3)
    assert (task.step.name, task.step.action, task.step.metadata_json) == ("s", "label", '{"k": 1}')
    assert task.context_json == '{"n": 3.0, "é": "x"}'
    assert task.dependency_results_json == '{"a": 10000000000000000000000000000000}'
    assert (task.agent.model, task.agent.provider) == ("m", "openai")
    assert task.step.timeout.ToMilliseconds() == 1500
    assert task.step.retry_policy.max_attempts == 4
    assert task.idempotency_key == spec.idempotency_key
    running.cancel()
    assert (await caller.hear("cancellation")).cancellation.task_id == task.task_id


async def test_a_chunk_that_has_come_before_is_dropped_and_acknowledged_again(site: Site) -> None:
    run = site.run_task()
    first = Caller(site)
    assert "chunk_acks" in (await first.register(features=["chunk_acks"])).features
    task_id = await first.task_id()
    chunks = [TaskChunk(task_id=task_id, content="x", thinking="y", position=2 * number) for number in range(100)]
    for chunk in chunks:
        await first.say(chunk=chunk)
    assert (await first.hear("chunk_ack")).chunk_ack == TaskChunkAck(task_id=task_id, position=200)
    second = Caller(site)
    await second.register(features=["chunk_acks"], task_ids=[task_id])
    for chunk in [*chunks[1:], TaskChunk(task_id=task_id, content="z", position=200)]:
        await second.say(chunk=chunk)
    assert (await second.hear("chunk_ack")).chunk_ack == TaskChunkAck(task_id=task_id, position=201)
    await second.say(result=TaskResult(task_id=task_id, result_json="1"))
    await run
    assert site.chunks == [("x", "y")] * 100 + [("z", "")]


async def test_the_chunks_of_a_worker_that_counts_no_positions_are_all_taken(site: Site) -> None:
    run = site.run_task()
    caller = Caller(site)
    await caller.register()
    task_id = await caller.task_id()
    for _ in range(100):
        await caller.say(chunk=TaskChunk(task_id=task_id, content="x", position=0))
    await caller.say(result=TaskResult(task_id=task_id, result_json="1"))
    await caller.hear("ack")
    await run
    assert site.chunks == [("x", "")] * 100


async def test_chunks_of_unwanted_tasks_are_acknowledged_too(site: Site) -> None:
    caller = Caller(site)
    await caller.register(features=["chunk_acks"])
    await caller.say(chunk=TaskChunk(task_id="gone", content="x" * 64 * KIB, position=5))
    assert (await caller.hear("chunk_ack")).chunk_ack == TaskChunkAck(task_id="gone", position=5 + 64 * KIB)


async def test_chunks_and_a_result_reach_the_run_in_order_and_the_result_is_acknowledged(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    running = site.run_task()
    task_id = await caller.task_id()
    await caller.say(chunk=TaskChunk(task_id=task_id, content="a"))
    await caller.say(chunk=TaskChunk(task_id="unknown", content="dropped"))
    await caller.say(chunk=TaskChunk(task_id=task_id, content="b", thinking="t"))
    changes = '{"i": 3, "f": 3.0, "big": 1000000000000000000000000000000, "o": {"z": 1, "a": null}}'
    await caller.say(
        result=TaskResult(task_id=task_id, result_json=" 3.0 ", context_changes_json=changes, deleted_keys=["d"])
    )
    assert await running == Outcome(
        "3.0",
        {"i": "3", "f": "3.0", "big": "1000000000000000000000000000000", "o": '{"z": 1, "a": null}'},
        ("d",),
    )
    assert site.chunks == [("a", ""), ("b", "t")]
    ack = (await caller.hear("ack")).ack
    assert (ack.task_id, ack.accepted) == (task_id, True)


async def test_a_task_that_was_not_begun_goes_to_another_worker_as_the_same_attempt(site: Site) -> None:
    first, second = Caller(site), Caller(site)
    assert list((await first.register(features=["drain"])).features) == ["drain"]
    running = site.run_task()
    task_id = await first.task_id()
    await second.register(worker_id="second")
    await first.say(result=TaskResult(task_id=task_id, handed_back=TaskHandback()))
    assert (await first.hear("ack")).ack.accepted
    task = (await second.hear("task")).task
    assert task.attempt == 1
    await second.say(result=TaskResult(task_id=task.task_id, result_json="2"))
    assert await running == Outcome("2")


async def test_a_worker_that_takes_no_more_gets_the_task_that_waits_when_it_takes_some_again(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    await caller.say(capacity=WorkerCapacity(concurrency=0))
    while site.pool._workers["\nw"].concurrency:
        await asyncio.sleep(0.001)
    running = site.run_task()
    await asyncio.sleep(0)
    assert not site.pool._workers["\nw"].tasks
    await caller.say(capacity=WorkerCapacity(concurrency=1))
    await caller.say(result=TaskResult(task_id=await caller.task_id(), result_json="1"))
    assert await running == Outcome("1")


async def test_a_result_that_nobody_wants_is_acknowledged_too(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    await caller.say(result=TaskResult(task_id="unknown", result_json="1"))
    ack = (await caller.hear("ack")).ack
    assert (ack.task_id, ack.accepted) == ("unknown", False)


def test_the_failure_of_a_handler_is_passed_on_as_it_is() -> None:
    def parsed(**fields: Any) -> Failure:
        outcome = worker_messages.parse_result(TaskResult(task_id="t", failure=error_pb2.Failure(**fields)))
        assert isinstance(outcome, Failure)
        return outcome

    assert parsed(message="no", type="ValueError") == Failure(Reason.STEP_FAILED, "no", "ValueError")
    assert parsed(message="no", non_retryable=True).non_retryable
    assert parsed(message="no", retry_delay=Duration(seconds=2)).retry_delay_seconds == 2
    assert parsed(message="no", cause=error_pb2.Failure(message="why")).cause == Failure(Reason.STEP_FAILED, "why")
    limited = error_pb2.ERROR_REASON_PROVIDER_RATE_LIMITED
    assert parsed(message="no", reason=limited).reason is Reason.PROVIDER_RATE_LIMITED
    assert len(parsed(message="x" * 2000).message) == 1000
    assert parsed().message == "its handler failed and gave no message"


DEEP = 101


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (TaskResult(), "neither a result nor a failure"),
        (TaskResult(failure=error_pb2.Failure(retry_delay=Duration(seconds=-1))), "a retry_delay of -1 s"),
        (TaskResult(result_json=""), "result_json is not JSON"),
        (TaskResult(result_json="{"), "result_json is not JSON"),
        (TaskResult(result_json="1 2"), "result_json is not JSON"),
        (TaskResult(result_json="NaN"), "NaN"),
        (TaskResult(result_json="[-Infinity]"), "-Infinity"),
        (TaskResult(result_json="1e999"), "1e999 is too large"),
        (TaskResult(result_json="9" * 5000), "number"),
        (TaskResult(result_json=r'"\ud800"'), "surrogate"),
        (TaskResult(result_json="[" * DEEP + "]" * DEEP), "nested more than 100"),
        (TaskResult(result_json='{"a":' * DEEP + "1" + "}" * DEEP), "nested more than 100"),
        (TaskResult(result_json="[" * 100_000 + "]" * 100_000), "nested more than 100"),
        (TaskResult(result_json='"' + "x" * MIB + '"'), "more than 1048576"),
        (TaskResult(result_json='"' + "é" * (MIB // 2) + '"'), "more than 1048576"),
        (TaskResult(result_json="1", context_changes_json="[]"), "context_changes_json must be a JSON object"),
        (TaskResult(result_json="1", context_changes_json="{"), "context_changes_json is not JSON"),
        (TaskResult(result_json="1", context_changes_json='{"k": NaN}'), "it has a number"),
        (TaskResult(result_json="1", context_changes_json='{"k": 1}', deleted_keys=["k"]), "deleted_keys has `k`"),
        (TaskResult(result_json="1", deleted_keys=["k" * MIB, "kk"]), "deleted_keys are larger"),
    ],
)
def test_a_result_that_is_not_as_agreed_fails_its_step_for_good(message: TaskResult, said: str) -> None:
    failure = worker_messages.parse_result(message)
    assert isinstance(failure, Failure)
    assert said in failure.message
    assert len(failure.message) < 500
    assert failure.non_retryable


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
    outcome = worker_messages.parse_result(TaskResult(result_json=value, context_changes_json=changes))
    if isinstance(outcome, Outcome):
        for text in (outcome.result, *outcome.changes.values()):
            json.dumps(json.loads(text), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text", ["null", "0", "-0.0", "3", "3.0", '"é\\u0000"', "[" * 100 + "]" * 100, '{"a": {"a": [1, true]}}', "1e300"]
)
def test_a_result_comes_through_as_it_was_written(text: str) -> None:
    outcome = worker_messages.parse_result(TaskResult(result_json=text, context_changes_json=f'{{"k": {text}}}'))
    assert isinstance(outcome, Outcome)
    assert outcome.result == text
    assert outcome.changes["k"] in (text, text.replace("1e300", "1e+300"))


def test_a_task_that_no_message_holds_is_an_error_that_says_so() -> None:
    spec = TaskSpec("run", "flow", Step("s", handler="h"), 1, {"k": '"' + "é" * (3 * MIB // 2) + '"'})
    with pytest.raises(StepError, match="more than 3145728 bytes") as caught:
        worker_messages.task(Assign("t", spec))
    assert caught.value.failure.non_retryable


async def test_a_task_that_no_message_holds_fails_and_its_worker_goes_on(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    with pytest.raises(StepError, match="more than 3145728 bytes"):
        await site.run_task(TaskSpec("run", "flow", Step("s", handler="h"), 1, {"k": '"' + "x" * (3 * MIB) + '"'}))
    running = site.run_task()
    await caller.say(result=TaskResult(task_id=await caller.task_id(), result_json="1"))
    assert (await running).result == "1"


async def test_a_worker_that_is_cut_off_keeps_its_task_over_another_call(site: Site) -> None:
    first = Caller(site)
    await first.register()
    running = site.run_task()
    task_id = await first.task_id()
    first.call.cancel()
    second = Caller(site)
    assert not (await second.register(task_ids=[task_id])).unwanted_task_ids
    await second.say(result=TaskResult(task_id=task_id, result_json="1"))
    assert (await running).result == "1"


async def test_a_second_worker_under_the_same_id_ends_the_call_of_the_first(site: Site) -> None:
    first, second = Caller(site), Caller(site)
    await first.register()
    await second.register()
    assert list(await first.refused_fields()) == ["registration.worker_id"]
    running = site.run_task()
    await second.say(result=TaskResult(task_id=await second.task_id(), result_json="1"))
    await running


async def test_heartbeats_keep_a_worker_alive_and_silence_does_not() -> None:
    async with Site(0.3) as site:
        caller = Caller(site)
        interval = (await caller.register()).heartbeat_interval.ToTimedelta().total_seconds()
        running = site.run_task()
        await caller.task_id()
        for _ in range(6):
            await asyncio.sleep(interval)
            await caller.say(heartbeat=WorkerHeartbeat())
        assert not running.done()
        with pytest.raises(StepError, match="its worker was lost"):
            await running


async def test_a_worker_that_says_nothing_is_disconnected_and_one_that_sends_heartbeats_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_service, "SILENT_SECONDS", 0.6)
    async with Site(0.3) as site:
        caller = Caller(site)
        await caller.register()
        for _ in range(8):
            await asyncio.sleep(0.1)
            await caller.say(heartbeat=WorkerHeartbeat())
        assert site.pool._workers["\nw"].link is not None
        with pytest.raises(grpc.aio.AioRpcError):
            await caller.call.read()
        assert (await caller.status())[:2] == (grpc.StatusCode.ABORTED, "STREAM_INTERRUPTED")


async def test_a_message_that_is_refused_while_the_server_writes_ends_the_call(site: Site) -> None:
    for _ in range(40):
        with grpc.insecure_channel(site.target) as channel:
            stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
            said = [
                AttachRequest(registration=WorkerRegistration(worker_id="w", queue="q", handlers=["h"])),
                AttachRequest(chunk=TaskChunk(task_id="x" * 257)),
            ]
            with pytest.raises(grpc.RpcError) as caught:
                await asyncio.to_thread(list, stub.Attach(iter(said), timeout=5))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_worker_that_closes_its_side_gets_its_acks_and_then_the_end(site: Site) -> None:
    caller = Caller(site)
    await caller.register()
    running = site.run_task()
    task_id = await caller.task_id()
    await caller.say(result=TaskResult(task_id=task_id, result_json="1"))
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
        site.run_task(TaskSpec("run", "flow", Step("s", handler="h"), 1, {"k": '"' + "x" * MIB + '"'}))
        for _ in range(20)
    ]
    while site.pool._workers["\nw"].link is not None:
        await caller.say(heartbeat=WorkerHeartbeat())
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

    def counted(message: TaskResult) -> Outcome | Failure:
        taken.append(message.task_id)
        return parse_result(message)

    monkeypatch.setattr(worker_messages, "parse_result", counted)
    monkeypatch.setattr(worker_service, "MAX_WAITING_ACKS", 10)
    caller = Caller(site)
    await caller.register()

    async def flood() -> None:
        for number in range(200_000):
            await caller.say(result=TaskResult(task_id=f"{number:0250}", result_json="1"))

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
        await asyncio.wait_for(outbox.acknowledge(worker_service_pb2.TaskResultAck(task_id="t")), 1)
    assert await outbox.next() is not None
    assert outbox._acks == 0
