"""A server that answers wrongly: the client raises a HeadwaterError that says so, and never waits or reads for ever.

The servers here are real ones on a real socket, whose answers no right server gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from headwater import Agent, HeadwaterError, StreamInterruptedError, ToolError, tool
from headwater._call import resuming
from headwater._grpc import wrong_server
from headwater.v1.agent_pb2 import (
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    ROLE_ASSISTANT,
    ChatMessage,
    Part,
    StreamChunk,
    ToolCall,
)
from headwater.v1.agent_service_pb2 import (
    GetProviderInfoResponse,
    ListProvidersResponse,
    ProviderInfo,
)
from tests.support.services.wrong_server import FOREVER, GARBAGE, WrongServer, serving

SAYS_WHY = "the server sent "
LAST = 2**31 - 1
DETAILS = "grpc-status-details-bin"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "STATUS_SECONDS", 0.05)


@tool
def add(first: int = 1) -> int:
    """Adds."""
    return first


CALL = ToolCall(id="a", name="add", arguments_json="{}")
ASKS = ChatMessage(role=ROLE_ASSISTANT, parts=[Part(tool_call=CALL)])
FIRST = StreamChunk(content="a", sequence=1, stream_id="s", model="m", provider="p")
FINAL = StreamChunk(sequence=2, is_final=True, finish_reason=FINISH_REASON_STOP)
STOP: Any = FINISH_REASON_STOP


def final(**fields: Any) -> StreamChunk:
    return StreamChunk(**({"sequence": 2, "is_final": True, "finish_reason": STOP} | fields))


def asking(**fields: Any) -> StreamChunk:
    facts: dict[str, Any] = {"finish_reason": FINISH_REASON_TOOL_CALLS, "tool_calls": [CALL], "message": ASKS}
    return final(**(facts | fields))


async def streamed(target: str, **options: Any) -> list[Any]:
    async with asyncio.timeout(10):
        return [chunk async for chunk in Agent(model="p/m", target=target).stream("x", **options)]


AFTER_THE_END = {
    "a chunk": [StreamChunk(content="late", sequence=3)],
    "a second final chunk": [StreamChunk(sequence=4, is_final=True, finish_reason=STOP)],
    "both": [StreamChunk(content="late", sequence=3), FINAL],
    "no message": [GARBAGE],
    "no status": [FOREVER],
    "very many chunks": [StreamChunk(content="late", sequence=3)] * 10_000,
}


@pytest.mark.parametrize("late", AFTER_THE_END.values(), ids=AFTER_THE_END.keys())
@pytest.mark.parametrize("code", [grpc.StatusCode.OK, grpc.StatusCode.ABORTED])
async def test_a_reply_ends_with_its_final_chunk_whatever_follows(late: list[Any], code: grpc.StatusCode) -> None:
    wrong = WrongServer({"Stream": [FIRST, FINAL, *late]}, (code, ()))
    async with serving(wrong) as target:
        agent = Agent(model="p/m", target=target)
        chunks = [chunk async for chunk in agent.stream("x")]
        assert [(chunk.content, chunk.is_final) for chunk in chunks] == [("a", False), ("", True)]
        assert [message["content"] for message in agent.messages] == ["x", "a"]


BROKEN_STREAMS: dict[str, list[Any]] = {
    "no final chunk": [FIRST],
    "nothing": [],
    "bytes that are no message": [FIRST, GARBAGE, FOREVER],
    "bytes that are no first message": [GARBAGE, FOREVER],
    "text that is no UTF-8": [b"\x0a\x01\xff", FOREVER],
    "a negative number": [StreamChunk(content="a", sequence=-1), FOREVER],
    "a number that falls": [StreamChunk(content="a", sequence=5), StreamChunk(content="b", sequence=4), FOREVER],
    "a number that falls at the end": [StreamChunk(content="a", sequence=LAST), FINAL, FOREVER],
}


@pytest.mark.parametrize("messages", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
async def test_a_reply_that_breaks_the_contract_is_an_interrupted_stream_and_is_left(messages: list[Any]) -> None:
    wrong = WrongServer({"Stream": messages})
    async with serving(wrong) as target:
        with pytest.raises(StreamInterruptedError, match=r"the server sent |without its final chunk"):
            await streamed(target)
        while FOREVER in messages and not wrong.left:
            await asyncio.sleep(0.001)


BROKEN_ROUNDS: dict[str, tuple[list[Any], type[HeadwaterError] | None]] = {
    "the highest number": ([asking(sequence=LAST)], StreamInterruptedError),
    "no message to send back": ([asking(message=None)], StreamInterruptedError),
    "an empty message to send back": ([asking(message=ChatMessage())], StreamInterruptedError),
    "a message without the calls": (
        [FIRST, asking(message=ChatMessage(role=ROLE_ASSISTANT, parts=[Part(text="a")]))],
        StreamInterruptedError,
    ),
    "calls without names and ids": ([asking(tool_calls=[ToolCall(), ToolCall(arguments_json="[")])], ToolError),
    "calls of tools that are not there": ([asking(tool_calls=[ToolCall(id="b", name="no\x00 such")])], ToolError),
    "the same call again and again": ([asking()], ToolError),
    "chunks after the calls": ([asking(), FIRST, FINAL, FOREVER], ToolError),
    "no status after the calls": ([asking(), FOREVER], ToolError),
    "an unknown reason beside calls": ([asking(finish_reason=99)], None),
    "a number of a round that falls": (
        [StreamChunk(content="a", sequence=1), StreamChunk(content="b", sequence=-4)],
        StreamInterruptedError,
    ),
}


@pytest.mark.parametrize(("messages", "kind"), BROKEN_ROUNDS.values(), ids=BROKEN_ROUNDS.keys())
async def test_rounds_of_tools_that_break_the_contract_end(
    messages: list[Any], kind: type[HeadwaterError] | None
) -> None:
    async with serving(WrongServer({"Stream": messages})) as target:
        if kind is None:
            assert (await streamed(target, tools=[add]))[-1].metadata["finish_reason"] == "other"
        else:
            with pytest.raises(kind):
                await streamed(target, tools=[add])


def struct(**values: Any) -> Struct:
    made = Struct()
    made.update(values)
    return made


ODD_FACTS: dict[str, StreamChunk] = {
    "an unknown reason": final(finish_reason=99),
    "metadata under the names of fields": final(
        metadata=struct(
            **dict.fromkeys(("thinking", "refusal", "images", "tool_calls", "usage", "stats", "citations"), 5.0),
            tool_results=5.0,
            sequence="x",
            own=float("nan"),
        )
    ),
    "counts and times without bounds": final(
        usage={"input_tokens": -LAST, "output_tokens": LAST},
        stats={"duration": {"seconds": 2**62, "nanos": -5}, "tokens_per_second": float("inf"), "chunk_count": -1},
    ),
    "a pace that is no number": final(
        usage={"output_tokens": 1}, stats={"duration": {}, "tokens_per_second": float("nan")}
    ),
    "an unknown unit of a citation": final(citations=[{"source_range": {"unit": 99, "start": -1}}]),
}


@pytest.mark.parametrize("chunk", ODD_FACTS.values(), ids=ODD_FACTS.keys())
@pytest.mark.parametrize("tools", [[], [add]], ids=["without-tools", "with-tools"])
async def test_odd_facts_do_not_cost_the_reply(chunk: StreamChunk, tools: list[Any]) -> None:
    asked = asking(**{name: getattr(chunk, name) for name in ("usage", "stats") if chunk.HasField(name)})
    rounds = iter([[asked], [FIRST, chunk]] if tools else [[FIRST, chunk]])
    async with serving(WrongServer({"Stream": lambda: next(rounds)})) as target:
        async with asyncio.timeout(10):
            response = await Agent(model="p/m", target=target).arun("x", tools=tools)
    assert response.content == "a"
    assert response.metadata.get("own") is None or response.metadata["own"] != response.metadata["own"]


ODD_STATUSES: dict[str, tuple[tuple[str, bytes | str], ...]] = {
    "no details": (),
    "details that are no message": ((DETAILS, GARBAGE),),
    "details of another code": ((DETAILS, b"\x08\x01"),),
    "details of any kind that cannot be read": ((DETAILS, b"\x08\x0d\x12\x05wrong\x1a\x06\x0a\x01x\x12\x01\xff"),),
    "details twice": ((DETAILS, b"\x08\x0d"), (DETAILS, GARBAGE)),
}


@pytest.mark.parametrize("trailers", ODD_STATUSES.values(), ids=ODD_STATUSES.keys())
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_status_with_odd_details_is_an_error_of_the_package(
    trailers: tuple[tuple[str, bytes | str], ...], code: grpc.StatusCode
) -> None:
    async with serving(WrongServer({"Stream": [FIRST]}, (code, trailers))) as target:
        with pytest.raises(HeadwaterError):
            await streamed(target)
        with pytest.raises(HeadwaterError):
            await Agent(target=target).alist_available_providers()


def pages(make: Callable[[str], Any]) -> Callable[[], Iterable[Any]]:
    count = iter(range(10**9))
    return lambda: [make(f"t{next(count)}")]


LISTS: dict[str, dict[str, Any]] = {
    "one token for ever": {"ListProviders": [ListProvidersResponse(next_page_token="t")]},
    "new tokens for ever": {"ListProviders": pages(lambda token: ListProvidersResponse(next_page_token=token))},
    "no message": {"ListProviders": [GARBAGE]},
    "two messages": {"ListProviders": [ListProvidersResponse(), ListProvidersResponse()]},
    "none": {},
}


@pytest.mark.parametrize("answers", LISTS.values(), ids=LISTS.keys())
async def test_a_list_that_breaks_the_contract_is_an_error(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong_server, "MAX_PAGES", 20)
    async with serving(WrongServer(answers)) as target:
        with pytest.raises(HeadwaterError):
            async with asyncio.timeout(10):
                await Agent(target=target, timeout=1.0).alist_available_providers()


@pytest.mark.parametrize(
    "answer", [GARBAGE, GetProviderInfoResponse(), GetProviderInfoResponse(provider=ProviderInfo())]
)
async def test_a_server_that_names_no_provider_is_wrong(answer: Any) -> None:
    async with serving(WrongServer({"GetProviderInfo": [answer]})) as target:
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await Agent(target=target).aget_provider_info()
        with pytest.raises(HeadwaterError, match=SAYS_WHY):
            await streamed(target, num_ctx=5)
