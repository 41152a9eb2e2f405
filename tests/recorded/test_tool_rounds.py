"""Every recorded answer that asks for tools, through the whole loop: the calls are run, the provider gets the results.

The first answer of the replay server is the fixture, the second, to the request that brings the results, a plain reply.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater import Agent, StreamChunk
from headwater.tools import Tool
from tests.recorded.test_end_to_end import APIS, CHAT
from tests.support.servers.server import ReplayThread, ServerProcess

WITH_CALLS = {name: fixture for name, fixture in CHAT.items() if fixture.about["expected"].get("tool_calls")}
PLAIN = {
    "POST /v1/chat/completions": "openai-usage",
    "POST /v1/responses": "openai-responses-text",
    "POST /v1/messages": "anthropic-plain",
    "POST /api/chat": "ollama-chat-plain",
}


def recording(name: str, made: list[tuple[str, dict[str, Any]]]) -> Tool[..., Any]:
    """A tool that takes anything and says which call it was."""

    def run(**arguments: Any) -> str:
        made.append((name, arguments))
        return f"result of {name} {json.dumps(arguments, sort_keys=True)}"

    return Tool(run, name=name, description="Anything.", parameters={"type": "object", "properties": {}})


def results_sent(body: dict[str, Any]) -> list[tuple[str | None, str]]:
    """The id and the text of each result in a request, in the words of each wire."""
    found: list[tuple[str | None, str]] = []
    for item in body.get("messages") or body["input"]:
        if item.get("type") == "function_call_output":
            found.append((item["call_id"], item["output"]))
        elif item.get("role") == "tool":
            found.append((item.get("tool_call_id"), item["content"]))
        elif isinstance(item.get("content"), list):
            for part in item["content"]:
                if part["type"] == "tool_result":
                    content = part["content"]
                    text = content if isinstance(content, str) else "".join(piece["text"] for piece in content)
                    found.append((part["tool_use_id"], text))
    return found


def test_the_fixtures_with_calls_are_of_all_four_wires():
    assert len(WITH_CALLS) == 8
    assert {fixture.endpoint for fixture in WITH_CALLS.values()} == set(PLAIN)


@pytest.mark.parametrize("name", sorted(WITH_CALLS))
async def test_the_calls_are_run_and_the_reply_goes_on(server: ServerProcess, replay: ReplayThread, name: str):
    fixture = WITH_CALLS[name]
    plain = CHAT[PLAIN[fixture.endpoint]].about["expected"]
    expected = fixture.about["expected"]
    wanted = [(call["name"], call["arguments"]) for call in expected["tool_calls"]]
    made: list[tuple[str, dict[str, Any]]] = []
    model = f"m@{name}>{PLAIN[fixture.endpoint]}"
    api = APIS.get(fixture.endpoint)
    agent = Agent(
        provider=fixture.about["provider"],
        model=model,
        target=server.target,
        tools=[recording(tool, made) for tool in dict.fromkeys(call for call, _ in wanted)],
    )
    options = {fixture.about["provider"]: {"api": api}} if api else None
    chunks: list[StreamChunk] = [chunk async for chunk in agent.stream("Hi", provider_options=options)]

    assert sorted(made, key=str) == sorted(wanted, key=str)
    assert "".join(map(str, chunks)) == expected["text"] + plain["text"]
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    numbers = [chunk.metadata["sequence"] for chunk in chunks]
    assert numbers == sorted(set(numbers))
    [calls] = [chunk.metadata["tool_calls"] for chunk in chunks if "tool_calls" in chunk.metadata]
    assert [(call["name"], call["arguments"]) for call in calls] == wanted

    [results] = [chunk.metadata["tool_results"] for chunk in chunks if "tool_results" in chunk.metadata]
    texts = [f"result of {tool} {json.dumps(arguments, sort_keys=True)}" for tool, arguments in wanted]
    assert [(result["content"], result["is_error"]) for result in results] == [(text, False) for text in texts]
    asked = [
        record
        for record in replay.replay.records
        if isinstance(record.body, dict) and record.body.get("model") == model
    ]
    assert [record.case for record in asked] == [name, PLAIN[fixture.endpoint]]
    sent = results_sent(asked[1].body)
    assert [text for _, text in sent] == texts
    ids = [call["id"] for call in expected["tool_calls"]]
    assert fixture.about["provider"] == "ollama" or [id for id, _ in sent] == ids

    usage = chunks[-1].metadata["usage"]
    one, two = [facts.get("usage", {}) for facts in chunks[-1].metadata["rounds"]]
    assert usage == {key: one.get(key, 0) + two.get(key, 0) for key in usage}
    counts = [round["usage"]["output_tokens"] for round in (expected, plain) if round["usage"]]
    assert usage["output_tokens"] == sum(counts)
