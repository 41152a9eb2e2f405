"""The guide's snippets of whole applications, its reference, and an example beside it."""

from __future__ import annotations

import asyncio
import inspect
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi import FastAPI

from headwater import Agent
from headwater.exceptions import ProviderError
from headwater.testing import ScriptedServer
from tests.support.guide import run


def test_a_web_application(headwater: ScriptedServer) -> None:
    headwater.reply(["Hel", "lo"])
    app = run(
        """
        from fastapi import FastAPI
        from fastapi.responses import StreamingResponse
        from agenticraft import Agent

        app = FastAPI()

        @app.post("/stream")
        async def answer(prompt: str):
            agent = Agent()

            async def events():
                async for piece in agent.stream(prompt):
                    yield f"data: {piece.content}\\n\\n"

            return StreamingResponse(events(), media_type="text/event-stream")
        """
    )["app"]
    assert asyncio.run(post(app, "/stream", "prompt=Hi")) == b"data: Hel\n\ndata: lo\n\ndata: \n\n"


async def post(app: FastAPI, path: str, query: str) -> bytes:
    """The body of the answer to a POST without a body."""
    body = b""

    async def receive() -> dict[str, Any]:
        return await requests.get()

    async def send(message: Any) -> None:
        nonlocal body
        body += message.get("body", b"")

    requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    requests.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    scope = {"type": "http", "method": "POST", "path": path, "query_string": query.encode(), "headers": []}
    await app(scope, receive, send)
    return body


def test_a_command(headwater: ScriptedServer) -> None:
    headwater.reply("Hello")
    command = run(
        """
        import asyncio
        import click
        from agenticraft import Agent

        @click.command()
        @click.argument("prompt")
        def ask(prompt):
            async def answer():
                async for piece in Agent().stream(prompt):
                    click.echo(piece.content, nl=False)

            asyncio.run(answer())
        """
    )["ask"]
    assert CliRunner().invoke(command, ["Hi"]).output == "Hello"


def test_a_notebook(
    headwater: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Output:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    display = ModuleType("IPython.display")
    vars(display).update(display=lambda _: None, HTML=str)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "ipywidgets", SimpleNamespace(Output=Output))
    headwater.reply("AI is wide.")
    run(
        """
        import ipywidgets as widgets
        from IPython.display import HTML, display

        box = widgets.Output()
        display(box)
        async for piece in agent.stream("What is AI?"):
            with box:
                print(piece.content, end="")
        """,
        agent=Agent(),
    )
    assert capsys.readouterr().out == "AI is wide."


def test_the_fields_of_the_reference() -> None:
    names = run(
        """
        from agenticraft import Agent
        from agenticraft.core.streaming import StreamChunk, StreamingResponse

        piece = StreamChunk(content="a", token="a", metadata={}, is_final=False)
        reply = StreamingResponse()
        reply.add_chunk(piece)
        stream = Agent.stream
        """
    )
    assert names["piece"].timestamp > 0
    found = {name: getattr(names["reply"], name) for name in ("end_time", "total_tokens", "duration", "metadata")}
    assert found == {"end_time": None, "total_tokens": None, "duration": None, "metadata": {}}
    assert (names["reply"].complete_text, names["reply"].chunk_count, names["reply"].chunks) == (
        "a",
        1,
        [names["piece"]],
    )
    parameters = inspect.signature(names["stream"]).parameters
    expected = ["prompt", "temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty", "stop"]
    assert [name for name in parameters if name in expected] == expected


def test_the_way_of_version_one_and_of_version_two(
    headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    headwater.reply("whole")
    headwater.reply("in pieces")
    run(
        """
        answer = agent.run("A tale")
        print(answer.content)
        async for piece in agent.stream("A tale"):
            print(piece.content, end="", flush=True)
        """,
        agent=Agent(),
    )
    assert capsys.readouterr().out == "whole\nin pieces"


def test_comparing_providers(headwater: ScriptedServer) -> None:
    """An example beside the guide: one question to each provider, whose failures are reported."""
    headwater.reply("from openai", when="rivers")
    headwater.fail(ProviderError("no key"), when="rivers")
    headwater.reply("from ollama", when="rivers")
    program = """
        import time
        from agenticraft import Agent
        from agenticraft.core.streaming import StreamingResponse

        async def ask(provider, model):
            agent = Agent(name=f"{provider}-agent", provider=provider, model=model)
            reply, began = StreamingResponse(), time.time()
            async for piece in agent.stream("On rivers"):
                reply.add_chunk(piece)
            return reply.complete_text, reply.chunk_count, time.time() - began

        found = {}
        for provider, model in [("openai", "gpt-4o"), ("anthropic", "claude-3"), ("ollama", "llama3.2")]:
            try:
                found[provider] = (await ask(provider, model))[0]
            except Exception as error:
                found[provider] = f"failed: {error}"
        """
    assert run(program)["found"] == {
        "openai": "from openai", "anthropic": "failed: anthropic: no key", "ollama": "from ollama",
    }  # fmt: skip
