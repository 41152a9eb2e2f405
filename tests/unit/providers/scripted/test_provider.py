from __future__ import annotations

import asyncio
import math
import time
from contextlib import aclosing
from typing import Any

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ProviderEvent, ToolCallDelta, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.logprobs import TokenKind
from headwater_server.domain.messages import (
    SAMPLING_PARAMS,
    ChatRequest,
    Image,
    Message,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from headwater_server.providers.base import Provider
from headwater_server.providers.scripted.options import MAX_CHARACTERS
from headwater_server.providers.scripted.provider import ScriptedProvider
from headwater_server.providers.scripted.words import STORY
from tests.support.upstream.replies import events_of

PROVIDER: Provider = ScriptedProvider()


def ask(
    prompt: str = "two words", model: str = "reply", sampling: dict[str, Any] | None = None, **options: Any
) -> ChatRequest:
    message = Message(Role.USER, (Text(prompt),))
    return ChatRequest(model, (message,), sampling=sampling or {}, provider_options=options)


async def events(request: ChatRequest) -> list[ProviderEvent]:
    async with aclosing(PROVIDER.stream(request)) as stream:
        return [event async for event in events_of(stream)]


async def reply(request: ChatRequest) -> tuple[list[Delta], Finish]:
    *deltas, finish = await events(request)
    assert isinstance(finish, Finish)
    return [delta for delta in deltas if isinstance(delta, Delta)], finish


async def failing(request: ChatRequest) -> tuple[int, HeadwaterError]:
    """How many deltas came before the failure, and the failure."""
    count = 0
    with pytest.raises(HeadwaterError) as caught:
        async with aclosing(PROVIDER.stream(request)) as stream:
            async for _ in events_of(stream):
                count += 1
    return count, caught.value


def text(deltas: list[Delta]) -> str:
    return "".join(delta.content for delta in deltas)


@pytest.mark.parametrize(("count", "likely"), [(0, 0), (5, 1)])
async def test_a_script_is_certain_of_its_tokens(count: int, likely: int) -> None:
    deltas, _ = await reply(ask(text="Hé there", thinking="Hm", sampling={"logprobs": count}))
    tokens = [token for delta in deltas if delta.beside for token in delta.beside.logprobs]
    assert [(token.token, token.logprob, token.token_bytes.decode()) for token in tokens] == [
        ("Hm", 0.0, "Hm"),
        ("Hé", 0.0, "Hé"),
        (" there", 0.0, " there"),
    ]
    assert [token.kind for token in tokens] == [TokenKind.THINKING, TokenKind.TEXT, TokenKind.TEXT]
    assert [len(token.top) for token in tokens] == [likely] * 3


async def test_the_short_reply_says_that_it_is_scripted_and_repeats_the_prompt_word_by_word() -> None:
    deltas, finish = await reply(ask("How are you?"))
    assert text(deltas) == "This is a scripted reply, not the words of a model. You said: How are you?"
    assert [delta.content for delta in deltas[:3]] == ["This", " is", " a"]
    assert finish == Finish(FinishReason.STOP, provider_reason="stop", usage=Usage(3, 16, 19))


async def test_echo_says_the_last_prompt_of_the_user_as_it_was() -> None:
    prompt = "  Grüße,\n\n東京 🎉 \n"
    deltas, _ = await reply(ask(prompt, model="echo"))
    assert text(deltas) == prompt
    assert len(deltas) == 4


async def test_the_same_request_gets_the_same_events() -> None:
    request = ask(thinking="hm", tool_calls=[{"name": "f"}], chunk_size=2, text="abc")
    assert await events(request) == await events(request)


async def test_the_story_is_the_default_model_and_comes_at_a_pace() -> None:
    assert PROVIDER.default_model == "story"
    began = time.monotonic()
    deltas, _ = await reply(ask(model="story", sampling={"max_tokens": 4}))
    assert time.monotonic() - began >= 3 * 0.019
    deltas, _ = await reply(ask(model="story", delay_ms=0))
    assert text(deltas) == STORY


async def test_delays_come_before_the_first_delta_and_between_deltas() -> None:
    times = [time.monotonic()]
    async with aclosing(PROVIDER.stream(ask(text="a b", first_delay_ms=60, delay_ms=20))) as stream:
        async for event in events_of(stream):
            if isinstance(event, Delta):
                times.append(time.monotonic())
    assert times[1] - times[0] >= 0.059
    assert times[2] - times[1] >= 0.019


async def test_text_repeats_with_a_space_between() -> None:
    deltas, _ = await reply(ask(text="ha", repeat=3))
    assert [delta.content for delta in deltas] == ["ha", " ha", " ha"]


async def test_chunk_size_counts_characters() -> None:
    deltas, _ = await reply(ask(text="héllo🎉!", chunk_size=3))
    assert [delta.content for delta in deltas] == ["hél", "lo🎉", "!"]


async def test_thinking_comes_before_the_text_and_counts_as_reasoning() -> None:
    deltas, finish = await reply(ask(text="yes", thinking="let me see"))
    assert deltas == [Delta(thinking="let"), Delta(thinking=" me"), Delta(thinking=" see"), Delta(content="yes")]
    assert finish.usage == Usage(2, 4, 6, reasoning_tokens=3)


async def test_tool_calls_come_after_the_text_with_their_arguments_as_pieces() -> None:
    calls = [
        {"name": "f", "arguments": {"x": 1}},
        {"name": "g", "arguments": "{broken"},
        {"name": "h", "arguments": ""},
    ]
    deltas, finish = await reply(ask(text="ok", tool_calls=calls, chunk_size=5))
    assert [delta.tool_calls for delta in deltas] == [
        None,
        [ToolCallDelta(0, id="call_0", name="f")],
        [ToolCallDelta(0, arguments='{"x":')],
        [ToolCallDelta(0, arguments=" 1}")],
        [ToolCallDelta(1, id="call_1", name="g")],
        [ToolCallDelta(1, arguments="{brok")],
        [ToolCallDelta(1, arguments="en")],
        [ToolCallDelta(2, id="call_2", name="h")],
    ]
    assert finish.reason is FinishReason.TOOL_CALLS


async def test_tool_calls_alone_bring_no_text() -> None:
    deltas, _ = await reply(ask(tool_calls=[{"name": "f"}]))
    assert text(deltas) == ""


@pytest.mark.parametrize(
    ("limit", "thinking", "content", "calls", "reason"),
    [
        (1, "a", "", 0, FinishReason.LENGTH),
        (3, "a b", "c", 0, FinishReason.LENGTH),
        (4, "a b", "c d", 0, FinishReason.LENGTH),
        (5, "a b", "c d", 1, FinishReason.TOOL_CALLS),
        (9, "a b", "c d", 1, FinishReason.TOOL_CALLS),
    ],
)
async def test_max_tokens_cuts_after_so_many_words(
    limit: int, thinking: str, content: str, calls: int, reason: FinishReason
) -> None:
    request = ask(thinking="a b", text="c d", tool_calls=[{"name": "f"}], sampling={"max_tokens": limit})
    deltas, finish = await reply(request)
    assert "".join(delta.thinking for delta in deltas) == thinking
    assert text(deltas) == content
    assert sum(bool(delta.tool_calls and delta.tool_calls[0].name) for delta in deltas) == calls
    assert finish.reason is reason
    assert finish.usage is not None
    assert finish.usage.output_tokens == min(limit, 5)


async def test_the_first_stop_sequence_in_the_text_ends_it_and_is_named() -> None:
    deltas, finish = await reply(ask(text="one. two! three", sampling={"stop": ["three", "!", ". two"]}))
    assert text(deltas) == "one"
    assert (finish.reason, finish.stop_sequence) == (FinishReason.STOP, ". two")


async def test_a_stop_sequence_that_never_comes_is_not_named() -> None:
    _, finish = await reply(ask(text="one", sampling={"stop": ["two"]}))
    assert finish.stop_sequence is None


async def test_a_stop_sequence_past_max_tokens_is_not_named() -> None:
    _, finish = await reply(ask(text="a b c", sampling={"stop": ["c"], "max_tokens": 1}))
    assert (finish.reason, finish.stop_sequence) == (FinishReason.LENGTH, None)


async def test_input_tokens_are_the_words_of_all_messages() -> None:
    messages = (
        Message(Role.SYSTEM, (Text("be brief"),)),
        Message(Role.TOOL, (ToolResult("1", "f", "it is 3"),)),
        Message(Role.USER, (Text("and"), Text("now"))),
    )
    _, finish = await reply(ChatRequest("echo", messages))
    assert finish.usage == Usage(7, 1, 8)


async def test_finish_reason_and_usage_can_be_ordered() -> None:
    _, finish = await reply(ask(finish_reason="content_filter", usage={"input_tokens": 0, "output_tokens": 9}))
    assert (finish.reason, finish.provider_reason) == (FinishReason.CONTENT_FILTER, "content_filter")
    assert finish.usage == Usage(input_tokens=0, output_tokens=9)


async def test_an_empty_usage_means_that_none_is_reported() -> None:
    _, finish = await reply(ask(usage={}))
    assert finish.usage is None


async def test_a_reply_without_text_is_only_a_finish() -> None:
    deltas, finish = await reply(ask(text=""))
    assert deltas == []
    assert finish.usage == Usage(2, 0, 2)


@pytest.mark.parametrize(("after", "count"), [(0, 0), (2, 2), (3, 3), (50, 3)])
async def test_it_fails_after_so_many_deltas_or_at_the_end(after: int, count: int) -> None:
    came, error = await failing(ask(text="a b c", fail_after=after))
    assert came == count
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert error.metadata == {"provider": "scripted", "model": "reply"}


@pytest.mark.parametrize("reason", list(Reason))
async def test_any_reason_can_be_ordered_and_alone_fails_before_the_first_delta(reason: Reason) -> None:
    came, error = await failing(ask(fail_reason=reason.value))
    assert (came, error.reason) == (0, reason)


async def test_truncation_ends_without_a_finish() -> None:
    assert await events(ask(text="a b c", truncate_after=2)) == [Delta(content="a"), Delta(content=" b")]
    assert await events(ask(text="a", truncate_after=9)) == [Delta(content="a")]


@pytest.mark.parametrize("options", [{"hang_after": 1}, {"delay_ms": 60_000}])
async def test_a_cancelled_reader_leaves_the_stream_closable_at_once(options: dict[str, Any]) -> None:
    stream = PROVIDER.stream(ask(text="a b c", **options))
    assert await stream.read() == [Delta(content="a")]
    waiting = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await stream.aclose()
    assert [event async for event in events_of(stream)] == []


async def test_a_stream_that_was_never_read_closes() -> None:
    await PROVIDER.stream(ask(hang_after=0)).aclose()


async def test_others_run_between_two_deltas_without_a_delay() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await reply(ask(text="x", repeat=1000))
    counting.cancel()
    assert turns >= 1000


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"txet": "x"}, "txet"),
        ({"text": 3}, "text"),
        ({"repeat": 0}, "repeat"),
        ({"repeat": True}, "repeat"),
        ({"chunk_size": 1.5}, "chunk_size"),
        ({"delay_ms": -1}, "delay_ms"),
        ({"delay_ms": math.inf}, "delay_ms"),
        ({"first_delay_ms": math.nan}, "first_delay_ms"),
        ({"first_delay_ms": "1"}, "first_delay_ms"),
        ({"thinking": None}, "thinking"),
        ({"tool_calls": {}}, "tool_calls"),
        ({"tool_calls": [{"name": "f"}, {"name": ""}]}, "tool_calls[1].name"),
        ({"finish_reason": "done"}, "finish_reason"),
        ({"usage": {"input_tokens": -1}}, "usage.input_tokens"),
        ({"usage": {"tokens": 1}}, "usage.tokens"),
        ({"fail_after": 2**31}, "fail_after"),
        ({"fail_reason": "BAD_LUCK"}, "fail_reason"),
        ({"truncate_after": "1"}, "truncate_after"),
        ({"hang_after": [1]}, "hang_after"),
        ({"text": "xy", "repeat": MAX_CHARACTERS}, "repeat"),
        ({"text": "x" * MAX_CHARACTERS}, "text"),
    ],
)
def test_a_bad_option_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        PROVIDER.stream(ask(**options))
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in caught.value.violations] == [f"provider_options.scripted.{field}"]


def test_an_unknown_option_is_answered_with_the_nearest_or_with_all() -> None:
    with pytest.raises(HeadwaterError, match="there is no such option; did you mean text"):
        PROVIDER.stream(ask(txet="x"))
    with pytest.raises(HeadwaterError, match="there is no such option; there are text, repeat, "):
        PROVIDER.stream(ask(xyzzy="x"))


def test_all_bad_options_are_named_at_once() -> None:
    with pytest.raises(HeadwaterError) as caught:
        PROVIDER.stream(ask(text=1, repeat="x"))
    assert len(caught.value.violations) == 2


def test_a_provider_by_another_name_names_its_own_options() -> None:
    with pytest.raises(HeadwaterError, match=r"^provider_options\.demo\.text: "):
        ScriptedProvider("demo").stream(ask(text=1))


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named() -> None:
    with pytest.raises(HeadwaterError, match="story, reply, echo") as caught:
        PROVIDER.stream(ask(model="gpt-4o"))
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"messages": (Message(Role.USER, (Text("see"), Image(url="http://x/y.png"))),)}, "messages[0].parts"),
        ({"response_format": ResponseFormat(ResponseFormatType.JSON_OBJECT)}, "response_format"),
        ({"tool_choice": ToolChoice(ToolChoiceMode.REQUIRED)}, "tool_choice"),
    ],
)
def test_what_a_script_cannot_express_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    request = ChatRequest(**{"model": "reply", "messages": ask().messages, **changes})
    with pytest.raises(HeadwaterError) as caught:
        PROVIDER.stream(request)
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_a_form_of_reply_is_taken_when_the_text_is_given() -> None:
    form = ResponseFormat(ResponseFormatType.JSON_OBJECT)
    request = ChatRequest("reply", ask().messages, response_format=form, provider_options={"text": "{}"})
    deltas, _ = await reply(request)
    assert text(deltas) == "{}"


async def test_it_takes_every_parameter_of_a_model_and_names_its_own() -> None:
    info = await PROVIDER.info("")
    assert set(info.supported_params) == PROVIDER.supported_params(ask()) == set(SAMPLING_PARAMS)
    assert (info.name, info.type, info.model) == ("scripted", "scripted", "story")
    assert [model.name for model in await PROVIDER.models()] == ["story", "reply", "echo"]


async def test_a_model_that_it_does_not_have_has_no_abilities() -> None:
    with pytest.raises(HeadwaterError) as caught:
        await PROVIDER.info("nope")
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


async def test_parameters_of_chance_change_nothing() -> None:
    chance = {"temperature": 2.0, "top_p": 0.1, "seed": 7, "frequency_penalty": 1.0, "presence_penalty": -1.0}
    assert await events(ask(sampling=chance)) == await events(ask())


async def test_what_comes_after_the_results_of_tools_has_options_of_its_own() -> None:
    last = {"text": "three"}
    options = {"text": "one", "after_tools": {"text": "two", "after_tools": last}}
    told = Message(Role.TOOL, (ToolResult("1", "f", "result"),))
    called = Message(Role.ASSISTANT, (Text("call"),))
    request = ask(**options)
    said = []
    for rounds in range(4):
        messages = (*request.messages, *([called, told] * rounds))
        deltas, _ = await reply(ChatRequest("reply", messages, provider_options=options))
        said.append(text(deltas))
    assert said == ["one", "two", "three", "three"]
    again = (*request.messages, called, told, called, *request.messages)
    deltas, _ = await reply(ChatRequest("reply", again, provider_options=options))
    assert text(deltas) == "one"


async def test_a_wrong_option_of_a_later_round_is_named() -> None:
    with pytest.raises(HeadwaterError, match=r"provider_options\.scripted\.after_tools\.txt: there is no such option"):
        PROVIDER.stream(ask(after_tools={"txt": "x"}))
