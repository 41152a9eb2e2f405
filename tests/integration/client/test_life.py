"""An agent's life: made anywhere, used from any loop, thread or process, and never in the way."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import headwater
from headwater import Agent, ServerUnavailableError, StreamInterruptedError
from headwater._grpc.channels import _loops
from tests.support.scripts import assert_clean, run_script, start_script
from tests.support.services.fake_agent_service import FakeAgentService, say, say_forever


async def collect(agent: Agent) -> str:
    return "".join([chunk.content async for chunk in agent.stream("Hi")])


def test_one_agent_through_three_runs_of_asyncio(service: FakeAgentService) -> None:
    agent = Agent(target=service.target)
    before = set(_loops)
    assert [asyncio.run(collect(agent)) for _ in range(3)] == ["Hello world"] * 3
    assert service.connections() == 0
    assert set(_loops) == before


def test_one_agent_in_the_loops_of_two_threads_at_once(service: FakeAgentService) -> None:
    agent = Agent(target=service.target, history=0)

    async def often() -> list[str]:
        return [await collect(agent) for _ in range(20)]

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: asyncio.run(often()), range(2)))
    assert results == [["Hello world"] * 20] * 2
    assert service.connections() == 0


def test_a_loop_closed_by_hand_leaves_nothing_once_another_is_used(service: FakeAgentService) -> None:
    agent = Agent(target=service.target)
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(collect(agent)) == "Hello world"
    loop.close()
    assert asyncio.run(collect(agent)) == "Hello world"
    assert loop not in _loops
    deadline = time.monotonic() + 5
    while service.connections() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.connections() == 0


def test_a_stream_kept_beyond_its_loop_was_closed_with_it(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    agent = Agent(target=service.target)

    async def begin() -> headwater.AgentStream:
        stream = agent.stream("Hi")
        await anext(stream)
        return stream

    stream = asyncio.run(begin())
    service.wait_for_leaving()

    async def read() -> list[headwater.StreamChunk]:
        return [chunk async for chunk in stream]

    with pytest.raises(StreamInterruptedError, match="closed before its final chunk"):
        asyncio.run(read())


def test_the_environment_is_read_when_the_call_is_made(
    service: FakeAgentService, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent()
    monkeypatch.setenv("HEADWATER_TARGET", service.target)
    assert agent.run("Hi").content == "Hello world"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LocalHost", "[::ffff:127.0.0.1]", "dns:///localhost", "ipv4:127.0.0.1", "0.0.0.0"],
)  # fmt: skip
async def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    service: FakeAgentService, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert await collect(Agent(target=f"{host}:{service.port}")) == "Hello world"


async def test_a_proxy_of_the_environment_is_used_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        with pytest.raises(ServerUnavailableError):
            await collect(Agent(target="headwater.example.com:50051"))
        assert (await asked.get()).startswith(b"CONNECT headwater.example.com:50051")


async def test_a_thousand_agents_in_a_web_endpoint_share_one_connection(service: FakeAgentService) -> None:
    app = FastAPI()

    @app.post("/stream")
    async def stream_endpoint(prompt: str) -> StreamingResponse:
        agent = Agent(target=service.target)

        async def generate() -> AsyncIterator[str]:
            async for chunk in agent.stream(prompt):
                yield f"data: {chunk.content}\n\n"

        return StreamingResponse(generate(), media_type="text/event-stream")

    seen = set()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for _ in range(50):
            answers = await asyncio.gather(*(client.post("/stream", params={"prompt": "Hi"}) for _ in range(20)))
            assert {answer.text for answer in answers} == {"data: Hello\n\ndata:  \n\ndata: world\n\ndata: \n\n"}
            seen.add(service.connections())
    assert len(service.requests) == 1000
    assert seen == {1}


async def test_the_next_call_works_once_the_server_is_there() -> None:
    with FakeAgentService() as service:
        port = service.port
    agent = Agent(target=f"127.0.0.1:{port}")
    with pytest.raises(ServerUnavailableError):
        await collect(agent)
    with FakeAgentService(port=port):
        deadline = time.monotonic() + 5
        while True:
            try:
                assert await collect(agent) == "Hello world"
                break
            except ServerUnavailableError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)


async def test_a_server_that_goes_in_mid_stream_interrupts_it() -> None:
    with FakeAgentService(reply=lambda request, context: say_forever("word ")) as service:
        stream = Agent(target=service.target).stream("Hi")
        first = await anext(stream)
        text = first.content
        await asyncio.to_thread(service.loop.call_soon_threadsafe, service._stop.set)
        with pytest.raises(StreamInterruptedError) as caught:
            async for chunk in stream:
                text += chunk.content
    assert caught.value.partial_response == text


def test_run_works_without_a_loop_and_inside_a_running_one(service: FakeAgentService) -> None:
    agent = Agent(target=service.target)
    assert agent.run("Hi").content == "Hello world"

    async def inside() -> str:
        return agent.run("Hi").content

    assert asyncio.run(inside()) == "Hello world"


def test_synchronous_calls_from_many_threads_share_one_portal(service: FakeAgentService) -> None:
    agent = Agent(target=service.target, history=0)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: agent.run("Hi").content, range(40)))
    assert replies == ["Hello world"] * 40
    assert service.connections() == 1


def test_stream_sync_is_a_plain_iterator(service: FakeAgentService) -> None:
    chunks = list(Agent(target=service.target).stream_sync("Hi"))
    assert [chunk.content for chunk in chunks] == ["Hello", " ", "world", ""]


def test_closing_a_kept_stream_sync_ends_the_call(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    with contextlib.closing(Agent(target=service.target).stream_sync("Hi")) as chunks:
        next(chunks)
    service.wait_for_leaving()


def test_the_package_can_be_run(service: FakeAgentService) -> None:
    arguments = [sys.executable, "-m", "headwater", "stream", "Hi", "--target", service.target]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert_clean(done, "Hello world\n")


def test_stream_sync_checks_its_arguments_before_the_first_chunk_is_asked_for() -> None:
    with pytest.raises(headwater.ValidationError):
        Agent().stream_sync("Hi", temperature="hot")  # type: ignore[arg-type]


def test_leaving_stream_sync_ends_the_call(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    for _ in Agent(target=service.target).stream_sync("Hi"):
        break
    service.wait_for_leaving()


def test_an_error_of_stream_sync_keeps_the_partial_text(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever("word ")
    with pytest.raises(headwater.StreamTimeoutError) as caught:
        list(Agent(target=service.target).stream_sync("Hi", timeout=0.2))
    assert caught.value.partial_response
    assert caught.value.partial_response.startswith("word ")


def test_what_the_provider_can_do(service: FakeAgentService) -> None:
    agent = Agent(target=service.target, temperature=0.5, timeout=7)
    assert agent.get_provider_info() == {
        "provider": "fake",
        "model": "fake-1",
        "supports_streaming": True,
        "supports_tools": True,
        "timeout": 7.0,
        "max_retries": 0,
        "temperature": 0.5,
        "max_tokens": None,
    }
    assert agent.list_available_providers() == ["fake", "other"]


def test_the_interpreter_ends_in_silence_whatever_is_open(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    script = """
        import asyncio
        from headwater import Agent
        agent = Agent()
        kept = agent.stream_sync("Hi")
        next(kept)
        loop = asyncio.new_event_loop()
        stream = agent.stream("Hi")
        loop.run_until_complete(anext(stream))
        async def begin():
            global other
            other = agent.stream("Hi")
            await anext(other)
        asyncio.run(begin())
        loop.close()
        print("done")
    """
    assert_clean(run_script(service, script), "done\n")


def test_an_exception_ends_the_interpreter_with_its_own_traceback_only(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    script = """
        import asyncio
        from headwater import Agent
        async def main():
            async for chunk in Agent().stream("Hi"):
                raise SystemExit("mine")
        asyncio.run(main())
    """
    done = run_script(service, script)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "mine\n")
    service.wait_for_leaving()


def test_a_server_that_goes_prints_nothing_at_its_clients() -> None:
    script = """
        import asyncio
        from headwater import Agent, StreamInterruptedError
        async def main():
            try:
                async for chunk in Agent().stream("Hi"):
                    if "first" not in globals():
                        globals()["first"] = print("begun", flush=True)
            except StreamInterruptedError:
                print("interrupted")
        asyncio.run(main())
    """
    with FakeAgentService(reply=lambda request, context: say_forever()) as service:
        child = start_script(service, script)
        assert child.stdout is not None
        begun = child.stdout.readline()
    output, errors = child.communicate(timeout=30)
    assert (begun, output, errors) == ("begun\n", "interrupted\n", "")


def test_importing_the_contract_loads_nothing_that_was_written_by_hand(service: FakeAgentService) -> None:
    script = """
        import sys
        import headwater.v1.agent_service_pb2_grpc
        print(sorted(name for name in sys.modules if name.startswith("headwater") and ".v1" not in name))
    """
    assert_clean(run_script(service, script), "['headwater']\n")


def test_every_public_name_can_be_imported() -> None:
    assert {name: getattr(headwater, name).__name__ for name in headwater.__all__} == {
        name: name for name in headwater.__all__
    }
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = headwater.nothing_of_the_kind


def test_a_reply_can_be_asked_for_in_a_generator_of_the_caller(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say("a", "b")
    agent = Agent(target=service.target)

    async def texts() -> AsyncIterator[str]:
        async for chunk in agent.stream("Hi"):
            yield chunk.content

    async def main() -> list[str]:
        return [text async for text in texts()]

    assert asyncio.run(main()) == ["a", "b", ""]
