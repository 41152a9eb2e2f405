"""A server that answers wrongly: the client raises a HeadwaterError that says so, and never waits or reads for ever.

The servers here are real ones on a real socket, whose answers no right server gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from headwater import Agent, HeadwaterError, StreamInterruptedError, ToolError, tool
from headwater._call import stream as agent_stream
from headwater._grpc import wrong_server
from headwater._workflow import watch
from headwater.v1.agent_pb2 import (
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    ROLE_ASSISTANT,
    ChatMessage,
    Part,
    StreamChunk,
    ToolCall,
)
from headwater.v1.agent_service_pb2 import (
    GetProviderInfoResponse,
    ListProvidersResponse,
    ProviderInfo,
)
from headwater.v1.worker_service_pb2 import (
    AttachRequest,
    AttachResponse,
    TaskCancellation,
    TaskResultAck,
    WorkerRegistered,
    WorkerTask,
)
from headwater.v1.workflow_pb2 import StepRun, WorkflowEvent, WorkflowRun
from headwater.v1.workflow_service_pb2 import (
    GetWorkflowRunResponse,
    ListWorkflowRunsResponse,
    StartWorkflowRunResponse,
    ValidateWorkflowResponse,
)
from headwater.workflow import WorkflowAgent
from tests.support.servers.server import run_cli

SAYS_WHY = "the server sent "
LAST = 2**31 - 1
DETAILS = "grpc-status-details-bin"


@dataclass
class WrongServer(grpc.GenericRpcHandler):
    """A server whose answers to a method are those of the test, as messages or bytes.

    Attributes:
        answers: by the name of the method: the messages of an answer, or a function that makes them for each call.
            `FOREVER` among them: then nothing more comes, and the call stays open.
        status: the code and the trailing metadata of every call.
        calls: names of the methods that were called.
        left: calls that the client has left.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    status: tuple[grpc.StatusCode, tuple[tuple[str, bytes | str], ...]] = (grpc.StatusCode.OK, ())
    calls: list[str] = field(default_factory=list)
    left: int = 0

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]

        async def answer(requests: Any, context: Any) -> None:
            self.calls.append(name)
            async for _ in requests:
                break
            try:
                await self._write(self.answers.get(name, ()), context)
            except asyncio.CancelledError:
                self.left += 1
                raise
            code, trailers = self.status
            context.set_trailing_metadata(trailers)
            if code is not grpc.StatusCode.OK:
                context.set_code(code)
                context.set_details("wrong")

        return grpc.stream_stream_rpc_method_handler(answer)

    async def _write(self, messages: Any, context: Any) -> None:
        for message in messages() if callable(messages) else messages:
            if message is FOREVER:
                await asyncio.Event().wait()
            await context.write(message if isinstance(message, bytes) else message.SerializeToString())


FOREVER = object()
GARBAGE = b"\xff\xff\xff"


@asynccontextmanager
async def serving(wrong: WrongServer) -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((wrong,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_stream, "STATUS_SECONDS", 0.05)
    monkeypatch.setattr(watch, "RESUMED_PAUSE_SECONDS", 0.0)


@tool
def add(first: int = 1) -> int:
    """Adds."""
    return first


CALL = ToolCall(id="a", name="add", arguments_json="{}")
ASKS = ChatMessage(role=ROLE_ASSISTANT, parts=[Part(tool_call=CALL)])
FIRST = StreamChunk(content="a", sequence=1, stream_id="s", model="m", provider="p")
FINAL = StreamChunk(sequence=2, is_final=True, finish_reason=FINISH_REASON_STOP)
STOP: Any = FINISH_REASON_STOP


def final(**fields: Any) -> StreamChunk:
    return StreamChunk(**({"sequence": 2, "is_final": True, "finish_reason": STOP} | fields))


def asking(**fields: Any) -> StreamChunk:
    facts: dict[str, Any] = {"finish_reason": FINISH_REASON_TOOL_CALLS, "tool_calls": [CALL], "message": ASKS}
    return final(**(facts | fields))


async def streamed(target: str, **options: Any) -> list[Any]:
    async with asyncio.timeout(10):
        return [chunk async for chunk in Agent(model="p/m", target=target).stream("x", **options)]


AFTER_THE_END = {
    "a chunk": [StreamChunk(content="late", sequence=3)],
    "a second final chunk": [StreamChunk(sequence=4, is_final=True, finish_reason=STOP)],
    "both": [StreamChunk(content="late", sequence=3), FINAL],
    "no message": [GARBAGE],
    "no status": [FOREVER],
    "very many chunks": [StreamChunk(content="late", sequence=3)] * 10_000,
}


@pytest.mark.parametrize("late", AFTER_THE_END.values(), ids=AFTER_THE_END.keys())
@pytest.mark.parametrize("code", [grpc.StatusCode.OK, grpc.StatusCode.ABORTED])
async def test_a_reply_ends_with_its_final_chunk_whatever_follows(late: list[Any], code: grpc.StatusCode) -> None:
    wrong = WrongServer({"Stream": [FIRST, FINAL, *late]}, (code, ()))
    async with serving(wrong) as target:
        agent = Agent(model="p/m", target=target)
        chunks = [chunk async for chunk in agent.stream("x")]
        assert [(chunk.content, chunk.is_final) for chunk in chunks] == [("a", False), ("", True)]
        assert [message["content"] for message in agent.messages] == ["x", "a"]


BROKEN_STREAMS: dict[str, list[Any]] = {
    "no final chunk": [FIRST],
    "nothing": [],
    "bytes that are no message": [FIRST, GARBAGE, FOREVER],
    "bytes that are no first message": [GARBAGE, FOREVER],
    "text that is no UTF-8": [b"\x0a\x01\xff", FOREVER],
    "a negative number": [StreamChunk(content="a", sequence=-1), FOREVER],
    "a number that falls": [StreamChunk(content="a", sequence=5), StreamChunk(content="b", sequence=4), FOREVER],
    "a number that falls at the end": [StreamChunk(content="a", sequence=LAST), FINAL, FOREVER],
}


@pytest.mark.parametrize("messages", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
async def test_a_reply_that_breaks_the_contract_is_an_interrupted_stream_and_is_left(messages: list[Any]) -> None:
    wrong = WrongServer({"Stream": messages})
    async with serving(wrong) as target:
        with pytest.raises(StreamInterruptedError, match=r"the server sent |without its final chunk"):
            await streamed(target)
        while FOREVER in messages and not wrong.left:
            await asyncio.sleep(0.001)


BROKEN_ROUNDS: dict[str, tuple[list[Any], type[HeadwaterError] | None]] = {
    "the highest number": ([asking(sequence=LAST)], StreamInterruptedError),
    "no message to send back": ([asking(message=None)], StreamInterruptedError),
    "an empty message to send back": ([asking(message=ChatMessage())], StreamInterruptedError),
    "a message without the calls": (
        [FIRST, asking(message=ChatMessage(role=ROLE_ASSISTANT, parts=[Part(text="a")]))],
        StreamInterruptedError,
    ),
    "calls without names and ids": ([asking(tool_calls=[ToolCall(), ToolCall(arguments_json="[")])], ToolError),
    "calls of tools that are not there": ([asking(tool_calls=[ToolCall(id="b", name="no\x00 such")])], ToolError),
    "the same call again and again": ([asking()], ToolError),
    "chunks after the calls": ([asking(), FIRST, FINAL, FOREVER], ToolError),
    "no status after the calls": ([asking(), FOREVER], ToolError),
    "an unknown reason beside calls": ([asking(finish_reason=99)], None),
    "a number of a round that falls": (
        [StreamChunk(content="a", sequence=1), StreamChunk(content="b", sequence=-4)],
        StreamInterruptedError,
    ),
}


@pytest.mark.parametrize(("messages", "kind"), BROKEN_ROUNDS.values(), ids=BROKEN_ROUNDS.keys())
async def test_rounds_of_tools_that_break_the_contract_end(
    messages: list[Any], kind: type[HeadwaterError] | None
) -> None:
    async with serving(WrongServer({"Stream": messages})) as target:
        if kind is None:
            assert (await streamed(target, tools=[add]))[-1].metadata["finish_reason"] == "other"
        else:
            with pytest.raises(kind):
                await streamed(target, tools=[add])


def struct(**values: Any) -> Struct:
    made = Struct()
    made.update(values)
    return made


ODD_FACTS: dict[str, StreamChunk] = {
    "an unknown reason": final(finish_reason=99),
    "metadata under the names of fields": final(
        metadata=struct(
            **dict.fromkeys(("thinking", "refusal", "images", "tool_calls", "usage", "stats", "citations"), 5.0),
            tool_results=5.0,
            sequence="x",
            own=float("nan"),
        )
    ),
    "counts and times without bounds": final(
        usage={"input_tokens": -LAST, "output_tokens": LAST},
        stats={"duration": {"seconds": 2**62, "nanos": -5}, "tokens_per_second": float("inf"), "chunk_count": -1},
    ),
    "a pace that is no number": final(
        usage={"output_tokens": 1}, stats={"duration": {}, "tokens_per_second": float("nan")}
    ),
    "an unknown unit of a citation": final(citations=[{"source_range": {"unit": 99, "start": -1}}]),
}


@pytest.mark.parametrize("chunk", ODD_FACTS.values(), ids=ODD_FACTS.keys())
@pytest.mark.parametrize("tools", [[], [add]], ids=["without-tools", "with-tools"])
async def test_odd_facts_do_not_cost_the_reply(chunk: StreamChunk, tools: list[Any]) -> None:
    asked = asking(**{name: getattr(chunk, name) for name in ("usage", "stats") if chunk.HasField(name)})
    rounds = iter([[asked], [FIRST, chunk]] if tools else [[FIRST, chunk]])
    async with serving(WrongServer({"Stream": lambda: next(rounds)})) as target:
        async with asyncio.timeout(10):
            response = await Agent(model="p/m", target=target).arun("x", tools=tools)
    assert response.content == "a"
    assert response.metadata.get("own") is None or response.metadata["own"] != response.metadata["own"]


ODD_STATUSES: dict[str, tuple[tuple[str, bytes | str], ...]] = {
    "no details": (),
    "details that are no message": ((DETAILS, GARBAGE),),
    "details of another code": ((DETAILS, b"\x08\x01"),),
    "details of any kind that cannot be read": ((DETAILS, b"\x08\x0d\x12\x05wrong\x1a\x06\x0a\x01x\x12\x01\xff"),),
    "details twice": ((DETAILS, b"\x08\x0d"), (DETAILS, GARBAGE)),
}


@pytest.mark.parametrize("trailers", ODD_STATUSES.values(), ids=ODD_STATUSES.keys())
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_status_with_odd_details_is_an_error_of_the_package(
    trailers: tuple[tuple[str, bytes | str], ...], code: grpc.StatusCode
) -> None:
    async with serving(WrongServer({"Stream": [FIRST]}, (code, trailers))) as target:
        with pytest.raises(HeadwaterError):
            await streamed(target)
        with pytest.raises(HeadwaterError):
            await Agent(target=target).alist_available_providers()


def pages(make: Callable[[str], Any]) -> Callable[[], Iterable[Any]]:
    count = iter(range(10**9))
    return lambda: [make(f"t{next(count)}")]


LISTS: dict[str, dict[str, Any]] = {
    "one token for ever": {"ListProviders": [ListProvidersResponse(next_page_token="t")]},
    "new tokens for ever": {"ListProviders": pages(lambda token: ListProvidersResponse(next_page_token=token))},
    "no message": {"ListProviders": [GARBAGE]},
    "two messages": {"ListProviders": [ListProvidersResponse(), ListProvidersResponse()]},
    "none": {},
}


@pytest.mark.parametrize("answers", LISTS.values(), ids=LISTS.keys())
async def test_a_list_that_breaks_the_contract_is_an_error(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong_server, "MAX_PAGES", 20)
    async with serving(WrongServer(answers)) as target:
        with pytest.raises(HeadwaterError):
            async with asyncio.timeout(10):
                await Agent(target=target, timeout=1.0).alist_available_providers()


@pytest.mark.parametrize(
    "answer", [GARBAGE, GetProviderInfoResponse(), GetProviderInfoResponse(provider=ProviderInfo())]
)
async def test_a_server_that_names_no_provider_is_wrong(answer: Any) -> None:
    async with serving(WrongServer({"GetProviderInfo": [answer]})) as target:
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await Agent(target=target).aget_provider_info()
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await streamed(target, num_ctx=5)


RUN = {"run_id": "r", "workflow_name": "w", "status": "WORKFLOW_RUN_STATUS_COMPLETED"}
DEEP = "[" * 100_000
NO_JSON = ("{", "nonsense", DEEP, "9" * 5_000, "{'a': 1}")


def run(**fields: Any) -> GetWorkflowRunResponse:
    return GetWorkflowRunResponse(run=WorkflowRun(**(RUN | fields)))


def step(**fields: Any) -> GetWorkflowRunResponse:
    facts: dict[str, Any] = {"name": "s", "status": "STEP_STATUS_COMPLETED"}
    return run(steps=[StepRun(**(facts | fields))])


BROKEN_RUNS: dict[str, Any] = {
    "no message": GARBAGE,
    "no run": GetWorkflowRunResponse(),
    "a run without an id": run(run_id=""),
    "no status": run(status=0),
    "an unknown status": run(status=99),
    "a context that is a list": run(context_json="[1]"),
    "a context that is a number": run(context_json="5"),
    "no status of a step": step(status=0),
    "an unknown status of a step": step(status=-1),
    **{f"a context like {text[:9]}": run(context_json=text) for text in NO_JSON},
    **{f"a result like {text[:9]}": step(result_json=text) for text in NO_JSON},
    **{f"progress like {text[:9]}": step(progress_json=text) for text in NO_JSON},
    "a result that the context lacks": run(
        context_lacks_results=True, steps=[StepRun(name="s", status="STEP_STATUS_COMPLETED", result_json="{")]
    ),
}


@pytest.mark.parametrize("answer", BROKEN_RUNS.values(), ids=BROKEN_RUNS.keys())
async def test_a_run_that_breaks_the_contract_is_an_error_that_says_so(answer: Any) -> None:
    start = StartWorkflowRunResponse(run_id="r")
    async with serving(WrongServer({"GetWorkflowRun": [answer], "StartWorkflowRun": [start]})) as target:
        agent = WorkflowAgent(target=target)
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await agent.get_workflow_status("r")
        workflow = agent.create_workflow("w")
        workflow.add_step("s", action="x")
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            async with asyncio.timeout(10):
                await agent.execute_workflow(workflow)


async def test_a_run_with_odd_facts_is_a_result() -> None:
    odd = step(
        attempt=-1,
        skip_reason=99,
        start_time=Timestamp(seconds=-(2**62)),
        end_time=Timestamp(seconds=2**62, nanos=-7),
        reply={"finish_reason": 99, "usage": {"input_tokens": -1}},
        failure={"reason": 99, "retry_delay": {"seconds": -(2**62)}},
    )
    async with serving(WrongServer({"GetWorkflowRun": [odd]})) as target:
        result = await WorkflowAgent(target=target).get_workflow_status("r")
    assert result.step_results["s"].skip_reason == "unknown"
    assert result.format_summary()


def event(sequence: int = 1, **kind: Any) -> WorkflowEvent:
    return WorkflowEvent(sequence=sequence, step="s", attempt=1, **kind)


BROKEN_WATCHES: dict[str, list[Any]] = {
    "no message": [GARBAGE, FOREVER],
    "an event without a number": [event(0, step_chunk={"content": "x"}), FOREVER],
    "a number that falls": [event(5, step_started={}), event(4, step_chunk={"content": "x"}), FOREVER],
    "the same event twice": [event(5, step_started={}), event(5, step_started={}), FOREVER],
    "a negative number": [event(-5, step_started={}), FOREVER],
    "an unknown status": [event(5, run_finished={"status": 99}), FOREVER],
    "no status": [event(5, run_finished={}), FOREVER],
    **{f"a result like {text[:9]}": [event(step_completed={"result_json": text}), FOREVER] for text in NO_JSON},
    **{f"progress like {text[:9]}": [event(step_progress={"progress_json": text}), FOREVER] for text in NO_JSON},
    "an end although the run continues": [],
}


@pytest.mark.parametrize("messages", BROKEN_WATCHES.values(), ids=BROKEN_WATCHES.keys())
async def test_a_watch_that_breaks_the_contract_is_an_error_that_says_so_and_is_left(
    messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_EMPTY", 20)
    running = run(status="WORKFLOW_RUN_STATUS_RUNNING")
    wrong = WrongServer({"WatchWorkflowRun": messages, "GetWorkflowRun": [running]})
    async with serving(wrong) as target:
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            async with asyncio.timeout(10):
                await WorkflowAgent(target=target).stream_workflow_progress("r")
        while messages and not wrong.left:
            await asyncio.sleep(0.001)


async def test_an_event_of_no_kind_is_unknown() -> None:
    answers = {"WatchWorkflowRun": [event(1), WorkflowEvent(sequence=2)], "GetWorkflowRun": [run()]}
    async with serving(WrongServer(answers)) as target:
        kinds = [seen.type async for seen in WorkflowAgent(target=target).stream_workflow_progress("r")]
    assert kinds == ["unknown", "unknown"]


async def test_a_run_that_is_started_without_an_id_is_an_error() -> None:
    answers = {"StartWorkflowRun": [StartWorkflowRunResponse()], "ValidateWorkflow": [ValidateWorkflowResponse()]}
    async with serving(WrongServer(answers)) as target:
        agent = WorkflowAgent(target=target)
        workflow = agent.create_workflow("w")
        workflow.add_step("s", action="x")
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await agent.execute_workflow(workflow)


def registered(seconds: int = 5, **fields: Any) -> AttachResponse:
    return AttachResponse(registered=WorkerRegistered(heartbeat_interval={"seconds": seconds}, **fields))


def task(**fields: Any) -> AttachResponse:
    facts: dict[str, Any] = {"task_id": "t", "run_id": "r", "step": {"name": "s", "handler": "h"}}
    return AttachResponse(task=WorkerTask(**(facts | fields)))


REFUSED: dict[str, list[Any]] = {
    "no message": [GARBAGE, FOREVER],
    "no heartbeat interval": [registered(0), FOREVER],
    "a negative heartbeat interval": [registered(-5), FOREVER],
    "two answers to a registration": [registered(), registered(), FOREVER],
    "a task without an id": [registered(), task(task_id=""), FOREVER],
}


@pytest.mark.parametrize("messages", REFUSED.values(), ids=REFUSED.keys())
async def test_a_worker_gives_up_a_server_that_breaks_the_contract(
    messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater._worker.worker._REFUSED_SECONDS", 0.0)
    wrong = WrongServer({"Attach": messages})
    async with serving(wrong) as target:
        agent = WorkflowAgent(target=target)
        agent.register_handler("h", lambda agent, step, context: 1)
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            async with asyncio.timeout(10):
                await agent.run_worker(queue="q")
        while not wrong.left:
            await asyncio.sleep(0.001)


ODD_TASKS: list[Any] = [
    AttachResponse(),
    b"\xfa\x3f\x02\x08\x01",  # a kind that a newer server may know
    AttachResponse(cancellation=TaskCancellation(task_id="unknown")),
    AttachResponse(ack=TaskResultAck(task_id="unknown")),
    AttachResponse(chunk_ack={"task_id": "unknown", "position": -1}),
    task(task_id="unknown handler", step={"handler": "none"}),
    task(task_id="no step", step=None),
    *[task(task_id=f"context {number}", context_json=text) for number, text in enumerate((*NO_JSON, "[1]"))],
    task(task_id="metadata", step={"name": "s", "handler": "h", "metadata_json": "["}),
    task(task_id="progress", progress_json="["),
    task(attempt=-1),
    task(),
    task(),
]


async def test_a_worker_answers_odd_tasks_with_failures_and_continues() -> None:
    results: dict[str, str] = {}
    ended = asyncio.Event()

    class Odd(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return grpc.stream_stream_rpc_method_handler(self.attach, AttachRequest.FromString)

        async def attach(self, requests: Any, context: Any) -> None:
            for message in [registered(), *ODD_TASKS]:
                await context.write(message if isinstance(message, bytes) else message.SerializeToString())
            async for request in requests:
                if request.HasField("result"):
                    assert request.result.task_id not in results
                    results[request.result.task_id] = request.result.failure.message or request.result.result_json
                if "t" in results and len(results) == len(ODD_TASKS) - 7:
                    ended.set()

    async with serving(Odd()) as target:  # type: ignore[arg-type]
        agent = WorkflowAgent(target=target)
        agent.register_handler("h", lambda agent, step, context: 1)
        async with asyncio.timeout(10):
            await agent.run_worker(queue="q", stop=ended)
    assert results.pop("t") == "1"
    assert "no handler" in results.pop("unknown handler")
    assert "no handler" in results.pop("no step")
    assert all(text.startswith(SAYS_WHY) for text in results.values()), results


async def test_a_worker_pauses_between_connections_that_its_server_ends_at_once() -> None:
    wrong = WrongServer({"Attach": [registered()]})
    async with serving(wrong) as target:
        agent = WorkflowAgent(target=target)
        agent.register_handler("h", lambda agent, step, context: 1)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, stop.set)
        await agent.run_worker(queue="q", stop=stop)
    assert 1 < len(wrong.calls) < 8


ODD_PAGES = {
    "one token for ever": ListWorkflowRunsResponse(next_page_token="t"),
    "no message": GARBAGE,
    "an unknown status": ListWorkflowRunsResponse(runs=[WorkflowRun(run_id="r", status=99)]),
    "a time that no calendar has": ListWorkflowRunsResponse(
        runs=[WorkflowRun(**RUN, create_time=Timestamp(seconds=2**62))]
    ),
}


@pytest.mark.parametrize("page", ODD_PAGES.values(), ids=ODD_PAGES.keys())
async def test_a_command_says_that_the_server_is_wrong(page: Any) -> None:
    async with serving(WrongServer({"ListWorkflowRuns": [page]})) as target:
        done = await asyncio.to_thread(run_cli, "workflow", "list", "--target", target)
    assert done.returncode == 1
    assert SAYS_WHY in done.stderr
    assert 'File "' not in done.stderr.partition(SAYS_WHY)[2]
