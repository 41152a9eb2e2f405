"""The embedded real model, over each of the three APIs that its server speaks, and through the provider `local`."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from headwater import Agent, ContextWindowError, StreamingResponse
from headwater.v1.agent_service_pb2 import StreamRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.processes import channel_to, pid_of
from tests.support.servers.server import ServerProcess, clean_environment

PROMPT = "Name three primary colors."
PROVIDERS = ["local", "over-chat", "over-responses", "over-messages"]

CONFIG = """
[providers.over-chat]
type = "openai"
base_url = "{url}/v1"
api_key_env = "MODEL_KEY"
default_model = "smollm2"
api = "chat_completions"

[providers.over-responses]
type = "openai"
base_url = "{url}/v1"
api_key_env = "MODEL_KEY"
default_model = "smollm2"
api = "responses"

[providers.over-messages]
type = "anthropic"
base_url = "{url}"
api_key_env = "MODEL_KEY"
default_model = "smollm2"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="module")
def owner(folder: Path) -> Iterator[ServerProcess]:
    """A server that runs the model from its start."""
    with ServerProcess("--local", variables={"XDG_RUNTIME_DIR": str(folder)}) as server:
        yield server


@pytest.fixture(scope="module")
def target(owner: ServerProcess, folder: Path) -> Iterator[str]:
    """Another server that uses this model as `local`, and over each of its APIs."""
    [published] = (folder / "headwater").glob("local-*.json")
    address = json.loads(published.read_text())
    file = folder / "headwater.toml"
    file.write_text(CONFIG.format(url=address["url"]))
    variables = {"XDG_RUNTIME_DIR": str(folder), "MODEL_KEY": address["key"]}
    with ServerProcess("--config", str(file), variables=variables) as server:
        yield server.target
        assert psutil.Process(server.process.pid).children(recursive=True) == []  # one model a host


async def ask(target: str, provider: str, prompt: str = PROMPT, **settings: object) -> StreamingResponse:
    response = StreamingResponse()
    agent = Agent(provider=provider, target=target, history=0)
    async for chunk in agent.stream(prompt, temperature=0, **settings):  # type: ignore[arg-type]
        response.add_chunk(chunk)
    return response


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_reply_has_text_usage_and_finish_reason(target, provider):
    response = await ask(target, provider)
    usage = response.metadata["usage"]
    assert "red" in response.complete_text.lower()
    assert response.chunk_count > 5
    assert response.metadata["finish_reason"] == "stop"
    assert usage["total_tokens"] >= usage["input_tokens"] + usage["output_tokens"] > 10
    assert response.metadata["stats"]["tokens_per_second"] > 1


# llama.cpp says "completed" over Responses even when the limit cut the reply; that word arrives as it is.
@pytest.mark.parametrize("provider", ["local", "over-chat", "over-messages"])
async def test_a_limit_of_tokens_is_kept_and_told(target, provider):
    response = await ask(target, provider, "Tell me a long story.", max_tokens=5)
    assert response.metadata["usage"]["output_tokens"] == 5
    assert response.metadata["finish_reason"] == "length"


async def test_a_reply_without_a_limit_of_the_caller_has_the_servers(target):
    """A small model may go round in circles; it must not do so until its context is full."""
    never_ends = {"local": {"ignore_eos": True}}
    response = await ask(target, "local", "Round and round.", provider_options=never_ends)
    assert response.metadata["usage"]["output_tokens"] == 512
    assert response.metadata["finish_reason"] == "length"


@pytest.mark.parametrize("provider", ["local", "over-chat"])
async def test_a_json_schema_is_held_to(target, provider):
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "green"]}},
        "required": ["color"],
        "additionalProperties": False,
    }
    response = await ask(target, provider, "A color?", response_format=schema, max_tokens=40)
    assert json.loads(response.complete_text)["color"] in ("red", "green")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_model_calls_a_tool_and_reads_its_result(target, provider):
    """A model this small does not call the tool, or repeat its result, in every reply: one of three tries must."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Get the current weather of a city"""
        asked.append(city)
        return f"It is raining in {city}, 17 degrees."

    tries = []
    for city in ("Paris", "Rome", "Lisbon"):
        asked.clear()
        settings = {"tools": [get_weather], "max_tokens": 80}
        response = await ask(target, provider, f"What is the weather in {city}?", **settings)
        results = [result for chunk in response.chunks for result in chunk.metadata.get("tool_results", [])]
        tries.append((list(asked), results, response.complete_text))
        if asked == [city] and "17" in response.complete_text:
            break
    assert asked == [city], tries
    assert "17" in response.complete_text, tries
    assert results[0]["content"] == f"It is raining in {city}, 17 degrees."
    one, two = response.metadata["rounds"]
    assert two["usage"]["input_tokens"] > one["usage"]["input_tokens"] + 10  # the call and its result were read
    assert response.metadata["usage"]["input_tokens"] == one["usage"]["input_tokens"] + two["usage"]["input_tokens"]


@pytest.mark.parametrize("provider", ["local", "over-chat"])
async def test_a_prompt_beyond_the_context_window_has_its_own_error(target, provider):
    with pytest.raises(ContextWindowError) as caught:
        await ask(target, provider, "word " * 6000)
    assert caught.value.provider == provider


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_model_ends_with_its_server_even_when_that_is_killed(tmp_path, is_stopped):
    with ServerProcess("--local", variables={"XDG_RUNTIME_DIR": str(tmp_path)}) as server:
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert children
        if is_stopped:
            for child in children:
                child.suspend()
        server.expected_code = -signal.SIGKILL
        server.process.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []


async def test_the_processes_of_one_server_share_one_model_also_when_the_one_that_runs_it_is_killed(tmp_path):
    with ServerProcess("--local", "--scripted", variables={"XDG_RUNTIME_DIR": str(tmp_path)}, processes=2) as server:
        family = psutil.Process(server.process.pid)
        [model] = [
            process
            for process in family.children(recursive=True)
            if "providers.local.process" in str(process.cmdline())
        ]
        request = StreamRequest(prompt=PROMPT, agent={"model": "local/smollm2", "max_tokens": 4})
        async with channel_to(server.target, 0) as zero, channel_to(server.target, 1) as one:
            for channel in (zero, one):
                assert (await AgentServiceStub(channel).Run(request)).content
            holder = model.parent()
            assert holder is not None
            [other] = [process for process in family.children() if process != holder]
            holder.kill()
            ended = await asyncio.to_thread(psutil.wait_procs, [holder, model], 10)
            assert ended[1] == []
            kept = zero if await pid_of(server, 0) == other.pid else one
            assert (await AgentServiceStub(kept).Run(request)).content


async def test_the_process_that_runs_the_model_ends_last(tmp_path):
    """After a signal the process that runs the model has nothing more to do, but the other one still reads a reply."""
    with ServerProcess("--local", "--scripted", variables={"XDG_RUNTIME_DIR": str(tmp_path)}, processes=2) as server:
        family = psutil.Process(server.process.pid)
        [model] = [
            process
            for process in family.children(recursive=True)
            if "providers.local.process" in str(process.cmdline())
        ]
        other = 1 if await pid_of(server, 0) == model.ppid() else 0
        request = StreamRequest(prompt="Count from 1 to 100.", agent={"model": "local/smollm2", "max_tokens": 80})
        async with channel_to(server.target, other) as channel:
            call = AgentServiceStub(channel).Stream(request)
            chunk = await call.read()
            server.process.terminate()
            while not chunk.is_final:
                chunk = await call.read()
            assert chunk.usage.output_tokens > 10


def test_the_model_starts_with_its_server_only_when_asked_to(tmp_path):
    with ServerProcess("--scripted", variables={"XDG_RUNTIME_DIR": str(tmp_path)}) as server:
        assert psutil.Process(server.process.pid).children(recursive=True) == []


def test_a_signal_while_the_model_loads_ends_the_server(tmp_path):
    folder = tmp_path / "headwater"
    command = [sys.executable, "-m", "headwater.cli", "serve", "--local", "--port", "0"]
    environment = clean_environment(XDG_RUNTIME_DIR=str(tmp_path))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        while not (folder.exists() and psutil.Process(server.pid).children()):  # the model's process has begun
            assert server.poll() is None
            time.sleep(0.005)
        [model] = psutil.Process(server.pid).children()
        model.suspend()  # so that it never ends loading
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 0
        assert not model.is_running() or model.status() == psutil.STATUS_ZOMBIE
