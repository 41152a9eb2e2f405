"""The embedded model for tests: a provider on a private meeting place, and a server process to be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.local.provider import LocalProvider
from headwater_server.providers.local.settings import LocalSettings
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider


def question(text: str, **changes: Any) -> ChatRequest:
    """A question to the model, which answers it the same way every time."""
    sampling = {"temperature": 0.0, **changes.pop("sampling", {})}
    return ChatRequest("smollm2", (Message(Role.USER, (Text(text),)),), sampling=sampling, **changes)


@asynccontextmanager
async def local_provider(directory: Path, **settings: Any) -> AsyncIterator[LocalProvider]:
    """A provider whose model is stopped at the end; `provider.addresses` are those that it connected to."""
    async with HttpClient("tests") as client:

        def connect(base_url: str, key: str) -> Provider:
            return build_provider("local", OpenAISettings(base_url=f"{base_url}/v1"), client, key)

        provider = LocalProvider("local", connect, LocalSettings(**settings), directory=directory)
        try:
            yield provider
        finally:
            await provider.aclose()


async def _serve(directory: Path, streaming: bool) -> None:
    """Does the work of a server, until it is killed: starts the model, and with `streaming` reads an endless reply."""
    async with local_provider(directory) as provider:
        await provider.start()
        if not streaming:
            print("ready", flush=True)
            await asyncio.Event().wait()
        reply = provider.stream(question("Count from 1 to 10000.", provider_options={"ignore_eos": True}))
        while await reply.read():
            print("ready", flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2] == "streaming"))
