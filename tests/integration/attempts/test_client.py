"""Attempts as callers of the Python client and of the command see them: other models, and what was tried."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from headwater import Agent, ProviderError, ValidationError
from tests.support.servers.server import ServerProcess, run_cli

FAILS = {"scripted": {"fail_reason": "PROVIDER_UNAVAILABLE"}}
CONFIG = """
[providers.spare]
type = "scripted"
enabled = true
[models.smart]
targets = ["scripted/echo", "spare/echo"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    config = tmp_path_factory.mktemp("attempts") / "headwater.toml"
    config.write_text(CONFIG)
    variables = {"HEADWATER_COOL_DOWN_SECONDS": "0"}
    with ServerProcess("--scripted", "--config", str(config), variables=variables) as started:
        yield started


@pytest.fixture
def agent(server: ServerProcess) -> Agent:
    return Agent(model="scripted/echo", fallback_models=["spare/echo"], target=server.target, history=0)


async def test_the_first_chunk_says_who_answers_and_what_was_tried(agent: Agent) -> None:
    chunks = [chunk async for chunk in agent.stream("Hi", provider_options=FAILS)]
    assert "".join(chunk.content for chunk in chunks) == "Hi"
    assert chunks[0].metadata["provider"] == "spare"
    [attempt] = chunks[0].metadata["attempts"]
    assert attempt["duration"] >= 0
    assert {name: attempt[name] for name in ("provider", "model", "reason", "wait")} == {
        "provider": "scripted",
        "model": "echo",
        "reason": "PROVIDER_UNAVAILABLE",
        "wait": 0,
    }
    assert not any("attempts" in chunk.metadata for chunk in chunks[1:])


async def test_a_whole_reply_has_the_attempts_too(agent: Agent) -> None:
    reply = await agent.arun("Hi", provider_options=FAILS)
    assert (reply.metadata["provider"], len(reply.metadata["attempts"])) == ("spare", 1)


async def test_an_error_lists_the_attempts(agent: Agent) -> None:
    with pytest.raises(ProviderError) as caught:
        await agent.arun("Hi", provider_options=FAILS, fallback_models=[], max_attempts=2)
    assert [attempt["reason"] for attempt in caught.value.attempts] == ["PROVIDER_UNAVAILABLE"] * 2
    with pytest.raises(ProviderError) as caught:
        await agent.arun("Hi", provider_options=FAILS, fallback_models=[], max_attempts=1)
    assert caught.value.attempts == []


async def test_an_alias_falls_back_unless_the_call_wants_none(agent: Agent) -> None:
    agent.fallback_models = None
    reply = await agent.arun("Hi", model="smart", provider_options=FAILS)
    assert reply.metadata["provider"] == "spare"
    with pytest.raises(ProviderError):
        await agent.arun("Hi", model="smart", provider_options=FAILS, fallback_models=[], max_attempts=1)


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ({"fallback_models": "spare/echo"}, "fallback_models"),
        ({"fallback_models": [""]}, "fallback_models[0]"),
        ({"fallback_models": [7]}, "fallback_models[0]"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"max_attempts": 11}, "max_attempts"),
    ],
)
def test_a_bad_value_is_named_before_anything_is_sent(argument: dict[str, object], name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Agent(**argument)  # type: ignore[arg-type]
    assert str(caught.value).startswith(name)
    with pytest.raises(ValidationError):
        Agent().stream("Hi", **argument)  # type: ignore[arg-type]


def test_the_command_takes_other_models_and_attempts(server: ServerProcess) -> None:
    done = run_cli(
        "stream", "Hi", "--model", "scripted/echo", "--fallback", "spare/echo", "--max-attempts", "2",
        "--target", server.target, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["metadata"]["provider"] == "scripted"
    bad = run_cli("stream", "Hi", "--model", "scripted/echo", "--fallback", "nowhere/x", "--target", server.target)
    assert bad.returncode != 0
    assert "nowhere/x" in bad.stderr
