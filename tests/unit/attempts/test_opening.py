"""From a parsed request to the provider: the choice, the request to it, and the caller's fields in its refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import random
from typing import Any

import pytest

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.opening import StreamOpener
from headwater_server.attempts.policy import AttemptSettings
from headwater_server.attempts.target import Targets
from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, ReplyFacts, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import StepError
from headwater_server.domain.messages import (
    AgentConfig,
    CacheHint,
    ChatRequest,
    Message,
    ProviderData,
    Role,
    Text,
    ToolCall,
)
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.base import ProviderStream, Wire
from headwater_server.providers.credentials.base import KeyHeader, StaticKey
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.http.site import Site
from headwater_server.providers.ollama.wire import OllamaWire
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.own_data import account_fingerprint
from headwater_server.providers.registry import ProviderRegistry, ProviderTerms
from headwater_server.streaming.answerer import Timeouts
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.source import ReadSource
from headwater_server.transport.convert.requests import parse_stream_request
from headwater_server.transport.services.actions import Actions
from headwater_server.workflows.engine.replies import Reply
from tests.support.services.attempts import NO_ACCOUNTS

ADDRESS = "https://provider.test/v1"
PIXEL = {"image": {"url": "https://example.com/a.png"}}


class CannedReply(ReadSource):
    """A reply that came at once."""

    request_id = ""
    heard = 0.0

    def __init__(self, *events: Delta | Finish) -> None:
        self._events = [list(events)]

    async def read(self) -> list[Any]:
        return self._events.pop() if self._events else []


class StubProvider(HttpProvider):
    """Builds the request as the wire does, remembers it, and answers with a canned reply."""

    def __init__(self, wire: Wire, *events: Delta | Finish) -> None:
        super().__init__(
            name="stub",
            type="openai",
            site=Site(ADDRESS, KeyHeader(StaticKey("sk-server")), HttpClient("test")),
            wires={"chat": wire},
            default_model="m",
            models_path="/models",
            parse_models=lambda _: [],
        )
        self.wire = wire
        self.asked: list[ChatRequest] = []
        self.events = events or (Finish(FinishReason.STOP),)

    def stream(self, request: ChatRequest) -> ProviderStream:  # type: ignore[override]
        self.wire.call(request)
        self.asked.append(request)
        return CannedReply(*self.events)


class Opening:
    """An opener with one provider."""

    def __init__(self, wire: Wire | None = None, *events: Delta | Finish) -> None:
        self.provider = StubProvider(wire or OpenAIChatWire(genuine=False), *events)
        self.streams = RunningStreams()
        terms = {"stub": ProviderTerms(first_chunk_seconds=7, caller_headers=frozenset({"x-session"}))}
        registry = ProviderRegistry({"stub": self.provider}, frozenset({"stub"}), terms=terms)
        offers = Offers(Offer(registry, Timeouts(300, 120), AttemptSettings()))
        self.opener = StreamOpener(offers, self.streams, Circuits(5), NO_ACCOUNTS, True)

    async def read(
        self, *keys: str, whole: bool = False, headers: Sequence[tuple[str, str]] = (), **fields: Any
    ) -> FinalChunk:
        """The end of the reply to a request."""
        request = parse_stream_request(agent_service_pb2.StreamRequest(**fields), keys, True, headers)
        async with self.opener.open_stream(request, whole=whole) as stream:
            while isinstance(chunk := await stream.next(), Chunk):
                pass
        await self.streams.close()
        return chunk

    async def refused(self, **fields: Any) -> HeadwaterError:
        with pytest.raises(HeadwaterError) as caught:
            await self.read(**fields)
        assert caught.value.reason is Reason.INVALID_REQUEST
        return caught.value


async def test_the_provider_gets_the_agent_and_the_conversation():
    opening = Opening()
    await opening.read(
        "sk-mine",
        agent={"model": "stub/m1", "instructions": "Be brief.", "temperature": 0, "user": "u-1"},
        messages=[{"role": "ROLE_ASSISTANT", "content": "Yes?"}],
        prompt="Hi",
    )
    assert opening.provider.asked == [
        ChatRequest(
            "m1",
            (
                Message(Role.SYSTEM, (Text("Be brief."),)),
                Message(Role.ASSISTANT, (Text("Yes?"),)),
                Message(Role.USER, (Text("Hi"),)),
            ),
            sampling={"temperature": 0},
            user="u-1",
            api_key="sk-mine",
            size=51,
        )
    ]


async def test_a_hint_to_keep_the_instructions_is_one_of_their_message():
    opening = Opening()
    await opening.read(
        agent={"instructions": "Be brief.", "instructions_cache": {"ttl": {"seconds": 600}}}, prompt="Hi"
    )
    await opening.read(agent={"instructions_cache": {}}, prompt="Hi")
    assert [message.cache for message in opening.provider.asked[0].messages] == [CacheHint(600.0), None]
    assert [message.cache for message in opening.provider.asked[1].messages] == [None]


async def test_log_probabilities_that_a_provider_lacks_are_refused_or_left_out():
    opening = Opening(AnthropicWire())
    assert [v.field for v in (await opening.refused(agent={"logprobs": 2}, prompt="Hi")).violations] == [
        "agent.logprobs"
    ]
    await opening.read(agent={"logprobs": 2, "unsupported_params": 2}, prompt="Hi")
    assert opening.provider.asked[0].sampling == {}


HI: dict[str, Any] = {"content": "Hi"}
SEE: dict[str, Any] = {"parts": [{"text": "see"}, PIXEL]}


@pytest.mark.parametrize(
    ("agent", "message", "field"),
    [
        ({"reasoning_effort": "REASONING_EFFORT_XHIGH"}, HI, "agent.reasoning_effort"),
        ({"tools": [{"function": {"name": "f", "strict": True}}]}, HI, "agent.tools[0].function.strict"),
        ({"tools": [{"function": {"name": "f"}}], "tool_choice": {"mode": 3}}, HI, "agent.tool_choice.mode"),
        ({"tools": [{"function": {"name": "f"}}], "tool_choice": {"function": "f"}}, HI, "agent.tool_choice.function"),
        ({"tools": [{"function": {"name": "f"}}], "parallel_tool_calls": True}, HI, "agent.parallel_tool_calls"),
        ({}, SEE, "messages[0].parts[1].image.url"),
        ({"instructions": "Be brief."}, SEE, "messages[0].parts[1].image.url"),
    ],
)
async def test_what_the_provider_cannot_express_is_named_as_the_caller_sent_it(agent, message, field):
    opening = Opening(OllamaWire())
    error = await opening.refused(agent=agent, messages=[{"role": "ROLE_USER"} | message])
    assert [violation.field for violation in error.violations] == [field]
    assert error.message.startswith(f"{field}: ")
    assert opening.provider.asked == []


async def test_a_model_that_is_not_there_is_a_field_of_the_agent():
    opening = Opening()
    opening.provider.default_model = ""
    assert [v.field for v in (await opening.refused(agent={"provider": "stub"}, prompt="Hi")).violations] == [
        "agent.model"
    ]


async def test_an_effort_that_the_model_does_not_have_is_left_out_where_the_caller_says_so():
    opening = Opening(OllamaWire())
    agent = {"reasoning_effort": 6, "seed": 1, "unsupported_params": 2}
    request = parse_stream_request(agent_service_pb2.StreamRequest(agent=agent, prompt="Hi"), (), True)
    async with opening.opener.open_stream(request) as stream:
        assert stream.answerer.dropped == ["reasoning_effort"]
    assert opening.provider.asked[0].sampling == {"seed": 1}


ASKS_FOR_A_CALL = (
    Delta(content="Let me see.", provider_data="{}"),
    Delta(tool_calls=[ToolCallDelta(0, "c1", "f", "{}")]),
    Finish(FinishReason.TOOL_CALLS),
)
TOOLS = {"tools": [{"function": {"name": "f"}}]}


async def test_what_the_provider_wants_back_returns_to_its_account_and_to_no_other():
    opening = Opening(None, *ASKS_FOR_A_CALL)
    final = await opening.read("sk-mine", agent=TOOLS, prompt="Hi")
    owner = account_fingerprint(ADDRESS, "sk-mine")
    data = ProviderData("stub", owner, "{}")
    assert final.message is not None
    assert final.message.parts == (Text("Let me see.", data), ToolCall("c1", "f", "{}"))

    part = {"text": "Let me see.", "provider_data": {"provider": "stub", "account": owner, "data_json": "{}"}}
    messages = [{"role": "ROLE_ASSISTANT", "parts": [part]}]
    await opening.read("sk-mine", agent=TOOLS, messages=messages, prompt="Hi")
    await opening.read(agent=TOOLS, messages=messages, prompt="Hi")
    same, other = (asked.messages[0].parts for asked in opening.provider.asked[1:])
    assert same == (Text("Let me see.", data),)
    assert other == (Text("Let me see."),)


def options(**fields: Any) -> dict[str, Any]:
    agent = agent_pb2.AgentConfig()
    agent.provider_options["stub"].update(fields)
    return {"provider_options": agent.provider_options}


@pytest.mark.parametrize("agent", [TOOLS, options(tools=[{"type": "web_search"}])], ids=["tools", "options"])
async def test_a_reply_that_may_end_in_calls_is_collected_from_its_start(agent):
    final = await Opening(None, *ASKS_FOR_A_CALL).read(agent=agent, prompt="Hi")
    assert final.message is not None
    assert final.message.text == "Let me see."


async def test_a_reply_of_text_is_collected_only_where_it_is_wanted_whole():
    opening = Opening(None, Delta(content="Hi."), Finish(FinishReason.STOP))
    assert (await opening.read(prompt="Hi")).message is None
    whole = await opening.read(prompt="Hi", whole=True)
    assert whole.message == Message(Role.ASSISTANT, (Text("Hi."),))


async def test_the_callers_limits_go_over_the_servers(monkeypatch):
    class Never(CannedReply):
        async def read(self) -> list[Any]:
            return await asyncio.get_running_loop().create_future()

    opening = Opening()
    monkeypatch.setattr(opening.provider, "stream", lambda _: Never())
    with pytest.raises(HeadwaterError, match=r"no first chunk within 0\.01 seconds"):
        await opening.read(agent={"timeouts": {"first_chunk": {"nanos": 10_000_000}}}, prompt="Hi")


async def on_chunk(content: str, thinking: str) -> None:
    pass


async def test_an_action_is_a_prompt_to_the_workflows_agent():
    opening = Opening(None, Delta(content="Hi."), Finish(FinishReason.STOP))
    reply = await Actions(opening.opener).act(AgentConfig(model="stub/m1"), "Say hi", on_chunk)
    assert reply == Reply("Hi.", ReplyFacts(FinishReason.STOP, None, "m1", "stub"))
    [asked] = opening.provider.asked
    assert (asked.model, asked.messages) == ("m1", (Message(Role.USER, (Text("Say hi"),)),))


async def test_an_action_that_fails_says_why_as_data():
    opening = Opening(OllamaWire())
    with pytest.raises(StepError) as caught:
        await Actions(opening.opener).act(AgentConfig(sampling={"parallel_tool_calls": True}), "Hi", on_chunk)
    assert (caught.value.failure.reason, caught.value.failure.non_retryable) == (Reason.INVALID_REQUEST, True)


async def test_a_header_that_the_provider_takes_from_callers_reaches_it():
    opening = Opening()
    await opening.read(prompt="Hi", headers=[("x-session", "s-1")])
    assert opening.provider.asked[0].headers == {"x-session": "s-1"}


@pytest.mark.parametrize("name", ["x-other", "authorization", "host", "x-session-2"])
async def test_any_other_header_of_a_caller_is_refused_by_its_name(name):
    error = await Opening().refused(prompt="Hi", headers=[("x-session", "s-1"), (name, "v")])
    [violation] = error.violations
    assert violation.field == f"headwater-provider-header-{name}"
    assert "providers.stub.caller_headers" in violation.description


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ([("x-session", "ä")], "headwater-provider-header-x-session"),
        ([("x-session", "a\r\nb: c")], "headwater-provider-header-x-session"),
        ([("x-session", "x" * 5000)], "headwater-provider-header-x-session"),
        ([("x-session", "a"), ("x-session", "b")], "headwater-provider-header-"),
    ],
)
async def test_a_header_that_cannot_be_sent_is_refused(headers, field):
    error = await Opening().refused(prompt="Hi", headers=headers)
    assert [violation.field for violation in error.violations] == [field]


@pytest.mark.parametrize(
    ("agent", "expected"), [({}, (7, 120)), ({"timeouts": {"first_chunk": {"seconds": 3}}}, (3, 120))]
)
def test_timeouts_are_the_callers_else_the_providers_else_the_servers(agent, expected):
    request = parse_stream_request(agent_service_pb2.StreamRequest(prompt="Hi", agent=agent), (), False)
    provider = StubProvider(OpenAIChatWire(genuine=False))
    terms = {"stub": ProviderTerms(first_chunk_seconds=7)}
    registry = ProviderRegistry({"stub": provider}, frozenset({"stub"}), terms=terms)
    found = Targets(registry, Timeouts(300, 120), random).of(request)[0].timeouts
    assert (found.first_chunk_seconds, found.next_chunk_seconds) == expected
