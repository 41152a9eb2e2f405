"""`cost` of a real server: the same in the final chunk, in Run, in Python, at the terminal and in the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import grpc
import pytest

from headwater import Agent
from headwater.v1.agent_pb2 import AgentConfig
from headwater.v1.agent_service_pb2 import RunRequest, StreamRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.metrics import ADMIN, counted, port_of, scrape, total
from tests.support.servers.processes import channel_to
from tests.support.servers.server import ServerProcess, run_cli
from tests.support.terminals import on_a_terminal

PRICES = """
[prices."scripted/echo"]
input = 0.1
cached_input = 0.05
cache_write = 0.125
output = 0.3
reasoning = 0.7
"""
OTHER_PRICES = '[prices."scripted/*"]\ninput = 1\noutput = 1\n'
USAGE = {"input_tokens": 100, "output_tokens": 50, "cached_input_tokens": 30, "cache_write_tokens": 20,
         "reasoning_tokens": 7, "total_tokens": 150}  # fmt: skip
COST = Decimal(50 * 100 + 30 * 50 + 20 * 125 + 43 * 300 + 7 * 700) / 10**9


@pytest.fixture
def server(tmp_path: Path, processes: int) -> Iterator[ServerProcess]:
    (tmp_path / "headwater.toml").write_text(PRICES)
    flags = ("--scripted", "--config", str(tmp_path / "headwater.toml"), "--data-dir", str(tmp_path / "data"))
    with ServerProcess(*flags, variables=ADMIN, processes=processes) as started:
        yield started


def agent(model: str = "scripted/echo") -> AgentConfig:
    config = AgentConfig(model=model)
    config.provider_options["scripted"].update({"text": "one two", "usage": USAGE})
    return config


async def test_the_cost_is_the_same_wherever_it_is_shown(server):
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = AgentServiceStub(channel)
        chunks = [chunk async for chunk in stub.Stream(StreamRequest(agent=agent(), prompt="x"))]
        run = await stub.Run(RunRequest(agent=agent(), prompt="x"))
    assert Decimal(chunks[-1].cost) == Decimal(run.cost) == COST
    assert {chunk.cost for chunk in chunks[:-1]} == {""}
    response = await Agent(target=server.target, model="scripted/echo").arun("one two three")
    assert response.metadata["cost"] == "0.0000012"
    wanted = float(2 * COST + Decimal("0.0000012"))
    await counted(port_of(server), "headwater_streams_ended_total", 3)
    found = total(await scrape(port_of(server)), "headwater_cost_total", provider="scripted", model="echo")
    assert found == pytest.approx(wanted, rel=1e-12)  # a sum of two processes is one of floats


def test_a_terminal_shows_the_cost_beside_the_tokens(server):
    written = on_a_terminal("stream", "--target", server.target, "-m", "scripted/echo", "one two three")
    assert "3 tokens, cost 0.0000012, " in written.replace("\N{NO-BREAK SPACE}", " ")


async def test_a_model_without_a_price_has_no_cost(server):
    async with grpc.aio.insecure_channel(server.target) as channel:
        run = await AgentServiceStub(channel).Run(RunRequest(agent=agent("scripted/story"), prompt="x"))
    assert run.usage.input_tokens == 100
    assert run.cost == ""


async def test_a_reload_changes_the_prices_of_new_streams_and_not_of_running_ones(server, tmp_path, processes):
    held = agent()
    held.provider_options["scripted"].update({"delay_ms": 2500})
    async with channel_to(server.target, processes - 1) as channel:
        stub = AgentServiceStub(channel)
        running = aiter(stub.Stream(StreamRequest(agent=held, prompt="x")))
        await anext(running)
        (tmp_path / "headwater.toml").write_text(OTHER_PRICES)
        assert run_cli("reload", "--data-dir", str(tmp_path / "data")).stdout == "reloaded\n"
        later = await stub.Run(RunRequest(agent=agent(), prompt="x"))
        chunks = [chunk async for chunk in running]
    assert Decimal(later.cost) == Decimal(150) / 10**6
    assert Decimal(chunks[-1].cost) == COST
