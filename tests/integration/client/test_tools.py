"""The rounds of a call with tools, over a service that asks for the tools that a test wants."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import gc
import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from headwater import (
    Agent,
    ProviderRateLimitError,
    StreamChunk,
    StreamInterruptedError,
    StreamTimeoutError,
    ToolError,
    collect_stream,
)
from headwater._values.durations import to_duration
from headwater.v1 import agent_pb2
from tests.support.services.fake_agent_service import (
    Chunks,
    FakeAgentService,
    Reply,
    error_info,
    fail,
    final,
    first,
    say_then_wait,
)

Call = tuple[str, str]


def stats(seconds: float, chunks: int, first: float, pace: float) -> agent_pb2.StreamStats:
    return agent_pb2.StreamStats(
        duration=to_duration(seconds),
        chunk_count=chunks,
        time_to_first_token=to_duration(first),
        tokens_per_second=pace,
    )


def usage(**counts: int) -> agent_pb2.Usage:
    return agent_pb2.Usage(**counts)


def assistant(*parts: agent_pb2.Part) -> agent_pb2.ChatMessage:
    return agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=parts)


def part_of(call: agent_pb2.ToolCall) -> agent_pb2.Part:
    return agent_pb2.Part(tool_call=call)


async def ask_for(sequence: int, text: str, *calls: Call, **facts: Any) -> Chunks:
    """A round that says something and asks for tools; numbered after `sequence`."""
    yield first(text, sequence=sequence + 1)
    for index, (name, _) in enumerate(calls):
        delta = agent_pb2.ToolCallDelta(index=index, id=f"call_{sequence}_{index}", name=name)
        yield agent_pb2.StreamChunk(sequence=sequence + 2 + index, tool_call_deltas=[delta])
    asked = [
        agent_pb2.ToolCall(id=f"call_{sequence}_{index}", name=name, arguments_json=arguments)
        for index, (name, arguments) in enumerate(calls)
    ]
    yield final(
        sequence=sequence + 2 + len(calls),
        finish_reason=agent_pb2.FINISH_REASON_TOOL_CALLS,
        tool_calls=asked,
        message=assistant(*([agent_pb2.Part(text=text)] if text else []), *map(part_of, asked)),
        **facts,
    )


async def answer(sequence: int, text: str, **facts: Any) -> Chunks:
    """A round that only speaks."""
    yield first(text, sequence=sequence + 1)
    yield final(sequence=sequence + 2, **facts)


def calls_once(*calls: Call, text: str = "Let me see. ") -> Reply:
    """Asks for tools, and speaks when it has their results."""

    def reply(request: Any, context: Any) -> Chunks:
        after = request.continues_sequence
        return answer(after, "Done.") if after else ask_for(0, text, *calls)

    return reply


def results_in(service: FakeAgentService, request: int = -1) -> list[tuple[str, str, str, bool]]:
    """The messages for the model in a request."""
    parts = service.requests[request].messages[-1].parts
    return [
        (result.tool_call_id, result.name, result.content, result.HasField("failure"))
        for result in (part.tool_result for part in parts)
    ]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_call_is_run_its_result_is_sent_and_the_caller_sees_one_stream(service: FakeAgentService) -> None:
    service.reply = calls_once(("add", '{"a": 2, "b": 3}'))
    agent = Agent(target=service.target, tools=[add])
    chunks = [chunk async for chunk in agent.stream("2 + 3?")]
    assert [chunk.content for chunk in chunks] == ["Let me see. ", "", "", "", "Done.", ""]
    assert [chunk.is_final for chunk in chunks] == [False] * 5 + [True]
    assert [chunk.metadata["sequence"] for chunk in chunks] == [1, 2, 3, 4, 5, 6]
    calls = [{"id": "call_0_0", "name": "add", "arguments": {"a": 2, "b": 3}}]
    assert chunks[2].metadata == {"sequence": 3, "tool_calls": calls}
    results = [{"id": "call_0_0", "name": "add", "content": "5", "is_error": False}]
    assert chunks[3].metadata == {"sequence": 4, "tool_results": results}
    assert [chunk.metadata.get("stream_id") for chunk in chunks] == ["w0-1", None, None, None, None, None]
    assert "tool_calls" not in chunks[-1].metadata


async def test_each_round_offers_the_tools_and_goes_on_under_the_first_id(service: FakeAgentService) -> None:
    service.reply = calls_once(("add", '{"a": 2, "b": 3}'))
    await Agent(target=service.target, tools=[add]).arun("2 + 3?", temperature=0.5)
    one, two = service.requests
    assert (one.continues_stream_id, one.continues_sequence) == ("", 0)
    assert (two.continues_stream_id, two.continues_sequence) == ("w0-1", 4)
    assert one.agent == two.agent
    assert [made.function.name for made in one.agent.tools] == ["add"]
    assert one.agent.temperature == 0.5
    assert [message.role for message in two.messages] == [
        agent_pb2.ROLE_USER, agent_pb2.ROLE_ASSISTANT, agent_pb2.ROLE_TOOL,
    ]  # fmt: skip
    said, called = two.messages[1].parts
    assert said.text == "Let me see. "
    assert called.tool_call == agent_pb2.ToolCall(id="call_0_0", name="add", arguments_json='{"a": 2, "b": 3}')
    assert results_in(service) == [("call_0_0", "add", "5", False)]


async def test_usage_and_stats_of_the_final_chunk_are_those_of_all_rounds(service: FakeAgentService) -> None:
    one = stats(0.1, 2, 0.04, 10)
    two = stats(0.2, 1, 0.05, 30)

    def reply(request: Any, context: Any) -> Chunks:
        if not request.continues_sequence:
            counts = usage(input_tokens=5, output_tokens=10, cached_input_tokens=1)
            return ask_for(0, "", ("slow", "{}"), usage=counts, stats=one, provider_request_id="req_1")
        counts = usage(input_tokens=7, output_tokens=30, reasoning_tokens=0)
        return answer(request.continues_sequence, "x", usage=counts, stats=two, provider_request_id="req_2")

    async def slow() -> None:
        await asyncio.sleep(0.05)

    service.reply = reply
    response = await Agent(target=service.target, tools=[slow]).arun("Go")
    assert response.metadata["usage"] == {
        "input_tokens": 12, "output_tokens": 40, "cached_input_tokens": 1, "reasoning_tokens": 0,
    }  # fmt: skip
    all_rounds = response.metadata["stats"]
    assert 0.35 <= all_rounds["duration"] < 5
    assert all_rounds["chunk_count"] == 3
    assert all_rounds["time_to_first_token"] == 0.04
    assert all_rounds["tokens_per_second"] == 20
    rounds = response.metadata["rounds"]
    assert [facts["finish_reason"] for facts in rounds] == ["tool_calls", "stop"]
    assert [facts["usage"]["input_tokens"] for facts in rounds] == [5, 7]
    assert [facts["stats"]["duration"] for facts in rounds] == [0.1, 0.2]
    assert [facts["provider_request_id"] for facts in rounds] == ["req_1", "req_2"]
    assert response.metadata["provider_request_id"] == "req_2"


async def test_counts_that_nobody_reported_stay_absent(service: FakeAgentService) -> None:
    service.reply = calls_once(("add", '{"a": 2, "b": 3}'))
    response = await Agent(target=service.target, tools=[add]).arun("Go")
    assert "usage" not in response.metadata
    assert "stats" not in response.metadata


async def test_calls_of_a_round_run_at_the_same_time_and_their_results_keep_their_order(
    service: FakeAgentService,
) -> None:
    together = threading.Barrier(3, timeout=10)

    def blocking(name: str) -> str:
        together.wait()  # passes only when all three are here
        return name

    async def waiting(name: str) -> str:
        await asyncio.to_thread(together.wait)
        return name

    service.reply = calls_once(
        ("blocking", '{"name": "a"}'), ("waiting", '{"name": "b"}'), ("blocking", '{"name": "c"}')
    )
    await Agent(target=service.target, tools=[blocking, waiting]).arun("Go")
    assert [content for _, _, content, _ in results_in(service)] == ["a", "b", "c"]


async def test_a_tool_that_blocks_does_not_block_the_loop(service: FakeAgentService) -> None:
    release = threading.Event()

    def blocking() -> bool:
        return release.wait(10)

    async def free() -> bool:
        release.set()  # the loop still runs
        return True

    service.reply = calls_once(("blocking", "{}"), ("free", "{}"))
    await Agent(target=service.target, tools=[blocking, free]).arun("Go")
    assert [content for _, _, content, _ in results_in(service)] == ["true", "true"]


def broken() -> None:
    raise KeyError("no such thing")


def leaves() -> None:
    raise SystemExit(3)


def stops() -> None:
    raise StopIteration


async def cancels() -> None:
    raise asyncio.CancelledError


async def raises_timeout() -> None:
    raise TimeoutError("of its own")


def returns_junk() -> object:
    return object()


def returns_too_much() -> str:
    return "x" * (1024 * 1024 + 1)


@pytest.mark.parametrize(
    ("tool", "call", "told"),
    [
        (broken, ("broken", "{}"), "KeyError: 'no such thing'"),
        (leaves, ("leaves", "{}"), "SystemExit: 3"),
        (stops, ("stops", "{}"), "StopIteration"),
        (cancels, ("cancels", "{}"), "cancels was cancelled"),
        (raises_timeout, ("raises_timeout", "{}"), "TimeoutError: of its own"),
        (returns_junk, ("returns_junk", "{}"), "NotJsonError: the result of the tool is a value of type object, which does not convert to JSON; write what it says, and "
            "keep live objects in a closure of the handler"),
        (returns_too_much, ("returns_too_much", "{}"), "the result has 1,048,577 characters; a tool may return 1,048,576"),
        (add, ("subtract", "{}"), "there is no tool 'subtract'; there are add"),
        (add, ("add", '{"a": "x", "b": 1}'), "bad arguments for add: a: Input should be a valid integer, unable to parse string as an integer"),
        (add, ("add", '{"a": 1}'), "bad arguments for add: b: Field required"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_with_a_call_is_told_to_the_model(
    service: FakeAgentService, tool: Callable[..., Any], call: Call, told: str
) -> None:
    service.reply = calls_once(call)
    response = await Agent(target=service.target, tools=[tool]).arun("Go")
    assert response.content == "Let me see. Done."
    assert results_in(service) == [("call_0_0", call[0], told, True)]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_an_async_tool_that_raises_what_ends_a_program_has_failed_and_later_calls_work(
    service: FakeAgentService, error: BaseException
) -> None:
    async def leaves() -> None:
        raise error

    service.reply = calls_once(("leaves", "{}"))
    agent = Agent(target=service.target, tools=[leaves], history=0)
    assert agent.run("Go", timeout=10).content == "Let me see. Done."
    [(_, _, content, is_error)] = results_in(service)
    assert is_error
    assert type(error).__name__ in content or content == "leaves was cancelled"
    assert agent.run("Go", timeout=10).content == "Let me see. Done."


def test_an_async_tool_of_a_synchronous_call_cannot_make_another_and_learns_what_to_write(
    service: FakeAgentService,
) -> None:
    inner = Agent(target=service.target)

    async def ask() -> str:
        return inner.run("why?").content

    service.reply = calls_once(("ask", "{}"))
    Agent(target=service.target, tools=[ask]).run("Go", timeout=10)
    [(_, _, content, is_error)] = results_in(service)
    assert is_error
    assert "await agent.arun" in content


async def test_the_traceback_of_a_tool_that_failed_is_logged(
    service: FakeAgentService, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise ExceptionGroup("g", [KeyError("no such thing"), ValueError("b")])

    service.reply = calls_once(("fails", "{}"))
    await Agent(target=service.target, tools=[fails]).arun("Go")
    assert [content for _, _, content, _ in results_in(service)] == ["KeyError: 'no such thing'; ValueError: b"]
    [record] = [record for record in caplog.records if record.name == "headwater.tools"]
    assert record.levelno == logging.WARNING
    assert "in fails\n" in "".join(traceback.format_exception(record.exc_info[1]))  # type: ignore[index, arg-type]


def now() -> str:
    return "noon"


def plan(stops: list[str], where: dict[str, int] | None = None, days: int = 2, note: str = "-") -> str:
    return f"{stops} {where} {days} {note}"


@pytest.mark.parametrize(
    ("tool", "arguments", "result", "sent_back"),
    [
        (now, "null", "noon", "{}"),
        (now, "", "noon", None),
        (now, " ", "noon", "{}"),
        (now, '""', "noon", "{}"),
        (now, '"{}"', "noon", "{}"),
        (now, '"null"', "noon", "{}"),
        (add, '"{\\"a\\": 1, \\"b\\": 2}"', "3", '{"a": 1, "b": 2}'),
        (plan, '{"stops": "[\\"a\\"]"}', "['a'] None 2 -", None),
        (plan, '{"stops": ["a"], "where": "{\\"x\\": 1}", "days": null}', "['a'] {'x': 1} 2 -", None),
        (plan, '{"stops": [], "days": "", "note": null}', "[] None 2 -", None),
        (now, "[]", "noon", "{}"),
        (plan, '{"stops": "\\"[]\\"", "days": "null"}', "[] None 2 -", None),
        (plan, '{"stops": ["[1]"], "note": "[1]"}', "['[1]'] None 2 [1]", None),
    ],
)  # fmt: skip
async def test_arguments_that_are_right_in_meaning_only_are_read_as_they_are_meant(
    service: FakeAgentService, tool: Callable[..., Any], arguments: str, result: str, sent_back: str | None
) -> None:
    service.reply = calls_once((tool.__name__, arguments))
    await Agent(target=service.target, tools=[tool]).arun("Go")
    assert results_in(service) == [("call_0_0", tool.__name__, result, False)]
    assert service.requests[1].messages[1].parts[1].tool_call.arguments_json == (sent_back or arguments)


async def test_arguments_that_cannot_be_mended_are_reported_as_they_were_written(service: FakeAgentService) -> None:
    service.reply = calls_once(("plan", '{"stops": null, "days": "[1]"}'))
    await Agent(target=service.target, tools=[plan]).arun("Go")
    [(_, _, content, is_error)] = results_in(service)
    assert is_error
    assert "stops: Input should be a valid" in content
    assert "days: Input should be a valid integer" in content


@pytest.mark.parametrize(
    ("invented", "sent"),
    [("functions.get weather", "functions_get_weather"), ("", "unknown"), ("é" * 70, "_" * 64), ("add", "add")],
)
async def test_a_name_that_the_provider_would_refuse_is_sent_back_harmless(
    service: FakeAgentService, invented: str, sent: str
) -> None:
    service.reply = calls_once((invented, '{"a": 1, "b": 2}'))
    await Agent(target=service.target, tools=[add]).arun("Go")
    [(_, name, content, is_error)] = results_in(service)
    assert (name, service.requests[1].messages[1].parts[1].tool_call.name) == (sent, sent)
    assert is_error == (invented != "add")
    assert (repr(invented) in content) == is_error


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "NaN"])
async def test_arguments_that_are_no_object_are_an_error_and_are_not_sent_back(
    service: FakeAgentService, arguments: str
) -> None:
    service.reply = calls_once(("add", arguments))
    chunks = [chunk async for chunk in Agent(target=service.target, tools=[add]).stream("Go")]
    [(_, _, content, is_error)] = results_in(service)
    assert is_error
    assert content.startswith("bad arguments for add: ")
    assert service.requests[1].messages[1].parts[1].tool_call.arguments_json == "{}"
    [call] = next(chunk.metadata["tool_calls"] for chunk in chunks if "tool_calls" in chunk.metadata)
    assert call["arguments"] == arguments


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("plain", "plain"),
        (None, "null"),
        ({"a": [1, 2.5, "é"]}, '{"a": [1, 2.5, "é"]}'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        ("half \ud83d of a pair", "half \ufffd of a pair"),
    ],
)
async def test_what_a_result_is_as_text(service: FakeAgentService, result: Any, text: str) -> None:
    def gives() -> Any:
        return result

    service.reply = calls_once(("gives", "{}"))
    await Agent(target=service.target, tools=[gives]).arun("Go")
    assert results_in(service) == [("call_0_0", "gives", text, False)]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_tool_that_takes_too_long_has_failed(service: FakeAgentService, kind: str) -> None:
    release = threading.Event()

    async def waits() -> None:
        await asyncio.Event().wait()

    def blocks() -> None:
        release.wait(30)

    service.reply = calls_once(("tool", "{}"))
    agent = Agent(target=service.target, tool_timeout=0.05)
    from headwater import tool

    agent.add_tool(tool(name="tool")(waits if kind == "async" else blocks))
    try:
        await agent.arun("Go")
    finally:
        release.set()
    assert results_in(service) == [("call_0_0", "tool", "tool took longer than 0.05 seconds", True)]


async def test_a_sync_tool_sees_the_callers_context_variables(service: FakeAgentService) -> None:
    user = contextvars.ContextVar("user", default="nobody")
    user.set("Ada")
    service.reply = calls_once(("who", "{}"))

    def who() -> str:
        return user.get()

    await Agent(target=service.target, tools=[who]).arun("Go")
    assert results_in(service)[0][2] == "Ada"


async def test_several_rounds_are_numbered_without_a_fall_or_a_repeat(service: FakeAgentService) -> None:
    def reply(request: Any, context: Any) -> Chunks:
        after = request.continues_sequence
        if after > 12:
            return answer(after, "End.")
        return ask_for(after, f"{after} ", ("add", '{"a": 1, "b": 1}'), ("add", '{"a": 2, "b": 2}'))

    service.reply = reply
    response = await collect_stream(Agent(target=service.target, tools=[add]).stream("Go"))
    numbers = [chunk.metadata["sequence"] for chunk in response.chunks]
    assert numbers == list(range(1, len(numbers) + 1))
    assert response.complete_text == "0 5 10 End."
    assert [chunk.is_final for chunk in response.chunks].count(True) == 1
    assert len(service.requests[-1].messages) == 1 + 3 * 2
    assert len(response.metadata["rounds"]) == 4


async def test_past_the_rounds_it_may_take_a_call_fails_with_the_text_so_far(service: FakeAgentService) -> None:
    service.reply = lambda request, context: ask_for(request.continues_sequence, "again ", ("add", '{"a": 1, "b": 1}'))
    agent = Agent(target=service.target, tools=[add], max_tool_rounds=2)
    with pytest.raises(ToolError, match=r"after 2 rounds.*max_tool_rounds") as caught:
        await agent.arun("Go")
    assert caught.value.partial_response == "again again again "
    assert len(service.requests) == 3
    *others, last = agent.messages
    assert [message["role"] for message in others] == ["user", "assistant", "tool", "assistant", "tool"]
    assert last == {"role": "assistant", "content": "again ", "interrupted": True}


async def test_the_default_is_ten_rounds(service: FakeAgentService) -> None:
    service.reply = lambda request, context: ask_for(request.continues_sequence, "", ("add", '{"a": 1, "b": 1}'))
    with pytest.raises(ToolError, match="after 10 rounds"):
        await Agent(target=service.target, tools=[add]).arun("Go")
    assert len(service.requests) == 11


async def test_all_calls_of_all_rounds_are_in_the_response(service: FakeAgentService) -> None:
    def reply(request: Any, context: Any) -> Chunks:
        after = request.continues_sequence
        return ask_for(after, "", ("add", f'{{"a": {after}, "b": 1}}')) if after < 4 else answer(after, "End.")

    service.reply = reply
    response = await Agent(target=service.target, tools=[add]).arun("Go")
    assert [call["arguments"]["a"] for call in response.tool_calls] == [0]
    assert response.metadata["tool_calls"] == response.tool_calls
    assert "tool_results" not in response.metadata


async def test_without_tools_calls_are_left_to_the_caller(service: FakeAgentService) -> None:
    service.reply = calls_once(("add", '{"a": 2, "b": 3}'))
    agent = Agent(target=service.target)
    response = await agent.arun("Go")
    assert response.metadata["finish_reason"] == "tool_calls"
    assert [call["name"] for call in response.tool_calls] == ["add"]
    assert "rounds" not in response.metadata
    assert len(service.requests) == 1
    assert not service.requests[0].agent.tools


@pytest.mark.parametrize("reason", ["LENGTH", "CONTENT_FILTER", "REFUSAL"])
async def test_calls_of_a_reply_that_was_cut_are_not_run(service: FakeAgentService, reason: str) -> None:
    async def cut() -> Chunks:
        call = agent_pb2.ToolCall(id="1", name="add", arguments_json='{"a": 1, "b": 1')
        yield final(
            sequence=1, finish_reason=agent_pb2.FinishReason.Value(f"FINISH_REASON_{reason}"), tool_calls=[call]
        )

    service.reply = lambda request, context: cut()
    response = await Agent(target=service.target, tools=[add]).arun("Go")
    assert response.metadata["finish_reason"] == reason.lower()
    assert response.tool_calls[0]["arguments"] == '{"a": 1, "b": 1'
    assert len(service.requests) == 1


async def test_tools_of_a_call_replace_those_of_the_agent(service: FakeAgentService) -> None:
    def subtract(a: int, b: int) -> int:
        return a - b

    agent = Agent(target=service.target, tools=[add])
    service.reply = calls_once(("subtract", '{"a": 2, "b": 3}'))
    await agent.arun("Go", tools=[subtract], history=0)
    assert [made.function.name for made in service.requests[0].agent.tools] == ["subtract"]
    assert results_in(service)[0][2] == "-1"
    await agent.arun("Go", tools=[], history=0)
    assert not service.requests[-1].agent.tools
    assert agent.messages == []


async def test_run_and_stream_sync_use_the_same_loop(service: FakeAgentService) -> None:
    async def where() -> str:
        return threading.current_thread().name

    service.reply = calls_once(("where", "{}"))
    agent = Agent(target=service.target, tools=[where], history=0)
    assert (await asyncio.to_thread(agent.run, "Go")).content == "Let me see. Done."
    assert results_in(service)[0][2] == "headwater-portal"
    chunks = await asyncio.to_thread(lambda: list(agent.stream_sync("Go")))
    assert "".join(map(str, chunks)) == "Let me see. Done."


async def test_options_whose_provider_is_looked_up_are_sent_in_each_round(service: FakeAgentService) -> None:
    service.reply = calls_once(("add", '{"a": 2, "b": 3}'))
    await Agent(target=service.target, tools=[add]).arun("Go", num_ctx=7)
    assert [request.agent.provider_options["fake"]["num_ctx"] for request in service.requests] == [7, 7]
    assert len(service.info_requests) == 1


# Thinking and history


async def test_what_the_provider_wants_back_goes_back_with_the_calls_and_stays_in_the_history(
    service: FakeAgentService,
) -> None:
    data = agent_pb2.ProviderData(provider="fake", account="a", data_json='{"signature": "x"}')

    async def thinks() -> Chunks:
        yield first(sequence=1, thinking="Hm, ")
        yield agent_pb2.StreamChunk(sequence=2, thinking="add.", thinking_signature="sig")
        yield agent_pb2.StreamChunk(sequence=3, redacted_thinking="xyz")
        yield agent_pb2.StreamChunk(sequence=4, tool_call_deltas=[agent_pb2.ToolCallDelta(index=0, name="add")])
        call = agent_pb2.ToolCall(id="1", name="add", arguments_json='{"a": 1, "b": 1}')
        message = assistant(
            agent_pb2.Part(thinking=agent_pb2.Thinking(text="Hm, add.", signature="sig")),
            agent_pb2.Part(redacted_thinking=agent_pb2.RedactedThinking(data="xyz")),
            agent_pb2.Part(tool_call=call, provider_data=data),
            agent_pb2.Part(provider_data=data),
        )
        yield final(sequence=5, finish_reason=agent_pb2.FINISH_REASON_TOOL_CALLS, tool_calls=[call], message=message)

    service.reply = lambda request, context: (
        answer(request.continues_sequence, "2") if request.continues_sequence else thinks()
    )
    agent = Agent(target=service.target, tools=[add])
    await agent.arun("Go")
    thinking, redacted, call, opaque = service.requests[1].messages[1].parts
    assert thinking.thinking == agent_pb2.Thinking(text="Hm, add.", signature="sig")
    assert redacted.redacted_thinking.data == "xyz"
    assert call.HasField("tool_call")
    assert call.provider_data == opaque.provider_data == data
    await agent.arun("And now?", tools=[])
    assert list(service.requests[2].messages[:3]) == list(service.requests[1].messages)


async def test_the_whole_exchange_enters_the_history(service: FakeAgentService) -> None:
    service.reply = calls_once(("add", '{"a": 2, "b": 3}'))
    agent = Agent(target=service.target, tools=[add])
    await agent.arun("2 + 3?")
    kept = agent.messages
    assert [message["role"] for message in kept] == ["user", "assistant", "tool", "assistant"]
    assert kept[2]["content"] == [
        {"type": "tool_result", "tool_call_id": "call_0_0", "name": "add", "content": "5", "is_error": False}
    ]
    await agent.arun("Sure?", messages=kept)  # messages that are shown can be sent
    assert list(service.requests[2].messages[:3]) == list(service.requests[1].messages)


async def test_leaving_while_tools_run_keeps_the_words_without_the_calls(service: FakeAgentService) -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    service.reply = calls_once(("waits", "{}"))
    agent = Agent(target=service.target, tools=[waits], timeout=0.5)
    with pytest.raises(StreamTimeoutError):
        await agent.arun("Go")
    assert agent.messages == [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "Let me see. ", "interrupted": True},
    ]


# How a call ends early


async def test_the_timeout_of_a_call_counts_its_tools(service: FakeAgentService) -> None:
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    service.reply = calls_once(("waits", "{}"))
    began = time.monotonic()
    with pytest.raises(StreamTimeoutError, match=r"0.3 seconds, in which its tools still ran") as caught:
        await Agent(target=service.target, tools=[waits], timeout=0.3).arun("Go")
    assert caught.value.partial_response == "Let me see. "
    assert 0.25 < time.monotonic() - began < 5
    assert ended.is_set()


async def test_a_later_round_has_what_is_left_of_the_timeout(service: FakeAgentService) -> None:
    def reply(request: Any, context: Any) -> Chunks:
        return say_then_wait("word") if request.continues_sequence else ask_for(0, "Let me see. ", ("nap", "{}"))

    async def nap() -> None:
        await asyncio.sleep(0.8)

    service.reply = reply
    began = time.monotonic()
    with pytest.raises(StreamTimeoutError) as caught:
        await Agent(target=service.target, tools=[nap], timeout=1).arun("Go")
    assert time.monotonic() - began < 1.7
    assert caught.value.partial_response == "Let me see. word"


@pytest.mark.parametrize("code", [grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_an_interruption_of_a_later_round_has_the_text_of_all(
    service: FakeAgentService, code: grpc.StatusCode
) -> None:
    reason = {"ABORTED": "STREAM_INTERRUPTED", "DEADLINE_EXCEEDED": "STREAM_TIMEOUT"}[code.name]

    async def cut(context: Any, after: int) -> Chunks:
        yield first("Half of", sequence=after + 1)
        await fail(context, code, "cut", error_info(reason))

    def reply(request: Any, context: Any) -> Chunks:
        after = request.continues_sequence
        return cut(context, after) if after else ask_for(0, "Let me see. ", ("add", '{"a": 1, "b": 1}'))

    service.reply = reply
    agent = Agent(target=service.target, tools=[add])
    with pytest.raises(StreamInterruptedError) as caught:
        await agent.arun("Go")
    assert caught.value.partial_response == "Let me see. Half of"
    assert [message["role"] for message in agent.messages] == ["user", "assistant", "tool", "assistant"]
    assert agent.messages[-1] == {"role": "assistant", "content": "Half of", "interrupted": True}


async def test_any_failure_of_a_later_round_is_an_interruption_that_names_its_cause(service: FakeAgentService) -> None:
    async def limited(context: Any) -> Chunks:
        await fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", error_info("PROVIDER_RATE_LIMITED"))
        yield first()

    def reply(request: Any, context: Any) -> Chunks:
        if request.continues_sequence:
            return limited(context)
        return ask_for(0, "Let me see. ", ("add", '{"a": 1, "b": 1}'))

    service.reply = reply
    agent = Agent(target=service.target, tools=[add])
    with pytest.raises(StreamInterruptedError, match=r"later round.*slow down") as caught:
        await agent.arun("Go")
    assert caught.value.partial_response == "Let me see. "
    assert caught.value.reason == "PROVIDER_RATE_LIMITED"
    assert isinstance(caught.value.__cause__, ProviderRateLimitError)
    assert agent.messages[-1]["content"] == "Let me see. "  # no result that the model has not seen


async def until_tools_run(stream: Any, running: asyncio.Event) -> asyncio.Task[list[StreamChunk]]:
    async def read() -> list[StreamChunk]:
        return [chunk async for chunk in stream]

    reader = asyncio.create_task(read())
    await running.wait()
    return reader


async def test_a_cancelled_reader_ends_its_async_tools(service: FakeAgentService) -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    service.reply = calls_once(("waits", "{}"))
    reader = await until_tools_run(Agent(target=service.target, tools=[waits]).stream("Go"), running)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert cancelled.is_set()


@pytest.mark.parametrize("thread", [True, False])
async def test_cancel_while_tools_run_ends_the_call_at_once(service: FakeAgentService, thread: bool) -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    service.reply = calls_once(("waits", "{}"))
    stream = Agent(target=service.target, tools=[waits]).stream("Go")
    reader = await until_tools_run(stream, running)
    if thread:
        await asyncio.to_thread(stream.cancel)
    else:
        await stream.aclose()
    with pytest.raises(StreamInterruptedError) as caught:
        await reader
    assert caught.value.partial_response == "Let me see. "
    assert cancelled.is_set()
    assert len(service.requests) == 1


async def test_cancel_does_not_wait_for_the_thread_of_a_sync_tool(service: FakeAgentService) -> None:
    running, release, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def blocks() -> None:
        loop.call_soon_threadsafe(running.set)
        release.wait(30)
        ended.set()

    service.reply = calls_once(("blocks", "{}"))
    stream = Agent(target=service.target, tools=[blocks]).stream("Go")
    reader = await until_tools_run(stream, running)
    stream.cancel()
    with pytest.raises(StreamInterruptedError):
        await asyncio.wait_for(reader, 5)
    assert not ended.is_set()
    release.set()
    assert await asyncio.to_thread(ended.wait, 10)


def test_a_loop_ends_although_a_sync_tool_still_runs(service: FakeAgentService) -> None:
    release, ended = threading.Event(), threading.Event()

    def blocks() -> None:
        release.wait(30)
        ended.set()

    async def main() -> None:
        await Agent(target=service.target, tools=[blocks], timeout=0.3).arun("Go")

    service.reply = calls_once(("blocks", "{}"))
    with pytest.raises(StreamTimeoutError):
        asyncio.run(main())
    assert not ended.is_set()
    release.set()
    assert ended.wait(10)


async def test_leaving_between_calls_and_results_runs_nothing(service: FakeAgentService) -> None:
    ran: list[int] = []
    service.reply = calls_once(("note", "{}"))

    def note() -> None:
        ran.append(1)

    async for chunk in Agent(target=service.target, tools=[note]).stream("Go"):
        if "tool_calls" in chunk.metadata:
            break
    gc.collect()
    assert ran == []
    assert len(service.requests) == 1


async def test_leaving_in_a_later_round_ends_its_call_at_once(service: FakeAgentService) -> None:
    def reply(request: Any, context: Any) -> Chunks:
        if request.continues_sequence:
            return say_then_wait("word")
        return ask_for(0, "", ("add", '{"a": 1, "b": 1}'))

    service.reply = reply
    async for chunk in Agent(target=service.target, tools=[add]).stream("Go"):
        if chunk.content == "word":
            break
    left = time.monotonic()
    assert await asyncio.to_thread(service.wait_for_leaving) - left < 0.5


async def test_a_later_round_belongs_to_the_loop_of_the_first(service: FakeAgentService) -> None:
    service.reply = calls_once(("add", '{"a": 1, "b": 1}'))
    stream = Agent(target=service.target, tools=[add]).stream("Go")
    async for chunk in stream:
        if "tool_calls" in chunk.metadata:
            break

    def read_elsewhere() -> None:
        async def read() -> None:
            await anext(stream)

        asyncio.run(read())

    with pytest.raises(RuntimeError, match="begun on another event loop"):
        await asyncio.to_thread(read_elsewhere)


async def test_the_next_round_begins_when_the_server_has_let_go_of_the_one_before(service: FakeAgentService) -> None:
    """Otherwise the server would refuse to continue a stream that still runs."""
    running: list[str] = []

    async def lingering(reply: Chunks) -> Chunks:
        assert running == []
        running.append("round")
        async for chunk in reply:
            yield chunk
        await asyncio.sleep(0.1)
        running.clear()

    service.reply = lambda request, context: lingering(calls_once(("add", '{"a": 1, "b": 1}'))(request, context))
    assert (await Agent(target=service.target, tools=[add]).arun("Go")).content == "Let me see. Done."


async def test_the_guides_tool_snippet(service: FakeAgentService, capsys: pytest.CaptureFixture[str]) -> None:
    from headwater.tools import calculator_tool

    service.reply = calls_once(("calculator", '{"expression": "15% of $2,500"}'), text="")
    agent = Agent(target=service.target)
    agent.add_tool(calculator_tool)
    async for chunk in agent.stream("What's 15% of $2,500?"):
        print(chunk.content, end="", flush=True)
    assert results_in(service) == [("call_0_0", "calculator", "375", False)]
    assert capsys.readouterr().out == "Done."
