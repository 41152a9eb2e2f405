"""One line of the audit for each change, with its caller and its request id, with one process and with two."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from headwater.v1 import agent_service_pb2, worker_service_pb2, workflow_service_pb2
from tests.integration.callers.place import HANGS, METHODS, Place, placed
from tests.support.callers.doors import Doors, doors
from tests.support.servers.server import run_cli


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("audit")
    with doors(folder, "plain", request.param, HEADWATER_LOG_LEVEL="error", HEADWATER_MAX_WORKERS="1") as made:
        yield made


def named(place: Place, kind: str, request_id: str) -> Any:
    return (*place.metadata(kind), ("x-request-id", request_id))


async def change_all(place: Place) -> None:
    """Makes each change once, the calls with the request ids r1 and so on."""
    agents, workflows = await place.stubs()
    cancel = workflow_service_pb2.CancelWorkflowRunRequest(run_id=place.run_id)
    await workflows.CancelWorkflowRun(cancel, metadata=named(place, "alice", "r1"))
    resume = workflow_service_pb2.ResumeWorkflowRunRequest(run_id=place.run_id)
    await workflows.ResumeWorkflowRun(resume, metadata=named(place, "alice's JWT", "r2"))
    await workflows.CancelWorkflowRun(cancel, metadata=named(place, "operator", "r3"))
    delete = workflow_service_pb2.DeleteWorkflowRunRequest(run_id=place.run_id)
    await workflows.DeleteWorkflowRun(delete, metadata=named(place, "alice", "r4"))
    _, _, workers = place.visitor.stubs_on((await place.visitor.channels(place.doors.good["bob"]))[-1])
    attached = workers.Attach(metadata=named(place, "bob", "r5"))
    registration = {"workerId": "w", "queue": "mine", "handlers": ["other"]}
    await attached.write(ParseDict({"registration": registration}, worker_service_pb2.AttachRequest()))
    await attached.read()
    attached.cancel()
    asked = ParseDict({"agent": HANGS, "prompt": "x"}, agent_service_pb2.StreamRequest())
    own = agents.Stream(asked, metadata=place.metadata("alice"))
    stream = agent_service_pb2.CancelStreamRequest(stream_id=(await own.read()).stream_id)
    await agents.CancelStream(stream, metadata=named(place, "alice", "own"))
    stream = agent_service_pb2.CancelStreamRequest(stream_id=place.stream_id)
    await agents.CancelStream(stream, metadata=named(place, "operator", "r6"))
    # Nothing is changed by these.
    for method in ("GetWorkflowRun", "CancelWorkflowRun", "DeleteWorkflowRun", "CancelStream"):
        (described,) = (each for each in METHODS if each.path.endswith(f"/{method}"))
        for kind in ("bob", "wrong", "only worker:mine", "alice"):
            await place.ask(described, kind)


async def test_each_change_is_one_line_with_its_caller_and_its_request(server):
    folder = str(server.folder)
    async with placed(server) as place:
        await change_all(place)
        made = run_cli("token", "--data-dir", folder, "create", "erin", "--scope", "stream")
        assert made.returncode == 0
        assert run_cli("token", "--data-dir", folder, "revoke", "erin").returncode == 0
        config = str(server.folder.parent / "headwater.toml")
        assert run_cli("reload", "--config", config, "--data-dir", folder).returncode == 0
    server.server.stop()
    lines = [event for event in server.server.events if event["event"] == "audit"]
    assert {(line["logger"], line["level"]) for line in lines} == {("headwater.audit", "info")}
    calls = [(line["action"], line.get("caller"), line.get("request_id")) for line in lines]
    of_place = [("run_cancelled", "alice", None), ("run_deleted", "alice", None)]  # of the end of `placed`
    assert sorted(map(str, (call for call in calls if call not in of_place))) == sorted(map(str, [
        ("run_cancelled", "alice", "r1"),
        ("run_resumed", "alice", "r2"),
        ("run_cancelled", "carol", "r3"),
        ("run_deleted", "alice", "r4"),
        ("worker_registered", "bob", "r5"),
        ("stream_cancelled", "carol", "r6"),
        ("token_created", None, None),
        ("token_revoked", None, None),
        ("reloaded", None, None),
    ]))  # fmt: skip
    facts = {line["action"]: line for line in lines}
    assert facts["run_deleted"]["run_id"] == place.run_id
    assert facts["stream_cancelled"]["stream_id"] == place.stream_id
    assert facts["stream_cancelled"]["of"] == "alice"
    assert (facts["worker_registered"]["worker_id"], facts["worker_registered"]["queue"]) == ("w", "mine")
    assert (facts["token_created"]["of"], facts["token_created"]["scopes"]) == ("erin", ["stream"])
    assert facts["token_created"]["token_id"] == facts["token_revoked"]["token_id"]
    assert made.stdout.strip() not in server.server.log


async def twice(ask: Any, request: Any, metadata: Any) -> None:
    """Asks for a change at once and again afterwards; the second to ask may find nothing any more."""
    await asyncio.gather(*(ask(request, metadata=metadata) for _ in range(3)), return_exceptions=True)
    with suppress(grpc.RpcError):
        await ask(request, metadata=metadata)


async def test_what_is_asked_again_or_refused_is_no_change(server):
    async with placed(server) as place:
        agents, workflows = await place.stubs()
        operator, alice = place.metadata("operator"), place.metadata("alice")
        await twice(agents.CancelStream, agent_service_pb2.CancelStreamRequest(stream_id=place.stream_id), operator)
        await twice(
            workflows.CancelWorkflowRun, workflow_service_pb2.CancelWorkflowRunRequest(run_id=place.run_id), alice
        )
        resume = workflow_service_pb2.ResumeWorkflowRunRequest(run_id=place.run_id)
        for _ in range(3):
            await workflows.ResumeWorkflowRun(resume, metadata=alice)
        _, _, workers = place.visitor.stubs_on((await place.visitor.channels(server.good["bob"]))[-1])
        for number in range(2):
            registration = {"workerId": f"w{number}", "queue": "mine", "handlers": ["h"]}
            attached = workers.Attach(metadata=place.metadata("bob"))
            await attached.write(ParseDict({"registration": registration}, worker_service_pb2.AttachRequest()))
            if number:
                assert await attached.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            else:
                await attached.read()
                first = attached
        first.cancel()
    server.server.stop()
    lines = [event["action"] for event in server.server.events if event["event"] == "audit"]
    assert sorted(lines[:4]) == ["run_cancelled", "run_resumed", "stream_cancelled", "worker_registered"]
    assert lines[4:] == ["run_cancelled", "run_deleted"]  # of the end of `placed`


def test_the_command_writes_its_changes_into_a_private_file(tmp_path):
    folder = tmp_path / "data"
    for args in (
        ("create", "erin", "--scope", "stream"),
        ("create", "erin", "--scope", "operator"),
        ("revoke", "erin"),
    ):
        assert run_cli("token", "--data-dir", str(folder), *args).returncode == 0
    assert run_cli("token", "--data-dir", str(folder), "revoke", "erin").returncode == 1
    file = folder / "audit.log"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["action"] for line in lines] == ["token_created"] * 2 + ["token_revoked"] * 2
    assert {(line["of"], line["uid"]) for line in lines} == {("erin", os.getuid())}
