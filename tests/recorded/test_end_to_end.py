"""Every recorded chat answer through real sockets: replay server, `headwater serve`, Python client.

The caller must get exactly the fixture's `expected`: text, thinking, tool calls, finish reason, usage,
and after a failure the right exception with the partial text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from headwater import (
    Agent,
    HeadwaterError,
    ProviderAuthError,
    ProviderError,
    ProviderNotFoundError,
    ProviderRateLimitError,
    StreamChunk,
    StreamInterruptedError,
)
from tests.support.servers.server import ServerProcess
from tests.support.upstream.fixtures import Fixture, load_fixtures, load_recorded

CHAT_ENDPOINTS = ("POST /v1/chat/completions", "POST /v1/responses", "POST /v1/messages", "POST /api/chat")
APIS = {"POST /v1/chat/completions": "chat_completions", "POST /v1/responses": "responses"}

# Answers of the chat endpoints that no question of a caller gets: Ollama loads a model when it is asked nothing.
NOT_CHAT = {"ollama-load"}

CHAT = {
    name: f for name, f in load_fixtures().items() if f.about["endpoint"] in CHAT_ENDPOINTS and name not in NOT_CHAT
}

ERRORS: dict[str, tuple[type[HeadwaterError], str]] = {
    "anthropic-400-sampling": (ProviderError, "PROVIDER_REJECTED_REQUEST"),
    "anthropic-401": (ProviderAuthError, "PROVIDER_AUTH_FAILED"),
    "anthropic-404-model": (ProviderNotFoundError, "MODEL_NOT_FOUND"),
    "anthropic-429-retry-after": (ProviderRateLimitError, "PROVIDER_RATE_LIMITED"),
    "anthropic-429-spend-limit": (ProviderRateLimitError, "PROVIDER_QUOTA_EXHAUSTED"),
    "anthropic-529": (ProviderError, "PROVIDER_UNAVAILABLE"),
    "anthropic-cut": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "anthropic-overloaded-midstream": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "ollama-400-no-thinking": (ProviderError, "PROVIDER_REJECTED_REQUEST"),
    "ollama-400-no-tools": (ProviderError, "PROVIDER_REJECTED_REQUEST"),
    "ollama-404-model": (ProviderNotFoundError, "MODEL_NOT_FOUND"),
    "ollama-500-memory": (ProviderError, "PROVIDER_UNAVAILABLE"),
    "ollama-503-busy": (ProviderError, "PROVIDER_UNAVAILABLE"),
    "ollama-cut": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "ollama-eof-without-done": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "ollama-error-midstream": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "openai-400-tools-need-responses": (ProviderError, "PROVIDER_REJECTED_REQUEST"),
    "openai-400-unsupported-parameter": (ProviderError, "PROVIDER_REJECTED_REQUEST"),
    "openai-401": (ProviderAuthError, "PROVIDER_AUTH_FAILED"),
    "openai-404-vllm-flat": (ProviderNotFoundError, "MODEL_NOT_FOUND"),
    "openai-429-quota": (ProviderRateLimitError, "PROVIDER_QUOTA_EXHAUSTED"),
    "openai-429-retry-after": (ProviderRateLimitError, "PROVIDER_RATE_LIMITED"),
    "openai-500-html": (ProviderError, "PROVIDER_UNAVAILABLE"),
    "openai-cut": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "openai-eof-without-done": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "openai-error-first": (ProviderRateLimitError, "PROVIDER_QUOTA_EXHAUSTED"),
    "openai-error-midstream": (StreamInterruptedError, "STREAM_INTERRUPTED"),
    "openai-responses-error-nested": (ProviderRateLimitError, "PROVIDER_QUOTA_EXHAUSTED"),
    "openai-responses-failed": (ProviderError, "PROVIDER_UNAVAILABLE"),
}


@dataclass
class Played:
    """The result of a call."""

    chunks: list[StreamChunk] = field(default_factory=list)
    error: HeadwaterError | None = None

    @property
    def text(self) -> str:
        return "".join(chunk.content for chunk in self.chunks)

    def joined(self, key: str) -> str:
        return "".join(chunk.metadata.get(key, "") for chunk in self.chunks)

    def listed(self, key: str) -> list[str]:
        return [chunk.metadata[key] for chunk in self.chunks if key in chunk.metadata]

    @property
    def final(self) -> dict[str, Any]:
        [final] = [chunk for chunk in self.chunks if chunk.is_final]
        assert final is self.chunks[-1]
        return final.metadata


async def play(server: ServerProcess, provider: str, model: str, api: str | None = None) -> Played:
    played = Played()
    agent = Agent(provider=provider, model=model, target=server.target)
    options = {provider: {"api": api}} if api else None
    try:
        async for chunk in agent.stream("Hi", provider_options=options):
            played.chunks.append(chunk)
    except HeadwaterError as error:
        played.error = error
    return played


async def play_fixture(server: ServerProcess, fixture: Fixture) -> Played:
    model = (fixture.about["request"] or {}).get("model", "m")
    api = APIS.get(fixture.about["endpoint"])
    return await play(server, fixture.about["provider"], f"{model}@{fixture.name}", api)


def test_the_four_chat_endpoints_have_72_fixtures_and_there_are_81_in_all():
    assert len(CHAT) == 72
    assert len(load_fixtures()) == 72 + 9


def test_every_failing_fixture_has_its_error_here():
    assert {name for name, f in CHAT.items() if f.about["expected"]["error"]} == set(ERRORS)


@pytest.mark.parametrize("name", sorted(set(CHAT) - set(ERRORS)))
async def test_a_reply_arrives_as_expected(server, name):
    expected = CHAT[name].about["expected"]
    played = await play_fixture(server, CHAT[name])
    assert played.error is None
    assert_text(played.text, expected["text"])
    assert played.joined("thinking") == expected["thinking"]
    assert played.joined("refusal") == expected.get("refusal", "")
    assert played.listed("thinking_signature") == expected.get("signatures", [])
    assert played.listed("redacted_thinking") == expected.get("redacted", [])
    calls = [{**call, "id": call["id"] or None} for call in played.final.get("tool_calls", [])]
    assert calls == expected["tool_calls"]
    assert played.final["provider_finish_reason"] == expected["finish_reason"]
    assert played.final.get("stop_sequence") == expected.get("stop_sequence")
    assert_usage(played.final, expected["usage"], CHAT[name].body)
    if CHAT[name].endpoint == "POST /v1/messages":
        assert {c.metadata["event_type"] for c in played.chunks if c.content} <= {"content_block_delta"}
        assert played.final["event_type"] in ("message_stop", "message_delta")
    numbers = [chunk.metadata["sequence"] for chunk in played.chunks]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == played.final["stats"]["chunk_count"] + 1


@pytest.mark.parametrize("name", sorted(ERRORS))
async def test_a_failure_arrives_as_its_exception_with_what_had_come(server, name):
    expected = CHAT[name].about["expected"]
    kind, reason = ERRORS[name]
    played = await play_fixture(server, CHAT[name])
    error = played.error
    assert type(error) is kind
    assert error.reason == reason
    assert_text(played.text, expected["text"])
    assert played.joined("thinking") == expected["thinking"]
    assert not any(chunk.is_final for chunk in played.chunks)
    if isinstance(error, StreamInterruptedError):
        assert_text(error.partial_response, expected["text"])
    if expected["error"]["where"] == "http":
        assert error.http_status == expected["error"]["status"]
    if message := expected["error"].get("message"):
        assert message in str(error)
    if isinstance(error, ProviderRateLimitError):
        assert error.retry_after == expected["error"].get("retry_after_s")
    assert error.metadata["provider"] == CHAT[name].about["provider"]


async def test_citations_arrive_with_the_stream_its_end_and_the_whole_reply(server):
    played = await play_fixture(server, CHAT["anthropic-citations"])
    expected = {
        "title": "Bridges",
        "quoted_text": "opened in March 1932",
        "source_id": "0",
        "source_range": {"unit": "characters", "start": 10, "end": 30},
    }
    assert [chunk.metadata["citations"] for chunk in played.chunks if "citations" in chunk.metadata] == 2 * [[expected]]
    assert played.final["citations"] == [expected]
    agent = Agent(provider="anthropic", model="claude-sonnet-5-5@anthropic-citations", target=server.target)
    assert (await agent.arun("When?")).citations == [expected]


def assert_text(text: str, expected: Any) -> None:
    if isinstance(expected, dict):
        assert hashlib.sha256(text.encode()).hexdigest() == expected["sha256"]
        assert len(text) == expected["characters"]
    else:
        assert text == expected


WIRE_NAMES = {
    "cached_input_tokens": b'"cached_tokens":',
    "cache_write_tokens": b'"cache_write_tokens":',
    "reasoning_tokens": b'"reasoning_tokens":',
}


def assert_usage(final: dict[str, Any], expected: dict[str, int] | None, body: bytes) -> None:
    """Counts as the provider counts; one that the fixture does not name must at least stand in its body."""
    usage = dict(final.get("usage", {}))
    total = usage.pop("total_tokens", None)
    timings = {f"{key}_ns": value for key, value in final.items() if key.endswith("_duration")}
    counts = {**usage, **timings}
    assert {key: counts.get(key) for key in expected or {}} == (expected or {})
    for key in counts.keys() - (expected or {}).keys():
        assert WIRE_NAMES[key] in body
    if usage:
        caches = usage.get("cached_input_tokens", 0) + usage.get("cache_write_tokens", 0)
        beside = caches if final.get("provider_finish_reason") in ANTHROPIC_REASONS else 0
        assert total == usage["input_tokens"] + usage["output_tokens"] + beside


ANTHROPIC_REASONS = {"end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"}

# Answers of a real llama.cpp server with SmolLM2, and how to ask for each.
RECORDED = {
    "llamacpp-smollm2/chat_stream": ("openai", "chat_completions"),
    "llamacpp-smollm2/chat_tools": ("openai", "chat_completions"),
    "llamacpp-smollm2/chat_tools_auto": ("openai", "chat_completions"),
    "llamacpp-smollm2/chat_schema": ("openai", "chat_completions"),
    "llamacpp-smollm2/chat_stop": ("openai", "chat_completions"),
    "llamacpp-smollm2/chat_logprobs": ("openai", "chat_completions"),
    "llamacpp-smollm2/chat_nonstream": ("openai", "chat_completions"),
    "tmpl-chatml_tools_oneshot/chat_tools": ("openai", "chat_completions"),
    "tmpl-chatml_tools_oneshot/chat_tools_auto": ("openai", "chat_completions"),
    "special/utf8_emoji": ("openai", "chat_completions"),
    "special/prompt_progress": ("openai", "chat_completions"),
    "special/sse_ping_longprompt": ("openai", "chat_completions"),
    "special/auth_xapikey_messages": ("anthropic", None),
    "llamacpp-smollm2/responses_stream": ("openai", "responses"),
    "llamacpp-smollm2/responses_tools": ("openai", "responses"),
    "llamacpp-smollm2/messages_stream": ("anthropic", None),
    "llamacpp-smollm2/messages_tools": ("anthropic", None),
}
RECORDED_ERRORS = {
    "llamacpp-smollm2/chat_bad": ("openai", "chat_completions", "PROVIDER_REJECTED_REQUEST"),
    "llamacpp-smollm2/chat_badjson": ("openai", "chat_completions", "PROVIDER_REJECTED_REQUEST"),
    "llamacpp-smollm2/chat_toolong": ("openai", "chat_completions", "CONTEXT_WINDOW_EXCEEDED"),
    "llamacpp-smollm2/messages_bad": ("anthropic", None, "PROVIDER_REJECTED_REQUEST"),
    "special/auth_bad": ("openai", "chat_completions", "PROVIDER_AUTH_FAILED"),
    "special/auth_missing": ("openai", "chat_completions", "PROVIDER_AUTH_FAILED"),
    "special/upstream_sigkill_midstream": ("openai", "chat_completions", "STREAM_INTERRUPTED"),
    "special/upstream_sigterm_midstream": ("openai", "chat_completions", "STREAM_INTERRUPTED"),
}


@pytest.mark.parametrize("name", sorted(RECORDED))
async def test_a_recorded_reply_of_a_real_server_arrives_whole(server, name):
    provider, api = RECORDED[name]
    played = await play(server, provider, f"smollm2@recorded:{name}", api)
    assert played.error is None
    expected = read_slowly(name)
    assert played.text == expected["text"]
    assert [(c["name"], c["arguments"]) for c in played.final.get("tool_calls", [])] == expected["calls"]
    assert played.final["provider_finish_reason"] == expected["finish"]
    assert played.final.get("usage", {}).get("output_tokens") == expected["output_tokens"]


@pytest.mark.parametrize("name", sorted(RECORDED_ERRORS))
async def test_a_recorded_failure_of_a_real_server_is_told(server, name):
    provider, api, reason = RECORDED_ERRORS[name]
    played = await play(server, provider, f"smollm2@recorded:{name}", api)
    assert played.error is not None
    assert played.error.reason == reason


def read_slowly(name: str) -> dict[str, Any]:
    """The content of a recorded answer, read in the plainest way: all of the body at once, line by line, as JSON."""
    body = load_recorded()[name].body.decode()
    events = [json.loads(line[6:]) for line in body.split("\n") if line.startswith("data: {")] or [json.loads(body)]
    said: dict[str, Any] = {"text": "", "calls": [], "finish": None, "output_tokens": None}
    arguments: dict[int, list[str]] = {}
    for event in events:
        for choice in event.get("choices", []):
            part = choice.get("delta") or choice.get("message") or {}
            said["text"] += part.get("content") or ""
            said["finish"] = choice["finish_reason"] or said["finish"]
            for call in part.get("tool_calls") or []:
                arguments.setdefault(call["index"], [call["function"].get("name", "")])
                arguments[call["index"]].append(call["function"]["arguments"])
        delta = event.get("delta", "")
        if event.get("type") == "response.output_text.delta":
            said["text"] += delta
        elif event.get("type") == "response.output_item.done" and event["item"]["type"] == "function_call":
            arguments[len(arguments)] = [event["item"]["name"], event["item"]["arguments"]]
        elif event.get("type") == "content_block_start" and event["content_block"]["type"] == "tool_use":
            arguments[event["index"]] = [event["content_block"]["name"]]
        elif event.get("type") == "content_block_delta":
            said["text"] += delta.get("text", "")
            if "partial_json" in delta:
                arguments[event["index"]].append(delta["partial_json"])
        elif event.get("type") == "message_delta":
            said["finish"] = delta["stop_reason"]
        usage = event.get("usage") or (event.get("response") or {}).get("usage") or {}
        said["output_tokens"] = usage.get("completion_tokens", usage.get("output_tokens", said["output_tokens"]))
        if event.get("type") == "response.completed":
            said["finish"] = event["response"]["status"]
    said["calls"] = [(name, json.loads("".join(pieces))) for name, *pieces in arguments.values()]
    return said
