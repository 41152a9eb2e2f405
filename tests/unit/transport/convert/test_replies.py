"""From the domain to the contract: every message as a whole, so that no field is lost, swapped or made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.domain.chunks import (
    Chunk,
    Delta,
    FinalChunk,
    Finish,
    FinishReason,
    StreamStats,
    ToolCallDelta,
    Usage,
)
from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.messages import (
    Message,
    Opaque,
    ProviderData,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
)
from headwater_server.providers.base import ProviderInfo
from headwater_server.providers.scripted.provider import ScriptedProvider
from headwater_server.streaming.accumulator import ReplyAccumulator
from headwater_server.streaming.answerer import Answerer
from headwater_server.transport.convert import replies
from headwater_server.transport.convert.messages import parse_message

WHEN = 1_700_000_000.5
WHEN_SENT = Timestamp(seconds=1_700_000_000, nanos=500_000_000)
MAX_INT32 = 2**31 - 1
SPOKEN = {"content": "Hi"}

STREAM: Any = SimpleNamespace(
    answerer=Answerer("openai", model="gpt-4o"),
    resumable=False,
    id="s-1",
    created=WHEN,
    chunk_count=7,
    labels={"team": "red"},
)


def struct(**values: Any) -> Struct:
    message = Struct()
    message.update(values)
    return message


def sent(delta: Delta, *, merged: bool = False) -> agent_pb2.StreamChunk:
    return replies.stream_chunk(Chunk(sequence=3, create_time=WHEN, delta=delta, merged=merged))


def expected(**fields: Any) -> agent_pb2.StreamChunk:
    return agent_pb2.StreamChunk(sequence=3, create_time=WHEN_SENT, **fields)


def final(finish: Finish, **fields: Any) -> FinalChunk:
    stats = StreamStats(0.25, 1.5, 7, 12.5)
    return FinalChunk(
        **{"sequence": 8, "create_time": WHEN, "finish": finish, "stats": stats, "tool_calls": []} | fields
    )


STATS_SENT = agent_pb2.StreamStats(
    time_to_first_token=Duration(nanos=250_000_000),
    duration=Duration(seconds=1, nanos=500_000_000),
    chunk_count=7,
    tokens_per_second=12.5,
)


def test_a_chunk_of_text():
    assert sent(Delta(content="Hi", event_type="content_block_delta")) == expected(
        content="Hi", event_type="content_block_delta"
    )


def test_a_chunk_says_its_block_and_nothing_of_what_the_provider_wants_back():
    assert sent(Delta(content="Hi", block=4, provider_data="{}")) == expected(content="Hi", block_index=4)


@pytest.mark.parametrize(
    ("delta", "fields"),
    [
        (Delta(thinking="hm"), {"thinking": "hm"}),
        (Delta(thinking_signature="sig"), {"thinking_signature": "sig"}),
        (Delta(redacted_thinking="enc"), {"redacted_thinking": "enc"}),
        (Delta(refusal="no"), {"refusal": "no"}),
        (
            Delta(tool_calls=[ToolCallDelta(0, "id", "name", "{}"), ToolCallDelta(1, arguments='{"a":')]),
            {
                "tool_call_deltas": [
                    agent_pb2.ToolCallDelta(index=0, id="id", name="name", arguments_json="{}"),
                    agent_pb2.ToolCallDelta(index=1, arguments_json='{"a":'),
                ]
            },
        ),
    ],
    ids=["thinking", "signature", "redacted", "refusal", "tool calls"],
)
def test_a_chunk_without_text_has_its_own_field(delta, fields):
    assert sent(delta) == expected(**fields)


def test_a_chunk_that_says_everything_loses_nothing():
    delta = Delta(
        content="Hi",
        thinking="hm",
        thinking_signature="sig",
        redacted_thinking="enc",
        refusal="no",
        tool_calls=[ToolCallDelta(2, "id", "name", "{}")],
        event_type="event",
        block=4,
    )
    assert sent(delta) == expected(
        **SPOKEN,
        thinking="hm",
        thinking_signature="sig",
        redacted_thinking="enc",
        refusal="no",
        tool_call_deltas=[agent_pb2.ToolCallDelta(index=2, id="id", name="name", arguments_json="{}")],
        event_type="event",
        block_index=4,
    )


@pytest.mark.parametrize(
    ("delta", "fields"),
    [
        (Delta(content="Hi", refusal="no"), {"refusal": "no"}),
        (
            Delta(content="Hi", tool_calls=[ToolCallDelta(0, "id", "name", "{}")]),
            {"tool_call_deltas": [agent_pb2.ToolCallDelta(index=0, id="id", name="name", arguments_json="{}")]},
        ),
    ],
    ids=["refusal", "tool calls"],
)
def test_text_beside_something_rarer_keeps_both(delta, fields):
    assert sent(delta) == expected(**SPOKEN, **fields)


def test_a_final_chunk_says_all_that_is_known():
    finish = Finish(
        reason=FinishReason.TOOL_CALLS,
        provider_reason="tool_use",
        stop_sequence="END",
        usage=Usage(1, 2, 3, 4, 5, 6),
        event_type="message_stop",
        metadata={"gpu": True, "eval_duration": 12, "nested": {"a": [1, "b"]}},
    )
    call = ToolCall("id", "name", '{"a": 1}')
    message = Message(Role.ASSISTANT, (call,))
    end = final(finish, tool_calls=[call], provider_request_id="req_1", message=message)
    assert replies.final_chunk(end) == agent_pb2.StreamChunk(
        sequence=8,
        create_time=WHEN_SENT,
        event_type="message_stop",
        metadata=struct(gpu=True, eval_duration=12, nested={"a": [1, "b"]}),
        is_final=True,
        finish_reason=agent_pb2.FINISH_REASON_TOOL_CALLS,
        provider_finish_reason="tool_use",
        stop_sequence="END",
        usage=agent_pb2.Usage(
            input_tokens=1,
            output_tokens=2,
            total_tokens=3,
            cached_input_tokens=4,
            cache_write_tokens=5,
            reasoning_tokens=6,
        ),
        stats=STATS_SENT,
        tool_calls=[agent_pb2.ToolCall(id="id", name="name", arguments_json='{"a": 1}')],
        provider_request_id="req_1",
        message={"role": "ROLE_ASSISTANT", "parts": [{"tool_call": CALL_SENT}]},
    )


REPLY = Message(
    Role.ASSISTANT,
    (
        Thinking("hm", "sig"),
        RedactedThinking("enc"),
        Opaque(ProviderData("openai", "a1", '{"id":"rs_1"}')),
        Text("Hi"),
        ToolCall("id", "name", '{"a": 1}', ProviderData("openai", "a1", '{"x":1}')),
    ),
)
CALL_SENT = agent_pb2.ToolCall(id="id", name="name", arguments_json='{"a": 1}')
REPLY_SENT = agent_pb2.ChatMessage(
    role=agent_pb2.ROLE_ASSISTANT,
    parts=[
        {"thinking": {"text": "hm", "signature": "sig"}},
        {"redacted_thinking": {"data": "enc"}},
        {"provider_data": {"provider": "openai", "account": "a1", "data_json": '{"id":"rs_1"}'}},
        {"text": "Hi"},
        {"tool_call": CALL_SENT, "provider_data": {"provider": "openai", "account": "a1", "data_json": '{"x":1}'}},
    ],
)


def test_a_reply_that_ends_in_tool_calls_has_the_message_to_append():
    assert replies.final_chunk(final(Finish(FinishReason.TOOL_CALLS), message=REPLY)).message == REPLY_SENT


def test_the_message_to_append_is_read_again_as_it_was():
    bad: list[FieldViolation] = []
    assert parse_message(REPLY_SENT, "messages[0]", bad) == REPLY
    assert not bad


def test_any_other_reply_of_a_stream_has_no_message():
    assert not replies.final_chunk(final(Finish(FinishReason.LENGTH), message=REPLY)).HasField("message")


def test_any_reply_of_a_run_has_its_message():
    end = final(Finish(FinishReason.STOP), message=REPLY)
    assert replies.run_response(STREAM, ReplyAccumulator(), end).message == REPLY_SENT


def test_a_final_chunk_leaves_out_what_is_not_known():
    bare = final(Finish(FinishReason.STOP), stats=StreamStats(None, 0.0, 0, None))
    message = replies.final_chunk(bare)
    assert message == agent_pb2.StreamChunk(
        sequence=8,
        create_time=WHEN_SENT,
        is_final=True,
        finish_reason=agent_pb2.FINISH_REASON_STOP,
        stats=agent_pb2.StreamStats(duration=Duration()),
    )
    assert not any(message.HasField(name) for name in ("stop_sequence", "usage", "metadata", "message"))


@pytest.mark.parametrize("reason", list(FinishReason))
def test_every_reason_to_stop_has_its_own_in_the_contract(reason):
    number = replies.final_chunk(final(Finish(reason))).finish_reason
    assert agent_pb2.FinishReason.Name(number) == f"FINISH_REASON_{reason.name}"


def test_a_count_of_zero_is_sent_and_one_that_was_not_reported_is_absent():
    usage = replies.final_chunk(final(Finish(FinishReason.STOP, usage=Usage(input_tokens=0, output_tokens=9)))).usage
    assert {field.name: value for field, value in usage.ListFields()} == {"input_tokens": 0, "output_tokens": 9}


def test_a_nonsensical_count_is_held_within_an_int32():
    usage = replies.final_chunk(final(Finish(FinishReason.STOP, usage=Usage(2**40, -(2**40))))).usage
    assert (usage.input_tokens, usage.output_tokens) == (MAX_INT32, -MAX_INT32)


def but(resumable: bool = False, **facts: Any) -> Any:
    return SimpleNamespace(**vars(STREAM) | {"resumable": resumable, "answerer": replace(STREAM.answerer, **facts)})


def test_the_first_chunk_says_who_answers_and_what_was_dropped():
    message = agent_pb2.StreamChunk(content="Hi")
    replies.introduce(message, but(dropped=["seed", "stop"], resumable=True))
    assert message == agent_pb2.StreamChunk(
        content="Hi",
        stream_id="s-1",
        model="gpt-4o",
        provider="openai",
        metadata=struct(dropped_params=["seed", "stop"]),
        resumable=True,
    )


def test_the_first_chunk_has_no_metadata_when_nothing_was_dropped():
    message = agent_pb2.StreamChunk()
    replies.introduce(message, STREAM)
    assert message == agent_pb2.StreamChunk(stream_id="s-1", model="gpt-4o", provider="openai")
    assert not message.HasField("metadata")


def test_what_was_dropped_stands_beside_the_metadata_of_a_first_chunk_that_is_the_last():
    message = replies.final_chunk(final(Finish(FinishReason.STOP, metadata={"gpu": True})))
    replies.introduce(message, but(dropped=["seed"]))
    assert message.metadata == struct(gpu=True, dropped_params=["seed"])


def test_a_run_says_the_whole_reply():
    reply = ReplyAccumulator()
    for delta in (Delta(thinking="hm"), Delta(content="Hi "), Delta(content="you", refusal="no")):
        reply.add_chunk(Chunk(1, WHEN, delta))
    finish = Finish(
        FinishReason.LENGTH,
        provider_reason="length",
        stop_sequence="END",
        usage=Usage(output_tokens=2),
        event_type="not part of a run",
        metadata={"gpu": True},
    )
    end = final(finish, tool_calls=[ToolCall("id", "name", "{}")], provider_request_id="req_1")
    assert replies.run_response(but(dropped=["seed"]), reply, end) == agent_service_pb2.RunResponse(
        content="Hi you",
        thinking="hm",
        refusal="no",
        tool_calls=[agent_pb2.ToolCall(id="id", name="name", arguments_json="{}")],
        finish_reason=agent_pb2.FINISH_REASON_LENGTH,
        provider_finish_reason="length",
        stop_sequence="END",
        usage=agent_pb2.Usage(output_tokens=2),
        stats=STATS_SENT,
        metadata=struct(gpu=True, dropped_params=["seed"]),
        stream_id="s-1",
        model="gpt-4o",
        provider="openai",
        provider_request_id="req_1",
    )


def test_a_run_leaves_out_what_is_not_known():
    message = replies.run_response(STREAM, ReplyAccumulator(), final(Finish(FinishReason.STOP)))
    assert message == agent_service_pb2.RunResponse(
        finish_reason=agent_pb2.FINISH_REASON_STOP,
        stats=STATS_SENT,
        stream_id="s-1",
        model="gpt-4o",
        provider="openai",
    )
    assert not any(message.HasField(name) for name in ("stop_sequence", "usage", "metadata", "message"))


def test_a_run_does_not_write_what_was_dropped_into_the_finish():
    finish = Finish(FinishReason.STOP, metadata={"gpu": True})
    replies.run_response(but(dropped=["seed"]), ReplyAccumulator(), final(finish))
    assert finish.metadata == {"gpu": True}


def test_what_a_provider_can_do_is_told_whole():
    info = ProviderInfo(
        name="mine",
        type="openai",
        model="m",
        supports_streaming=True,
        supports_tools=False,
        supported_params=("max_tokens", "stop"),
        api="responses",
        context_window=4096,
    )
    assert replies.provider_info(info) == agent_service_pb2.ProviderInfo(
        name="mine",
        type="openai",
        model="m",
        supports_streaming=True,
        supports_tools=False,
        supported_params=["max_tokens", "stop"],
        api="responses",
        context_window=4096,
    )


def test_a_context_window_that_is_not_known_is_absent():
    assert not replies.provider_info(ProviderInfo("mine", "openai", "m")).HasField("context_window")


def test_a_provider_is_listed_by_name_type_and_default_model():
    assert replies.provider_summary(ScriptedProvider("play")) == agent_service_pb2.ProviderSummary(
        name="play", type="scripted", default_model="story"
    )


@pytest.mark.parametrize(
    ("seconds", "whole", "nanos"),
    [(0.0, 0, 0), (12.0, 12, 0), (0.25, 0, 250_000_000), (1_700_000_000.5, 1_700_000_000, 500_000_000)],
)
def test_a_time_keeps_its_fraction(seconds, whole, nanos):
    assert replies.timestamp(seconds) == Timestamp(seconds=whole, nanos=nanos)


def test_a_time_is_told_to_the_microsecond():
    assert replies.timestamp(1_700_000_000.123_456_7).nanos % 1000 == 0
