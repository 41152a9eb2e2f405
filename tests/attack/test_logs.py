"""The log: a reader that has stopped, gone or has no room holds up no call and no end, and misses no line unsaid."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from headwater.v1 import RunRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2 import GetWorkflowRunRequest, StartWorkflowRunRequest, WatchWorkflowRunRequest
from headwater_server.telemetry.safe_fields import HIDDEN
from tests.support.attacks import OPTIONS, OtherCaller
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub, workflow_stub
from tests.support.upstream.upstream import Upstream, always

SMALL = 4096
"""Bytes of a pipe that is full after some twenty calls."""
CALLS = 200
MOST_SECONDS = 1.0
"""The longest wait of another caller, on a busy machine too; a call that waits for the reader never ends."""


@contextmanager
def unread_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a small pipe that is not read."""
    source, sink = os.pipe()
    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, SMALL)
    try:
        yield source, sink
    finally:
        os.close(source)
        os.close(sink)


def call(target: str, times: int) -> None:
    """Calls that write a line of the log each; each must be answered."""
    request = RunRequest(prompt="x", agent={"model": "scripted/echo"})
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        for _ in range(times):
            AgentServiceStub(channel).Run(request, timeout=5)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end(processes):
    with (
        unread_pipe() as (_, sink),
        ServerProcess("--scripted", processes=processes, log_to=sink) as server,
    ):
        with OtherCaller(server.target) as other:
            call(server.target, CALLS)
        assert (other.failures, other.longest < MOST_SECONDS) == ([], True), other.longest
        assert server.stop() == 0


def test_a_reader_that_returns_gets_the_lines_that_waited_in_their_order():
    with unread_pipe() as (source, sink), ServerProcess("--scripted", log_to=sink) as server:
        call(server.target, CALLS)
        os.set_blocking(source, False)
        lines = b""
        while lines.count(b'"rpc": "Run"') < CALLS:
            with open(source, "rb", closefd=False) as log:
                lines += log.read() or b""
    events = [json.loads(line) for line in lines.splitlines()]
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)


def test_a_log_on_a_full_disk_holds_up_neither_calls_nor_the_end():
    with open("/dev/full", "wb") as disk, ServerProcess("--scripted", log_to=disk.fileno()) as server:
        call(server.target, CALLS)
        assert server.stop() == 0


CARD = "my card is 4111-1111-1111-1111"
ERROR = json.dumps({"error": {"message": CARD, "code": f"cannot parse: {CARD}", "type": CARD, "status": CARD}}).encode()
CHUNK = {"id": CARD, "model": CARD, "object": CARD, "choices": [{"index": 0, "delta": {"content": "x"}}]}
ODD_END = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": CARD}]}
EVENTS = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in (CHUNK, ODD_END))
EVENT_STREAM = {"content_type": "text/event-stream"}
ANSWERS = [
    always("400 Bad", ERROR, x_request_id=CARD, server=CARD, retry_after=CARD),
    always(f"429 {CARD}", ERROR, content_type=CARD),
    always("500 Bad", CARD.encode()),
    always("200 OK", EVENTS, **EVENT_STREAM, x_request_id=CARD),
    always("200 OK", b"data: %s\n\n" % ERROR, **EVENT_STREAM),
    always("200 OK", b"event: %s\ndata: {%s\n\n" % (CARD.encode(), CARD.encode()), **EVENT_STREAM),
    always("302 Found", b"", location=f"http://{CARD}/"),
    always("200 OK", EVENTS, content_encoding=CARD),
    always(f"{CARD} OK", b""),
    always("200 OK", b"x", **{f"a header\x01 {CARD}": "x"}),
]
"""Answers of a provider that quotes the prompt wherever it can."""


async def test_the_log_shows_no_prompt_that_a_provider_or_a_caller_puts_where_a_name_belongs(tmp_path):
    metadata = [("x-request-id", CARD)]
    async with Upstream(ANSWERS[0]) as upstream:
        config = tmp_path / "headwater.toml"
        config.write_text(f'[providers.x]\ntype = "openai"\nbase_url = "{upstream.url}/v1"\n')
        with ServerProcess("--config", str(config), variables={"HEADWATER_LOG_LEVEL": "debug"}) as server:
            async with agent_stub(server.target) as stub:
                for answer in ANSWERS:
                    upstream.answer = answer
                    await stub.Run(RunRequest(prompt=CARD, agent={"model": "x/m"}), metadata=metadata).code()
                await stub.Run(RunRequest(prompt=CARD, agent={"model": f"x/{CARD}"})).code()
                await stub.Run(RunRequest(prompt=CARD, agent={"provider": CARD})).code()
            step = Step(name=CARD, action=CARD, agent={"model": f"x/{CARD}"})
            async with workflow_stub(server.target) as stub:
                request = StartWorkflowRunRequest(workflow=Workflow(name=CARD, steps=[step]))
                run_id = (await stub.StartWorkflowRun(request)).run_id
                async for _ in stub.WatchWorkflowRun(WatchWorkflowRunRequest(run_id=run_id)):
                    pass
                await stub.GetWorkflowRun(GetWorkflowRunRequest(run_id=CARD)).code()
    own = re.compile(r'"(timestamp|peer|stream_id|run_id|port)": "?[^",}]*')  # these can have any digits
    assert [line for line in server.log.splitlines() if "4111" in own.sub("", line)] == []
    assert HIDDEN in [event.get("provider_code") for event in server.events]
