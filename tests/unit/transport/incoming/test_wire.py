"""The count of elements in the bytes of a message."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf.message import Message

from headwater.v1 import agent_pb2, agent_service_pb2, error_pb2, workflow_service_pb2
from headwater_server.transport.incoming.wire import (
    TooManyElementsError,
    UnreadableError,
    count_elements,
    fields_of,
    largest_field,
)

Stream = agent_service_pb2.StreamRequest
Start = workflow_service_pb2.StartWorkflowRunRequest
STREAM = fields_of(Stream.DESCRIPTOR)
START = fields_of(Start.DESCRIPTOR)
TEXT = "x" * 300


def struct(value: dict[str, Any]) -> Message:
    message = Start()
    message.context.update(value)
    return message


@pytest.mark.parametrize(
    ("message", "count"),
    [
        (Stream(), 0),
        (Stream(prompt="hi"), 1),
        (Stream(prompt=TEXT * 100_000), 1),
        (Stream(messages=[{"content": "a"}, {}]), 3),
        (Stream(messages=[{"role": 1, "parts": [{"text": TEXT}, {"image": {"url": "u"}}]}]), 1 + 1 + 2 + 2 + 1),
        (Stream(agent={"model": "m", "labels": {"a": "1", "b": "2"}, "temperature": 0.5}), 1 + 1 + 2 + 4 + 1),
        (Stream(agent={"tools": [{"function": {"name": "f", "parameters_json": TEXT}}] * 50}), 1 + 50 * 4),
        (Start(workflow={"steps": [{"name": "a", "depends_on": ["b", "c"]}]}), 1 + 1 + 3),
        (struct({"a": [1, 2]}), 1 + 1 + 2 + 1 + 2 * 2),  # context, entry, key, value, list_value, two numbers
    ],
)
def test_every_occurrence_of_a_field_is_an_element_at_any_level(message, count):
    raw = message.SerializeToString()
    assert count_elements(raw, fields_of(message.DESCRIPTOR), count) == count
    if count:
        with pytest.raises(TooManyElementsError):
            count_elements(raw, fields_of(message.DESCRIPTOR), count - 1)


@pytest.mark.parametrize(
    ("raw", "fields", "path"),
    [
        (b"\x0a\x04\x1a\x00\x1a\x00", START, "workflow.steps"),
        (b"\x0a\x06\x1a\x04\x0a\x00\x0a\x00", START, "workflow.steps"),
        (b"\x0a\x00" * 3, START, "workflow"),
        (b"\x12\x00" * 3, STREAM, ""),
    ],
)
def test_the_field_that_was_reached_is_named(raw, fields, path):
    with pytest.raises(TooManyElementsError) as caught:
        count_elements(raw, fields, 2)
    assert caught.value.path == path


def test_a_number_in_more_bytes_than_it_needs_hides_nothing():
    step = b"\x9a\x80\x00\x80\x00"  # the tag of `steps` and the length 0, each longer than it need be
    raw = b"\x0a" + bytes([10 * len(step)]) + step * 10
    assert len(Start.FromString(raw).workflow.steps) == 10
    assert count_elements(raw, START, 11) == 11


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x05\x1a\x00",  # ends within a message
        b"\x0a\x02\x1a\x05abcde",  # a text longer than the message around it
        b"\x0a",
        b"\xff" * 20,
        b"\x0d\x00",
        b"\x0b\x0c",  # a group
    ],
)
def test_bytes_that_are_no_message_cannot_be_counted(raw):
    with pytest.raises(UnreadableError):
        count_elements(raw, START, 100)


def test_messages_inside_of_themselves_are_counted_to_any_depth():
    raw = b""
    for _ in range(1000):
        size = len(raw)
        raw = b"\x3a" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + raw
    assert count_elements(raw, fields_of(error_pb2.Failure.DESCRIPTOR), 1000) == 1000


def test_a_prompt_of_31_mib_is_counted_in_no_time():
    raw = Stream(prompt="x" * (31 << 20)).SerializeToString()
    began = time.process_time()
    assert count_elements(raw, STREAM, 1) == 1
    assert time.process_time() - began < 0.01


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (Stream(prompt=TEXT, agent={"model": "m"}), "prompt"),
        (Stream(prompt="hi", messages=[{"content": TEXT}] * 3), "messages"),
        (Stream(continues_sequence=1), "continues_sequence"),
        (Stream(), ""),
    ],
)
def test_the_largest_field_is_named(message, name):
    assert largest_field(message.SerializeToString(), Stream.DESCRIPTOR) == name


def test_the_largest_field_of_bytes_that_end_too_early_is_one_that_was_read():
    assert largest_field(b"\x0a\x85", agent_pb2.ChatMessage.DESCRIPTOR) == ""
