"""The admin address of a real server: `/metrics` counts all that was done, over all processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.metrics import ADMIN, counted, get, port_of, scrape, total
from tests.support.servers.processes import channel_to, pid_of
from tests.support.servers.server import ServerProcess, run_cli
from tests.support.services.everything import MARK, STREAMS, attached_worker, do_some_of_everything, question

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.fixture(scope="module")
def attacked() -> Iterator[ServerProcess]:
    with ServerProcess("--scripted", variables=ADMIN) as server:
        yield server


async def test_the_counts_are_those_of_what_was_done(busy):
    port = port_of(busy)
    async with grpc.aio.insecure_channel(busy.target) as channel, attached_worker(channel, "gpu"):
        await do_some_of_everything(channel, port)
        series = await scrape(port)
    echo = {"provider": "scripted", "model": "echo"}
    other = {"provider": "openai", "model": "other"}
    named = {"provider": "openai", "model": "gpt-4o-mini"}
    expected = [
        ("headwater_streams_started_total", {}, STREAMS),
        ("headwater_streams_open", {}, 0),
        ("headwater_streams_ended_total", {**echo, "reason": "stop"}, 3),
        ("headwater_streams_ended_total", {**echo, "reason": "left"}, 1),
        ("headwater_streams_ended_total", {**other, "reason": "PROVIDER_UNAVAILABLE"}, 60),
        ("headwater_first_token_seconds_count", echo, 4),
        ("headwater_attempts_failed_total", {**other, "reason": "PROVIDER_UNAVAILABLE"}, 60),
        ("headwater_attempts_failed_total", {**named, "reason": "PROVIDER_UNAVAILABLE"}, 1),
        ("headwater_circuits", {**named, "state": "half_open"}, 1),
        ("headwater_circuits", {**other, "state": "half_open"}, 60),
        ("headwater_calls_failed_total", {"method": "Stream", "reason": "PROVIDER_UNAVAILABLE"}, 60),
        ("headwater_calls_failed_total", {"method": "ResumeStream", "reason": "STREAM_NOT_FOUND"}, 1),
        ("headwater_chunks_total", echo, 3 + 1 + 3 + 1),
        ("headwater_longest_gap_seconds_count", echo, 2),
        ("headwater_fallbacks_total", echo, 1),
        ("headwater_tokens_total", {**echo, "kind": "output"}, 3 + 3 + 1),
        ("headwater_resumes_total", {"outcome": "resumed"}, 1),
        ("headwater_resumes_total", {"outcome": "STREAM_NOT_FOUND"}, 1),
        ("headwater_run_seconds_count", {"status": "completed"}, 1),
        ("headwater_step_attempts_total", {"outcome": "completed"}, 1),
        ("headwater_runs_open", {}, 1),
        ("headwater_workers", {"queue": "gpu"}, 1),
        ("headwater_tasks_running", {"queue": "gpu"}, 0),
    ]
    assert [(n, labels, total(series, n, **labels)) for n, labels, _ in expected] == expected
    assert total(series, "headwater_cost_total", **echo) == pytest.approx((3 + 3 + 1 + 2 * (3 + 3 + 1)) / 1e6)
    assert total(series, "headwater_journal_bytes") > 0
    assert total(series, "headwater_stream_log_bytes") > 0
    assert total(series, "process_resident_memory_bytes") > 10_000_000
    assert total(series, "process_open_fds") > 10


async def test_no_label_has_a_text_of_a_caller_and_callers_cannot_make_series_without_end(busy):
    port = port_of(busy)
    async with grpc.aio.insecure_channel(busy.target) as channel:
        await do_some_of_everything(channel, port)
        _, text = await get(port, "/metrics")
    assert MARK not in text
    models = {value for _, labels in await scrape(port) for name, value in labels if name == "model"}
    assert models == {"echo", "other", "gpt-4o-mini"}


async def test_the_table_of_the_documentation_has_the_metrics_that_there_are(busy):
    port = port_of(busy)
    async with grpc.aio.insecure_channel(busy.target) as channel, attached_worker(channel, "gpu"):
        await do_some_of_everything(channel, port)
        open_one = AgentServiceStub(channel).Stream(question("scripted/echo", text="one two", hang_after=1))
        await open_one.read()
        _, text = await get(port, "/metrics")
        open_one.cancel()
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"process", "le"}
        found[name] = family.type, labels
    table = OPERATIONS.read_text("utf-8").partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", table, re.MULTILINE)
    assert {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in rows} == found


async def test_each_process_is_counted_apart_and_one_that_hangs_is_missed():
    with ServerProcess("--scripted", variables=ADMIN, processes=2) as server:
        port = port_of(server)
        for index, times in ((0, 1), (1, 2)):
            async with channel_to(server.target, index) as channel:
                before = total(await scrape(port), "headwater_streams_started_total", process=str(index))
                for _ in range(times):
                    _ = [chunk async for chunk in AgentServiceStub(channel).Stream(question("scripted/echo"))]
                await counted(port, "headwater_streams_started_total", before + times, process=str(index))
        pid = await pid_of(server, 1)
        os.kill(pid, signal.SIGSTOP)
        series = await scrape(port)
        with contextlib.suppress(ProcessLookupError):  # a busy machine took so long that it was replaced
            os.kill(pid, signal.SIGCONT)
        assert total(series, "headwater_process_up", process="0") == 1
        assert total(series, "headwater_process_up", process="1") == 0
        assert total(series, "headwater_streams_started_total", process="0") >= 1
        assert not [labels for name, labels in series if name != "headwater_process_up" and ("process", "1") in labels]
        await counted(port, "headwater_process_up", 2)


@pytest.mark.parametrize(
    "said",
    [
        b"POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n" + b"x" * 100_000,
        b"GET /metrics HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 100_000,
        b"\x16\x03\x01" + b"\0" * 100_000,
        b"GET /../../etc/passwd HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /met",
    ],
    ids=["body", "headers", "tls", "path", "half"],
)
async def test_no_request_at_the_admin_address_harms_the_server(attacked, said):
    port = port_of(attacked)
    before = total(await scrape(port), "headwater_streams_started_total")
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for caller in callers:
        with contextlib.suppress(ConnectionError):  # it is not read to its end
            caller.sendall(said)
    async with grpc.aio.insecure_channel(attacked.target) as channel:
        chunks = [chunk async for chunk in AgentServiceStub(channel).Stream(question("scripted/echo"))]
    assert chunks[-1].is_final
    await counted(port, "headwater_streams_started_total", before + 1)
    for caller in callers:
        caller.close()
    assert {event["level"] for event in attacked.events} <= {"info", "debug"}


async def test_a_server_that_drains_is_healthy_but_not_ready():
    variables = {**ADMIN, "HEADWATER_DRAIN_SECONDS": "20"}
    with ServerProcess("--scripted", variables=variables) as server:
        port = port_of(server)
        assert await get(port, "/readyz") == (200, "OK\n")
        async with grpc.aio.insecure_channel(server.target) as channel:
            call = AgentServiceStub(channel).Stream(question("scripted/echo", text="one two", hang_after=1))
            await call.read()
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                while (await get(port, "/readyz"))[0] != 503:
                    await asyncio.sleep(0.01)
            assert await get(port, "/healthz") == (200, "OK\n")
            await counted(port, "headwater_streams_open", 1)
            call.cancel()


def test_without_the_setting_there_is_no_admin_address():
    with ServerProcess("--scripted") as server:
        server.stop()
        assert "admin" not in [event["event"] for event in server.events]


def test_an_admin_address_that_another_program_has_ends_the_start_with_the_cure():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_cli("serve", "--port", "0", "--scripted", variables={"HEADWATER_ADMIN_ADDRESS": address})
    assert done.returncode == 1
    assert f"cannot listen on {address}: Address already in use; choose with admin_address" in done.stderr
