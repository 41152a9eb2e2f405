"""The worker of examples/workers/go, which has nothing but the generated stub, hosts steps of real runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from headwater.v1 import worker_service_pb2_grpc
from headwater.v1.worker_service_pb2 import AttachRequest, AttachResponse, TaskResultAck, WorkerRegistered, WorkerTask
from headwater.workflow import StepStatus, Workflow, WorkflowAgent
from tests.support.servers.gate import Gate
from tests.support.servers.server import ServerProcess, clean_environment

SOURCE = Path(__file__).resolve().parents[3] / "examples" / "workers" / "go"
SECONDS = 20.0

# Without the fixtures: the first build may fetch and compile the gRPC library, and has another limit.
pytestmark = pytest.mark.timeout(60, func_only=True)


class Request:
    """A request for a page that the test answers as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def begin(self, text: str, status: str = "200 OK") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
        self._writer.write((head + text).encode())
        await self._writer.drain()

    async def send(self, text: bytes) -> None:
        self._writer.write(text)
        await self._writer.drain()

    async def end(self, rest: bytes = b"") -> None:
        self._writer.write(rest)
        self._writer.close()
        await self._writer.wait_closed()

    async def abandoned(self) -> None:
        """Returns when the one who asked has gone."""
        async with asyncio.timeout(SECONDS):
            assert await self._reader.read() == b""


class Pages:
    """An HTTP server; `next` is the oldest request that was not taken yet."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        self.requests.put_nowait(Request(reader, writer))

    async def next(self) -> Request:
        async with asyncio.timeout(SECONDS):
            return await self.requests.get()

    async def aclose(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):  # it was reset by the other side
                await writer.wait_closed()

    async def answer(self, text: str, status: str = "200 OK") -> None:
        """Answers the next request."""
        request = await self.next()
        await request.begin(text, status)
        await request.end()


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages()
    async with await asyncio.start_server(pages.take, "127.0.0.1", 0) as server:
        pages.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield pages
        finally:
            await pages.aclose()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker, built."""
    if shutil.which("go") is None:
        reason = "go: not on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("go") / "worker"
    command = ["go", "build", "-buildvcs=false", "-o", str(path), "."]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr
    return path


class GoWorker:
    """A running worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self, words: str) -> str:
        """The next line of its log that has these words."""
        assert self.process.stderr is not None
        async with asyncio.timeout(SECONDS):
            async for line in self.process.stderr:
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"the worker ended before it said {words!r}")

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


class Starter:
    """Starts workers, and ends those that still run when the test does."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._stack = AsyncExitStack()

    async def __call__(self, target: str, *arguments: str, registered: bool = True) -> GoWorker:
        worker = await self._stack.enter_async_context(self._running(target, *(arguments or ("go",))))
        if registered:
            await worker.line(" serves ")
        return worker

    @asynccontextmanager
    async def _running(self, target: str, *arguments: str) -> AsyncIterator[GoWorker]:
        process = await asyncio.create_subprocess_exec(
            self._program, *arguments, stderr=asyncio.subprocess.PIPE, env=clean_environment(HEADWATER_TARGET=target)
        )
        try:
            yield GoWorker(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def start(program: Path) -> AsyncIterator[Starter]:
    starter = Starter(program)
    try:
        yield starter
    finally:
        await starter.aclose()


@pytest.fixture
def agent(server: ServerProcess) -> WorkflowAgent:
    return WorkflowAgent(target=server.target)


@pytest.fixture
def impatient(processes: int) -> Iterator[ServerProcess]:
    """A server that soon takes a silent worker for dead."""
    with ServerProcess(variables={"HEADWATER_WORKER_TIMEOUT_SECONDS": "0.5"}, processes=processes) as server:
        yield server


def fetching(agent: WorkflowAgent, *names: str) -> Workflow:
    """A workflow of steps that fetch a page."""
    workflow = agent.create_workflow("fetching")
    for name in names or ("page",):
        workflow.add_step(name, handler="fetch", queue="go")
    return workflow


async def test_go_steps_and_python_steps_share_one_run_and_its_context(agent, server, start, pages):
    await start(server.target)
    agent.register_handler("choose", lambda agent, step, context: context.update(url=pages.url))
    agent.register_handler("double", lambda agent, step, context: context["words_result"] * 2)
    workflow = agent.create_workflow("reading")
    workflow.add_step("choose", handler="choose")
    workflow.add_step("page", handler="fetch", queue="go", depends_on=["choose"])
    workflow.add_step("words", handler="count", queue="go", depends_on=["page"])
    workflow.add_step("double", handler="double", depends_on=["words"])
    context: dict[str, object] = {}
    run = asyncio.create_task(agent.execute_workflow(workflow, context))
    await pages.answer("Grüße from\nthe headwater 🌊\n")
    result = await run
    assert result.successful, result.format_summary()
    assert context == {
        "url": pages.url, "choose_result": None, "page_result": "Grüße from\nthe headwater 🌊\n",
        "content_type": "text/plain", "words_result": 5, "double_result": 10,
    }  # fmt: skip


async def test_a_watcher_sees_each_chunk_before_the_next_is_there(agent, server, start, pages):
    await start(server.target)
    stream = agent.stream_workflow(fetching(agent), {"url": pages.url})
    chunks = []
    request = None
    async for event in stream:
        if event.type == "step_started":
            request = await pages.next()
            await request.begin("first\n")
        elif event.type == "chunk":
            chunks.append(event.content)
            assert request is not None
            if len(chunks) == 1:
                await request.end(b"second, \xff not text\n")
    assert chunks == ["first\n", "second, \N{REPLACEMENT CHARACTER} not text\n"]
    assert stream.result.context["page_result"] == "".join(chunks)


async def test_chunks_that_are_lost_with_the_connection_are_sent_again(agent, server, start, pages):
    async with Gate(int(server.target.rpartition(":")[2])) as gate:
        await start(gate.target)
        stream = agent.stream_workflow(fetching(agent), {"url": pages.url})
        text, omitted = "", 0
        async for event in stream:
            if event.type == "step_started":
                request = await pages.next()
                await request.begin("first\n")
            elif event.type == "chunk":
                text, omitted = text + event.content, omitted + event.omitted_characters
                if text == "first\n":
                    gate.lose()
                    await request.send(b"lost\n")
                    await gate.lost()
                    gate.cut()
                    gate.mend()
                    await request.end(b"last\n")
    assert (text, omitted) == ("first\nlost\nlast\n", 0)
    assert stream.result.context["page_result"] == text


async def test_a_retryable_error_is_tried_again(agent, server, start, pages):
    await start(server.target)
    run = asyncio.create_task(agent.execute_workflow(fetching(agent), {"url": pages.url}))
    await pages.answer("", "503 Service Unavailable")
    await pages.answer("well\n")
    step = (await run).get_step_result("page")
    assert (step.status, step.attempts, step.result) == (StepStatus.COMPLETED, 2, "well\n")


async def test_an_error_that_is_not_retryable_fails_the_step_at_once(agent, server, start, pages):
    await start(server.target)
    run = asyncio.create_task(agent.execute_workflow(fetching(agent), {"url": pages.url}))
    await pages.answer("", "404 Not Found")
    step = (await run).get_step_result("page")
    assert (step.status, step.attempts) == (StepStatus.FAILED, 1)
    assert "answered 404 Not Found" in step.error


async def test_what_the_server_would_not_take_fails_the_step_and_not_the_worker(agent, server, start, pages):
    await start(server.target)
    run = asyncio.create_task(agent.execute_workflow(fetching(agent), {"url": pages.url}))
    await pages.answer(("\x01" * 60_000 + "\n") * 10)  # 600 KB that as JSON text are 3.6 MB
    step = (await run).get_step_result("page")
    assert (step.status, step.attempts) == (StepStatus.FAILED, 1)
    assert "more than 1048576 bytes" in step.error
    run = asyncio.create_task(agent.execute_workflow(fetching(agent), {"url": pages.url}))
    await pages.answer("well\n")
    assert (await run).successful


async def test_a_worker_has_as_many_tasks_at_a_time_as_it_says(agent, server, start, pages):
    await start(server.target, "-concurrency", "2", "go")
    stream = agent.stream_workflow(fetching(agent, "a", "b", "c"), {"url": pages.url})
    async for event in stream:
        if event.type == "step_waiting_for_worker":
            assert event.step == "c"
            at_once = [await pages.next(), await pages.next()]
            assert pages.requests.empty()
            for request in at_once:
                await request.begin("one of two\n")
                await request.end()
            await pages.answer("third\n")
    assert stream.result.successful, stream.result.format_summary()
    assert stream.result.context["c_result"] == "third\n"


async def test_to_cancel_the_run_cancels_the_handler_and_the_worker_goes_on(agent, server, start, pages):
    await start(server.target, "-concurrency", "1", "go")
    handle = await agent.start_workflow(fetching(agent), {"url": pages.url})
    request = await pages.next()
    await handle.cancel()
    await request.abandoned()
    run = asyncio.create_task(agent.execute_workflow(fetching(agent), {"url": pages.url}))
    await pages.answer("well\n")
    assert (await run).successful


async def test_sigterm_gives_its_tasks_back_at_once(agent, server, start, pages):
    first = await start(server.target)
    run = asyncio.create_task(agent.execute_workflow(fetching(agent), {"url": pages.url}))
    request = await pages.next()
    await start(server.target)
    assert await first.end() == 0
    await request.abandoned()
    await pages.answer("well\n")
    step = (await run).get_step_result("page")
    assert (step.status, step.attempts) == (StepStatus.COMPLETED, 2)


async def test_another_worker_takes_over_from_one_that_was_killed(impatient, start, pages):
    agent = WorkflowAgent(target=impatient.target)
    first = await start(impatient.target)
    stream = agent.stream_workflow(fetching(agent), {"url": pages.url})
    errors = []
    async for event in stream:
        if event.type == "step_started" and event.attempt == 1:
            request = await pages.next()
            await start(impatient.target)
            assert await first.end(signal.SIGKILL) == -9
            await request.abandoned()
        elif event.type == "step_retrying":
            errors.append(event.error)
            await pages.answer("well\n")
    assert len(errors) == 1
    assert "its worker was lost" in errors[0]
    step = stream.result.get_step_result("page")
    assert (step.status, step.attempts, step.result) == (StepStatus.COMPLETED, 2, "well\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_the_worker_comes_back_to_a_server_that_was_killed(tmp_path, start, pages):
    arguments = ("--port", str(free_port()), "--data-dir", str(tmp_path))
    server = ServerProcess(*arguments)
    server.expected_code = -9
    with server:
        agent = WorkflowAgent(target=server.target)
        before: list[int] = []
        agent.register_handler("before", lambda agent, step, context: before.append(step.attempt))
        workflow = agent.create_workflow("survives")
        workflow.add_step("before", handler="before")
        workflow.add_step("page", handler="fetch", queue="go", depends_on=["before"])
        worker = await start(server.target, registered=False)
        registered = await worker.line(" serves ")
        run = asyncio.create_task(agent.execute_workflow(workflow, {"url": pages.url}))
        request = await pages.next()
        server.process.kill()
        await asyncio.to_thread(server.process.wait)
        await worker.line("disconnected")
    with ServerProcess(*arguments):
        assert (await worker.line(" serves ")).split()[2:] == registered.split()[2:], "it has kept its id"
        await request.begin("well\n")  # the attempt that ran when the server was killed is the worker's still
        await request.end()
        step = (await run).get_step_result("page")
        assert (step.status, step.attempts, step.result) == (StepStatus.COMPLETED, 1, "well\n")
        assert before == [1]
        assert await worker.end() == 0


async def test_a_worker_that_the_server_refuses_ends_with_its_words(server, start):
    worker = await start(server.target, "q" * 257, registered=False)
    assert "registration.queue: must have 1 to 256 characters" in await worker.line("InvalidArgument")
    assert await worker.process.wait() == 1


class Scripted(worker_service_pb2_grpc.WorkerServiceServicer):
    """A server whose every connection the test leads by itself."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()

    async def Attach(self, requests, context):  # type: ignore[override]  # noqa: N802
        connection = Connection(context)
        self.connections.put_nowait(connection)
        await connection.cut.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    async def next(self) -> Connection:
        async with asyncio.timeout(SECONDS):
            return await self.connections.get()


class Connection:
    def __init__(self, context: grpc.aio.ServicerContext[AttachRequest, AttachResponse]) -> None:
        self._context = context
        self.cut = asyncio.Event()

    async def read(self, kind: str) -> AttachRequest:
        """The next message, of this kind. Heartbeats that come before are passed over."""
        async with asyncio.timeout(SECONDS):
            while (message := await self._context.read()).WhichOneof("kind") == "heartbeat" != kind:
                pass
        assert message.WhichOneof("kind") == kind, message
        return message

    async def write(self, **kind: WorkerRegistered | WorkerTask | TaskResultAck) -> None:
        await self._context.write(AttachResponse(**kind))  # type: ignore[arg-type]


@pytest.fixture
async def scripted() -> AsyncIterator[tuple[str, Scripted]]:
    server = grpc.aio.server()
    service = Scripted()
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        await server.stop(None)


async def test_tasks_are_kept_over_reconnects_until_their_result_is_acknowledged(scripted, start, pages):
    target, service = scripted
    worker = await start(target, registered=False)
    soon = WorkerRegistered(heartbeat_interval=timedelta(milliseconds=50))

    connection = await service.next()
    first = (await connection.read("registration")).registration
    assert (first.queue, sorted(first.handlers), first.concurrency) == ("go", ["count", "fetch"], 4)
    assert list(first.task_ids) == []
    await connection.write(registered=soon)
    for _ in range(3):
        await connection.read("heartbeat")
    task = WorkerTask(task_id="1", context_json=json.dumps({"url": pages.url}))
    task.step.handler = "fetch"
    await connection.write(task=task)
    request = await pages.next()
    connection.cut.set()  # in the middle of the task

    connection = await service.next()
    second = (await connection.read("registration")).registration
    assert (second.worker_id, list(second.task_ids)) == (first.worker_id, ["1"])
    await connection.write(registered=soon)
    await request.begin("well\n")
    await request.end()
    assert (await connection.read("chunk")).chunk.content == "well\n"
    result = (await connection.read("result")).result
    assert (result.result_json, json.loads(result.context_changes_json)) == (
        '"well\\n"',
        {"content_type": "text/plain"},
    )
    connection.cut.set()  # before the acknowledgement

    connection = await service.next()
    assert list((await connection.read("registration")).registration.task_ids) == ["1"]
    await connection.write(registered=soon)
    assert (await connection.read("result")).result == result
    await connection.write(ack=TaskResultAck(task_id="1", accepted=True))
    task.task_id = "2"
    await connection.write(task=task)  # taken after the acknowledgement
    request = await pages.next()
    connection.cut.set()

    connection = await service.next()
    assert list((await connection.read("registration")).registration.task_ids) == ["2"]
    await connection.write(
        registered=WorkerRegistered(heartbeat_interval=timedelta(milliseconds=50), unwanted_task_ids=["2"])
    )
    await request.abandoned()
    connection.cut.set()

    connection = await service.next()
    assert list((await connection.read("registration")).registration.task_ids) == []
    connection.cut.set()
    assert await worker.end() == 0
