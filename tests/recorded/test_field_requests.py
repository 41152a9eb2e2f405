"""The requests of `field`: each call asks what the service of its report takes, and not what it refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headwater import Agent, StreamInterruptedError
from tests.support.servers.server import ReplayThread, ServerProcess, provider_variables
from tests.support.upstream.fixtures import load_field

CASES = {name: case for name, case in load_field().items() if name.startswith("request-")}
CONFIGURATION = """
[providers.compat]
type = "openai"
base_url = "{url}/v1"
api_key_env = "COMPAT_KEY"

[providers.bare]
type = "openai"
base_url = "{url}/v1"
api_key_env = "COMPAT_KEY"
omit = ["stream_options"]
"""
PLAIN = {"anthropic": "anthropic-plain"}
"""The answer where the report has only a refusal; that of Chat Completions for the others."""

Bodies = list[dict[str, Any]]


def sent_rounds(bodies: Bodies) -> Bodies:
    """The messages of the last request."""
    return list(bodies[-1]["messages"])


def blocks(bodies: Bodies) -> Bodies:
    return [block for message in sent_rounds(bodies) for block in message["content"]]


def assistant(bodies: Bodies) -> dict[str, Any]:
    [message] = [message for message in sent_rounds(bodies) if message["role"] == "assistant"]
    return message


def check_pairs(ids: list[str], results: list[str], shape: str) -> None:
    """Each result answers a call, in order; the ids are unique and of the shape."""
    assert ids == results
    assert len(set(ids)) == len(ids) > 0
    assert all(re.fullmatch(shape, id) for id in ids)


def no_call_without_its_result(bodies: Bodies) -> None:
    assert len(bodies) == 2
    assert [(message["role"], message["content"]) for message in sent_rounds(bodies)] == [
        ("user", "Hi"),
        ("assistant", "I look."),
        ("user", "Say more"),
    ]


def blocks_in_order(bodies: Bodies) -> None:
    kinds = [block["type"] for block in assistant(bodies)["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "thinking", "tool_use"]
    assert [block.get("signature") for block in assistant(bodies)["content"]][::4] == ["s1", "s2"]


def anthropics_ids(bodies: Bodies) -> None:
    calls = [block["id"] for block in blocks(bodies) if block["type"] == "tool_use"]
    results = [block["tool_use_id"] for block in blocks(bodies) if block["type"] == "tool_result"]
    check_pairs(calls, results, "[a-zA-Z0-9_-]+")


def no_white_space_at_the_end(bodies: Bodies) -> None:
    assert blocks(bodies)[-1]["text"] == "It is"


def no_blank_text(bodies: Bodies) -> None:
    assert len(bodies) == 2
    assert all(block.get("text", "x").strip() for block in blocks(bodies))


def anything(bodies: Bodies) -> None:
    """The headers are what counts."""
    assert bodies


def cache_marks(bodies: Bodies) -> None:
    mark = {"type": "ephemeral"}
    assert bodies[0]["cache_control"] == mark
    assert bodies[0]["system"] == [{"type": "text", "text": "Long", "cache_control": mark}]


def content_key(bodies: Bodies) -> None:
    assert assistant(bodies)["content"] is None


def empty_result(bodies: Bodies) -> None:
    assert sent_rounds(bodies)[-1] == {"role": "tool", "tool_call_id": "call_1", "content": ""}


def signature_of_the_call(bodies: Bodies) -> None:
    [call] = assistant(bodies)["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def nine_characters(bodies: Bodies) -> None:
    calls = [call["id"] for call in assistant(bodies)["tool_calls"]]
    results = [message["tool_call_id"] for message in sent_rounds(bodies) if message["role"] == "tool"]
    check_pairs(calls, results, "[a-zA-Z0-9]{9}")


def max_completion_tokens(bodies: Bodies) -> None:
    assert bodies[0]["max_completion_tokens"] == 50
    assert "max_tokens" not in bodies[0]


def no_nulls_and_no_extras(bodies: Bodies) -> None:
    known = {"role", "content", "tool_calls", "tool_call_id"}
    for body in bodies:
        assert None not in body.values()
        assert all(message.keys() <= known for message in body["messages"])
        assert all(isinstance(message["content"], str | None) for message in body["messages"])


def chat_completions(bodies: Bodies) -> None:
    assert "messages" in bodies[0]


def fields_of_all_servers(bodies: Bodies) -> None:
    assert bodies[0]["max_tokens"] == 20
    assert bodies[0]["stream_options"] == {"include_usage": True}


def reasoning_details(bodies: Bodies) -> None:
    detail = {"type": "reasoning.text", "text": "Think.", "signature": "c2ln", "format": "anthropic-claude-v1"}
    assert assistant(bodies)["reasoning_details"] == [detail | {"index": 0}]


def both_results_in_one_message(bodies: Bodies) -> None:
    assert [message["role"] for message in sent_rounds(bodies)] == ["user", "assistant", "user"]
    anthropics_ids(bodies)


def reasoning_content(bodies: Bodies) -> None:
    assert assistant(bodies)["reasoning_content"] == "I need the weather."


def no_stream_options(bodies: Bodies) -> None:
    assert "stream_options" not in bodies[0]


def one_system_message(bodies: Bodies) -> None:
    assert [message["role"] for message in sent_rounds(bodies)] == ["system", "user"]
    assert sent_rounds(bodies)[0]["content"] == "Be brief.\n\nYou are a pilot."


def call_of(id: str, name: str = "get_weather", **arguments: str) -> dict[str, Any]:
    return {"id": id, "name": name, "arguments": arguments}


def weather_in_history(*ids: str) -> list[dict[str, Any]]:
    """A conversation with calls of another provider."""
    names = ["get_weather", "get_time"]
    calls = [call_of(id, name) for id, name in zip(ids, names, strict=False)]
    results = [
        {"role": "tool", "tool_call_id": id, "name": name, "content": "x"} for id, name in zip(ids, names, strict=False)
    ]
    return [{"role": "user", "content": "Weather?"}, {"role": "assistant", "tool_calls": calls}, *results]


@dataclass(frozen=True)
class Ask:
    """The calls of one case.

    Attributes:
        check: the rule of the service about all requests that came.
        prompts: one call each, with one agent.
        agent: settings of the agent.
        stream: further arguments of each call.
        provider: the provider, where it is not that of the report.
        headers: headers that must have come.
    """

    check: Callable[[Bodies], None]
    prompts: tuple[str, ...] = ("Hi",)
    agent: Mapping[str, Any] = field(default_factory=dict)
    stream: Mapping[str, Any] = field(default_factory=dict)
    provider: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


CACHED = {"cache_control": {"type": "ephemeral"}}
MARKED = CACHED | {"system": [{"type": "text", "text": "Long"} | CACHED]}
KIMI = weather_in_history("functions.get_weather:0")
NO_IDS = weather_in_history("", "")
OPENAI_IDS = weather_in_history("call_0a1b2c3d4e5f6a7b8c9d0e1f")
PREFILL = [{"role": "user", "content": "Colour?"}, {"role": "assistant", "content": "It is "}]

ASKS = {
    "after-cut-tool-call": Ask(no_call_without_its_result, ("Hi", "Say more"), {"history": 20}),
    "anthropic-thinking-order": Ask(blocks_in_order),
    "anthropic-tool-id-pattern": Ask(anthropics_ids, ("And now?",), stream={"messages": KIMI}),
    "anthropic-trailing-whitespace": Ask(no_white_space_at_the_end, ("",), stream={"messages": PREFILL}),
    "anthropic-whitespace-history": Ask(no_blank_text, ("Hi", "Say it"), {"history": 20}),
    "anthropic-whitespace-text": Ask(no_blank_text),
    "anthropic-x-api-key-only": Ask(anything, headers={"x-api-key": "sk-test-anthropic"}),
    "cache-control": Ask(cache_marks, stream={"provider_options": {"anthropic": MARKED}}),
    "deepseek-content-key": Ask(content_key),
    "empty-tool-result": Ask(empty_result),
    "gemini-thought-signature": Ask(signature_of_the_call),
    "ids-missing-across-providers": Ask(anthropics_ids, ("And now?",), stream={"messages": NO_IDS}),
    "max-completion-tokens-compat": Ask(max_completion_tokens, stream={"max_tokens": 50}),
    "mistral-tool-id-9": Ask(nine_characters, ("And now?",), stream={"messages": OPENAI_IDS}),
    "no-nulls-and-no-extras": Ask(no_nulls_and_no_extras, agent={"instructions": "Be brief."}),
    "openai-base-url-no-responses": Ask(chat_completions),
    "openai-base-url-strict": Ask(fields_of_all_servers, stream={"max_tokens": 20}),
    "openrouter-reasoning-details": Ask(reasoning_details),
    "parallel-tool-results-one-user-message": Ask(both_results_in_one_message),
    "reasoning-content-back": Ask(reasoning_content),
    "stream-options-refused": Ask(no_stream_options, provider="bare"),
    "two-system-messages": Ask(
        one_system_message,
        agent={"instructions": "Be brief."},
        stream={"messages": [{"role": "system", "content": "You are a pilot."}]},
    ),
}
"""By the name of the case without `request-`. The cut reply in a history is the last test."""

CUT = "request-cut-reply-in-history"


@pytest.fixture(scope="module")
def request_server(replay: ReplayThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    file: Path = tmp_path_factory.mktemp("requests") / "headwater.toml"
    file.write_text(CONFIGURATION.format(url=replay.url))
    variables = provider_variables(replay.url) | {"COMPAT_KEY": "sk-test-compat"}
    with ServerProcess("--config", str(file), variables=variables) as server:
        yield server


def test_each_case_has_its_question() -> None:
    assert {f"request-{name}" for name in ASKS} | {CUT} == set(CASES)


@pytest.mark.parametrize("name", ASKS)
async def test_the_service_of_the_report_takes_the_requests(
    request_server: ServerProcess, replay: ReplayThread, name: str
) -> None:
    asked, case = ASKS[name], CASES[f"request-{name}"]
    provider = asked.provider or ("compat" if "configured_as" in case.about else case.about["provider"])
    model = model_of(f"request-{name}")
    empty = name == "empty-tool-result"

    def get_weather(city: str = "") -> str:
        """The weather of a city."""
        return "" if empty else f"sunny in {city}"

    tools = [get_weather] if "tools" in case.about["request"] else []
    agent = Agent(provider=provider, model=model, tools=tools, target=request_server.target, **asked.agent)
    for prompt in asked.prompts:
        async for _ in agent.stream(prompt, **asked.stream):
            pass
    records = [r for r in replay.replay.records if isinstance(r.body, dict) and r.body.get("model") == model]
    asked.check([record.body for record in records])
    assert asked.headers.items() <= records[-1].headers.items()


def model_of(name: str) -> str:
    """The model whose replies are those of the case, or plain ones where the case has only a refusal."""
    case = CASES[name]
    plain = PLAIN.get(case.about["provider"], "openai-usage")
    first = name if case.status == 200 else f"{name}@{plain}"
    prefix = str(case.about["request"]["model"]).partition("@")[0]
    return f"{prefix}@{first}>{plain}"


@pytest.mark.parametrize("name", [name for name in ASKS if not CASES[f"request-{name}"].about["pass"]])
def test_the_requests_of_the_report_break_the_rule(name: str) -> None:
    asked, case = ASKS[name], CASES[f"request-{name}"]
    sent = case.about["sent"][: 1 if name in ("max-completion-tokens-compat", "stream-options-refused") else None]
    broken = not asked.headers.items() <= sent[0]["headers"].items()
    try:
        asked.check([request["body"] for request in sent])
    except (AssertionError, KeyError):
        broken = True
    assert broken


async def test_a_reply_that_the_provider_cut_is_marked_in_the_history(request_server: ServerProcess) -> None:
    agent = Agent(provider="compat", model=f"m@{CUT}", target=request_server.target, history=20)
    with pytest.raises(StreamInterruptedError, match=r"Half an ans|insufficient_system_resource"):
        await agent.arun("Hi")
    assert [message.get("interrupted", False) for message in agent.messages] == [False, True]
    assert agent.messages[1]["content"] == "Half an ans"
