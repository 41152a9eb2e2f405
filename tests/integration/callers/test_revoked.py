"""Calls that run when their callers may no longer call: they end within 5 s, with CALLER_UNAUTHENTICATED."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from headwater.v1 import agent_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.callers.token_file import revoke_tokens
from tests.integration.callers.place import HANGS, WAITS
from tests.support.callers.doors import EVERY, Doors, Identity, Visitor, doors
from tests.support.servers.server import run_cli
from tests.support.stubs.stub import details

MOST_SECONDS = 5.0


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def server(request, tmp_path_factory):
    with doors(tmp_path_factory.mktemp("revoked"), "mTLS", request.param) as made:
        yield made


class Calls:
    """The calls of an identity that do not end by themselves, on every connection: begun, and all answered once."""

    def __init__(self, visitor: Visitor, identity: Identity) -> None:
        self.visitor, self.identity = visitor, identity
        self.running: list[Any] = []
        self.stream_ids: list[str] = []

    async def begin(self) -> None:
        metadata = self.identity.metadata
        start = ParseDict({**WAITS, "requestId": ""}, workflow_service_pb2.StartWorkflowRunRequest())
        run_id = (await (await self.visitor.workflows(self.identity)).StartWorkflowRun(start, metadata=metadata)).run_id
        watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)
        for number, channel in enumerate(await self.visitor.channels(self.identity)):
            agents, workflows, workers = self.visitor.stubs_on(channel)
            for resumable in (False, True):
                asked = {"agent": HANGS, "prompt": "x", "resumable": resumable}
                stream = agents.Stream(ParseDict(asked, agent_service_pb2.StreamRequest()), metadata=metadata)
                first = await stream.read()
                self.stream_ids += [first.stream_id] if resumable else []
                self.running.append(stream)
            run = agents.Run(
                ParseDict({"agent": HANGS, "prompt": "x"}, agent_service_pb2.RunRequest()), metadata=metadata
            )
            events = workflows.WatchWorkflowRun(watch, metadata=metadata)
            await events.read()
            attached = workers.Attach(metadata=metadata)
            registration = {"workerId": f"w{number}{id(self)}", "queue": "mine", "handlers": ["other"]}
            await attached.write(ParseDict({"registration": registration}, worker_service_pb2.AttachRequest()))
            await attached.read()
            self.running += [run, events, attached]

    async def ends(self) -> tuple[float, set[tuple[str, str]]]:
        """How long the calls still take, and how they end."""
        began = time.monotonic()
        found = await asyncio.gather(*(ending(call) for call in self.running))
        return time.monotonic() - began, set(found)

    def are_all_running(self) -> bool:
        return not any(call.done() for call in self.running)


async def ending(call: Any) -> tuple[str, str]:
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
        await call.code()
    except grpc.aio.AioRpcError as error:
        return details(error)["ErrorInfo"].reason, str(error.details())
    return "OK", ""


async def both_call(
    server: Doors, ended: Identity, kept: Identity, end: Callable[[], Awaitable[None] | None]
) -> set[Any]:
    """Lets both callers call and ends the rights of one; how its calls have ended."""
    async with Visitor(server) as visitor:
        others, own = Calls(visitor, kept), Calls(visitor, ended)
        await others.begin()
        await own.begin()
        if (waiting := end()) is not None:
            await waiting
        seconds, endings = await own.ends()
        assert seconds < MOST_SECONDS
        assert {reason for reason, _ in endings} == {"CALLER_UNAUTHENTICATED"}
        assert others.are_all_running()
        agents = await visitor.agents(ended)
        for stream_id in own.stream_ids:
            resume = agent_service_pb2.ResumeStreamRequest(stream_id=stream_id)
            assert (await ending(agents.ResumeStream(resume, metadata=ended.metadata)))[0] == "CALLER_UNAUTHENTICATED"
        for call in others.running:
            call.cancel()
    return {text for _, text in endings}


async def test_a_token_is_revoked(server):
    bob = server.good["bob"]
    texts = await both_call(server, bob, server.good["alice"], lambda: revoke(server.folder, "bob"))
    assert texts == {"the token was revoked; ask for a new one"}


def revoke(folder: Path, name: str) -> None:
    revoke_tokens(folder, name, time.time())


async def test_a_jwt_expires(server):
    token = server.key.token("carla", scope=" ".join(EVERY), exp=int(time.time()) + 4)
    texts = await both_call(server, Identity(token), server.good["alice's JWT"], lambda: asyncio.sleep(0))
    assert texts == {"the JWT has expired; get a new one of its issuer"}


async def test_a_certificate_is_no_longer_the_callers(server):
    config = server.folder.parent / "headwater.toml"
    before = config.read_text()

    def reload() -> None:
        config.write_text(before.replace("dns:bob.example", "dns:robert.example"))
        done = run_cli("reload", "--config", str(config), "--data-dir", str(server.folder))
        assert done.returncode == 0, done.stderr

    texts = await both_call(
        server, server.good["bob's certificate"], server.good["alice's certificate"], lambda: asyncio.to_thread(reload)
    )
    assert texts == {"the certificate of the connection is no longer one of this caller's"}
    config.write_text(before)


@pytest.mark.timeout(120)  # five reloads of two processes
async def test_a_bad_file_changes_no_caller_and_a_good_one_all(server):
    config = server.folder.parent / "headwater.toml"
    before = config.read_text()
    issuers = before.partition("[callers")[0]

    def reload(text: str) -> Any:
        config.write_text(text)
        return run_cli("reload", "--config", str(config), "--data-dir", str(server.folder))

    async with Visitor(server) as visitor:
        calls = [Calls(visitor, server.good[kind]) for kind in ("alice's JWT", "alice's certificate", "alice")]
        for each in calls:
            await each.begin()
        for bad, mistake in (
            (before.replace("leeway_seconds = 0", "leeway_seconds = -1"), "jwt.corp.leeway_seconds"),
            (before.replace('jwks_file = "', 'jwks_file = "/none'), "cannot be read: No such file"),
            (before.replace("dns:alice.example", "dns:bob.example"), "stands in callers."),
        ):
            done = await asyncio.to_thread(reload, bad)
            assert done.returncode == 78
            assert mistake in done.stderr
        await asyncio.sleep(1.5)  # a look at all running calls
        assert all(each.are_all_running() for each in calls)
        other = issuers.replace("[jwt.corp]", "[jwt.other]").replace("id.example", "elsewhere.example")
        assert (await asyncio.to_thread(reload, other)).returncode == 0
        for each in calls[:2]:
            seconds, endings = await each.ends()
            assert seconds < MOST_SECONDS
            assert {reason for reason, _ in endings} == {"CALLER_UNAUTHENTICATED"}
        assert calls[2].are_all_running()
        for call in calls[2].running:
            call.cancel()
    assert (await asyncio.to_thread(reload, before)).returncode == 0
