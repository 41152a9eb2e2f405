"""That each setting reaches the part it is for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from click.testing import CliRunner

from headwater.v1 import agent_service_pb2
from headwater_server.bootstrap import running
from headwater_server.cli import config
from headwater_server.config import load
from headwater_server.config.providers import build_providers
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.http.client import Address, Answer, HttpClient
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.registry import ProviderRegistry
from tests.support.stubs.stub import agent_stub, details

KEYS = {"OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-anthropic"}


@asynccontextmanager
async def built(folder: Path, text: str = "", **environment: str) -> AsyncIterator[ProviderRegistry]:
    """The providers of a configuration file and an environment."""
    file = folder / "headwater.toml"
    file.write_text(text)
    async with Recorder("test") as client:
        providers = build_providers(load(file, environment), lambda: client)
        try:
            yield providers
        finally:
            await providers.aclose()


class Recorder(HttpClient):
    """Keeps the requests, and sends none."""

    sent: httpx.Request

    async def send(
        self,
        method: str,
        address: Address,
        headers: Mapping[str, str],
        body: bytes | None = None,
        connect_seconds: float | None = None,
    ) -> Answer:
        self.sent = httpx.Request(method, address.url, headers=dict(headers), content=body)
        raise ConnectionRefusedError("recorded")


async def posted(providers: ProviderRegistry, model: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The request that is made for the model: its URL, headers and body."""
    route = providers.resolve(model, "")
    assert isinstance(route.provider, HttpProvider)
    recorder = route.provider._site.client
    assert isinstance(recorder, Recorder)
    stream = route.provider.stream(ChatRequest(route.model, (Message(Role.USER, (Text("x"),)),)))
    with pytest.raises(HeadwaterError, match="cannot be reached"):
        await stream.read()
    await stream.aclose()
    return str(recorder.sent.url), dict(recorder.sent.headers), json.loads(recorder.sent.content)


async def test_anthropics_max_tokens_reaches_the_wire(tmp_path):
    async with built(tmp_path, "[providers.anthropic]\nmax_tokens = 777\n", **KEYS) as providers:
        _, _, body = await posted(providers, "claude-sonnet-4-6")
    assert (body["model"], body["max_tokens"]) == ("claude-sonnet-4-6", 777)


async def test_every_provider_has_its_own_address_and_key(tmp_path):
    text = (
        '[providers.box]\ntype = "openai"\nbase_url = "http://box:8/v1"\napi_key_env = "BOX_KEY"\nmodels = ["mine"]\n'
    )
    variables = {**KEYS, "BOX_KEY": "sk-box", "OLLAMA_HOST": "gpu:9"}
    async with built(tmp_path, text, **variables) as providers:
        openai, anthropic, ollama, box = [
            await posted(providers, model) for model in ("gpt-4o", "claude-sonnet-4-6", "llama3.2", "mine")
        ]
    assert openai[0].startswith("https://api.openai.com/v1/")
    assert openai[1]["authorization"] == "Bearer sk-openai"
    assert anthropic[0].startswith("https://api.anthropic.com/")
    assert anthropic[1]["authorization"] == "Bearer sk-anthropic"
    assert ollama[0] == "http://gpu:9/api/chat"
    assert "authorization" not in ollama[1]
    assert box[0] == "http://box:8/v1/chat/completions"
    assert box[1]["authorization"] == "Bearer sk-box"


async def test_a_key_of_a_file_and_a_token_of_a_command_reach_the_call_and_go_over_the_variable(tmp_path):
    (tmp_path / "key").write_text("sk-of-the-file\n")
    text = (
        f'[providers.openai]\napi_key_file = "{tmp_path}/key"\n'
        '[providers.anthropic]\ntoken_command = ["echo", "of-the-command"]\n'
    )
    async with built(tmp_path, text, **KEYS) as providers:
        sent = [(await posted(providers, model))[1]["authorization"] for model in ("gpt-4o", "claude-sonnet-4-6")]
    assert sent == ["Bearer sk-of-the-file", "Bearer of-the-command"]


@pytest.mark.parametrize(
    ("text", "model", "path"),
    [
        ("", "gpt-4o", "/v1/chat/completions"),
        ("", "gpt-5.4", "/v1/responses"),
        ('[providers.openai]\napi = "responses"\n', "gpt-4o", "/v1/responses"),
        ('[providers.openai]\napi = "chat_completions"\n', "gpt-5.4", "/v1/chat/completions"),
        ('[providers.box]\ntype = "openai"\nbase_url = "http://box/v1"\n', "box/gpt-5.4", "/v1/chat/completions"),
        ('[providers.box]\ntype = "openai"\nbase_url = "http://box/v1"\napi = "responses"\n', "box/m", "/v1/responses"),
    ],
)
async def test_the_api_is_chosen_by_the_setting_and_else_by_openais_model(tmp_path, text, model, path):
    async with built(tmp_path, text, **KEYS) as providers:
        url, _, _ = await posted(providers, model)
    assert url.endswith(path)


def nothing_is_sent(providers: ProviderRegistry) -> bool:
    """Whether the recorder, which all providers share, has no request."""
    return all(
        not hasattr(provider._site.client, "sent")
        for provider in providers._providers.values()
        if isinstance(provider, HttpProvider)
    )


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("mymodel:latest", ""),
        ("gpt-oss:20b", ""),
        ("org/name:tag", ""),
        ("llama3.2", ""),
        ("mistral-large", ""),
        ("ollama/llama3.2", ""),
        ("ollama/", ""),
        ("", "ollama"),
        ("gpt-4o", "ollama"),
    ],
)
async def test_a_name_leads_to_no_provider_that_was_not_set_up(tmp_path, model, provider):
    async with built(tmp_path, **KEYS) as providers:
        with pytest.raises(HeadwaterError, match="set OLLAMA_HOST for the server") as caught:
            providers.resolve(model, provider)
    assert caught.value.reason is Reason.PROVIDER_NOT_FOUND


async def test_a_provider_that_was_not_set_up_gets_no_call_without_a_key(tmp_path):
    async with built(tmp_path) as providers:
        assert providers.configured() == [] or [each.name for each in providers.configured()] == ["local"]
        offered = [each for each in providers._providers.values() if isinstance(each, HttpProvider)]
        assert {each.name for each in offered} == {"openai", "anthropic", "gemini"}
        for each in offered:
            stream = each.stream(ChatRequest("m", (Message(Role.USER, (Text("MARKED"),)),)))
            with pytest.raises(HeadwaterError) as caught:
                await stream.read()
            await stream.aclose()
            assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED
        assert nothing_is_sent(providers)


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ('[providers.openai]\nauth = "none"\n', True),
        ('[providers.openai]\napi_key_env = ""\n', False),
        ("[providers.openai]\nconnect_seconds = 3.0\n", True),
    ],
)
async def test_a_provider_without_a_key_is_there_where_the_settings_say_that_it_wants_none(tmp_path, text, there):
    async with built(tmp_path, text) as providers:
        assert ("openai" in providers._providers) is there


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {"OLLAMA_HOST": "127.0.0.1"}),
        ('[providers.ollama]\ndefault_model = "qwen3"\n', {}),
        ("[providers.ollama]\n", {}),
    ],
)
async def test_ollama_is_set_up_by_its_variable_or_its_section(tmp_path, text, variables):
    async with built(tmp_path, text, **variables) as providers:
        url, _, _ = await posted(providers, "gpt-oss:20b")
        assert "ollama" in [each.name for each in providers.configured()]
    assert url == "http://127.0.0.1:11434/api/chat"


@pytest.mark.parametrize(("variables", "there"), [({}, False), ({"HEADWATER_SCRIPTED": "1"}, True)])
async def test_scripted_is_there_only_when_it_is_asked_for(tmp_path, variables, there):
    async with built(tmp_path, **variables) as providers:
        assert ("scripted" in [provider.name for provider in providers.configured()]) is there


async def test_a_local_model_whose_file_is_missing_is_not_listed(tmp_path):
    async with built(tmp_path, f'[providers.local]\nmodel_path = "{tmp_path}/none.gguf"\n') as providers:
        assert providers.configured() == []
        assert providers.provider("local").name == "local"


@pytest.mark.parametrize(
    ("short", "long", "hang_after", "message"),
    [
        ("HEADWATER_FIRST_CHUNK_SECONDS", "HEADWATER_NEXT_CHUNK_SECONDS", 0, "sent no first chunk within 0.2 seconds"),
        ("HEADWATER_NEXT_CHUNK_SECONDS", "HEADWATER_FIRST_CHUNK_SECONDS", 1, "sent no next chunk within 0.2 seconds"),
    ],
)
async def test_each_limit_on_silence_is_kept_where_it_belongs(tmp_path, short, long, hang_after, message):
    request = agent_service_pb2.StreamRequest(agent={"model": "scripted/echo"}, prompt="one two three")
    request.agent.provider_options["scripted"].update({"hang_after": hang_after})
    variables = {"HEADWATER_PORT": "0", "HEADWATER_DATA_DIR": str(tmp_path), "HEADWATER_SCRIPTED": "1"}
    settings = load(None, {**variables, short: "0.2", long: "600"}).settings.server
    async with (
        built(tmp_path, **variables) as providers,
        running(settings, providers) as server,
        agent_stub(f"127.0.0.1:{server.port}") as stub,
    ):
        chunks = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for chunk in stub.Stream(request, timeout=30):
                chunks.append(chunk)
    assert len(chunks) == hang_after
    assert details(caught.value)["ErrorInfo"].reason == "STREAM_TIMEOUT"  # type: ignore[attr-defined]
    assert message in str(caught.value.details())


def closing_line(*args: str, **variables: str) -> str:
    """The last line of `headwater config`."""
    done = CliRunner().invoke(config, args, env=variables)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.splitlines()[-1]


def test_config_says_who_answers_a_request_that_names_nothing():
    line = closing_line(OPENAI_API_KEY="k")
    assert line == "# a request that names no model is answered by openai/gpt-4o-mini"


def test_config_says_when_a_request_must_name_its_model(tmp_path):
    file = tmp_path / "headwater.toml"
    file.write_text(f'[providers.local]\nmodel_path = "{tmp_path}/none.gguf"\n')
    assert closing_line("--config", str(file)) == "# a request must name its model"


def test_config_says_when_nobody_has_the_default_model():
    done = CliRunner().invoke(config, ("--default-model", "unheard-of"), env={"OPENAI_API_KEY": "k"})
    assert done.exit_code == 78
    assert 'default_model = "unheard-of"  # --default-model\n' in done.stdout
    assert done.stderr.startswith(
        'headwater: --default-model: no provider here is known to have the model "unheard-of"'
    )
