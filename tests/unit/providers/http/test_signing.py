"""A provider over HTTP with credentials that change: a refused token is renewed once, before anything was streamed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headwater_server.domain.chunks import Delta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider
from tests.support.upstream.upstream import Answer, Upstream, always

SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
REPLY = always("200 OK", SAID, content_type="text/event-stream", connection="close")
MODELS = always("200 OK", b'{"data": [{"id": "m"}]}', connection="close")


def refusal(text: str) -> Answer:
    return always("401 Unauthorized", json.dumps({"error": {"message": text}}).encode(), connection="close")


def numbered(folder: Path) -> list[str]:
    """A command that prints tok-secret-1, then tok-secret-2, and so on."""
    return ["sh", "-c", f"echo >> {folder}/runs; echo tok-secret-$(wc -l < {folder}/runs)"]


def sent_tokens(upstream: Upstream) -> list[str]:
    lines = [line for request in upstream.requests for line in request.split("\r\n")]
    return [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization:")]


def provider(upstream: Upstream, client: HttpClient, **settings: object) -> Provider:
    return build_provider("box", OpenAISettings(base_url=upstream.url, **settings), client)  # type: ignore[arg-type]


def question(api_key: str = "") -> ChatRequest:
    return ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),), api_key=api_key)


async def first_events(provider: Provider, request: ChatRequest) -> list[object]:
    stream = provider.stream(request)
    try:
        return list(await stream.read())
    finally:
        await stream.aclose()


async def ask(provider: Provider) -> object:
    return await first_events(provider, question())


async def list_models(provider: Provider) -> object:
    return await provider.models()


@pytest.mark.parametrize(("call", "answer"), [(ask, REPLY), (list_models, MODELS)])
async def test_a_refused_token_is_fetched_again_and_the_call_sent_once_more(tmp_path, call, answer):
    async def first_no(writer: asyncio.StreamWriter) -> None:
        await (refusal("expired") if len(upstream.requests) == 1 else answer)(writer)

    async with Upstream(first_no) as upstream, HttpClient("test") as client:
        box = provider(upstream, client, token_command=numbered(tmp_path))
        assert await call(box)
        assert await call(box)
    assert sent_tokens(upstream) == ["Bearer tok-secret-1", "Bearer tok-secret-2", "Bearer tok-secret-2"]


async def test_the_same_body_is_sent_again(tmp_path):
    async with Upstream(refusal("no")) as upstream, HttpClient("test") as client:
        with pytest.raises(HeadwaterError):
            await first_events(provider(upstream, client, token_command=numbered(tmp_path)), question())
    assert len(upstream.bodies) == 2
    assert upstream.bodies[0] == upstream.bodies[1] != b""


@pytest.mark.parametrize("call", [ask, list_models])
async def test_a_token_that_is_refused_again_is_an_error_that_names_the_command_and_not_the_token(tmp_path, call):
    async with Upstream(refusal("tok-secret-2 is no good")) as upstream, HttpClient("test") as client:
        with capture_logs() as logs, pytest.raises(HeadwaterError) as caught:
            await call(provider(upstream, client, token_command=numbered(tmp_path)))
    assert len(upstream.requests) == 2
    assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED
    assert "check what token_command (sh) prints" in caught.value.message
    assert "tok-secret" not in f"{caught.value} {caught.value.metadata} {logs}"


async def test_a_key_file_that_was_replaced_is_read_for_the_next_call(tmp_path):
    path = tmp_path / "key"
    path.write_text("sk-first")
    async with Upstream(REPLY) as upstream, HttpClient("test") as client:
        box = provider(upstream, client, api_key_file=str(path))
        await ask(box)
        (tmp_path / "new").write_text("sk-second")
        (tmp_path / "new").replace(path)
        assert await ask(box) == [Delta(content="a")]
    assert sent_tokens(upstream) == ["Bearer sk-first", "Bearer sk-second"]


async def test_a_key_that_stays_the_same_is_sent_once():
    async with Upstream(refusal("no")) as upstream, HttpClient("test") as client:
        box = build_provider("box", OpenAISettings(base_url=upstream.url, api_key_env="BOX_KEY"), client, "sk-static")
        with pytest.raises(HeadwaterError, match=r"\(set BOX_KEY for the server\)"):
            await ask(box)
    assert sent_tokens(upstream) == ["Bearer sk-static"]


async def test_a_missing_key_is_an_error_before_anything_is_sent():
    async with Upstream(REPLY) as upstream, HttpClient("test") as client:
        with pytest.raises(HeadwaterError, match="there is no key: set BOX_KEY for the server") as caught:
            await ask(provider(upstream, client, api_key_env="BOX_KEY"))
    assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED
    assert upstream.requests == []


async def test_a_callers_own_key_goes_over_the_providers_credential(tmp_path):
    async with Upstream(refusal("no")) as upstream, HttpClient("test") as client:
        box = provider(upstream, client, token_command=numbered(tmp_path))
        with pytest.raises(HeadwaterError) as caught:
            await first_events(box, question("sk-the-callers-own"))
    assert sent_tokens(upstream) == ["Bearer sk-the-callers-own"]
    assert "token_command" not in caught.value.message
    assert not (tmp_path / "runs").exists()


async def test_a_reader_that_leaves_while_the_token_is_fetched_ends_the_command(tmp_path):
    command = ["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 1000"]
    async with Upstream(REPLY) as upstream, HttpClient("test") as client:
        reading = asyncio.create_task(first_events(provider(upstream, client, token_command=command), question()))
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait([reading])
    assert reading.cancelled()
    assert upstream.requests == []
