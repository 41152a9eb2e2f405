"""Workflow files: the definition that is read from YAML, and its mistakes, each with its line."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict

from headwater.cli.workflow.file import LARGEST_BYTES, MOST_MISTAKES, WorkflowFile, WorkflowFileError
from headwater.v1 import agent_pb2, workflow_pb2


def mistakes(text: str | bytes) -> list[tuple[int | None, str, str]]:
    """Line, field and text of each mistake; fails when there is none."""
    with pytest.raises(WorkflowFileError) as caught:
        WorkflowFile(text if isinstance(text, bytes) else text.encode())
    return [(mistake.line, mistake.field, mistake.text) for mistake in caught.value.mistakes]


def only_mistake(text: str | bytes) -> tuple[int | None, str, str]:
    (found,) = mistakes(text)
    return found


def step(line: str) -> str:
    return f"name: x\nsteps:\n- name: a\n  {line}\n"


def test_every_field_of_the_contract_can_be_written():
    text = """
name: plan
description: what for
id: "7"
schedule_timeout: 5s
agent:
  model: scripted/echo
  temperature: 0.5
  reasoning_effort: REASONING_EFFORT_LOW
  labels: {team: billing}
  unsupported_params: UNSUPPORTED_PARAMS_DROP
  provider_options: {scripted: {text: hi, usage: {input_tokens: 3}, tool_calls: [{name: f}]}}
steps:
- name: a
  action: ask
- {name: b, handler: h, depends_on: [a], condition: context.x > 1, timeout: 0.01s, exclusive: true,
   retry_policy: {initial_delay: 1s, backoff: 1.5, max_delay: 60s, max_attempts: 1},
   description: d, metadata_json: '{"k": 1}', queue: q}
"""
    read = MessageToDict(WorkflowFile(text.encode()).workflow, preserving_proto_field_name=True)
    options = {"text": "hi", "usage": {"input_tokens": 3.0}, "tool_calls": [{"name": "f"}]}
    assert read == {
        "name": "plan",
        "description": "what for",
        "id": "7",
        "schedule_timeout": "5s",
        "agent": {
            "model": "scripted/echo",
            "temperature": 0.5,
            "reasoning_effort": "REASONING_EFFORT_LOW",
            "labels": {"team": "billing"},
            "unsupported_params": "UNSUPPORTED_PARAMS_DROP",
            "provider_options": {"scripted": options},
        },
        "steps": [
            {"name": "a", "action": "ask"},
            {
                "name": "b", "handler": "h", "depends_on": ["a"], "condition": "context.x > 1", "timeout": "0.010s",
                "retry_policy": {"initial_delay": "1s", "backoff": 1.5, "max_delay": "60s", "max_attempts": 1},
                "exclusive": True, "description": "d", "metadata_json": '{"k": 1}', "queue": "q",
            },
        ],
    }  # fmt: skip


def test_json_and_the_names_of_its_mapping_are_taken_too():
    read = WorkflowFile(
        b'{"name": "x", "scheduleTimeout": "5s", "steps": [{"name": "a", "dependsOn": ["b"]}]}'
    ).workflow
    assert (read.schedule_timeout.seconds, read.steps[0].depends_on) == (5, ["b"])


def test_an_alias_stands_for_what_its_anchor_has():
    read = WorkflowFile(b"name: x\nsteps:\n- {name: a, action: &long Do it.}\n- {name: b, action: *long}\n").workflow
    assert [entry.action for entry in read.steps] == ["Do it.", "Do it."]


def test_a_byte_order_mark_and_an_empty_field_are_no_mistakes():
    read = WorkflowFile(b"\xef\xbb\xbfname: x\ndescription:\nsteps:\nagent:\n").workflow
    assert (read.name, len(read.steps), read.HasField("agent")) == ("x", 0, False)


def test_every_mistake_is_found_at_once():
    text = "nam: x\nname: yes\nsteps:\n- name: a\n  actoin: hi\n- text\n"
    assert [(line, field) for line, field, _ in mistakes(text)] == [
        (1, "nam"),
        (2, "name"),
        (5, "steps[0].actoin"),
        (6, "steps[1]"),
    ]


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("actoin: hi", "steps[0].actoin", "did you mean `action`?"),
        ("zzz: hi", "steps[0].zzz", "its fields are name, action, handler"),
        ("model: gpt-4o", "steps[0].model", "write it inside `agent`"),
        ("max_attempts: 2", "steps[0].max_attempts", "write it inside `retry_policy`"),
        ("seconds: 2", "steps[0].seconds", "its fields are name, action, handler"),
        ("action: yes", "steps[0].action", "YAML reads `yes` as a truth value, so put it in quotes"),
        ("action: 1:30", "steps[0].action", "YAML reads `1:30` as a number, so put it in quotes"),
        ("action: 2025-03-01", "steps[0].action", "YAML reads `2025-03-01` as a date; put it in quotes"),
        ("action: [hi]", "steps[0].action", "must be text, not a list"),
        (
            "metadata_json: {a: 1}",
            "steps[0].metadata_json",
            "must be text, not a mapping; write it as JSON text in quotes",
        ),
        ("depends_on: b", "steps[0].depends_on", "must be a list, such as [b]"),
        ("depends_on: [b, 3]", "steps[0].depends_on[1]", "put it in quotes"),
        ("depends_on: [~]", "steps[0].depends_on[0]", "is empty"),
        ("timeout: 30", "steps[0].timeout", "such as 30s or 0.5s, not `30`"),
        ("timeout: 5m", "steps[0].timeout", "such as 30s or 0.5s, not `5m`"),
        ("timeout: -1s", "steps[0].timeout", "such as 30s or 0.5s, not `-1s`"),
        ("timeout: [1s]", "steps[0].timeout", "such as 30s or 0.5s"),
        ("retry_policy: {max_attempts: 1.5}", "steps[0].retry_policy.max_attempts", "must be a whole number"),
        ("retry_policy: {max_attempts: 99999999999}", "steps[0].retry_policy.max_attempts", "must be a whole number"),
        ("retry_policy: 3", "steps[0].retry_policy", "must be a mapping"),
        ('exclusive: "no"', "steps[0].exclusive", "must be true or false, not `no`"),
        ("on: 1", "steps[0]", "YAML reads the key `on` as a truth value; put it in quotes"),
        ("<<: {action: hi}", "steps[0]", "write the fields out one by one"),
        ("? [a]\n  : b", "steps[0]", "has a key that is no name"),
        ("name: b", "steps[0].name", "is there twice, first in line 3; remove one"),
        ("action: !!python/object:os.system hi", "steps[0].action", "has the tag"),
        ("action: !!binary aGk=", "steps[0].action", "has the tag"),
        ("action: !!int hi", "steps[0].action", "`hi` is not a number"),
        (r'action: "\ud800"', "steps[0].action", "half of a surrogate pair"),
        (r'"\ud800": hi', "steps[0]", "half of a surrogate pair"),
    ],
)
def test_a_mistake_in_a_step_has_its_line_its_field_and_its_cure(line, field, words):
    found_line, found_field, text = only_mistake(step(line))
    assert (found_line, found_field) == (4, field)
    assert words in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("temperature: hot", "must be a number, not `hot`"),
        ("unsupported_params: DROP", "must be one of error, drop, not `DROP`"),
        ("provider_options: {a: [1]}", "must be a mapping"),
        ("provider_options: {a: {b: 2025-03-01}}", "as a date; put it in quotes"),
        ("provider_options: {a: {b: .nan}}", "no number that JSON has"),
        ("model: a\n  model: b", "is there twice"),
    ],
)
def test_a_mistake_in_the_agent_is_named(line, words):
    found_line, field, text = only_mistake(f"agent:\n  {line}\n")
    assert found_line == 2 + line.count("\n")
    assert field.startswith("agent.")
    assert words in text


def test_a_field_under_both_of_its_names_is_refused():
    assert only_mistake(step("depends_on: []\n  dependsOn: []"))[1] == "steps[0].depends_on"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", None, "is empty"),
        (b"# nothing\n", None, "is empty"),
        (b"- a\n", 1, "must be a mapping"),
        (b"name: x\n---\nname: y\n", 2, "single document"),
        (b"name: x\nsteps: [}\n", 2, "is not YAML"),
        (b"name: x\nname: \xff\n", 2, "is not UTF-8"),
        (b"name: x\n\x01\n", 2, "U+0001"),
        (b"name: *nobody\n", 1, "is not YAML"),
        (b"[" * 100_000, None, "nested deeper"),
        (b"{a: " * 50_000, None, "nested deeper"),
        (b"- " * 100_000, None, "nested deeper"),
        (b"name: " + b"x" * LARGEST_BYTES, None, "is larger than 512 KiB"),
    ],
)
def test_a_file_that_is_no_workflow_at_all_says_why(content, line, words):
    found_line, field, text = only_mistake(content)
    assert (found_line, field) == (line, "")
    assert words in text


def test_a_few_lines_of_aliases_cannot_grow_without_bound():
    lines = ["name: x", "agent:", "  provider_options:", "    a: {x: &x0 [lol, lol]"]
    lines += [f"      ,x{number}: &x{number} [*x{number - 1}, *x{number - 1}]" for number in range(1, 50)]
    assert "with its aliases written out, larger than 512 KiB" in only_mistake("\n".join([*lines, "    }"]))[2]


def test_an_anchor_that_holds_itself_ends():
    assert "nested deeper" in only_mistake("agent: {provider_options: {a: &a {b: *a}}}")[2]


def test_a_file_full_of_mistakes_names_the_first_of_them():
    found = mistakes("steps:\n" + "- x\n" * 5_000)
    assert len(found) == MOST_MISTAKES + 1
    assert "more than" in found[-1][2]


def test_the_servers_violations_get_their_lines():
    file = WorkflowFile(b"name: x\nsteps:\n- name: a\n  depends_on:\n  - b\n- name: c\n")
    violations = [
        ("workflow.steps[0].depends_on[0]", "no such step"),
        ("workflow.steps[1].handler", "is not there"),
        ("workflow", "too much"),
        ("queue", "is empty"),
    ]
    assert [(mistake.line, mistake.field) for mistake in file.locate(violations)] == [
        (5, "steps[0].depends_on[0]"),
        (6, "steps[1].handler"),
        (None, ""),
        (None, "queue"),
    ]


@pytest.mark.parametrize("name", ["none_failed", "RUN_IF_NONE_FAILED"])
def test_a_value_of_an_enum_is_written_with_or_without_its_prefix(name):
    file = WorkflowFile(f"name: x\nsteps:\n- name: a\n  run_if: {name}\n  accept_finish_reasons: [length]\n".encode())
    [step] = file.workflow.steps
    assert step.run_if == workflow_pb2.RUN_IF_NONE_FAILED
    assert list(step.accept_finish_reasons) == [agent_pb2.FINISH_REASON_LENGTH]


def test_a_value_that_an_enum_does_not_have_is_refused_with_those_that_it_has():
    [(_, field, text)] = mistakes("name: x\nsteps:\n- name: a\n  run_if: sometimes\n")
    assert (field, "all_succeeded, none_failed, all_done, any_failed, not `sometimes`" in text) == (
        "steps[0].run_if",
        True,
    )
