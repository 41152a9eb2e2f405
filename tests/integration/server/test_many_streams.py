"""Many streams and many agents on one server."""

from __future__ import annotations

import asyncio
import threading

import psutil
import pytest

from headwater import Agent, collect_stream
from tests.support.servers.server import ServerProcess

ONE_WORD_THEN_SILENCE = {"scripted": {"text": "one two three", "hang_after": 1}}


def connections_to(server: ServerProcess) -> set[int]:
    """The connections from this process to the server, by their local ports. Each event loop has one."""
    port = int(server.target.rpartition(":")[2])
    ours = psutil.Process().net_connections(kind="tcp")
    return {c.laddr.port for c in ours if c.raddr and c.raddr.port == port and c.status == psutil.CONN_ESTABLISHED}


async def test_100_streams_on_one_channel_all_progress_at_once(server):
    others = connections_to(server)
    agent = Agent(model="scripted/echo", target=server.target, history=0)
    streams = [agent.stream("Hi", provider_options=ONE_WORD_THEN_SILENCE) for _ in range(100)]
    # Each gives its first chunk while none has ended: had one to wait for another, this would hang.
    first = await asyncio.gather(*(anext(stream) for stream in streams))
    assert {chunk.content.strip() for chunk in first} == {"one"}
    assert len({chunk.metadata["stream_id"] for chunk in first}) == 100
    assert len(connections_to(server) - others) == 1
    for stream in streams:
        await stream.aclose()


async def test_100_streams_arrive_whole_and_unmixed(server):
    agent = Agent(model="scripted/echo", target=server.target, history=0)
    prompts = [f"number {i}" for i in range(100)]
    options = [{"scripted": {"text": f"{prompt} " * 20}} for prompt in prompts]
    replies = await asyncio.gather(
        *(collect_stream(agent.stream(p, provider_options=o)) for p, o in zip(prompts, options, strict=True))
    )
    assert [reply.complete_text.strip() for reply in replies] == [" ".join([prompt] * 20) for prompt in prompts]


async def test_a_burst_of_2000_streams_is_answered_whole(server):
    """gRPC's own limit for calls that wait to be taken would refuse some of them."""
    agent = Agent(model="scripted/echo", target=server.target, history=0)
    replies = await asyncio.gather(*(collect_stream(agent.stream(f"{number}")) for number in range(2000)))
    assert [reply.complete_text for reply in replies] == [f"{number}" for number in range(2000)]


def test_one_agent_serves_several_runs_of_asyncio_and_several_threads(server):
    agent = Agent(model="scripted/echo", target=server.target, history=0)
    texts: list[str] = []

    async def ask(word: str) -> None:
        reply = await collect_stream(agent.stream("x", provider_options={"scripted": {"text": word}}))
        texts.append(reply.complete_text)

    def on_a_thread(word: str) -> None:
        asyncio.run(ask(word))

    threads = [threading.Thread(target=on_a_thread, args=(word,)) for word in ("d", "e")]
    for thread in threads:
        thread.start()
    for word in ("a", "b", "c"):
        asyncio.run(ask(word))
    for thread in threads:
        thread.join()
    assert sorted(texts) == ["a", "b", "c", "d", "e"]


@pytest.mark.timeout(120)
async def test_1000_agents_in_a_web_endpoint_share_one_connection(server):
    httpx = pytest.importorskip("httpx")
    fastapi = pytest.importorskip("fastapi")
    others = connections_to(server)
    app = fastapi.FastAPI()

    @app.post("/stream")
    async def stream_endpoint(prompt: str):  # type: ignore[no-untyped-def]
        agent = Agent(model="scripted/echo", target=server.target)

        async def generate():  # type: ignore[no-untyped-def]
            async for chunk in agent.stream(prompt, provider_options={"scripted": {"text": "ok"}}):
                yield f"data: {chunk.content}\n\n"

        return fastapi.responses.StreamingResponse(generate(), media_type="text/event-stream")

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

        async def request() -> str:
            response = await client.post("/stream", params={"prompt": "Hi"})
            return str(response.text)

        first = None
        for _ in range(20):
            answers = await asyncio.gather(*(request() for _ in range(50)))
            assert set(answers) == {"data: ok\n\ndata: \n\n"}
            first = first or connections_to(server) - others
            assert connections_to(server) - others == first
        assert first is not None
        assert len(first) == 1
