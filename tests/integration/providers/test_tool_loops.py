"""Loops of twelve rounds of tools against services that refuse what the real ones refuse.

Each service sends something with its calls that it wants back unchanged: thinking, signatures, encrypted reasoning,
ids. The Python client runs the loop by itself. A caller with a bare stub appends the reply's message and the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from headwater import Agent, v1
from headwater_server.providers.anthropic.wire import AnthropicWire
from tests.support.servers.server import ServerProcess
from tests.support.upstream.decoding import decode
from tests.support.upstream.strict.chat import CHAT_VENDORS
from tests.support.upstream.strict.others import Anthropic, Gemini, Responses
from tests.support.upstream.strict.rules import ROUNDS, RefusedError
from tests.support.upstream.strict.server import Service, StrictServices

SERVICES: dict[str, Service] = {
    **CHAT_VENDORS,
    "openai": Responses(),
    "anthropic": Anthropic(),
    "gemini": Gemini(),
    "gateway": Anthropic(),
    "trimmed": Anthropic(rounds=1),
    "trimmed-gateway": Anthropic(rounds=1),
}
SETTINGS = {
    "deepseek": ('preset = "deepseek"', "deepseek-reasoner"),
    "kimi": ('type = "openai"', "kimi-k3"),
    "gemini-openai": ('preset = "gemini-openai"', "gemini-3-pro"),
    "openrouter": ('preset = "openrouter"', "anthropic/claude-opus-5"),
    "mistral": ('preset = "mistral"', "magistral-medium"),
    "openai": ('preset = "openai"', "gpt-5.5"),
    "anthropic": ('preset = "anthropic"', "claude-opus-5-5"),
    "gemini": ('preset = "gemini"', "gemini-3-pro"),
    "gateway": ('type = "anthropic"', "claude-opus-5-5"),
    "trimmed": ('preset = "anthropic"', "claude-fable-5-1"),
    "trimmed-gateway": ('type = "anthropic"', "claude-fable-5-1"),
}
"""Settings and a model, by the name of the provider, which is that of the service too."""

LOOPS = [name for name in SETTINGS if not name.startswith("trimmed")]


@pytest.fixture(scope="module")
def services() -> Iterator[StrictServices]:
    with StrictServices(SERVICES) as services:
        yield services


@pytest.fixture(scope="module")
def strict_server(services: StrictServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    file: Path = tmp_path_factory.mktemp("strict") / "headwater.toml"
    file.write_text(
        "\n".join(
            f'[providers.{name}]\n{setting}\nbase_url = "{services.url}/{name}"\napi_key_env = "STRICT_KEY"\n'
            for name, (setting, _) in SETTINGS.items()
        )
    )
    with ServerProcess("--config", str(file), variables={"STRICT_KEY": "sk-test-strict"}) as server:
        yield server


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@pytest.mark.parametrize("name", LOOPS)
async def test_the_python_client_goes_through_twelve_rounds(strict_server: ServerProcess, name: str) -> None:
    cities: list[str] = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        cities.append(city)
        return "sunny"

    agent = Agent(
        provider=name,
        model=SETTINGS[name][1],
        instructions="Be brief.",
        tools=[get_weather],
        target=strict_server.target,
        max_tool_rounds=ROUNDS,
    )
    reply = await agent.arun("Weather?")
    assert reply.content.strip().endswith("Done.")
    assert len(cities) == len(set(cities)) == ROUNDS


def asking(name: str) -> v1.StreamRequest:
    """A question to a service, with a tool."""
    tool = v1.Tool(
        function=v1.FunctionTool(
            name="get_weather",
            description="The weather of a city.",
            parameters_json='{"type":"object","properties":{"city":{"type":"string"}}}',
        )
    )
    return v1.StreamRequest(
        agent=v1.AgentConfig(provider=name, model=SETTINGS[name][1], tools=[tool]),
        messages=[v1.ChatMessage(role=v1.Role.ROLE_USER, parts=[v1.Part(text="Weather?")])],
    )


def results_of(final: v1.StreamChunk) -> v1.ChatMessage:
    """The results of the calls of a reply."""
    results = [
        v1.Part(tool_result=v1.ToolResult(tool_call_id=call.id, name=call.name, content="sunny"))
        for call in final.tool_calls
    ]
    return v1.ChatMessage(role=v1.Role.ROLE_TOOL, parts=results)


@pytest.mark.parametrize("name", LOOPS)
def test_a_bare_stub_goes_through_twelve_rounds_with_the_message_of_each_reply(
    strict_server: ServerProcess, name: str
) -> None:
    request = asking(name)
    with grpc.insecure_channel(strict_server.target) as channel:
        stub = v1.AgentServiceStub(channel)
        for _ in range(ROUNDS):
            *_, final = stub.Stream(request, timeout=30)
            request.messages.append(final.message)
            request.messages.append(results_of(final))
        assert "".join(chunk.content for chunk in stub.Stream(request, timeout=30)) == "Done."


@pytest.mark.parametrize("name", ["deepseek", "kimi", "gemini-openai", "openrouter", "openai"])
def test_the_services_refuse_a_second_round_without_what_they_sent(strict_server: ServerProcess, name: str) -> None:
    request = asking(name)
    with grpc.insecure_channel(strict_server.target) as channel:
        stub = v1.AgentServiceStub(channel)
        *_, final = stub.Stream(request, timeout=30)
        bare = [v1.Part(tool_call=part.tool_call) for part in final.message.parts if part.HasField("tool_call")]
        request.messages.append(v1.ChatMessage(role=v1.Role.ROLE_ASSISTANT, parts=bare))
        request.messages.append(results_of(final))
        with pytest.raises(grpc.RpcError, match=r"(round|call) 0"):
            list(stub.Stream(request, timeout=30))


def test_anthropic_refuses_thinking_behind_another_conversation() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": [{"type": "text", "text": "One?"}]}]}
    [thinking] = decode(AnthropicWire().decoder(""), [Anthropic(rounds=0).answer(body, {})]).signatures
    said = {"type": "thinking", "thinking": "Look.", "signature": thinking}
    body["messages"] += [{"role": "assistant", "content": [said]}, body["messages"][0]]
    Anthropic(rounds=0).answer(body, {})
    with pytest.raises(RefusedError, match="bound to a different conversation"):
        Anthropic(rounds=0).answer({**body, "system": "Be brief."}, {})


@pytest.mark.parametrize("name", ["trimmed", "trimmed-gateway"])
async def test_twelve_turns_with_tools_in_a_history_of_twenty_messages_are_not_refused(
    strict_server: ServerProcess, name: str
) -> None:
    agent = Agent(provider=name, model=SETTINGS[name][1], tools=[get_weather], target=strict_server.target, history=20)
    for number in range(12):
        assert (await agent.arun(f"Weather {number}?")).content.strip() == "Done."
    assert len(agent.messages) == 20


@pytest.mark.parametrize("name", ["trimmed", "trimmed-gateway"])
async def test_other_tools_and_other_instructions_in_a_later_turn_are_not_refused(
    strict_server: ServerProcess, name: str
) -> None:
    def get_time() -> str:
        """The time."""
        return "noon"

    agent = Agent(provider=name, model=SETTINGS[name][1], tools=[get_weather], target=strict_server.target, history=20)
    await agent.arun("Weather?")
    reply = await agent.arun("Weather?", tools=[get_weather, get_time], instructions="Be brief.")
    assert reply.content.strip() == "Done."
