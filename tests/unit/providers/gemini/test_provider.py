"""Google's own API over HTTP, and a loop of tools against a fake that is as strict as the service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, ToolResult
from headwater_server.providers.base import ModelInfo, Provider
from headwater_server.providers.gemini.settings import GeminiSettings
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.own_data import only_data_of
from headwater_server.providers.types import build_provider, type_of_model
from headwater_server.streaming.accumulator import Account, MessageAccumulator, ToolCallAccumulator
from tests.support.upstream.decoding import decode
from tests.support.upstream.fixtures import load_gemini
from tests.support.upstream.upstream import Upstream, always
from tests.unit.providers.conversations import WEATHER, ask, tool_results, user

REPLY = always("200 OK", load_gemini()["text"].body, content_type="text/event-stream", connection="close")
PATH = "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"


async def first_events(provider: Provider, request: ChatRequest) -> list[Any]:
    stream = provider.stream(request)
    try:
        return list(await stream.read())
    finally:
        await stream.aclose()


@pytest.mark.parametrize(
    ("settings", "header"),
    [({}, "x-goog-api-key: k-1"), ({"token_command": ("echo", "t-1")}, "authorization: Bearer t-1")],
)
async def test_the_key_goes_in_googles_header_and_a_token_as_a_bearer(settings, header):
    async with Upstream(REPLY) as upstream, HttpClient("test") as client:
        gemini = build_provider("gemini", GeminiSettings(base_url=f"{upstream.url}/v1beta", **settings), client, "k-1")
        assert await first_events(gemini, ask(model="gemini-3-flash"))
        head = upstream.requests[0].split("\r\n")
        assert head[0] == f"POST {PATH} HTTP/1.1"
        assert header in [line[:1].lower() + line[1:] for line in head]
        upstream.answer = always("200 OK", b'{"models": [{"name": "models/gemini-x"}]}', connection="close")
        assert await gemini.models() == [ModelInfo("gemini-x")]
        assert upstream.requests[1].startswith("GET /v1beta/models?pageSize=1000 ")


async def test_a_bad_key_says_which_variable_to_set():
    fixture = load_gemini()["400-key"]
    async with (
        Upstream(always("400 Bad Request", fixture.body, connection="close")) as upstream,
        HttpClient("test") as client,
    ):
        settings = GeminiSettings(base_url=upstream.url, api_key_env="GEMINI_API_KEY")
        with pytest.raises(HeadwaterError, match="set GEMINI_API_KEY") as caught:
            await first_events(build_provider("gemini", settings, client, "k-1"), ask(model="gemini-3-flash"))
    assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED


@pytest.mark.parametrize(("model", "kind"), [("gemini-3-flash", "gemini"), ("gemma3", "ollama")])
def test_which_models_are_googles(model, kind):
    assert type_of_model(model) == kind


class StrictGoogle:
    """Refuses what Google refuses, and answers each round but the last with two calls, the first of them signed."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._round = 0
        self._signed: dict[str, str] = {}

    def answer(self, contents: list[dict[str, Any]]) -> bytes:
        self._check(contents)
        self._round += 1
        if self._round == self._rounds:
            return _event([{"text": "Done."}], "STOP")
        first, second = f"fc_{self._round}a", f"fc_{self._round}b"
        self._signed[first] = f"sig-{self._round}"
        calls = [
            {"functionCall": {"name": "get_weather", "args": {"n": self._round}, "id": id}} for id in (first, second)
        ]
        return _event([{"text": "Hm", "thought": True}, calls[0] | {"thoughtSignature": self._signed[first]}, calls[1]])

    def _check(self, contents: list[dict[str, Any]]) -> None:
        assert [turn["role"] for turn in contents] == ["user", *["model", "user"] * self._round]
        for asked, answered in zip(contents[1::2], contents[2::2], strict=True):
            calls = [part for part in asked["parts"] if "functionCall" in part]
            results = [part["functionResponse"] for part in answered["parts"]]
            assert [call["functionCall"]["id"] for call in calls] == [result["id"] for result in results]
            assert [result["name"] for result in results] == ["get_weather"] * 2
            for call in calls:
                assert call.get("thoughtSignature") == self._signed.get(call["functionCall"]["id"])


def _event(parts: list[dict[str, Any]], finish: str = "STOP") -> bytes:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}
    return b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\r\n\r\n"


def test_a_loop_of_twelve_rounds_against_a_strict_service():
    wire, google, account = GeminiWire(), StrictGoogle(12), Account("gemini", "a-1")
    messages: tuple[Message, ...] = (user("Weather?"),)
    for _ in range(12):
        request = ask(*messages, model="gemini-3-flash", tools=(WEATHER,))
        body = wire.call(only_data_of(request, account.provider, account.fingerprint)).body
        outcome = decode(wire.decoder("text/event-stream"), [google.answer(body["contents"])])
        assert outcome.error is None
        message, calls = MessageAccumulator(account, from_start=True), ToolCallAccumulator(account)
        for delta in outcome.deltas:
            message.add(delta)
            calls.add(delta.tool_calls or ())
        complete = message.complete(calls.complete())
        assert complete is not None
        results = [ToolResult(call.id, "", "sunny") for call in calls.complete()]
        messages = (*messages, complete, *([tool_results(*results)] if results else []))
    assert outcome.text == "Done."
