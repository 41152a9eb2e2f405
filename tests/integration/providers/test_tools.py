"""Tools over the real server: rounds of a scripted model, what a provider gets, and the server's side of a later round."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from headwater import Agent, AgentResponse, Image, StreamInterruptedError, ToolError, tool
from headwater.tools import Tool, calculator_tool
from headwater.v1 import agent_service_pb2, agent_service_pb2_grpc
from tests.support.servers.server import ServerProcess, provider_variables
from tests.support.upstream.upstream import Upstream


def scripted(*rounds: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of the provider `scripted`, one script a round."""
    script: dict[str, Any] = {}
    for options in reversed(rounds):
        script = {**options, "after_tools": script} if script else options
    return {"scripted": script}


def call(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.fixture
def agent(server: ServerProcess) -> Agent:
    return Agent(model="scripted/echo", target=server.target, tools=[calculator_tool])


def results(chunks: list[Any]) -> list[tuple[str, bool]]:
    return [
        (result["content"], result["is_error"]) for chunk in chunks for result in chunk.metadata.get("tool_results", [])
    ]


async def test_a_round_of_the_calculator(agent: Agent) -> None:
    script = scripted(
        {"text": "Let me see.", "tool_calls": [call("calculator", expression="15% of 2500")]}, {"text": " It is 375."}
    )
    chunks = [chunk async for chunk in agent.stream("What's 15% of $2,500?", provider_options=script)]
    assert "".join(map(str, chunks)) == "Let me see. It is 375."
    assert results(chunks) == [("375", False)]
    numbers = [chunk.metadata["sequence"] for chunk in chunks]
    assert numbers == sorted(set(numbers))
    assert [chunk.is_final for chunk in chunks].count(True) == 1
    one, two = chunks[-1].metadata["rounds"]
    assert chunks[-1].metadata["usage"]["total_tokens"] == one["usage"]["total_tokens"] + two["usage"]["total_tokens"]
    assert two["usage"]["input_tokens"] > one["usage"]["input_tokens"]  # the results were read


async def test_parallel_calls_of_several_rounds(agent: Agent) -> None:
    together = threading.Barrier(2, timeout=10)

    def meet(name: str) -> str:
        together.wait()
        return name

    script = scripted(
        {"tool_calls": [call("meet", name="a"), call("meet", name="b")]},
        {"tool_calls": [call("calculator", expression="2 + 2")]},
        {"text": "Done."},
    )
    chunks = [chunk async for chunk in agent.stream("Go", tools=[meet, calculator_tool], provider_options=script)]
    assert results(chunks) == [("a", False), ("b", False), ("4", False)]
    numbers = [chunk.metadata["sequence"] for chunk in chunks]
    assert numbers == sorted(set(numbers))
    assert len(chunks[-1].metadata["rounds"]) == 3


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (call("calculator", expression="1 / 0"), "ValueError: division by zero"),
        (call("calculator"), "bad arguments for calculator: missing a required argument: 'expression'"),
        (call("abacus"), "there is no tool 'abacus'; there are calculator, nap"),
        (call("nap", seconds=30), "nap took longer than 0.1 seconds"),
        (call("nap", seconds="long"), "bad arguments for nap: seconds: Input should be a valid number, unable to parse string as a number"),
        ({"name": "nap", "arguments": "no JSON"}, "bad arguments for nap: arguments: Invalid JSON: expected ident at line 1 column 2"),
    ],
)  # fmt: skip
async def test_a_call_that_fails_is_told_to_the_model_and_the_reply_goes_on(
    agent: Agent, asked: dict[str, Any], told: str
) -> None:
    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)

    agent.add_tool(nap)
    agent.tool_timeout = 0.1
    script = scripted({"tool_calls": [asked]}, {"text": "A pity."})
    chunks = [chunk async for chunk in agent.stream("Go", provider_options=script)]
    assert results(chunks) == [(told, True)]
    assert chunks[-1].metadata["finish_reason"] == "stop"


async def test_too_many_rounds_have_the_text_so_far(agent: Agent) -> None:
    agent.max_tool_rounds = 3
    script = scripted({"text": "Again.", "tool_calls": [call("calculator", expression="1")]})
    with pytest.raises(ToolError) as caught:
        await agent.arun("Go", provider_options=script)
    assert caught.value.partial_response == "Again." * 4


async def test_a_later_round_that_is_cut_has_the_text_of_all(agent: Agent) -> None:
    script = scripted(
        {"text": "One.", "tool_calls": [call("calculator", expression="1")]},
        {"text": " Two and three.", "fail_after": 1},
    )
    with pytest.raises(StreamInterruptedError) as caught:
        await agent.arun("Go", provider_options=script)
    assert caught.value.partial_response == "One. Two"
    script = scripted({"text": "One.", "tool_calls": [call("calculator", expression="1")]}, {"fail_after": 0})
    with pytest.raises(StreamInterruptedError, match="later round") as caught:
        await agent.arun("Go", provider_options=script)
    assert caught.value.partial_response == "One."
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"


async def test_an_agent_without_tools_hands_the_calls_to_the_caller(agent: Agent) -> None:
    script = scripted({"tool_calls": [call("calculator", expression="1")]}, {"text": "never"})
    response = await agent.arun("Go", tools=[], provider_options=script)
    assert response.metadata["finish_reason"] == "tool_calls"
    assert response.tool_calls == [{"id": "call_0", "name": "calculator", "arguments": {"expression": "1"}}]


def test_run_and_stream_sync_go_through_the_same_rounds(agent: Agent) -> None:
    script = scripted({"tool_calls": [call("calculator", expression="6 * 7")]}, {"text": "42"})
    assert str(agent.run("Go", provider_options=script)) == "42"
    assert results(list(agent.stream_sync("Go", provider_options=script))) == [("42", False)]


# The request to the provider

THINKING_ROUND = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "I should "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "calculate."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2lnbmVk+/=="}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "One moment."}},
    {"type": "content_block_stop", "index": 2},
    {"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "calculator", "input": {}}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": '{"expression": "2+2"}'}},
    {"type": "content_block_stop", "index": 3},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 20}},
    {"type": "message_stop"},
]  # fmt: skip
LAST_ROUND = [
    {"type": "message_start", "message": {"id": "msg_2", "model": "claude", "usage": {"input_tokens": 30, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " Four."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]  # fmt: skip


async def two_rounds(calculator: Tool[..., Any]) -> tuple[AgentResponse, dict[str, Any], dict[str, Any]]:
    """The reply of a model that thinks, calls `calculator` and answers, and the two requests that it got."""
    rounds: Iterator[list[dict[str, Any]]] = iter([THINKING_ROUND, LAST_ROUND])

    async def answer(writer: asyncio.StreamWriter) -> None:
        events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in next(rounds)]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write("".join(events).encode())
        await writer.drain()

    async with Upstream(answer) as upstream:
        with ServerProcess(variables=provider_variables(upstream.url)) as server:
            agent = Agent(provider="anthropic", model="claude", target=server.target, tools=[calculator])
            response = await agent.arun("2 + 2?")
    first, second = [json.loads(body) for body in upstream.bodies]
    return response, first, second


async def test_an_image_that_a_tool_returns_reaches_the_provider() -> None:
    @tool(name="calculator")
    def draw(expression: str) -> list[Any]:
        return [f"{expression} as a drawing:", Image(data=b"\x89PNG", media_type="image/png")]

    response, _, second = await two_rounds(draw)
    assert response.content == "One moment. Four."
    assert second["messages"][-1]["content"][0]["content"] == [
        {"type": "text", "text": "2+2 as a drawing:"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
    ]


async def test_signed_and_redacted_thinking_reaches_the_provider_again_unchanged() -> None:
    response, first, second = await two_rounds(calculator_tool)
    assert response.content == "One moment. Four."
    assert response.metadata["usage"]["output_tokens"] == 23
    assert first["tools"] == second["tools"]
    question, said, told = second["messages"]
    assert question == first["messages"][0]
    assert said["content"][:2] == [
        {"type": "thinking", "thinking": "I should calculate.", "signature": "c2lnbmVk+/=="},
        {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"},
    ]
    assert said["content"][2]["text"] == "One moment."
    assert said["content"][3] == {
        "type": "tool_use", "id": "toolu_1", "name": "calculator", "input": {"expression": "2+2"},
    }  # fmt: skip
    [result] = told["content"]
    assert (result["tool_use_id"], result["content"]) == ("toolu_1", "4")


# The server's side of a later round

A_STREAM = "str_0_" + "a" * 22


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[agent_service_pb2_grpc.AgentServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield agent_service_pb2_grpc.AgentServiceStub(channel)


def request(**fields: Any) -> agent_service_pb2.StreamRequest:
    return agent_service_pb2.StreamRequest(**({"prompt": "a b c", "agent": {"model": "scripted/echo"}} | fields))


def test_a_later_round_has_the_first_id_and_goes_on_counting(stub) -> None:
    call = stub.Stream(request(continues_stream_id=A_STREAM, continues_sequence=2_000_000_000))
    assert dict(call.initial_metadata())["headwater-stream-id"] == A_STREAM
    chunks = list(call)
    assert 2_000_000_001 <= chunks[0].sequence <= 2_000_000_003  # merged or not
    assert chunks[-1].sequence == 2_000_000_004
    assert chunks[0].stream_id == A_STREAM
    assert chunks[-1].stats.chunk_count == 3


def test_a_running_later_round_is_listed_and_cancelled_under_the_first_id_and_cannot_run_twice(stub) -> None:
    hanging = request(continues_stream_id=A_STREAM, continues_sequence=7)
    hanging.agent.provider_options["scripted"]["hang_after"] = 1
    running = stub.Stream(hanging)
    assert next(running).sequence == 8
    assert [(s.stream_id, s.chunk_count) for s in stub.ListStreams(agent_service_pb2.ListStreamsRequest()).streams] == [
        (A_STREAM, 1)
    ]
    with pytest.raises(grpc.RpcError, match="continues_stream_id: is the id of a stream that still runs") as caught:
        list(stub.Stream(hanging))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=A_STREAM))
    with pytest.raises(grpc.RpcError) as caught:
        list(running)
    assert caught.value.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"continues_stream_id": A_STREAM}, "continues_sequence: must be 1 to 2000000000"),
        ({"continues_stream_id": A_STREAM, "continues_sequence": -1}, "continues_sequence: must be 1"),
        ({"continues_stream_id": A_STREAM, "continues_sequence": 2_000_000_001}, "continues_sequence: must be 1"),
        ({"continues_sequence": 1}, "continues_stream_id: must be the id of a stream"),
        ({"continues_stream_id": "str_x", "continues_sequence": 1}, "continues_stream_id: must be the id"),
        ({"continues_stream_id": A_STREAM + "a", "continues_sequence": 1}, "continues_stream_id: must be the id"),
        ({"continues_stream_id": "str_0_" + "ä" * 22, "continues_sequence": 1}, "continues_stream_id: must be the id"),
        ({"continues_stream_id": A_STREAM[:-1] + "\n", "continues_sequence": 1}, "continues_stream_id: must be the"),
    ],
)
def test_what_is_no_stream_to_go_on_with_is_refused(stub, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(grpc.RpcError, match=problem) as caught:
        list(stub.Stream(request(**fields)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_decorator_and_the_docstring_reach_the_provider(server: ServerProcess, replay) -> None:
    @tool
    def lookup(city: str, year: int = 2026) -> str:
        """Find a city.

        Args:
            city: its name.
        """
        return city

    model = "decorated@openai-tool-calls-parallel>openai-usage"
    await Agent(provider="openai", model=model, target=server.target, tools=[lookup]).arun(
        "Hi", provider_options={"openai": {"api": "chat_completions"}}
    )
    body = next(record.body for record in replay.replay.records if record.body and record.body["model"] == model)
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "lookup",
                "description": "Find a city.",
                "parameters": {
                    "additionalProperties": False,
                    "properties": {
                        "city": {"description": "its name.", "type": "string"},
                        "year": {"default": 2026, "type": "integer"},
                    },
                    "required": ["city"],
                    "type": "object",
                },
            },
        }
    ]
