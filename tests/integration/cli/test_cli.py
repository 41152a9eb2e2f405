"""The command line, as a shell sees it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time

import pytest

from tests.support.servers.server import ServerProcess, clean_environment, provider_variables, run_cli
from tests.support.terminals import on_a_terminal
from tests.support.upstream.replay import ReplayServer


def test_stream_prints_the_reply_and_nothing_else(server):
    done = run_cli("stream", "--target", server.target, "-m", "scripted/echo", "Hello there")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello there\n", "")


def test_stream_reads_standard_input(server):
    done = run_cli("stream", "--target", server.target, "-m", "scripted/echo", "-", stdin="From a pipe")
    assert done.stdout == "From a pipe\n"


def test_the_target_may_come_from_the_environment(server):
    done = run_cli("stream", "-m", "scripted/echo", "Hi", variables={"HEADWATER_TARGET": server.target})
    assert done.stdout == "Hi\n"


def test_json_is_one_chunk_a_line(server):
    done = run_cli("stream", "--target", server.target, "--json", "-m", "scripted/echo", "a b é")
    chunks = [json.loads(line) for line in done.stdout.splitlines()]
    assert "".join(chunk["content"] for chunk in chunks) == "a b é"
    assert [chunk["is_final"] for chunk in chunks].count(True) == 1
    assert chunks[0]["metadata"]["provider"] == "scripted"
    assert chunks[-1]["metadata"]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["stream"], 2, "Missing argument"),
        (["stream", "-m", "scripted/echo", "--temperature", "9", "x"], 3, "temperature"),
        (["stream", "-m", "no-such-model", "x"], 3, "configured: "),
        (["stream", "-p", "openai", "-m", "gpt@openai-401", "x"], 4, "Incorrect API key"),
        (["stream", "-p", "openai", "-m", "gpt@openai-cut", "x"], 5, "cut"),
        (["stream", "-m", "scripted/story", "--timeout", "0.2", "x"], 6, "time"),
        (["models", "nobody"], 3, "configured: "),
    ],
)
def test_exit_codes_tell_errors_apart_and_the_message_is_one_line(server, args, code, words):
    done = run_cli(*args, variables={"HEADWATER_TARGET": server.target})
    assert done.returncode == code
    assert words in done.stderr
    if code != 2:
        assert done.stderr.startswith("headwater: ")
        assert done.stderr.count("\n") == 1


def test_a_server_that_is_not_there_has_its_own_exit_code():
    done = run_cli("stream", "--target", "127.0.0.1:9", "x")
    assert done.returncode == 7
    assert "headwater serve" in done.stderr


def test_what_came_before_a_cut_is_printed(server):
    done = run_cli("stream", "--target", server.target, "-p", "openai", "-m", "gpt@openai-cut", "x")
    assert done.stdout == "Six crates of oranges were unloaded before the\n"


def test_providers_and_models_are_listed(server):
    variables = {"HEADWATER_TARGET": server.target}
    assert "scripted" in run_cli("providers", variables=variables).stdout
    names = [p["name"] for p in json.loads(run_cli("providers", "--json", variables=variables).stdout)["providers"]]
    assert {"anthropic", "ollama", "openai", "scripted"} <= set(names)
    assert "scripted/echo" in run_cli("models", "scripted", variables=variables).stdout
    models = json.loads(run_cli("models", "ollama", "--json", variables=variables).stdout)["models"]
    assert {"name": "llama3.2:latest", "provider": "ollama", "capabilities": ["completion", "tools"]} in models


def test_chat_remembers_the_conversation(server):
    done = run_cli("chat", "--target", server.target, "-m", "scripted/echo", stdin="one\n\ntwo\n")
    assert done.stdout == "one\ntwo\n"
    assert done.returncode == 0


def test_chat_goes_on_after_an_error(server):
    done = run_cli("chat", "--target", server.target, "-p", "openai", "-m", "gpt@openai-401", stdin="one\ntwo\n")
    assert done.stderr.count("Incorrect API key") == 2
    assert done.returncode == 0


def test_a_closed_pipe_is_no_error_message(server):
    command = f"{sys.executable} -m headwater.cli stream -m scripted/story x | head -c 5"
    environment = clean_environment(HEADWATER_TARGET=server.target)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("This ", "")


@pytest.mark.parametrize("command", ["--help", "--version", "stream --help", "config"])
def test_a_full_disk_is_one_line(command):
    program = f"{sys.executable} -m headwater.cli {command} > /dev/full"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, env=clean_environment(), check=False)
    assert (done.returncode, done.stderr) == (1, "headwater: No space left on device\n")


def test_a_terminal_gets_a_closing_line(server):
    written = on_a_terminal("stream", "--target", server.target, "-m", "scripted/story", "--max-tokens", "10", "x")
    assert "10 tokens" in written
    assert "tokens/s" in written
    assert "first token after" in written
    assert "ended by length" in written


def test_a_reply_cannot_steer_the_terminal(server):
    written = on_a_terminal("stream", "--target", server.target, "-m", "scripted/echo", "a\x1b[2Jb\x07c\x9bd")
    assert "a\ufffd[2Jb\ufffdc\ufffdd" in written


async def test_ctrl_c_stops_the_provider_too():
    async with ReplayServer(hold=2) as replay:
        with ServerProcess(variables=provider_variables(replay.url)) as server:
            process = subprocess.Popen(
                [sys.executable, "-m", "headwater.cli", "stream", "-p", "openai", "-m", "gpt@openai-plain", "x"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=clean_environment(HEADWATER_TARGET=server.target),
            )  # fmt: skip
            record = await replay.wait_record(0, timeout=20)
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.read, 1) == "A"
            process.send_signal(signal.SIGINT)
            left_at = time.monotonic()
            assert await replay.wait_closed(record) - left_at < 1.0
            _, stderr = process.communicate(timeout=10)
            assert process.returncode == 130
            assert "Traceback" not in stderr


def test_a_missing_server_is_named_with_its_cure():
    blocked = subprocess.run(
        [sys.executable, "-c", BLOCK_PYDANTIC], capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert blocked.returncode == 1
    assert blocked.stderr == (
        "headwater: serve needs the server's packages (pydantic is missing): "
        "install headwater with its extra `server`: pip install '.[server]' in its folder\n"
    )


BLOCK_PYDANTIC = """
import sys
sys.modules["pydantic"] = None
from headwater.cli import main
sys.argv = ["headwater", "serve", "--port", "0"]
main()
"""


def test_a_missing_click_is_named_with_its_cure():
    code = 'import sys; sys.modules["click"] = None; from headwater.cli import main; main()'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "headwater: the command line needs click: pip install click\n"
