"""`headwater workflow` and `headwater worker`, as a shell sees them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from headwater import WorkflowAgent
from headwater.v1 import worker_service_pb2
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.support.servers.server import ServerProcess, clean_environment, run_cli
from tests.support.servers.silent import socket_that_says_nothing

EXAMPLES = Path(__file__).parents[3] / "examples" / "workflows"
RUN_ID = re.compile(r"run_\S+")
HANG = {"hang_after": 1}


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with ServerProcess("--scripted") as server:
        yield server.target


def plan(tmp_path: Path, *steps: dict[str, Any], **fields: Any) -> str:
    """A file with these steps; its actions come back word for word."""
    options = fields.pop("scripted", {})
    agent = {"model": "scripted/echo", "provider_options": {"scripted": options}}
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({"name": "plan", "agent": agent, "steps": list(steps), **fields}))
    return str(path)


def step(name: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "action": f"say {name}",
        "retry_policy": {"max_attempts": 1},
        "depends_on": list(depends_on),
        **fields,
    }


def workflow(target: str, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return run_cli("workflow", *args, variables={"HEADWATER_TARGET": target}, stdin=stdin)


def started(target: str, file: str, *args: str) -> str:
    done = workflow(target, "start", file, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def free_port() -> str:
    """A port that two servers can have, one after the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


class Process(subprocess.Popen[str]):
    """A process that does not outlive its `with`, so that a failed test does not wait for it."""

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)


def watching(target: str, *args: str, **options: Any) -> Process:
    return Process(
        [sys.executable, "-m", "headwater.cli", "workflow", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment(HEADWATER_TARGET=target, **options),
    )  # fmt: skip


def line_with(process: Process, words: str) -> str:
    """The first line of output that has these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"the output ended without {words!r}")


# --- run, start, watch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_has_no_mistakes_and_completes(target, path):
    assert workflow(target, "validate", str(path)).stdout == f"{path}: no mistakes\n"
    done = workflow(target, "run", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    run_id, *lines = done.stdout.splitlines()
    assert RUN_ID.fullmatch(run_id)
    assert lines[-1].startswith(f"{run_id} completed after ")


def test_run_prints_the_id_first_and_then_what_happens(target, tmp_path):
    done = workflow(target, "run", plan(tmp_path, step("a"), step("b", "a", condition="false")))
    _, *lines = done.stdout.splitlines()
    assert [re.sub(r"[\d.]+ s$", "- s", line) for line in lines[:-1]] == [
        "a: started",
        "a | say a",
        "a: completed after - s",
        "b: skipped: its condition is false",
    ]


def test_a_workflow_may_come_from_standard_input(target):
    text = "name: x\nagent: {model: scripted/echo}\nsteps: [{name: a, action: hi}]\n"
    assert "a | hi" in workflow(target, "run", "-", stdin=text).stdout


def test_a_failed_run_exits_with_1_and_says_how_to_go_on(target, tmp_path):
    done = workflow(
        target, "run", plan(tmp_path, step("a"), step("b", "a"), scripted={"fail_reason": "PROVIDER_REJECTED_REQUEST"})
    )
    assert done.returncode == 1
    run_id, *lines = done.stdout.splitlines()
    assert lines[1].startswith("a: failed after ")
    assert lines[2].startswith("b: skipped: ")
    assert lines[-1].startswith(f"{run_id} failed after ")
    assert "`a`" in lines[-1]
    assert done.stderr == f"to continue from there:\n  headwater workflow resume {run_id}\n"


def test_json_is_one_event_a_line(target, tmp_path):
    done = workflow(target, "run", "--json", plan(tmp_path, step("a")))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert RUN_ID.fullmatch(events[0]["run_id"])
    kinds = [kind for event in events for kind in event if kind.startswith(("run_", "step_")) and kind != "run_id"]
    assert [kind for kind in kinds if kind != "step_chunk"] == [
        *("run_started", "step_started", "step_completed", "run_finished"),
    ]
    assert "".join(event.get("step_chunk", {}).get("content", "") for event in events) == "say a"
    assert json.loads(events[-2]["step_completed"]["result_json"]) == "say a"


def test_the_context_reaches_the_conditions(target, tmp_path):
    steps = [
        step("number", condition="context.score < 0.8"),
        step("text", condition='context.city == "Rome"'),
        step("object", condition="context.o.deep[1] == 2"),
    ]
    context = ("--context", "score=0.5", "--context", "city=Rome", "--context", 'o={"deep": [1, 2]}')
    done = workflow(target, "run", *context, plan(tmp_path, *steps))
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_start_watch_and_result(target, tmp_path):
    run_id = started(target, plan(tmp_path, step("a"), step("b", "a")), "--context", "n=3.0")
    watched = workflow(target, "watch", run_id)
    assert watched.returncode == 0
    assert "b: completed" in watched.stdout

    events = [json.loads(line) for line in workflow(target, "watch", "--json", run_id).stdout.splitlines()]
    rest = workflow(target, "watch", "--json", "--after", str(events[2]["sequence"]), run_id)
    assert [json.loads(line)["sequence"] for line in rest.stdout.splitlines()] == [e["sequence"] for e in events[3:]]
    beyond = workflow(target, "watch", "--after", str(events[-1]["sequence"]), run_id)
    assert (beyond.returncode, beyond.stdout) == (0, f"{run_id} completed\n")

    text = workflow(target, "result", run_id).stdout
    assert "a:\n  say a\n" in text
    assert '"n": 3.0' in text
    found = json.loads(workflow(target, "result", "--json", run_id).stdout)
    assert found["status"] == "WORKFLOW_RUN_STATUS_COMPLETED"
    assert found["results"]["a"] == "say a"
    assert found["context"]["n"] == 3.0
    assert found["context"]["b_result"] == found["results"]["b"]


def test_show_and_list(target, tmp_path):
    name = tmp_path.name
    run_id = started(target, plan(tmp_path, step("a"), name=name))
    assert workflow(target, "watch", run_id).returncode == 0
    shown = workflow(target, "show", run_id).stdout
    assert re.search(r"^a +completed +1 +[\d.]+ s +say a$", shown, re.MULTILINE)
    run = json.loads(workflow(target, "show", "--json", run_id).stdout)
    assert run["workflow"]["steps"][0]["name"] == "a"
    assert run["steps"][0]["status"] == "STEP_STATUS_COMPLETED"

    other = started(target, plan(tmp_path, step("a"), name=name))
    assert workflow(target, "watch", other).returncode == 0

    def ids(*args: str) -> list[str]:
        found = workflow(target, "list", "--workflow", name, "--json", *args)
        return [run["run_id"] for run in json.loads(found.stdout)["runs"]]

    assert ids() == [other, run_id]
    assert ids("--limit", "1") == [other]
    assert ids("--status", "completed", "--since", "1h") == [other, run_id]
    assert ids("--status", "failed") == []
    assert ids("--since", "2999-01-01") == []
    assert RUN_ID.findall(workflow(target, "list", "--workflow", name).stdout) == [other, run_id]


def test_cancel_and_resume(target, tmp_path):
    run_id = started(target, plan(tmp_path, step("a", timeout="60s"), scripted=HANG))
    running = workflow(target, "result", run_id)
    assert (running.returncode, running.stdout) == (10, f"{run_id}: running\n")
    with watching(target, "watch", run_id) as watch:
        line_with(watch, "a: started")
        done = workflow(target, "cancel", run_id)
        assert (done.returncode, done.stdout) == (0, f"{run_id} is cancelled\n")
        stdout, stderr = watch.communicate(timeout=30)
    assert watch.returncode == 9
    assert "a: cancelled" in stdout
    assert "was cancelled" in stdout
    assert f"headwater workflow resume {run_id}" in stderr
    assert json.loads(workflow(target, "cancel", "--json", run_id).stdout)["status"] == "WORKFLOW_RUN_STATUS_CANCELLED"

    with watching(target, "resume", run_id) as watch:
        line_with(watch, "a: started, attempt 2")
        assert workflow(target, "cancel", run_id).returncode == 0
        watch.communicate(timeout=30)
    assert watch.returncode == 9


def test_ctrl_c_leaves_the_run_and_says_how_to_come_back(target, tmp_path):
    with watching(target, "run", plan(tmp_path, step("a"), scripted=HANG), "--target", target) as watch:
        run_id = line_with(watch, "run_").strip()
        line_with(watch, "a: started")
        watch.send_signal(signal.SIGINT)
        _, stderr = watch.communicate(timeout=30)
    assert watch.returncode == 130
    assert stderr == (
        f"\n{run_id} continues; to watch or cancel it:\n"
        f"  headwater workflow watch {run_id} --target {target}\n"
        f"  headwater workflow cancel {run_id} --target {target}\n"
    )
    assert json.loads(workflow(target, "show", "--json", run_id).stdout)["status"] == "WORKFLOW_RUN_STATUS_RUNNING"
    assert workflow(target, "cancel", run_id).returncode == 0


# --- a lost connection -----------------------------------------------------------------------------------------------


def test_a_watch_goes_on_after_the_server_was_killed(tmp_path):
    port = free_port()
    data = {"HEADWATER_DATA_DIR": str(tmp_path / "data")}
    again = {"max_attempts": 2}  # with 1, a step whose attempt was lost has failed
    steps = step("a", retry_policy=again), step("b", "a", action="b", retry_policy=again)
    file = plan(tmp_path, *steps, scripted={"delay_ms": 300})
    with (
        ServerProcess("--scripted", "--port", port, variables=data) as server,
        watching(server.target, "run", file) as watch,
    ):
        server.expected_code = -signal.SIGKILL
        line_with(watch, "a: started")
        server.stop(signal.SIGKILL)
        with ServerProcess("--scripted", "--port", port, variables=data):
            stdout, stderr = watch.communicate(timeout=40)
    assert watch.returncode == 0, stderr
    assert "the run continues; the output of running steps is void" in stdout
    assert "a: started, attempt 2" in stdout
    assert stdout.count("b: completed") == 1
    lost, again = stderr.splitlines()
    assert lost.startswith(f"headwater: the connection to {server.target} was lost after event ")
    assert again == f"headwater: connected to {server.target} again"


@pytest.mark.parametrize("args", [("watch", "run_x"), ("list",), ("start", "FILE"), ("validate", "FILE")])
def test_a_server_that_is_not_there_is_said_at_once(tmp_path, args):
    file = plan(tmp_path, step("a"))
    done = workflow("127.0.0.1:9", *(file if arg == "FILE" else arg for arg in args))
    assert (done.returncode, done.stdout) == (7, "")
    assert "headwater serve" in done.stderr


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_validate_warns_of_a_join_that_a_skip_would_silence(target, tmp_path):
    path = tmp_path / "plan.yaml"
    steps = [step("a"), step("b", condition="context.x"), step("c", "a", "b")]
    path.write_text(json.dumps({"name": "x", "steps": steps}))
    done = workflow(target, "validate", str(path))
    assert done.returncode == 0
    first, warning = done.stdout.splitlines()
    assert first == f"{path}: no mistakes"
    assert "warning: steps[2]" in warning
    assert "none_failed" in warning
    [sent] = json.loads(workflow(target, "validate", "--json", str(path)).stdout)["warnings"]
    assert sent["field"] == "workflow.steps[2].run_if"


def test_validate_names_every_mistake_of_the_definition_with_its_line(target, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("name: x\nsteps:\n- name: a\n  action: hi\n  depends_on: [draft]\n- name: b\n  condition: 1 +\n")
    done = workflow(target, "validate", str(path))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith(f"{path}:5: steps[0].depends_on[0]: ") for line in lines)
    assert any(line.startswith(f"{path}:6: steps[1]") for line in lines)
    assert any(line.startswith(f"{path}:7: steps[1].condition: ") for line in lines)
    violations = json.loads(workflow(target, "validate", "--json", str(path)).stdout)["violations"]
    assert len(violations) == len(lines)
    assert "workflow.steps[0].depends_on[0]" in [violation["field"] for violation in violations]
    for command in ("run", "start"):
        done = workflow(target, command, str(path))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.splitlines() == lines


def test_mistakes_of_the_file_are_named_without_a_server(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("name: yes\nsteps:\n- nam: a\n")
    done = workflow("127.0.0.1:9", "validate", str(path))
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [f"{path}:1", f"{path}:3"]
    fields = [
        v["field"] for v in json.loads(workflow("127.0.0.1:9", "validate", "--json", str(path)).stdout)["violations"]
    ]
    assert fields == ["workflow.name", "workflow.steps[0].nam"]
    assert workflow("127.0.0.1:9", "run", str(path)).returncode == 3


def test_a_handler_that_nobody_registered_is_a_mistake(target, tmp_path):
    file = plan(tmp_path, {"name": "a", "handler": "nobody"})
    assert "steps[0].handler: " in workflow(target, "validate", file, "--queue", "q").stdout


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("run", "/nowhere.yaml"), 2, "does not exist"),
        (("run", "-", "--context", "x"), 2, "must be key=value"),
        (("list", "--since", "yesterday"), 2, "2h, 3d"),
        (("list", "--status", "odd"), 2, "'completed'"),
        (("list", "--limit", "0"), 2, "range"),
        (("watch", "x", "--after", "-1"), 2, "range"),
        (("watch", "run_nobody"), 3, "no run has this id"),
        (("result", "run_nobody"), 3, "no run has this id"),
        (("cancel", "run_nobody"), 3, "no run has this id"),
        (("resume", "run_nobody"), 3, "no run has this id"),
        (("show", ""), 3, "run_id"),
    ],
)
def test_wrong_usage_is_named(target, args, code, words):
    done = workflow(target, *args, stdin="")
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    if code != 2:
        assert done.stderr.count("\n") == 1


def test_a_run_that_has_completed_cannot_be_cancelled(target, tmp_path):
    run_id = workflow(target, "run", plan(tmp_path, step("a"))).stdout.split()[0]
    for command in ("cancel", "resume"):
        done = workflow(target, command, run_id)
        assert done.returncode == 3
        assert "has completed" in done.stderr


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("yaml", "headwater: workflow files need PyYAML: pip install pyyaml\n"),
        ("rich", "headwater: the live tree needs rich: pip install rich\n"),
    ],
)
def test_a_missing_extra_is_named_with_its_cure(target, tmp_path, module, error):
    code = f"import sys; sys.modules[{module!r}] = None; from headwater.cli import main; main()"
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code, "workflow", "run", plan(tmp_path, step("a"))],
        stdout=theirs, stderr=subprocess.PIPE, text=True, env=clean_environment(HEADWATER_TARGET=target), check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 1
    assert done.stderr == error


# --- on a terminal ---------------------------------------------------------------------------------------------------


def on_a_terminal(target: str, *args: str, until: str = "", **options: str) -> tuple[int, str]:
    """Exit code and output of a command on a terminal of 30 by 100; Ctrl-C is pressed once `until` is there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater.cli", "workflow", *args],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        env=clean_environment(**{"HEADWATER_TARGET": target, "TERM": "xterm"} | options),
    )  # fmt: skip
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
            if until and until in written.decode(errors="ignore"):
                until = ""
                process.send_signal(signal.SIGINT)
    except OSError:
        pass  # that is how a terminal says that the other side has closed it
    os.close(ours)
    return process.wait(30), written.decode()


def test_a_terminal_gets_a_live_tree(target, tmp_path):
    words = step("a", action="one two three four five six")
    file = plan(tmp_path, words, step("b", "a"), step("c", "a"), scripted={"delay_ms": 200})
    code, written = on_a_terminal(target, "run", file, NO_COLOR="1")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written).replace("\r", "")
    assert code == 0
    assert RUN_ID.fullmatch(plain.splitlines()[0])
    assert "0 of 3 steps" in plain
    assert re.search(r"^a  running  [\d.]+ s  one two( three)?( four)?( five)?$", plain, re.MULTILINE)
    last = plain[plain.rindex("3 of 3 steps") :].splitlines()
    assert re.fullmatch(r"a  completed  [\d.]+ s  one two three four five six", last[1])
    assert last[2].startswith("├── b  completed")
    assert last[3].startswith("└── c  completed")
    assert written.rstrip().splitlines()[-1].startswith("\x1b[?25hrun_")


def test_ctrl_c_gives_the_terminal_back(target, tmp_path):
    code, written = on_a_terminal(target, "run", plan(tmp_path, step("a"), scripted=HANG), until="running")
    assert code == 130
    assert written.index("\x1b[?25l") < written.index("\x1b[?25h") < written.index("continues")
    run_id = RUN_ID.search(written)
    assert run_id is not None
    assert workflow(target, "cancel", run_id[0]).returncode == 0


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(target, tmp_path):
    code, written = on_a_terminal(target, "run", plan(tmp_path, step("a")), TERM="dumb")
    assert code == 0
    assert "a | say a" in written
    assert "\x1b" not in written


@pytest.mark.parametrize("command", ["run", "result", "show"])
def test_names_and_text_of_others_cannot_steer_the_terminal(target, tmp_path, command):
    file = plan(tmp_path, {"name": "a\x1b]0;t\x07", "action": "b\x1b]0;u\x07c\x9bd"})
    subject = file if command == "run" else workflow(target, "run", file).stdout.split()[0]
    code, written = on_a_terminal(target, command, subject)
    assert code == 0
    assert "a\ufffd]0;t\ufffd" in written
    assert "b\ufffd]0;u\ufffdc\ufffdd" in written
    assert not {"\x1b]", "\x07", "\x9b"} & {written[i : i + n] for n in (1, 2) for i in range(len(written))}


# --- workers ---------------------------------------------------------------------------------------------------------


async def until_registered(target: str, queue: str, handler: str) -> None:
    """A worker that makes itself known and goes away again."""

    async def messages() -> AsyncIterator[worker_service_pb2.AttachRequest]:
        registration = worker_service_pb2.WorkerRegistration(worker_id=f"{queue}-1", queue=queue, handlers=[handler])
        yield worker_service_pb2.AttachRequest(registration=registration)

    async with grpc.aio.insecure_channel(target) as channel:
        call = WorkerServiceStub(channel).Attach(messages())
        assert (await call.read()).HasField("registered")


async def test_a_step_that_waits_for_a_worker_shows_its_queue(target, tmp_path):
    await until_registered(target, "fleet-7", "h")
    run_id = started(target, plan(tmp_path, {"name": "a", "handler": "h"}), "--queue", "fleet-7")
    with watching(target, "watch", run_id) as watch:
        assert line_with(watch, "waits") == "a: waits for a worker of queue fleet-7\n"
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=30)
    _, written = on_a_terminal(target, "watch", run_id, until="queue fleet-7")
    assert "waiting for worker" in written
    assert "waits for a worker of queue fleet-7" in workflow(target, "show", run_id).stdout
    assert workflow(target, "cancel", run_id).returncode == 0


AGENT = """
import asyncio
import logging

class Recorder:
    async def run_worker(self, queue, concurrency, stop, drain_seconds):
        logging.getLogger("headwater.worker").info("serves", extra={"is_registration": True})
        await asyncio.sleep(0)  # the command hears of it
        print(queue, concurrency, drain_seconds, flush=True)
        await stop.wait()
        print("closed", flush=True)

class Holder:
    agent = Recorder()

agent = Recorder()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("path", ["crew:agent", "crew:Holder.agent"])
def test_a_worker_serves_until_it_is_told_to_stop(tmp_path, number, path):
    (tmp_path / "crew.py").write_text(AGENT)
    with Process(
        [sys.executable, "-m", "headwater.cli", "worker", path, "--queue", "q", "--concurrency", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=clean_environment(),
    ) as process:  # fmt: skip
        assert line_with(process, "q") == "q 3 30.0\n"
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (0, "closed\n")
    assert stderr == "headwater: serves\n"


REAL_AGENT = """
from headwater.agents.workflow import WorkflowAgent

def greet(agent, step, context):
    return f"hello {context['who']}"

agent = WorkflowAgent()
agent.register_handler("greet", greet)
"""


def test_a_worker_does_the_steps_of_its_queue(target, tmp_path):
    (tmp_path / "real_crew.py").write_text(REAL_AGENT)
    file = plan(tmp_path, {"name": "a", "handler": "greet"})
    with Process(
        [sys.executable, "-m", "headwater.cli", "worker", "real_crew:agent", "--queue", "crew-1", "--target", target],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=clean_environment(HEADWATER_TARGET="127.0.0.1:9"),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline() == f"headwater: serves queue crew-1 at {target}\n"
        done = workflow(target, "run", file, "--queue", "crew-1", "--context", "who=you")
        process.terminate()
        assert f"step 'a' of run {RUN_ID.findall(done.stdout)[0]} is done\n" in process.communicate(timeout=30)[1]
    assert (process.returncode, done.returncode) == (0, 0), done.stderr
    assert re.search(r"^a: completed after [\d.]+ s: hello you$", done.stdout, re.MULTILINE)


def test_a_worker_logs_that_its_connection_was_lost_and_is_back(tmp_path):
    (tmp_path / "real_crew.py").write_text(REAL_AGENT)
    port = free_port()
    with ServerProcess("--scripted", "--port", port) as server:
        server.expected_code = -signal.SIGKILL
        with Process(
            [sys.executable, "-m", "headwater.cli", "worker", "real_crew:agent", "--queue", "crew-1"],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=clean_environment(HEADWATER_TARGET=server.target),
        ) as process:  # fmt: skip
            assert process.stderr is not None
            registered = f"headwater: serves queue crew-1 at {server.target}\n"
            assert process.stderr.readline() == registered
            server.stop(signal.SIGKILL)
            lost = process.stderr.readline()
            assert lost.startswith("headwater: is not connected to queue crew-1 and tries again: ")
            with ServerProcess("--scripted", "--port", port):
                assert process.stderr.readline() == registered  # one line says it all, however often it has tried
                process.terminate()
                assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_ctrl_c_ends_a_worker_that_is_not_yet_registered_at_once(tmp_path):
    (tmp_path / "real_crew.py").write_text(f"import sys\n{REAL_AGENT}\nprint('loaded', file=sys.stderr, flush=True)\n")
    with (
        socket_that_says_nothing() as silent,
        Process(
            [sys.executable, "-m", "headwater.cli", "worker", "real_crew:agent", "--queue", "q", "--target", silent],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=clean_environment(),
        ) as process,
    ):  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline() == "loaded\n"
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=15)[1]
    assert (process.returncode, stderr) == (130, "")


async def test_a_worker_that_is_stopped_before_a_server_answers_just_ends():
    agent = WorkflowAgent()
    agent.register_handler("greet", lambda agent, step, context: "hello")
    stop = asyncio.Event()
    with socket_that_says_nothing() as silent:
        agent.target = silent
        working = asyncio.create_task(agent.run_worker("q", stop=stop))
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(working, 10)


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("crew", 2, "must be MODULE:AGENT"),
        ("crew:", 2, "must be MODULE:AGENT"),
        ("../crew:agent", 2, "must be MODULE:AGENT"),
        ("nowhere:agent", 2, "there is no module nowhere"),
        ("crew.sub:agent", 2, "there is no module crew.sub"),
        ("crew:agnet", 2, "module crew has no agnet; it has agent"),
        ("crew:Recorder", 2, "is the class Recorder, but must be a WorkflowAgent; it has agent"),
        ("crew:asyncio", 2, "is of type module, but must be a WorkflowAgent"),
        ("needy:agent", 1, "module needy needs no_such_library, which is not installed"),
        ("broken:agent", 1, "module broken cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_is_no_agent_is_named_in_one_line(tmp_path, path, code, words):
    (tmp_path / "crew.py").write_text(AGENT)
    (tmp_path / "needy.py").write_text("import no_such_library")
    (tmp_path / "broken.py").write_text("1 / 0")
    done = run_cli("worker", path, "--queue", "q", cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("headwater: ")
    assert words in last
    if "broken" not in path:
        assert done.stderr.count("\n") == 1


def test_help_needs_neither_yaml_nor_rich_nor_the_rest_of_the_workflows():
    code = (
        "import sys, headwater.cli.main as main\n"
        "main.headwater(['workflow', '--help'], standalone_mode=False)\n"
        "print(sorted({'yaml', 'rich', 'headwater.cli.workflow.watching', 'headwater._workflow.service'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Run a workflow and watch it." in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
