"""The authentication hook of an installed package."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from headwater.v1 import agent_service_pb2, workflow_service_pb2
from headwater_server.config import CONFIG_EXIT
from tests.integration.callers.place import WAITS
from tests.support.callers.plugin import installed
from tests.support.servers.server import ServerProcess, run_cli
from tests.support.stubs.stub import agent_stub, details, workflow_stub

SECRETS = ("t0psecret", "expired", "broken", "slow", "odd")


class FaultyServer(ServerProcess):
    """Its log may speak of faults: its hook fails."""

    def __exit__(self, *_: object) -> None:
        assert self.stop() == 0


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("hook")
    variables = {"PYTHONPATH": installed(folder), "HEADWATER_AUTHENTICATION_HOOK": "company"}
    more = {"HEADWATER_LOG_LEVEL": "debug", "HEADWATER_DATA_DIR": str(folder / "data")}
    with FaultyServer("--scripted", variables={**variables, **more}, processes=request.param) as running:
        yield running
        running.stop()
        assert [secret for secret in SECRETS if f" {secret}" in running.log] == []


def ticket(name: str, secret: str = SECRETS[0]) -> tuple[tuple[str, str], ...]:
    return (("x-company-ticket", f"{name} {secret}"),)


async def refusal(server: ServerProcess, metadata: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    async with agent_stub(server.target) as agents:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agents.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=metadata)
    return details(caught.value)["ErrorInfo"].reason, str(caught.value.details())


async def test_what_belongs_to_a_caller_of_the_hook_is_its_own_in_every_process(server):
    start = ParseDict(WAITS, workflow_service_pb2.StartWorkflowRunRequest())
    for _ in range(6):
        async with workflow_stub(server.target) as workflows:
            run_id = (await workflows.StartWorkflowRun(start, metadata=ticket("alice"))).run_id
            get = workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id)
            assert (await workflows.GetWorkflowRun(get, metadata=ticket("alice", "another"))).run.run_id == run_id
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await workflows.GetWorkflowRun(get, metadata=ticket("bob"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await workflows.GetWorkflowRun(get)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_call_that_nothing_knows_is_refused(server):
    reason, text = await refusal(server, ())
    assert reason == "CALLER_UNAUTHENTICATED"
    assert "the call has no token" in text


async def test_the_hook_says_why_it_refuses(server):
    assert await refusal(server, ticket("alice", "expired")) == (
        "CALLER_UNAUTHENTICATED", "the ticket has expired; run `company login`",
    )  # fmt: skip


@pytest.mark.parametrize("secret", ["broken", "odd", "slow"])
async def test_a_hook_that_fails_lets_nobody_in_and_its_text_stays_in_it(server, secret):
    reason, text = await refusal(server, ticket("alice", secret))
    assert (reason, text) == ("INTERNAL", "the authentication hook of the server failed; its log says why")


async def test_the_log_says_how_and_where_a_hook_failed(tmp_path):
    variables = {"PYTHONPATH": installed(tmp_path), "HEADWATER_AUTHENTICATION_HOOK": "company"}
    with FaultyServer("--scripted", variables=variables) as server:
        for secret in ("broken", "slow", "odd"):
            await refusal(server, ticket("alice", secret))
        server.stop()
        faults = [event for event in server.events if event["event"] == "fault"]
    assert [fault["error"] for fault in faults] == ["RuntimeError", "TimeoutError", "HeadwaterError"]
    assert any("company_callers.py" in place for fault in faults for place in fault["at"])


async def test_a_hook_names_no_caller_that_there_cannot_be(server):
    assert (await refusal(server, ticket("a|b/c@d", "odd")))[0] == "INTERNAL"
    assert (await refusal(server, ticket("", "t0psecret")))[0] == "INTERNAL"


async def test_a_hook_need_not_be_async_and_sees_the_connection(tmp_path):
    variables = {"PYTHONPATH": installed(tmp_path), "HEADWATER_AUTHENTICATION_HOOK": "peer"}
    with ServerProcess("--scripted", variables=variables) as server:
        async with agent_stub(server.target) as agents:
            await agents.ListStreams(agent_service_pb2.ListStreamsRequest())
        server.stop()
        assert [event["caller"] for event in server.events if event["event"] == "rpc"] == ["ipv4"]


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("compny", "there are company, missing, number, peer"),
        ("number", "is no function"),
        ("missing", "cannot be loaded: AttributeError"),
    ],
)
def test_a_hook_that_cannot_be_loaded_is_a_mistake_of_the_settings(tmp_path, name, mistake):
    variables = {"PYTHONPATH": installed(tmp_path), "HEADWATER_AUTHENTICATION_HOOK": name}
    done = run_cli("serve", "--port", "0", "--scripted", variables=variables)
    assert done.returncode == CONFIG_EXIT
    assert "HEADWATER_AUTHENTICATION_HOOK: the entry point " in done.stderr
    assert mistake in done.stderr
