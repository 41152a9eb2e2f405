"""A run as lines and as a tree, from its events alone."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from headwater._workflow.result import StepStatus
from headwater.cli.workflow.reports import run_text
from headwater.cli.workflow.run_lines import JsonLines, Lines
from headwater.cli.workflow.run_progress import RunProgress, in_order, took
from headwater.cli.workflow.run_tree import draw
from headwater.v1 import workflow_pb2
from headwater.v1.workflow_pb2 import Workflow, WorkflowEvent
from tests.support.runs.events import event


def run(**steps: list[str]) -> RunProgress:
    """A run of steps that depend on each other."""
    definition = Workflow(
        name="w", steps=[workflow_pb2.Step(name=name, depends_on=others) for name, others in steps.items()]
    )
    return RunProgress.of("run_1", definition)


def after(progress: RunProgress, *events: WorkflowEvent) -> RunProgress:
    for each in events:
        progress.apply(each)
    return progress


def drawn(progress: RunProgress, width: int = 80, height: int = 30) -> list[str]:
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"), legacy_windows=False)  # noqa: SIM115
    with console.file:
        console.print(draw(progress, 1_000_010.0, width, height))
        return [line.rstrip() for line in console.export_text().splitlines()]


DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_a_step_stands_under_the_last_of_those_it_waits_for():
    assert [line.replace("pending", "").rstrip() for line in drawn(run(**DIAMOND))[1:]] == [
        "a",
        "├── b",
        "└── c",
        "    └── d    (also after b)",
    ]


def test_the_tree_shows_how_far_each_step_is():
    progress = after(
        run(a=[], b=[], c=[], d=[], e=[]),
        event("run_started"),
        event("step_started", "a", attempt=1),
        event("step_completed", "a", at=1.5, attempt=1, result_json='"fine"'),
        event("step_started", "b", at=8.0, attempt=1),
        event("step_chunk", "b", attempt=1, content="first line\nsecond"),
        event("step_chunk", "b", attempt=1, content=" line\n\n"),
        event("step_waiting", "c", attempt=1, queue="fleet"),
        event("step_retrying", "d", attempt=1, error="no luck", delay=0.2),
        event("step_failed", "e", attempt=4, error="boom"),
    )
    head, *rows = drawn(progress)
    assert "w  running  2 of 5 steps  10.0 s" in head
    assert rows == [
        "a  completed  1.5 s  fine",
        "b  running  2.0 s  second line",
        "c  waiting for worker  queue fleet",
        "d  retrying  again in 0.2 s: no luck",
        "e  failed  boom",
    ]


def test_of_a_long_line_the_end_is_shown():
    progress = after(
        run(a=[]), event("step_started", "a", at=9.0), event("step_chunk", "a", content="x" * 100 + " 日本 end")
    )
    (row,) = drawn(progress, width=40)[1:]
    assert row.startswith("a  running  1.0 s  …x")
    assert row.endswith("x 日本 end")


def test_a_run_with_more_steps_than_lines_shows_what_is_under_way():
    progress = run(**{f"s{number}": [] for number in range(2_000)})
    after(progress, event("step_started", "s900", at=10.0), event("step_failed", "s1500", error="boom"))
    assert drawn(progress, height=10)[1:] == ["s1500  failed  boom", "s900  running  0.0 s", "and 1998 pending"]


@pytest.mark.parametrize("height", [1, 2, 5, 24])
def test_the_picture_is_never_higher_than_the_terminal(height):
    progress = run(**{f"s{number}": [f"s{number - 1}"] if number else [] for number in range(50)})
    for number in range(50):
        progress.apply(event("step_started", f"s{number}", at=0.0))
    assert len(drawn(progress, height=height)) <= max(height - 1, 2)


def test_a_chain_that_is_too_deep_for_the_width_is_a_list():
    progress = run(**{f"s{number}": [f"s{number - 1}"] if number else [] for number in range(20)})
    assert drawn(progress, width=60)[1:] == [f"s{number}  pending" for number in range(20)]


def test_somebody_elses_text_cannot_steer_the_terminal():
    name = "a\x1b]0;title\x07\u202e\nb"
    progress = after(
        run(**{name: []}),
        event("step_started", name, at=10.0),
        event("step_chunk", name, content="c\x1b[2J\x9b\x7f d"),
    )
    (row,) = drawn(progress)[1:]
    assert row == "a\ufffd]0;title\ufffd\ufffd b  running  0.0 s  c\ufffd[2J\ufffd\ufffd d"


def test_markup_in_text_is_only_text():
    assert drawn(run(**{"[red]a[/red]": []}))[1] == "[red]a[/red]  pending"


def test_chunks_of_an_earlier_attempt_are_void():
    progress = after(
        run(a=[]),
        event("step_started", "a", attempt=1),
        event("step_chunk", "a", attempt=1, content="old"),
        event("step_started", "a", attempt=2),
        event("step_chunk", "a", attempt=1, content="late"),
        event("step_chunk", "a", attempt=2, content="new"),
    )
    assert progress.steps["a"].tail == "new"


def test_a_resumed_run_begins_anew_with_what_had_not_completed():
    progress = after(
        run(a=[], b=["a"], c=["b"], d=["a"], e=["d"]),
        event("step_completed", "a", result_json="1"),
        event("step_failed", "b", error="boom"),
        event("step_skipped", "c", reason="SKIP_REASON_DEPENDENCY_FAILED", because_of=["b"]),
        event("step_skipped", "d", reason="SKIP_REASON_CONDITION_FALSE"),
        event("step_skipped", "e", reason="SKIP_REASON_DEPENDENCY_SKIPPED", because_of=["d"]),
        event("run_finished", status="WORKFLOW_RUN_STATUS_FAILED", error="step `b` failed"),
        event("run_resumed"),
    )
    pending, skipped = StepStatus.PENDING, StepStatus.SKIPPED
    assert [step.status for step in progress.steps.values()] == [
        *(StepStatus.COMPLETED, pending, pending),
        *(skipped, skipped),
    ]
    assert (progress.status, progress.error) == (StepStatus.RUNNING, "")


def test_an_event_of_a_newer_server_changes_nothing():
    before = drawn(run(a=[]))
    assert drawn(after(run(a=[]), WorkflowEvent(step="a"))) == before


def test_steps_of_a_cycle_are_left_out_of_the_order():
    assert [step.name for step in in_order(run(a=[], b=["c"], c=["b"], d=["a"]).steps.values())] == ["a", "d"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (-5, "0.0 s")]
)
def test_a_time_is_said_in_units_for_people(seconds, words):
    assert took(1_000.0, 1_000.0 + seconds) == words
    assert took(0.0, 1_000.0) == ""


def lines(capsys: pytest.CaptureFixture[str], *events: WorkflowEvent) -> list[str]:
    display = Lines(RunProgress("run_1"))
    for each in events:
        display.show(each)
    display.close()
    return capsys.readouterr().out.splitlines()


def test_each_event_is_a_line(capsys):
    assert lines(
        capsys,
        event("run_started"),
        event("step_started", "a", attempt=1),
        event("step_retrying", "a", attempt=1, error="no\nluck", delay=0.2),
        event("step_started", "a", attempt=2),
        event("step_completed", "a", at=1.5, attempt=2, result_json='{"x": 1}'),
        event("step_waiting", "b", attempt=1, queue="fleet"),
        event("step_failed", "b", attempt=1, error="boom"),
        event("step_skipped", "c", reason="SKIP_REASON_DEPENDENCY_FAILED", because_of=["b"]),
        event("step_cancelled", "d"),
        event("run_warning", "e", message="two steps changed `k`", context_key="k"),
        event("run_resumed"),
        WorkflowEvent(step="a"),
    ) == [
        "a: started",
        "a: attempt 1 failed: no luck; again in 0.2 s",
        "a: started, attempt 2",
        'a: completed after 1.5 s: {"x": 1}',
        "b: waits for a worker of queue fleet",
        "b: failed: boom",
        "c: skipped: `b` failed",
        "d: cancelled",
        "warning: e: two steps changed `k`",
        "the run continues; the output of running steps is void",
    ]


def test_text_is_gathered_into_whole_lines(capsys):
    assert lines(
        capsys,
        event("step_started", "a", attempt=1),
        event("step_chunk", "a", attempt=1, content="one"),
        event("step_chunk", "b", attempt=1, content="other\n"),
        event("step_chunk", "a", attempt=1, content=" two\nthr", omitted_characters=1_234),
        event("step_chunk", "a", attempt=1, content="ee"),
        event("step_completed", "a", at=1.0, attempt=1, result_json='"one two\\nthree"'),
        event("step_chunk", "b", attempt=1, content="last"),
    ) == [
        "a: started",
        "b | other",
        "a | (1,234 characters are no longer kept)",
        "a | one two",
        "a | three",
        "a: completed after 1.0 s",
        "b | last",
    ]


def test_a_line_without_end_is_cut(capsys):
    found = lines(capsys, *(event("step_chunk", "a", attempt=1, content="x" * 900) for _ in range(3)))
    assert [len(line) for line in found] == [1_004, 1_004, 704]


def test_lines_hold_no_control_characters_and_no_line_feeds(capsys):
    assert lines(capsys, event("step_failed", "a\nb\x1b", error="c\r\nd\x07")) == ["a b\ufffd: failed: c d\ufffd"]


def test_json_has_the_names_of_the_contract(capsys):
    JsonLines().show(event("step_started", "a\x1b\n", sequence=3, attempt=1, run_id="run_1"))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out
    found = json.loads(out)
    assert (found["step_started"], found["step"], found["run_id"]) == ({}, "a\x1b\n", "run_1")


@pytest.mark.parametrize(
    ("step", "detail"),
    [
        ({"status": "STEP_STATUS_RUNNING", "progress_json": '{"done": 5}'}, 'progress: {"done": 5}'),
        ({"status": "STEP_STATUS_RUNNING", "progress_json": '"page 3"'}, "progress: page 3"),
        (
            {"status": "STEP_STATUS_WAITING_FOR_WORKER", "queue": "q", "progress_json": "0.5"},
            "progress: 0.5; waits for a worker of queue q",
        ),
        (
            {"status": "STEP_STATUS_FAILED", "failure": {"message": "boom"}, "progress_json": "0.5"},
            "progress: 0.5; boom",
        ),
        ({"status": "STEP_STATUS_COMPLETED", "result_json": "7", "progress_json": "1"}, "7"),
    ],
)
def test_a_step_that_has_not_completed_is_shown_with_its_progress(step, detail, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    steps = [workflow_pb2.StepRun(name="load", **step)]
    shown = run_text(workflow_pb2.WorkflowRun(status="WORKFLOW_RUN_STATUS_RUNNING", steps=steps))
    assert shown.splitlines()[-1].endswith(f"  {detail}")
