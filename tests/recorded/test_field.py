"""Every answer of `field` through real sockets: replay server, `headwater serve`, Python client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import Agent, HeadwaterError, StreamChunk
from headwater_server.domain.errors import HeadwaterError as ServerError
from headwater_server.providers.http.model_list import parse_models
from tests.support.servers.server import ReplayThread, ServerProcess, provider_variables
from tests.support.upstream.fixtures import load_field

FIELD = load_field()
CHAT = {name: case for name, case in FIELD.items() if isinstance(case.about.get("client"), dict)}
MODEL_LISTS = {name: case for name, case in FIELD.items() if name.startswith("models-")}

REDIRECTED = "openai-307-redirect"
"""Its report wants the redirect followed. A key must not go to an address that is not configured: the error names it."""

ELSEWHERE = re.compile("request-|config-|connection-")
"""Cases without a question of a caller: the shape of requests, settings, and connections."""

CONFIGURATION = """
[providers.compat]
type = "openai"
base_url = "{url}/v1"
api_key_env = "COMPAT_KEY"
"""


@pytest.fixture(scope="module")
def field_server(replay: ReplayThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The real server, with a compatible server of a chosen name beside the three providers."""
    file: Path = tmp_path_factory.mktemp("field") / "headwater.toml"
    file.write_text(CONFIGURATION.format(url=replay.url))
    variables = provider_variables(replay.url) | {"COMPAT_KEY": "sk-test-compat"}
    with ServerProcess("--config", str(file), variables=variables) as server:
        yield server


def test_each_case_is_replayed_here_or_tested_elsewhere() -> None:
    assert len(FIELD) == 150
    elsewhere = {name for name in FIELD if ELSEWHERE.match(name)}
    assert set(CHAT) | set(MODEL_LISTS) | elsewhere == set(FIELD)


class Call:
    """A caller that has one tool, where the case brings one."""

    def __init__(self) -> None:
        self.chunks: list[StreamChunk] = []
        self.cities: list[str] = []
        self.error: HeadwaterError | None = None

    def get_weather(self, city: str = "") -> str:
        """The weather of a city."""
        self.cities.append(city)
        return "sunny"

    async def make(self, target: str, client: dict[str, Any]) -> None:
        settings = client["Agent"]
        tools = [self.get_weather] if "tools" in settings else []
        agent = Agent(provider=settings["provider"], model=settings["model"], tools=tools, target=target)
        options = client["stream"].get("provider_options")
        try:
            async for chunk in agent.stream(client["stream"]["prompt"], provider_options=options):
                self.chunks.append(chunk)
        except HeadwaterError as error:
            self.error = error

    @property
    def text(self) -> str:
        return "".join(chunk.content for chunk in self.chunks)

    @property
    def thinking(self) -> str:
        return "".join(chunk.metadata.get("thinking", "") for chunk in self.chunks)

    @property
    def final(self) -> dict[str, Any]:
        assert self.error is None
        [final] = [chunk for chunk in self.chunks if chunk.is_final]
        return final.metadata


@pytest.mark.parametrize("name", sorted(set(CHAT) - {REDIRECTED}))
async def test_a_case_comes_out_as_expected(field_server: ServerProcess, name: str) -> None:
    case, call = CHAT[name], Call()
    await call.make(field_server.target, case.about["client"])
    expected = case.expected
    if expected["error"] and not (call.error is None and expected.get("or_text") == call.text):
        check_error(expected["error"], call)
    if not expected.get("loose_text") and "or_text" not in expected:
        assert call.text == expected["text"]
    assert call.thinking == expected["thinking"]
    if expected["error"] is None:
        check_end(expected, call)
    if case.then is not None:
        assert call.cities != []
        assert "" not in call.cities
    assert len(call.cities) == expected.get("tools_run", len(call.cities))


async def test_a_redirect_is_not_followed_and_the_error_names_where_to(field_server: ServerProcess) -> None:
    call = Call()
    await call.make(field_server.target, CHAT[REDIRECTED].about["client"])
    assert call.error is not None
    assert call.error.reason == "PROVIDER_UNAVAILABLE"
    assert "/moved/v1/chat/completions" in str(call.error)


def check_end(expected: dict[str, Any], call: Call) -> None:
    final = call.final
    assert final.get("provider_finish_reason", "") == expected["finish_reason"]
    assert expected.get("finish") in (None, final["finish_reason"])
    for count, number in (expected["usage"] or {}).items():
        assert final["usage"][count] == number
    if expected["tool_calls"] is None:
        return
    calls = final.get("tool_calls", [])
    assert [(c["name"], c["arguments"]) for c in calls] == [(c["name"], c["arguments"]) for c in expected["tool_calls"]]
    for got, wanted in zip(calls, expected["tool_calls"], strict=True):
        assert wanted["id"] in (None, got["id"])


def check_error(expected: dict[str, Any], call: Call) -> None:
    error = call.error
    assert error is not None
    assert not any(chunk.is_final for chunk in call.chunks)
    assert error.reason == expected.get("reason", error.reason)
    assert error.reason != "INTERNAL"
    for words in expected.get("message_has", ()):
        assert words in str(error)
    for words in expected.get("message_has_not", ()):
        assert words not in str(error)
    if "status" in expected:
        assert error.metadata["http_status"] == str(expected["status"])
    if "retry_after_s" in expected:
        assert getattr(error, "retry_after", None) == expected["retry_after_s"]


@pytest.mark.parametrize("name", MODEL_LISTS)
def test_a_list_of_models_is_read(name: str) -> None:
    case = MODEL_LISTS[name]
    try:
        models = [model.name for model in parse_models(case.body)]
    except ServerError as error:
        pytest.fail(error.message)
    assert models == case.expected["models"]
