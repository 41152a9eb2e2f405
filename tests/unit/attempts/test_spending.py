"""The tokens that a request is counted with, whatever becomes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headwater.v1 import agent_service_pb2
from headwater_server.attempts.spending import tokens_of
from headwater_server.callers.accounts import Accounts, Entry
from headwater_server.callers.limits import CallerLimits, LimitsOfCallers
from headwater_server.domain.chunks import Delta, Finish, FinishReason, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.admitted import prompt_tokens
from headwater_server.transport.convert.requests import parse_stream_request
from tests.support.services.attempts import Calls, PlannedProvider, fails
from tests.support.services.resumable import in_virtual_time

LIMITS = LimitsOfCallers(others=CallerLimits(monthly_tokens=1))
QUESTION = ChatRequest("m", (Message(Role.USER, (Text("x" * 400),)),))
USED = Finish(FinishReason.STOP, usage=Usage(10, 20, 30))
PROMPT = 1  # tokens of "Hi"


class NotedAccounts(Accounts):
    """Lets each request in, and notes its tokens."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.tokens: list[int] = []

    async def enter(self, caller: str, limits: CallerLimits, estimate: int = 0) -> Entry:
        return Entry(caller, limits, estimate)

    async def leave(self, entry: Entry) -> None:
        self.tokens.append(entry.tokens)


@pytest.mark.parametrize(
    ("usage", "deltas", "tokens"),
    [
        (None, 5, 105),
        (Usage(), 5, 105),
        (Usage(1, 2, 3), 5, 3),
        (Usage(input_tokens=7), 5, 12),
        (Usage(output_tokens=7), 5, 107),
        (Usage(0, 0, 0), 5, 0),
    ],
)
def test_a_report_goes_over_the_estimate_count_by_count(usage, deltas, tokens):
    assert tokens_of(usage, prompt_tokens(QUESTION), deltas) == tokens


REFUSED = (Finish(FinishReason.REFUSAL, usage=Usage(5, 6, 11)),)


@pytest.mark.parametrize(
    ("plans", "tokens"),
    [
        ([(Delta(content="Hello"), USED)], 30),
        ([(Delta(content="Hello"), Finish(FinishReason.STOP))], PROMPT + 1),
        ([fails(Reason.PROVIDER_UNAVAILABLE), (Delta(content="Hello"), USED)], 30),
        ([REFUSED, (Delta(content="Hello"), USED)], 41),
        ([(Finish(FinishReason.REFUSAL),), (Delta(content="Hello"), USED)], PROMPT + 30),
        ([40.0, (Delta(content="Hello"), USED)], PROMPT + 30),
        ([(Delta(content="Hello"),)], PROMPT + 1),
        ([fails(Reason.PROVIDER_REJECTED_REQUEST)], 0),
        ([fails(Reason.SERVER_OVERLOADED)], 0),
    ],
    ids=["reported", "unreported", "failed", "refused", "refused-unreported", "late", "cut", "rejected", "not-asked"],
)
def test_all_attempts_count(plans, tokens):
    @in_virtual_time
    async def test():
        accounts = NotedAccounts()
        providers = [PlannedProvider(name, plan) for name, plan in zip("ab", plans, strict=False)]
        calls = Calls(*providers, accounts=accounts, callers=LIMITS, falls_back_on_refusal=True)
        try:
            await calls.ask(fallback_models=[f"{each.name}/m" for each in providers[1:]])
        except HeadwaterError as error:
            assert error.reason in (
                Reason.STREAM_INTERRUPTED,
                Reason.PROVIDER_REJECTED_REQUEST,
                Reason.SERVER_OVERLOADED,
            )
        assert accounts.tokens == [tokens]

    test()


@in_virtual_time
async def test_a_caller_that_leaves_pays_for_its_prompt_and_for_what_came():
    accounts = NotedAccounts()
    calls = Calls(
        PlannedProvider("a", (Delta(content="a"), Delta(content="b"), USED)), accounts=accounts, callers=LIMITS
    )
    async with calls.open_stream():
        pass
    async with calls.open_stream() as stream:
        await stream.next()
    async with calls.open_stream() as stream:
        await stream.next()
        stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
    assert accounts.tokens == [0, PROMPT + 1, PROMPT + 1]


@in_virtual_time
async def test_a_caller_whose_limits_count_nothing_enters_no_account():
    accounts = NotedAccounts()
    only_some = LimitsOfCallers(others=CallerLimits(models=("m",)))
    calls = Calls(PlannedProvider("a", (Delta(content="a"), USED)), accounts=accounts, callers=only_some)
    async with calls.open_stream() as stream:
        await stream.next()
    assert accounts.tokens == []


@in_virtual_time
async def test_a_request_that_is_refused_before_it_is_asked_enters_no_account():
    accounts = NotedAccounts()
    calls = Calls(PlannedProvider("a"), accounts=accounts, callers=LIMITS)
    error, _ = await calls.refused(model="nobody/x")
    assert (error.reason, accounts.tokens) == (Reason.PROVIDER_NOT_FOUND, [])


@in_virtual_time
async def test_a_request_whose_stream_cannot_begin_leaves_its_account():
    accounts, provider = NotedAccounts(), PlannedProvider("a")
    calls = Calls(provider, accounts=accounts, callers=LIMITS)
    provider.cannot_express = fails(Reason.INVALID_REQUEST)
    error, _ = await calls.refused()
    assert (error.reason, accounts.tokens) == (Reason.INVALID_REQUEST, [0])
    provider.cannot_express = None
    await calls.streams.drain(0)
    error, _ = await calls.refused()
    assert (error.reason, accounts.tokens) == (Reason.SERVER_DRAINING, [0, 0])
    assert [stream.closed for stream in provider.streams] == [True]


@pytest.mark.parametrize("limits", [LimitsOfCallers(), LIMITS], ids=["uncounted", "counted"])
def test_the_request_is_let_go_once_a_model_answers(limits):
    @in_virtual_time
    async def test():
        provider = PlannedProvider("a", (Delta(content="a"), Delta(content="b"), USED))
        calls = Calls(provider, accounts=NotedAccounts(), callers=limits)
        message = agent_service_pb2.StreamRequest(agent={"model": "a/m"}, prompt="Hi")
        async with calls.opener.open_stream(parse_stream_request(message, [], True)) as stream:
            chat = provider.asked.pop()
            only_here = sys.getrefcount(object()) + 1
            assert sys.getrefcount(chat) > only_here
            await stream.next()
            assert sys.getrefcount(chat) == only_here

    test()
