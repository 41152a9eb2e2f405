"""Tokens of an issuer whose keys are fetched: rotated while the server runs, and not to be had."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from headwater import Agent
from headwater.exceptions import AuthenticationError
from headwater_server.callers.issuers.key_set import MAX_BYTES
from headwater_server.callers.issuers.key_sources import PAUSE_SECONDS
from headwater_server.config import CONFIG_EXIT
from tests.support.callers.issuer import JwksServer, Key
from tests.support.methods.calls import methods_of
from tests.support.servers.server import ServerProcess, run_cli

A, B = Key("a"), Key("b")


@pytest.fixture
def site() -> Iterator[JwksServer]:
    with JwksServer([A]) as running:
        yield running


def variables(folder: Path, url: str, more: str = "") -> dict[str, str]:
    file = folder / "headwater.toml"
    file.write_text(
        f'[jwt.corp]\nissuer = "https://id.example.com/"\naudience = "headwater"\njwks_url = "{url}"\n{more}'
    )
    return {"HEADWATER_CONFIG": str(file), "HEADWATER_DATA_DIR": str(folder / "data")}


async def ask(server: ServerProcess, token: str) -> str:
    return (await Agent(model="scripted/echo", target=server.target, token=token).arun("hi")).content


async def test_keys_are_rotated_while_the_server_runs(site, tmp_path):
    with ServerProcess("--scripted", variables=variables(tmp_path, site.url), processes=2) as server:
        assert await ask(server, A.token())
        site.keys = [A, B]
        await asyncio.sleep(PAUSE_SECONDS)  # so soon after a fetch none is made
        for _ in range(6):
            assert await ask(server, B.token())
            assert await ask(server, A.token())
        assert site.asked <= 4  # at the start, and for the unknown key, in each process
        site.status = 500
        for number in range(20):
            with pytest.raises(AuthenticationError, match=r"none of jwt\.corp"):
                await ask(server, Key(f"unknown{number}").token())
        assert site.asked <= 6
        assert await ask(server, B.token())
        server.stop()
        assert [event["keys"] for event in server.events if event["event"] == "jwt keys" and event["level"] == "info"]


@pytest.mark.parametrize(("status", "size"), [(404, 0), (302, 0), (200, MAX_BYTES)])
async def test_without_keys_no_token_is_taken_and_the_log_says_why(site, tmp_path, status, size):
    site.status, site.padding = status, " " * size
    with ServerProcess("--scripted", variables=variables(tmp_path, site.url)) as server:
        with pytest.raises(AuthenticationError, match="could not be fetched yet"):
            await ask(server, A.token())
        site.status, site.padding = 200, ""
        await asyncio.sleep(PAUSE_SECONDS)
        assert await ask(server, A.token())
        server.stop()
        (why,) = [event["why"] for event in server.events if event["event"] == "jwt keys" and event["level"] == "error"]
        assert (str(status) if status != 200 else "has more than") in why


async def test_the_server_starts_while_nobody_answers(tmp_path):
    with ServerProcess("--scripted", variables=variables(tmp_path, "http://127.0.0.1:1/jwks.json")) as server:
        with pytest.raises(AuthenticationError, match="could not be fetched yet"):
            await ask(server, A.token())
        server.stop()
        (why,) = [event["why"] for event in server.events if event["event"] == "jwt keys"]
        assert "Connection refused" in why


@pytest.mark.parametrize(
    ("url", "more", "mistake"),
    [
        ("http://id.example.com/jwks", "", "jwt.corp.jwks_url in FILE: must begin with https://"),
        ("https://user:t0psecret@id.example.com/", "", "jwt.corp.jwks_url in FILE: must hold no user"),
        ("file:///etc/passwd", "", "jwt.corp.jwks_url in FILE: must begin with http"),
        ("", "", "jwt.corp: needs one of jwks_url and jwks_file"),
        ("https://id.example.com/", 'jwks_file = "x"', "jwt.corp: needs one of jwks_url and jwks_file"),
        ("https://id.example.com/", "leeway = 7", "jwt.corp.leeway in FILE: there is no such setting; did you mean jwt.corp.leeway_seconds?"),
        ("https://id.example.com/", "leeway_seconds = 3600", "jwt.corp.leeway_seconds in FILE"),
        ("https://id.example.com/", "[jwt.'a b']", "jwt.a b: a name for an issuer has 1 to 64"),
        ("https://id.example.com/", '[jwt.x]\nissuer = "https://id.example.com/"\naudience = []\njwks_file = "x"', "jwt.x.audience in FILE"),
    ],
)  # fmt: skip
def test_a_mistake_of_an_issuer_is_named(tmp_path, url, more, mistake):
    set_up = variables(tmp_path, url, more)
    done = run_cli("serve", "--port", "0", "--scripted", variables=set_up)
    assert done.returncode == CONFIG_EXIT
    assert mistake in done.stderr.replace(set_up["HEADWATER_CONFIG"], "FILE")
    assert "t0psecret" not in done.stderr


async def test_reflection_can_be_closed():
    with ServerProcess("--scripted", variables={"HEADWATER_REFLECTION": "false"}) as server:
        with pytest.raises(grpc.RpcError) as caught:
            methods_of(server.target)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await ask(server, "")
