"""Odd addresses of providers and of proxies: a mistake of the settings, or a typed error; nothing else."""

from __future__ import annotations

import pytest

from headwater_server.config import ConfigError, load
from headwater_server.config.providers import build_providers
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient, Way
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider

QUESTION = ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),))
BOX = OpenAISettings(base_url="http://box.example/v1", default_model="m")

NO_ADDRESSES = [
    "", "host", "host:80/v1", "//host/v1", "ftp://host/v1", "http:host", "http:/host", "http:///v1", "http://", "http://:80/",
    "http://host:99999/v1", "http://host:-1", "http://host:0", "http://host:x", "http://host:80:80/", "http://ho st/v1",
    "http://host/v 1", "http://host\n/v1", "http://u:p@host/v1", "http://@host/v1", "http://host/v1?", "http://host/v1?a=b",
    "http://host/v1#", "http://host/v1#f", "http://::1/v1", "http://[::1", "http://::1]/", "http://[zz]/", "http://[1::2::3]/",
    "http://münchen.example/v1", "http://例え.jp", "http://a..b/", "http://.", "http://.a/", f"http://{'a' * 64}.example/",
    f"http://{'a.' * 140}b/", "http://%00/", "http://ho%20st/", "http://a|b/", "http://host\\evil/", "http://host/\0",
    "http://host:８０/", "unix:/x", "/x", "javascript:alert(1)", "http://<host>/", "http://{model}/", "http://host/{x}", "http://!/",
]  # fmt: skip

UNREACHABLE = [
    "http://127.0.0.1:9/v1/a%20b", "http://xn--a/", "http://xn--/", "http://a.xn--a-.invalid/", "http://1.2.3.999/",
    "http://127.0.0.1:9/%zz", "http://127.0.0.1:9/..\\..", "http://[v1.x]/", "http://127.0.0.1:9//", "http://-a-.invalid/",
]  # fmt: skip

NO_PROXIES = [
    "socks5://h:1", "socks5h://h", "http://", "://", "http://:80", "http://h:99999", "http://h:x", "h:1:2", "http://h p",
    "http://[::1", "::1", "ftp://h", "http://a..b", f"http://{'a' * 64}", "http://%00", "http://a|b:1", "h:0", "http://é:p@h",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_proxies_from_outside(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def error_of(provider: Provider) -> HeadwaterError:
    stream = provider.stream(QUESTION)
    with pytest.raises(HeadwaterError) as caught:
        await stream.read()
    await stream.aclose()
    return caught.value


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_what_is_no_address_is_a_mistake_of_the_settings(tmp_path, url):
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL") as caught:
        load(None, {"OPENAI_BASE_URL": url or " "})
    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize("url", UNREACHABLE)
async def test_an_address_that_leads_nowhere_is_a_typed_error(url):
    async with HttpClient("test") as client:
        error = await error_of(build_provider("box", OpenAISettings(base_url=url), client))
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert "check its base URL" in error.message


@pytest.mark.parametrize("proxy", NO_PROXIES)
async def test_a_variable_that_holds_no_proxy_is_a_mistake_where_a_provider_needs_it(monkeypatch, tmp_path, proxy):
    file = tmp_path / "headwater.toml"
    file.write_text(f'[providers.box]\ntype = "openai"\nbase_url = "{BOX.base_url}"\n')
    monkeypatch.setenv("ALL_PROXY", proxy)
    async with HttpClient("test") as client:
        with pytest.raises(
            ConfigError, match=r"^ALL_PROXY is not the address of an HTTP proxy; set it to http://HOST:PORT"
        ):
            build_providers(load(file, {}), lambda: client)
        build_providers(load(None, {}), lambda: client)  # no provider was set up, so none needs it
        monkeypatch.setenv("NO_PROXY", "box.example")
        build_providers(load(file, {}), lambda: client)
        monkeypatch.delenv("NO_PROXY")
        error = await error_of(build_provider("box", BOX, client))
    assert (error.reason, "ALL_PROXY" in error.message) == (Reason.PROVIDER_UNAVAILABLE, True)


async def test_a_variable_that_another_goes_over_may_hold_anything(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://h:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    async with HttpClient("test") as client:
        error = await error_of(build_provider("box", BOX, client))
    assert "Connection refused" in error.message


@pytest.mark.parametrize("proxy", NO_PROXIES)
async def test_a_setting_whose_variable_holds_no_proxy_is_a_typed_error(proxy):
    settings = BOX.model_copy(update={"proxy": "${PROXY}"})
    async with HttpClient("test") as client:
        error = await error_of(build_provider("box", settings, client, variables={"PROXY": proxy}))
        assert client.over(Way(proxy=proxy))._proxies.urls == {}
    assert (error.reason, "setting proxy" in error.message) == (Reason.PROVIDER_UNAVAILABLE, True)
