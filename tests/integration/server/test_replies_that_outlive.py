"""Replies over the old connection of a client that meanwhile connects again, with a server that drains."""

from __future__ import annotations

import signal
from typing import Any

from headwater import Agent, ServerUnavailableError
from tests.support.servers.server import ServerProcess


async def test_a_reply_that_a_draining_server_still_sends_outlives_calls_that_fail() -> None:
    with ServerProcess("--scripted") as server:
        agent = Agent(model="scripted/echo", target=server.target, history=0)
        script: dict[str, Any] = {"text": "one two three four five six", "delay_ms": 300}
        stream = agent.stream("x", provider_options={"scripted": script})
        text = str(await anext(stream))
        server.process.send_signal(signal.SIGTERM)
        failed = 0
        async for chunk in stream:
            text += str(chunk)
            try:
                await agent.arun("y")
            except ServerUnavailableError:
                failed += 1
        assert text == script["text"]
        assert failed > 1
