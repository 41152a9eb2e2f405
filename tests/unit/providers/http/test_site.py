"""The site of a provider: its address, headers, query, key, way and omissions, as its settings have them."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.anthropic.settings import AnthropicSettings
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient, Way, parsed_url
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider
from tests.support.upstream.upstream import Upstream, always

SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
REPLY = always("200 OK", SAID, content_type="text/event-stream", connection="close")
TLS = Path(__file__).parents[3] / "support" / "tls"


def question(model: str = "m", **fields: Any) -> ChatRequest:
    return ChatRequest(model, (Message(Role.USER, (Text("Hi"),)),), **fields)


async def ask(provider: Provider, request: ChatRequest | None = None) -> None:
    stream = provider.stream(request or question())
    try:
        await stream.read()
    finally:
        await stream.aclose()


def built(
    client: HttpClient, url: str, key: str = "sk-1", variables: dict[str, str] | None = None, **settings: Any
) -> Provider:
    return build_provider("box", OpenAISettings(base_url=url, **settings), client, key, variables)


def target(upstream: Upstream) -> str:
    return upstream.requests[-1].split(" ")[1]


def headers(upstream: Upstream) -> dict[str, str]:
    lines = (line.partition(": ") for line in upstream.requests[-1].split("\r\n")[1:] if line)
    return {name.lower(): value for name, _, value in lines}


@pytest.fixture
async def client():
    async with HttpClient("test") as client:
        yield client


async def test_headers_and_query_go_with_every_call_their_variables_replaced(client):
    async with Upstream(REPLY) as upstream:
        settings = {
            "headers": {"X-Tenant": "acme", "x-secret": "id-${SECRET}"},
            "query": {"api-version": "2024-10-21", "q": "a b&c"},
        }
        box = built(client, f"{upstream.url}/v1", variables={"SECRET": "s3"}, **settings)
        await ask(box)
        assert target(upstream) == "/v1/chat/completions?api-version=2024-10-21&q=a%20b%26c"
        assert (headers(upstream)["x-tenant"], headers(upstream)["x-secret"]) == ("acme", "id-s3")
        upstream.answer = always("200 OK", b'{"data": []}', connection="close")
        await box.models()
        assert target(upstream) == "/v1/models?api-version=2024-10-21&q=a%20b%26c"
        assert headers(upstream)["x-secret"] == "id-s3"


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ("", {"authorization": "Bearer sk-1"}),
        ("bearer", {"authorization": "Bearer sk-1"}),
        ("api-key", {"api-key": "sk-1"}),
        ("x-api-key", {"x-api-key": "sk-1"}),
        ("x-goog-api-key", {"x-goog-api-key": "sk-1"}),
        ("none", {}),
    ],
)
async def test_the_key_goes_in_the_header_that_auth_names_also_a_callers_own(client, auth, sent):
    names = {"authorization", "api-key", "x-api-key", "x-goog-api-key"}
    async with Upstream(REPLY) as upstream:
        for key, request in (("sk-1", question()), ("sk-server", question(api_key="sk-1"))):
            await ask(built(client, upstream.url, key, auth=auth), request)
            found = headers(upstream)
            assert {name: found[name] for name in names & found.keys()} == sent


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "x-api-key"),
        ({"auth": "bearer"}, "authorization"),
        ({"api_key_env": "ANTHROPIC_AUTH_TOKEN"}, "authorization"),
        ({"preset": "anthropic"}, "authorization"),
    ],
)
async def test_another_server_than_anthropic_gets_a_key_as_x_api_key_and_a_token_as_a_bearer(client, fields, name):
    async with Upstream(REPLY) as upstream:
        await ask(build_provider("a", AnthropicSettings(base_url=upstream.url, **fields), client, "sk-1"))
        assert headers(upstream)[name].endswith("sk-1")
        assert len({"x-api-key", "authorization"} & headers(upstream).keys()) == 1


async def test_headers_of_the_caller_go_beside_those_of_the_settings_which_have_the_last_word(client):
    async with Upstream(REPLY) as upstream:
        box = built(client, upstream.url, headers={"x-tenant": "acme"})
        await ask(box, question(headers={"x-session": "s-1", "x-tenant": "other"}))
        assert (headers(upstream)["x-session"], headers(upstream)["x-tenant"]) == ("s-1", "acme")


async def test_a_list_of_betas_is_joined(client):
    async with Upstream(REPLY) as upstream:
        settings = AnthropicSettings(base_url=upstream.url, headers={"anthropic-beta": "one"})
        await ask(build_provider("a", settings, client), question(headers={"anthropic-beta": "two"}))
        assert headers(upstream)["anthropic-beta"] == "two,one"


async def test_fields_are_left_out_also_inside_of_objects_and_options(client):
    async with Upstream(REPLY) as upstream:
        options = {"stop": None, "extra": {"a": 1, "b": 2}}
        box = built(client, upstream.url, omit=["stream_options", "extra.a", "model.x", "none"])
        await ask(box, question(provider_options=options))
    body = json.loads(upstream.bodies[-1])
    assert body.keys() == {"model", "messages", "stream", "stop", "extra"}
    assert body["extra"] == {"b": 2}
    assert options["extra"] == {"a": 1, "b": 2}


async def test_an_omitted_parameter_is_one_that_the_provider_lacks(client):
    box = built(client, "http://127.0.0.1:1", omit=["seed", "max_completion_tokens"])
    assert {"seed", "max_tokens"} - box.supported_params(question()) == {"seed"}
    assert "max_tokens" not in box.supported_params(question("o3"))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt-4o", "/openai/deployments/gpt-4o/chat/completions?api-version=1"),
        ("a/../b?x=1#y", "/openai/deployments/a%2F..%2Fb%3Fx%3D1%23y/chat/completions?api-version=1"),
    ],
)
async def test_the_model_in_an_address_is_one_piece_of_its_path(client, model, path):
    async with Upstream(REPLY) as upstream:
        url = f"{upstream.url}/openai/deployments/{{model}}"
        box = built(client, url, query={"api-version": "1"})
        await ask(box, question(model))
        assert target(upstream) == path
        upstream.answer = always("200 OK", b'{"data": []}', connection="close")
        await box.models()
        assert target(upstream) == "/openai/models?api-version=1"


@pytest.mark.parametrize("model", [".", ".."])
async def test_a_model_that_leads_elsewhere_is_refused(client, model):
    with pytest.raises(HeadwaterError, match="model: is not the name of a model"):
        built(client, "http://127.0.0.1:1/{model}").stream(question(model))


async def test_secrets_of_headers_and_query_are_not_repeated(client):
    said = b'{"error": {"message": "tenant-secret-1 is unknown, as is query-secret-2"}}'
    async with Upstream(always("403 Forbidden", said, connection="close")) as upstream:
        variables = {"A": "tenant-secret-1", "B": "query-secret-2"}
        box = built(client, upstream.url, variables=variables, headers={"x-a": "${A}"}, query={"b": "${B}"})
        with pytest.raises(HeadwaterError) as caught:
            await ask(box)
    assert "secret" not in str(caught.value)
    assert "*** is unknown" in str(caught.value)


async def test_a_unix_socket(client, tmp_path):
    path = os.path.join(tmp_path, "s")
    async with Upstream(REPLY, path=path) as upstream:
        await ask(built(client, "http://localhost/v1", unix_socket=path))
        assert target(upstream) == "/v1/chat/completions"
        assert headers(upstream)["host"] == "localhost"


async def test_a_certificate_that_only_this_provider_trusts(client):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    async with Upstream(REPLY, tls=tls) as upstream:
        await ask(built(client, upstream.url, ca_file=str(TLS / "certificate.pem")))
        assert target(upstream) == "/chat/completions"
        with pytest.raises(HeadwaterError, match="certificate") as caught:
            await ask(built(client, upstream.url))
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE


async def test_a_proxy_of_this_provider_goes_over_the_environments(client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with Upstream(REPLY) as upstream:
        proxy = upstream.url.replace("http://", "http://user:${PASSWORD}@")
        await ask(built(client, "http://provider.example/v1", variables={"PASSWORD": "p"}, proxy=proxy))
        assert target(upstream) == "http://provider.example/v1/chat/completions"
        assert headers(upstream)["proxy-authorization"] == "Basic dXNlcjpw"


async def test_no_proxy_at_all(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with HttpClient("test") as client:
        direct = client.over(Way(proxy="none"))
        assert direct.proxy(parsed_url("https://a.example")) is None


async def test_providers_with_the_same_way_share_their_connections(client):
    assert client.over(Way()) is client
    assert client.over(Way(connect_seconds=1)) is client.over(Way(connect_seconds=1)) is not client
