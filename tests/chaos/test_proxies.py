"""Streams through Envoy and nginx that last longer than any default of theirs: 60 s for nginx, 5 minutes for Envoy."""

from __future__ import annotations

import asyncio

import pytest

from headwater import Agent, Connection
from tests.support.proxies import NAMES, program, proxy
from tests.support.servers.certificates import Authority
from tests.support.servers.server import ServerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SILENCE_SECONDS = 310
TALK = {"text": "word", "repeat": 620, "delay_ms": 500}
SILENT = {"text": "one two", "first_delay_ms": SILENCE_SECONDS * 1000, "delay_ms": 50}
SILENT_BETWEEN = {"text": "one two", "delay_ms": SILENCE_SECONDS * 1000}


async def reply(connection: Connection, script: dict[str, object]) -> str:
    agent = Agent(model="scripted/echo", connection=connection, history=0)
    limits = dict.fromkeys(("first_chunk", "next_chunk"), SILENCE_SECONDS * 2)
    chunks = agent.stream("x", provider_options={"scripted": script}, timeouts=limits, resumable=False)
    return "".join([chunk.content async for chunk in chunks])


@pytest.mark.parametrize("name", NAMES)
async def test_five_minutes_of_silence_and_of_speech_pass(name, tmp_path):
    if program(name) is None:
        pytest.skip(f"{name} is not here: .ci/run installs it")
    authority = Authority(tmp_path / "tls")
    with (
        ServerProcess("--scripted") as server,
        proxy(name, server.target, authority, tmp_path / name) as front,
    ):
        async with Connection(front, ca_file=authority.file) as connection:
            replies = await asyncio.gather(*(reply(connection, each) for each in (TALK, SILENT, SILENT_BETWEEN)))
    assert replies == [" ".join(["word"] * 620), "one two", "one two"]
