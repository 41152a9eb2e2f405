"""Lists, page tokens, ids of requests and streams of steps show each caller its own alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from headwater.v1 import agent_service_pb2, workflow_service_pb2
from tests.integration.callers.place import BEGUN, HANGS, WAITS, Place, placed
from tests.support.callers.doors import Doors, doors


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with doors(tmp_path_factory.mktemp("callers"), "plain", request.param) as made:
        yield made


@pytest.fixture
async def place(server: Doors) -> Any:
    async with placed(server) as made:
        yield made


async def test_lists_have_what_belongs_to_their_caller_and_an_operators_have_all(place: Place) -> None:
    first = agent_service_pb2.ListStreamsRequest(show_ended=True)
    agents, workflows = await place.stubs()
    for kind, count in (("alice", 1), ("alice's second", 1), ("operator", 1), ("bob", 0)):
        with_token = place.metadata(kind)
        streams = await agents.ListStreams(first, metadata=with_token)
        assert [each.stream_id for each in streams.streams if each.stream_id == place.stream_id] == [
            place.stream_id
        ] * count
        runs = await workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=with_token)
        assert [each.run_id for each in runs.runs] == [place.run_id] * count


async def test_a_page_token_shows_nothing_of_another_caller(place: Place) -> None:
    alice, bob = place.metadata("alice"), place.metadata("bob")
    request = workflow_service_pb2.ListWorkflowRunsRequest(page_size=1)
    _, workflows = await place.stubs()
    start = ParseDict(BEGUN, workflow_service_pb2.StartWorkflowRunRequest())
    newer = (await workflows.StartWorkflowRun(start, metadata=alice)).run_id
    first = await workflows.ListWorkflowRuns(request, metadata=alice)
    assert [run.run_id for run in first.runs] == [newer]
    request.page_token = first.next_page_token
    assert [run.run_id for run in (await workflows.ListWorkflowRuns(request, metadata=alice)).runs] == [place.run_id]
    assert not (await workflows.ListWorkflowRuns(request, metadata=bob)).runs


async def test_a_request_id_is_the_callers_own(place: Place) -> None:
    _, workflows = await place.stubs()
    start = ParseDict(WAITS, workflow_service_pb2.StartWorkflowRunRequest())
    again = await workflows.StartWorkflowRun(start, metadata=place.metadata("alice's second"))
    assert again.run_id == place.run_id
    bob = place.metadata("bob")
    other = await workflows.StartWorkflowRun(start, metadata=bob)
    assert other.run_id != place.run_id
    await workflows.CancelWorkflowRun(workflow_service_pb2.CancelWorkflowRunRequest(run_id=other.run_id), metadata=bob)
    await workflows.DeleteWorkflowRun(workflow_service_pb2.DeleteWorkflowRunRequest(run_id=other.run_id), metadata=bob)


async def test_a_stream_of_a_step_belongs_to_the_caller_whose_run_it_is(place: Place) -> None:
    listing = agent_service_pb2.ListStreamsRequest()
    asking = {"workflow": {"name": "w", "agent": HANGS, "steps": [{"name": "a", "action": "x"}]}}
    start = ParseDict(asking, workflow_service_pb2.StartWorkflowRunRequest())
    alice, bob = place.metadata("alice"), place.metadata("bob")
    agents, workflows = await place.stubs()
    run_id = (await workflows.StartWorkflowRun(start, metadata=alice)).run_id
    await until_it_speaks(workflows, run_id, alice)
    assert len((await agents.ListStreams(listing, metadata=alice)).streams) == 2
    assert not (await agents.ListStreams(listing, metadata=bob)).streams
    cancel = workflow_service_pb2.CancelWorkflowRunRequest(run_id=run_id)
    await workflows.CancelWorkflowRun(cancel, metadata=alice)
    resume = workflow_service_pb2.ResumeWorkflowRunRequest(run_id=run_id)
    resumed = await workflows.ResumeWorkflowRun(resume, metadata=place.metadata("operator"))
    await until_it_speaks(workflows, run_id, alice, resumed.sequence)
    assert len((await agents.ListStreams(listing, metadata=alice)).streams) == 2


async def until_it_speaks(workflows: Any, run_id: str, metadata: Any, after: int = 0) -> None:
    """Waits for the first output of a step."""
    watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id, after_sequence=after)
    events = workflows.WatchWorkflowRun(watch, metadata=metadata)
    async for event in events:
        if event.WhichOneof("event") == "step_chunk":
            break
    events.cancel()


async def test_a_run_uses_the_queues_that_the_scopes_of_its_caller_name(place: Place) -> None:
    _, workflows = await place.stubs()
    token = place.doors.key.token("frank", scope="workflow:mine workflow:other")
    metadata = (("authorization", f"Bearer {token}"),)

    async def start(queue: str, step_queue: str) -> Any:
        steps = [{"name": "a", "handler": "h", "queue": step_queue}, {"name": "b", "action": "x"}]
        asked = {"workflow": {"name": "w", "steps": steps}, "queue": queue}
        request = ParseDict(asked, workflow_service_pb2.StartWorkflowRunRequest())
        return (await workflows.StartWorkflowRun(request, metadata=metadata)).run_id

    for queue, step_queue in (("mine", ""), ("mine", "other"), ("", "mine")):
        run = workflow_service_pb2.CancelWorkflowRunRequest(run_id=await start(queue, step_queue))
        await workflows.CancelWorkflowRun(run, metadata=metadata)
    for queue, step_queue in (("theirs", ""), ("mine", "theirs")):
        with pytest.raises(grpc.aio.AioRpcError, match="frank lacks the scope workflow:theirs") as caught:
            await start(queue, step_queue)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    listed = await workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=metadata)
    assert len(listed.runs) == 3
