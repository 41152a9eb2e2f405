"""Several models for one reply: which is asked when, in which form, and who answers in the end."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from headwater.v1 import agent_pb2
from headwater_server.domain.chunks import Delta, Finish, FinishReason
from headwater_server.domain.errors import Reason
from headwater_server.domain.messages import Opaque, Text, Thinking
from headwater_server.providers.registry import Alias
from tests.support.services.attempts import HELLO, Calls, PlannedProvider, fails
from tests.support.services.resumable import in_virtual_time

BUSY = fails(Reason.PROVIDER_UNAVAILABLE)
LIMITED = fails(Reason.PROVIDER_RATE_LIMITED, retry_after=20)
ELSEWHERE = [
    Reason.PROVIDER_RATE_LIMITED,
    Reason.PROVIDER_UNAVAILABLE,
    Reason.STREAM_TIMEOUT,
    Reason.PROVIDER_AUTH_FAILED,
    Reason.PROVIDER_QUOTA_EXHAUSTED,
    Reason.MODEL_NOT_FOUND,
    Reason.CONTEXT_WINDOW_EXCEEDED,
    Reason.SERVER_OVERLOADED,
]


@pytest.mark.parametrize("reason", ELSEWHERE)
def test_a_model_that_fails_gives_way_to_the_next_at_once(reason):
    @in_virtual_time
    async def test():
        first, second = PlannedProvider("a", fails(reason, retry_after=20)), PlannedProvider("b")
        answered = await Calls(first, second).ask(fallback_models=["b/m2"])
        assert (answered.text, answered.who, answered.seconds) == ("Hello", "b/m2", 0)
        assert answered.tried == [("a", reason)]
        assert first.streams[0].closed

    test()


@in_virtual_time
async def test_a_provider_that_is_asked_as_much_as_it_may_be_is_not_asked_again_and_does_not_cool_down():
    provider = PlannedProvider("a", fails(Reason.SERVER_OVERLOADED, retry_after=1.0), HELLO)
    calls = Calls(provider)
    error, seconds = await calls.refused()
    assert (error.reason, error.retry_after_seconds, seconds) == (Reason.SERVER_OVERLOADED, 1.0, 0)
    assert (await calls.ask()).text == "Hello"


@pytest.mark.parametrize("reason", [Reason.PROVIDER_REJECTED_REQUEST, Reason.INTERNAL])
def test_a_bad_request_is_not_sent_to_the_next_model(reason):
    @in_virtual_time
    async def test():
        first, second = PlannedProvider("a", fails(reason)), PlannedProvider("b")
        error, _ = await Calls(first, second).refused(fallback_models=["b/m"])
        assert (error.reason, second.asked) == (reason, [])

    test()


@in_virtual_time
async def test_a_reply_is_never_stitched_from_two_models():
    first, second = PlannedProvider("a", [Delta(content="Once ")]), PlannedProvider("b")
    error, _ = await Calls(first, second).refused(fallback_models=["b/m"])
    assert (error.reason, second.asked) == (Reason.STREAM_INTERRUPTED, [])


@in_virtual_time
async def test_when_all_have_failed_the_one_that_may_come_back_first_is_asked_again():
    first, second = PlannedProvider("a", LIMITED), PlannedProvider("b", BUSY, HELLO)
    answered = await Calls(first, second).ask(fallback_models=["b/m"])
    assert (answered.who, len(first.asked), second.times) == ("b/m", 1, [0, 0.25])


@in_virtual_time
async def test_the_attempts_are_limited_in_all():
    providers = [PlannedProvider(name, BUSY) for name in "abcd"]
    error, seconds = await Calls(*providers).refused(fallback_models=["b/m", "c/m", "d/m"])
    assert [len(provider.asked) for provider in providers] == [1, 1, 1, 0]
    assert (len(error.attempts), seconds, error.metadata["provider"]) == (3, 0, "a")


@in_virtual_time
async def test_the_error_is_that_of_the_first_model_that_may_come_back():
    first, second = PlannedProvider("a", fails(Reason.PROVIDER_AUTH_FAILED)), PlannedProvider("b", LIMITED)
    error, _ = await Calls(first, second).refused(fallback_models=["b/m"], deadline=9.0)
    assert (error.reason, error.retry_after_seconds) == (Reason.PROVIDER_RATE_LIMITED, 20)
    assert (error.metadata["provider"], error.metadata["model"]) == ("b", "m")
    assert [attempt.failure.reason for attempt in error.attempts] == [Reason.PROVIDER_AUTH_FAILED, error.reason]


@in_virtual_time
async def test_a_fallback_gets_the_parameters_that_it_takes_and_the_first_model_must_take_all():
    first, second = PlannedProvider("a", BUSY, params=["seed"]), PlannedProvider("b", params=["temperature"])
    calls = Calls(first, second)
    answered = await calls.ask(fallback_models=["b/m"], seed=3)
    assert (second.asked[0].sampling, answered.stream.answerer.dropped) == ({}, ["seed"])
    error, _ = await calls.refused(fallback_models=["b/m"], temperature=0.5)
    assert [violation.field for violation in error.violations] == ["agent.temperature"]


@in_virtual_time
async def test_a_fallback_gets_no_thinking_and_no_data_of_another_account():
    mine = {"provider": "a", "account": "account-of-a", "data_json": "{}"}
    parts = [
        {"thinking": {"text": "Hm.", "signature": "signed"}},
        {"redacted_thinking": {"data": "x"}},
        {"text": "Yes.", "provider_data": mine},
        {"provider_data": mine},
    ]
    history = [
        {"role": agent_pb2.ROLE_USER, "content": "Well?"},
        {"role": agent_pb2.ROLE_ASSISTANT, "parts": parts},
        {"role": agent_pb2.ROLE_ASSISTANT, "parts": parts[:2]},
    ]
    first, second = PlannedProvider("a", BUSY), PlannedProvider("b")
    await Calls(first, second).ask(fallback_models=["b/m"], messages=history)
    assert any(isinstance(part, Thinking) for part in first.asked[0].messages[1].parts)
    _, said, prompt = second.asked[0].messages
    assert said.parts == (Text("Yes."), Opaque(None))
    assert prompt.text == "Hi"


@in_virtual_time
async def test_a_fallback_of_another_provider_gets_no_key_of_the_caller():
    first, second = PlannedProvider("a", BUSY), PlannedProvider("b")
    await Calls(first, second).ask(fallback_models=["b/m"], key="sk-mine")
    assert (first.asked[0].api_key, second.asked[0].api_key) == ("sk-mine", "")


@in_virtual_time
async def test_a_fallback_that_cannot_express_the_request_is_passed_over():
    first, second, third = PlannedProvider("a", BUSY), PlannedProvider("b"), PlannedProvider("c")
    second.cannot_express = fails(Reason.INVALID_REQUEST)
    answered = await Calls(first, second, third).ask(fallback_models=["b/m", "c/m"], max_attempts=2)
    assert (answered.who, answered.tried[1]) == ("c/m", ("b", Reason.INVALID_REQUEST))


@in_virtual_time
async def test_a_fallback_that_nobody_has_is_an_error_before_anything_is_asked():
    provider = PlannedProvider("a", HELLO)
    error, _ = await Calls(provider).refused(fallback_models=["nowhere/m"])
    assert (error.reason, provider.asked) == (Reason.PROVIDER_NOT_FOUND, [])


IN_ORDER = {"smart": Alias(("a/m", "b/m"))}
BY_WEIGHT = {"fast": Alias(("a/m", "b/m"), (3, 1))}


@in_virtual_time
async def test_an_alias_is_asked_in_order():
    first, second = PlannedProvider("a", HELLO, BUSY), PlannedProvider("b")
    calls = Calls(first, second, aliases=IN_ORDER)
    assert [(await calls.ask(model="smart")).who for _ in range(2)] == ["a/m", "b/m"]


@in_virtual_time
async def test_an_alias_with_weights_is_spread_by_them_and_falls_back_to_the_others():
    chance = Random(7).random  # noqa: S311  the same numbers in each run
    first, second = PlannedProvider("a"), PlannedProvider("b")
    calls = Calls(first, second, aliases=BY_WEIGHT, chance=chance)
    counts = Counter([(await calls.ask(model="fast")).who for _ in range(400)])
    assert 270 <= counts["a/m"] <= 330
    second.plans, second.asked = [BUSY], []
    calls = Calls(first, second, aliases=BY_WEIGHT, chance=chance, cool_down=0)
    assert {(await calls.ask(model="fast")).who for _ in range(40)} == {"a/m"}
    assert second.asked


@pytest.mark.parametrize("model", ["smart", "fast"])
def test_no_fallback_is_honoured(model):
    @in_virtual_time
    async def test():
        first, second = PlannedProvider("a", fails(Reason.PROVIDER_AUTH_FAILED)), PlannedProvider("b")
        calls = Calls(first, second, aliases={**IN_ORDER, **BY_WEIGHT})
        error, _ = await calls.refused(model=model, no_fallback=True)
        assert (error.reason, second.asked) == (Reason.PROVIDER_AUTH_FAILED, [])

    test()


@in_virtual_time
async def test_a_parameter_is_refused_only_when_no_model_of_an_alias_takes_it():
    first, second = PlannedProvider("a", params=["seed"]), PlannedProvider("b", params=[])
    calls = Calls(first, second, aliases=IN_ORDER)
    await calls.ask(model="smart", seed=1)
    error, _ = await calls.refused(model="smart", temperature=1)
    assert [violation.field for violation in error.violations] == ["agent.temperature"]


@in_virtual_time
async def test_a_callers_key_goes_to_no_provider_that_it_may_not_be_for():
    first, second = PlannedProvider("a"), PlannedProvider("b")
    error, _ = await Calls(first, second, aliases=IN_ORDER).refused(model="smart", key="sk-mine")
    assert [violation.field for violation in error.violations] == ["headwater-provider-key"]
    assert (first.asked, second.asked) == ([], [])


REFUSALS = [
    [Finish(FinishReason.REFUSAL)],
    [Finish(FinishReason.CONTENT_FILTER)],
    [Delta(refusal="I "), Delta(refusal="cannot."), Finish(FinishReason.REFUSAL)],
    [Delta(refusal="No."), Finish(FinishReason.STOP)],
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_a_reply(refusal):
    @in_virtual_time
    async def test():
        first, second = PlannedProvider("a", refusal), PlannedProvider("b")
        answered = await Calls(first, second).ask(fallback_models=["b/m"])
        assert (answered.who, second.asked) == ("a/m", [])

    test()


@pytest.mark.parametrize("refusal", REFUSALS[:3])
def test_a_refusal_before_any_text_falls_back_where_the_server_says_so(refusal):
    @in_virtual_time
    async def test():
        first, second = PlannedProvider("a", refusal), PlannedProvider("b")
        calls = Calls(first, second, falls_back_on_refusal=True)
        answered = await calls.ask(fallback_models=["b/m"])
        assert (answered.text, answered.who) == ("Hello", "b/m")
        assert answered.tried == [("a", Reason.PROVIDER_REJECTED_REQUEST)]
        second.plans = [refusal]
        assert (await calls.ask(fallback_models=["b/m"])).final.finish is refusal[-1]  # no other is left

    test()


@in_virtual_time
async def test_a_refusal_after_text_is_the_replys_end():
    cut = [Delta(content="Once "), Finish(FinishReason.CONTENT_FILTER)]
    first, second = PlannedProvider("a", cut), PlannedProvider("b")
    answered = await Calls(first, second, falls_back_on_refusal=True).ask(fallback_models=["b/m"])
    assert (answered.text, answered.final.finish.reason) == ("Once ", FinishReason.CONTENT_FILTER)


FULL = fails(Reason.SERVER_OVERLOADED, retry_after=7)


@in_virtual_time
async def test_a_model_that_is_asked_as_much_as_it_may_be_is_no_attempt():
    full = [PlannedProvider(name, FULL) for name in "abcd"]
    answered = await Calls(*full, PlannedProvider("e")).ask(fallback_models=[f"{name}/m" for name in "bcde"])
    assert (answered.who, len(answered.tried)) == ("e/m", 4)


@in_virtual_time
async def test_the_error_says_when_to_come_again_where_one_model_is_only_asked_too_much():
    first, second = PlannedProvider("a", fails(Reason.PROVIDER_AUTH_FAILED)), PlannedProvider("b", FULL)
    error, _ = await Calls(first, second).refused(fallback_models=["b/m"])
    assert (error.reason, error.retry_after_seconds) == (Reason.SERVER_OVERLOADED, 7)
