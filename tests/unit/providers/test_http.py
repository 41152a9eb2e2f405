"""The HTTP client: proxies of the environment, but never for this host."""

from __future__ import annotations

import httpx
import pytest

from headwater_server.providers.http import new_client


@pytest.fixture(autouse=True)
def _no_proxies_from_outside(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def proxied(client: httpx.AsyncClient, url: str) -> bool:
    transport = client._transport_for_url(httpx.URL(url))
    return getattr(transport, "proxy", None) is not None


async def test_without_variables_there_is_no_proxy():
    async with new_client("test") as client:
        assert not proxied(client, "https://api.example.com")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.com/v1", True),
        ("http://gpu-box:8000", True),
        ("http://127.0.0.1:8080", False),
        ("http://localhost:11434", False),
        ("http://[::1]:1", False),
        ("https://in.house.example/x", False),
        ("https://house.example/x", False),
        ("http://10.1.2.3", False),
        ("http://10.1.2.4", True),
    ],
)
async def test_proxies_are_for_others_than_this_host_and_no_proxy(monkeypatch, url, expected):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", ".house.example, house.example,10.1.2.3")
    async with new_client("test") as client:
        assert proxied(client, url) is expected


async def test_a_star_excludes_every_host(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    async with new_client("test") as client:
        assert not proxied(client, "https://api.example.com")
