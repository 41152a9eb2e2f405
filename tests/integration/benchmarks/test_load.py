from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from benchmarks import measure
from benchmarks.contestants.base import start_direct, upstream
from benchmarks.contestants.headwater import Headwater
from benchmarks.load import load
from benchmarks.load.load import Peer, describe
from benchmarks.load.processes import ROOT, first_line, job, process


@pytest.fixture
def direct(tmp_path):
    with upstream(tmp_path) as up, start_direct(up, tmp_path) as peer:
        yield peer


@pytest.fixture(params=["http", "grpc", "stub"])
def encrypted(tmp_path, request):
    """A peer of each reader that speaks TLS."""
    own = Headwater(options=frozenset({"stub"} if request.param == "stub" else {}))
    start = start_direct if request.param == "http" else own.start
    with upstream(tmp_path, tls=True) as up, start(up, tmp_path) as peer:
        yield peer


async def test_a_paced_measurement_sees_every_stream(direct):
    result = await load.paced(direct, streams=4, pace=20.0, seconds=0.5)
    assert (result["failed"], result["messages_per_chunk"]) == (0, 1.0)
    assert 0.5 < result["share_of_pace"] < 1.5


async def test_every_reader_speaks_tls(encrypted):
    result = await load.paced(encrypted, streams=2, pace=20.0, seconds=0.3)
    assert (result["failed"], encrypted.ca_file != "") == (0, True)
    with pytest.raises(RuntimeError, match="no chunk came"):
        await load.paced(dataclasses.replace(encrypted, ca_file=""), streams=1, pace=20.0, seconds=0.1)


async def test_a_saturated_measurement_counts_chunks_and_cpu(direct):
    result = await load.saturated(direct, streams=2, seconds=0.3)
    assert (result["failed"], result["messages_per_chunk"]) == (0, 1.0)
    assert result["chunks_per_second"] > 1_000
    assert result["upstream_us_per_chunk"] > 0


async def test_streams_that_fail_are_counted(direct):
    nobody = Peer("http", "127.0.0.1", 9, None, direct.upstream_pid)
    with pytest.raises(RuntimeError, match="no chunk came"):
        await load.paced(nobody, streams=2, pace=20.0, seconds=0.1)


async def test_silent_streams_that_never_open_are_no_measurement(direct):
    nobody = Peer("http", "127.0.0.1", 9, os.getpid(), direct.upstream_pid)
    with pytest.raises(RuntimeError, match="none of the silent streams opened"):
        await load.silent(nobody, streams=2)


async def test_memory_is_shared_out_to_the_streams_that_opened(direct):
    result = await load.silent(dataclasses.replace(direct, pid=direct.upstream_pid), streams=3)
    assert (result["failed"], result["streams"]) == (0, 3)


async def test_calls_alternate_between_gateway_and_direct_way(direct):
    result = await load.first(direct, direct, calls=5, streams=1, pace=20.0)
    assert result["failed"] == 0
    assert result["added_p50_ms"] == result["through_p50_ms"] - result["direct_p50_ms"]


async def test_bytes_on_the_wire_are_those_of_the_events(direct):
    result = await load.wire(direct, chunks=20)
    assert result["failed"] == 0
    assert 200 < result["bytes_per_chunk"] < 400


def test_a_job_runs_in_a_process_of_its_own(direct, tmp_path):
    result = job("load", describe("wire", direct, chunks=5), tmp_path / "log", 30)
    assert result["failed"] == 0


def test_a_job_that_fails_says_why(direct, tmp_path):
    with pytest.raises(RuntimeError, match="KeyError: 'nothing'"):
        job("load", describe("nothing", direct), tmp_path / "log", 30)


@pytest.mark.parametrize(
    ("changed", "good"),
    [({}, True), ({"failed": 1}, False), ({"share_of_pace": 0.9}, False), ({"gap_p99_ms": 50.0}, False)],
)
def test_a_gateway_keeps_up_when_nothing_is_amiss(changed, good):
    assert measure.keeps_up({"failed": 0, "share_of_pace": 1.0, "gap_p99_ms": 49.0, **changed}) is good


def test_the_search_for_the_largest_number_of_streams_stops_at_the_second_failure(monkeypatch):
    tried = []

    def paced(bench, streams, pace, seconds):
        tried.append(streams)
        gap = 60.0 if streams > 75 or tried.count(50) == 1 else 1.0
        return {"failed": 0, "share_of_pace": 1.0, "gap_p99_ms": gap}

    monkeypatch.setattr(measure, "_paced", paced)
    bench = measure.Bench(measure.Sizes(), None, None, None, None)
    assert measure._capacity(bench)["streams"] == 75
    assert tried == [10, 25, 50, 50, 75, 100, 100]


def test_a_process_is_ended_with_its_children(tmp_path):
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '100']).pid, flush=True); time.sleep(100)"
    with process([sys.executable, "-c", code], tmp_path / "log", stdout=True) as child:
        grandchild = int(first_line(child, tmp_path / "log"))
    assert child.returncode is not None
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(grandchild)], capture_output=True, text=True).stdout
    assert not state or state.startswith("Z")  # ended; more letters may follow, such as N at a low priority


def test_the_whole_program_measures_a_small_run():
    sizes = ["--seconds", "0.3", "--rounds", "1", "--streams", "3", "--calls", "3", "--silent", "3"]
    figures = ["--figures", "silent,resumable,wire", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *sizes, *figures], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    (results,) = run["rounds"]
    assert results["headwater"]["resumable"]["failed"] == 0
    assert results["headwater"]["resumable"]["plain_us_per_chunk"] > 0
    assert results["headwater"]["resumable"]["resumable_us_per_chunk"] > 0
    assert results["headwater"]["silent"]["idle_rss_mb"] > 10
    assert results["direct"]["silent"] == results["direct"]["resumable"] == {}


def test_one_checkout_is_measured_against_another():
    sizes = ["--seconds", "0.3", "--rounds", "1", "--streams", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *sizes, "--figures", "paced", "--against", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert "| headwater | before |" in done.stdout
    assert "| headwater / before | " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--only", "nginx"], "'nginx' is none of headwater, direct"),
        (["--against", "docs"], "docs has no .venv/bin/headwater: `make setup` there makes it"),
        (["--figures", "speed"], "'speed' is none of"),
        (["--rounds", "0"], "sizes are above zero"),
        (["--write", "--only", "direct"], "leave --only and --figures out"),
    ],
)
def test_a_wrong_argument_is_named(arguments, why):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 2
    assert why in done.stderr


def test_the_shares_of_two_processes_are_measured():
    command = [sys.executable, "-m", "benchmarks.scaling", "--seconds", "0.3", "--rounds", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rounds = json.loads(done.stdout)
    assert {count: one["failed"] for count, (one,) in rounds.items()} == {"1": 0, "2": 0}
    assert rounds["1"][0]["streams_of_process"] == [64]
    assert sum(rounds["2"][0]["streams_of_process"]) == 64
    assert sum(rounds["2"][0]["share_of_process"]) == pytest.approx(1)
