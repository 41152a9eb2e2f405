"""The embedded model for tests: a provider on a private meeting place, and a server process to be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.http.provider import Endpoint, HttpProvider
from headwater_server.providers.local.provider import LocalProvider
from headwater_server.providers.openai import chat as openai_chat


def question(text: str, **changes: Any) -> ChatRequest:
    """A question to the model, which answers it the same way every time."""
    sampling = {"temperature": 0.0, **changes.pop("sampling", {})}
    return ChatRequest("smollm2", (Message(Role.USER, (Text(text),)),), sampling=sampling, **changes)


@asynccontextmanager
async def local_provider(directory: Path, **settings: Any) -> AsyncIterator[LocalProvider]:
    """A provider whose model is stopped at the end; `provider.addresses` are those that it connected to."""
    async with HttpClient("tests") as client:

        def connect(base_url: str, key: str) -> Provider:
            return HttpProvider(
                name="local",
                type="openai",
                endpoint=Endpoint(f"{base_url}/v1", key),
                client=client,
                wires={"chat_completions": openai_chat.OpenAIChatWire(genuine=False)},
                default_model="",
                models_path="/models",
                parse_models=parse_models,
            )

        provider = LocalProvider("local", connect, directory=directory, **settings)
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
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2] == "streaming"))
