"""Marked secrets stand in every place that a server reads; none is found in anything that it writes, at any log level."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from headwater.v1 import RunRequest, StreamRequest, agent_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.error_pb2 import Failure
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.secrets.echo import SHAPES, Echo
from tests.support.secrets.marks import CONTENT, KEYS, core, found, lines_with, secret, words
from tests.support.secrets.planted import PROVIDERS, Planted, plant, question
from tests.support.servers.certificates import Authority
from tests.support.servers.server import OwnThread, ServerProcess
from tests.support.traces.collector import Collector

EVERYTHING = (*KEYS, *CONTENT)
SECONDS = 20.0

ROUNDS = [
    ("debug", "text", 1),
    ("debug", "json", 2),
    ("info", "text", 1),
    *(
        pytest.param(*each, marks=pytest.mark.chaos)
        for each in (("debug", "json", 1), ("debug", "text", 2), ("warning", "json", 2), ("error", "text", 1))
    ),
]
"""Level, format and processes: each level, and both formats with one and two processes where most is logged.

By default both formats, one and two processes, the level that logs most and that of most servers.
"""

pytestmark = pytest.mark.timeout(120, func_only=True)


@dataclass
class Heard:
    """The texts that callers got."""

    own_errors: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def all_of(error: grpc.aio.AioRpcError) -> str:
    """All that a caller sees of an error, with its encoded details."""
    trailers = [
        (key, value if isinstance(value, str) else value.decode("latin-1"))
        for key, value in error.trailing_metadata() or ()
    ]
    headers = list(error.initial_metadata() or ())
    return f"{error!r} {error.details()} {error.debug_error_string()} {trailers} {headers}"


@asynccontextmanager
async def noting(errors: list[str]) -> AsyncIterator[None]:
    """Notes the error of a call; one without an error is well."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        errors.append(all_of(error))


async def ask_the_providers(channel: grpc.aio.Channel, echo: Echo, planted: Planted, heard: Heard) -> None:
    stub, right = AgentServiceStub(channel), planted.metadata("right_token")
    for shape in SHAPES:
        echo.shape = shape
        for provider in PROVIDERS:
            extra = (("headwater-provider-header-x-note", core("caller_header")),) if provider == "chat" else ()
            async with noting(heard.own_errors):
                await stub.Run(question(provider), metadata=right + extra)
        async with noting(heard.own_errors):
            request = StreamRequest(prompt=words("prompt"), agent={"model": "chat/m"}, resumable=True)
            async for _ in stub.Stream(request, metadata=(*right, ("headwater-provider-key", secret("callers_key")))):
                pass
        for provider in PROVIDERS:
            async with noting(heard.own_errors):
                await stub.ListModels(agent_service_pb2.ListModelsRequest(provider=provider), metadata=right)


async def call_wrongly(channel: grpc.aio.Channel, planted: Planted, heard: Heard) -> None:
    """Calls that are refused: bad fields with content in them, odd metadata, tokens that are not in force."""
    stub, right = AgentServiceStub(channel), planted.metadata("right_token")
    bad = [
        {"agent": {"model": words("prompt")}},
        {"agent": {"provider": words("prompt")}},
        {"agent": {"model": "chat/m", "tools": [{"function": {"name": words("prompt"), "parameters_json": words("schema")}}]}},
        {"agent": {"model": "chat/m", "labels": {words("prompt"): "x"}}},
        {"agent": {"model": "chat/m", "provider_options": {"chat": {"api": words("options")}}}},
        {"agent": {"model": f"chat/{words('prompt')}"}},
        {"messages": [{"role": ROLE_ODD, "content": words("message")}]},
    ]  # fmt: skip
    for fields in bad:
        async with noting(heard.own_errors):
            await stub.Run(ParseDict({"prompt": words("prompt"), **fields}, RunRequest()), metadata=right)
    for name in (
        "grpc-timeout",
        "grpc-encoding",
        "x-request-id",
        "traceparent",
        "user-agent",
        "te",
        "x-odd-bin",
        "cookie",
    ):
        value: Any = words("grpc_metadata").encode() if name.endswith("-bin") else f"my {core('grpc_metadata')}"
        async with noting(heard.own_errors):
            await stub.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=(*right, (name, value)))
    for place in ("wrong_token", "revoked_token"):
        async with noting(heard.own_errors):
            await stub.Run(question("chat"), metadata=planted.metadata(place))
    async with noting(heard.own_errors):
        await stub.Run(question("chat"), metadata=(("authorization", secret("wrong_token")), *right))


ROLE_ODD = 77


async def run_workflows(channel: grpc.aio.Channel, echo: Echo, planted: Planted, heard: Heard) -> list[str]:
    """Runs with marks in all that they hold; their ids."""
    echo.shape = "keys in an error"
    right = planted.metadata("right_token")
    stub = WorkflowServiceStub(channel)
    work = asyncio.create_task(be_a_worker(channel, right))
    agent = {"model": "chat/m", "instructions": words("instructions"), "max_attempts": 1}
    once = {"max_attempts": 1}
    condition = f'context.note == "{core("condition")}"'
    steps = [
        Step(
            name="hosted",
            handler="works",
            queue="q",
            metadata_json=f'{{"a": "{words("metadata")}"}}',
            retry_policy=once,
        ),
        Step(name="fails", handler="fails", queue="q", retry_policy=once),
        Step(name="asks", action=words("action"), retry_policy=once),
        Step(name="fills", action=f"{words('action')} {{{{context.note}}}} {{{{context.absent}}}}", retry_policy=once),
        Step(name="decides", action=words("action"), depends_on=["hosted"], condition=condition, retry_policy=once),
        Step(name="divides", action="x", condition=f'context.note + 1 == "{core("condition")}"', retry_policy=once),
    ]
    ids = []
    for number, step in enumerate(steps):
        others = [step] if not step.depends_on else [steps[0], step]
        request = workflow_service_pb2.StartWorkflowRunRequest(
            workflow=Workflow(name=f"w{number}", steps=others, agent=agent)
        )
        request.context.update({"note": words("context"), "hidden": {"deep": [words("context")]}})
        async with noting(heard.own_errors):
            run_id = (await stub.StartWorkflowRun(request, metadata=right)).run_id
            ids.append(run_id)
            async for _ in stub.WatchWorkflowRun(
                workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id), metadata=right
            ):
                pass
    work.cancel()
    await asyncio.wait([work])
    for step in (
        Step(name=words("metadata")),
        Step(name="a", condition=words("condition"), metadata_json=words("metadata")),
    ):
        async with noting(heard.own_errors):
            request = workflow_service_pb2.StartWorkflowRunRequest(
                workflow=Workflow(name=words("action"), steps=[step])
            )
            await stub.StartWorkflowRun(request, metadata=right)
    return ids


async def be_a_worker(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
    """Answers tasks with marks in all that a worker says."""
    call = WorkerServiceStub(channel).Attach(metadata=metadata)

    async def say(**kind: Message) -> None:
        await call.write(worker_service_pb2.AttachRequest(**kind))

    names = worker_service_pb2.WorkerRegistration(worker_id="w", queue="q", handlers=["works", "fails"], concurrency=2)
    await say(registration=names)
    async for answer in call:
        if answer.WhichOneof("kind") != "task":
            continue
        task_id = answer.task.task_id
        chunk = {"content": words("worker_chunk"), "thinking": words("worker_thinking")}
        await say(chunk=worker_service_pb2.TaskChunk(task_id=task_id, **chunk))
        await say(
            progress=worker_service_pb2.TaskProgress(task_id=task_id, progress_json=f'"{words("worker_progress")}"')
        )
        result = worker_service_pb2.TaskResult(task_id=task_id)
        if answer.task.step.handler == "works":
            result.result_json = f'"{words("step_result")}"'
            result.context_changes_json = f'{{"x": "{words("changes")}"}}'
        else:
            result.failure.CopyFrom(Failure(message=words("worker_error"), type=words("worker_error")))
        await say(result=result)


async def look_as_another(channel: grpc.aio.Channel, ids: list[str], planted: Planted, heard: Heard) -> None:
    """Another caller asks for all that there is, and for the runs of the first."""
    agents, workflows = AgentServiceStub(channel), WorkflowServiceStub(channel)
    other = planted.metadata("other_token")
    asked: list[Any] = [
        agents.ListStreams(agent_service_pb2.ListStreamsRequest(show_ended=True), metadata=other),
        agents.ListModels(agent_service_pb2.ListModelsRequest(provider="chat"), metadata=other),
        agents.ListProviders(agent_service_pb2.ListProvidersRequest(), metadata=other),
        agents.GetProviderInfo(agent_service_pb2.GetProviderInfoRequest(provider="chat"), metadata=other),
        workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=other),
        *(
            workflows.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id), metadata=other)
            for run_id in ids
        ),
    ]
    for call in asked:
        async with noting(heard.others):
            heard.others.append(str(await call))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def admin_texts(port: int) -> str:
    texts = []
    for path in ("/metrics", "/healthz", "/readyz", f"/{core('prompt')}"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            texts.append(f"{answer.headers} {answer.read().decode()}")
    return "\n".join(texts)


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    found_pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                found_pids += family(int(child))
    return found_pids


def facts_of(pid: int) -> dict[str, str]:
    """All that other users may read of a process: its title and its arguments."""
    names = ("cmdline", "comm", "status", "limits")
    return {name: Path(f"/proc/{pid}/{name}").read_text(errors="replace").replace("\0", " ") for name in names}


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(errors="replace").replace("\0", "\n")


@dataclass
class Seen:
    """The texts of a server that ran, by their places."""

    texts: dict[str, str] = field(default_factory=dict)
    helpers: list[str] = field(default_factory=list)
    modes: dict[str, str] = field(default_factory=dict)
    limits: set[str] = field(default_factory=set)


class SpeakingServer(ServerProcess):
    """A server whose log may be for people."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log, parsed; none where it is for people."""
        return super().events if self.log.startswith("{") else []


def look_at_processes(server: ServerProcess, seen: Seen) -> None:
    for pid in family(server.process.pid):
        facts = facts_of(pid)
        seen.texts[f"process {pid}"] = "\n".join(facts.values())
        seen.limits.add(re.findall(r"Max core file size +(\S+)", facts["limits"])[0])
        if "expressions.helper" in facts["cmdline"]:
            seen.helpers.append(environment(pid))


def look_at_files(planted: Planted, seen: Seen) -> None:
    """All files of the data directory but the journal, of the temporary and of the current folder, with their modes."""
    for top in ("data", "tmp", "work"):
        for path in sorted((planted.folder / top).rglob("*")):
            name = path.relative_to(planted.folder).as_posix()
            mode = path.lstat().st_mode
            seen.modes[name] = f"{stat.filemode(mode)[0]}{stat.S_IMODE(mode):o}"
            seen.texts[f"name of {name}"] = name
            if stat.S_ISREG(mode) and not path.name.startswith("headwater.db"):
                seen.texts[name] = path.read_bytes().decode("latin-1")


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    started = Echo()
    with OwnThread(started):
        yield started


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path so short that the sockets between processes can stand below it."""
    with tempfile.TemporaryDirectory(prefix="headwater-") as folder:
        yield Path(folder)


async def attack(target: str, authority: Authority, echo: Echo, planted: Planted, heard: Heard) -> None:
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with (
        asyncio.timeout(90),
        grpc.aio.secure_channel(target.removeprefix("https://"), credentials, options) as channel,
    ):
        await ask_the_providers(channel, echo, planted, heard)
        await call_wrongly(channel, planted, heard)
        ids = await run_workflows(channel, echo, planted, heard)
        await look_as_another(channel, ids, planted, heard)


@pytest.mark.parametrize(("level", "form", "processes"), ROUNDS)
async def test_nothing_of_a_server_holds_a_secret(level, form, processes, echo, short_folder):
    planted, heard, seen = plant(short_folder, echo.url), Heard(), Seen()
    authority = Authority(short_folder / "certificates")
    pair, port = authority.issue("server"), free_port()
    flags = (*pair.flags, "--log-level", level, "--log-format", form)
    variables = {**planted.variables, "HEADWATER_ADMIN_ADDRESS": f"127.0.0.1:{port}", "GRPC_VERBOSITY": "debug"}
    with Collector() as collector:
        variables |= collector.variables
        server = SpeakingServer(
            *flags, variables=variables, processes=processes, folder=short_folder / "work", fresh=True
        )
        with server:
            await attack(server.target, authority, echo, planted, heard)
            seen.texts["admin"] = await asyncio.to_thread(admin_texts, port)
            look_at_processes(server, seen)
            look_at_files(planted, seen)
    seen.texts["traces"] = b"\n".join(collector.bodies).decode("latin-1")
    assert len(collector.spans) > 100
    seen.texts["log"] = server.log
    look_at_files(planted, seen)
    leaks = {place: hits for place, text in seen.texts.items() if (hits := lines_with(text, EVERYTHING))}
    assert leaks == {}
    pem = pair.key.read_text().splitlines()[1]
    assert [place for place, text in seen.texts.items() if pem in text] == []
    assert lines_with("\n".join(heard.own_errors), KEYS) == []
    assert lines_with("\n".join(heard.others), EVERYTHING) == []
    assert len(heard.own_errors) > 100
    assert seen.helpers
    assert found("\n".join(seen.helpers), KEYS) == set()
    assert {path: mode for path, mode in seen.modes.items() if mode[0] != "s" and mode not in ("d700", "-600")} == {}
    sockets = {path.rpartition("/")[0] for path, mode in seen.modes.items() if mode[0] == "s"}
    assert {seen.modes[folder] for folder in sockets} == ({"d700"} if processes > 1 else set())
    assert seen.limits <= {"0", "1"}
