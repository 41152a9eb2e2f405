"""Which caller may call which method: every method of the contract, from the descriptors, for each kind of caller.

Callers show a token, a JWT or a certificate; connections are plain, with TLS, and with a certificate on both sides.
Each test runs against servers of one and of two processes, and makes its calls over several connections, so that both of two
take some: a call is passed to the process that has the stream or the runs. Nothing that is refused leaves a trace: the
stream and the run of `alice` are as before, and no others were begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from headwater.v1 import agent_service_pb2, workflow_service_pb2
from headwater.v1.workflow_pb2 import WORKFLOW_RUN_STATUS_RUNNING
from tests.integration.callers.place import METHODS, OK, Place, name_of, placed, service_of
from tests.support.callers.doors import EVERY, SCOPES, Doors, doors
from tests.support.methods.calls import methods_in

FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, "CALLER_FORBIDDEN")
UNKNOWN_CALLER = (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED")
NO_STREAM = (grpc.StatusCode.NOT_FOUND, "STREAM_NOT_FOUND")
NO_RUN = (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")

BY_NAME = {name_of(method): method for method in METHODS}
HEALTH = methods_in(health_pb2.DESCRIPTOR.services_by_name.values())
REFLECTION = methods_in(reflection_pb2.DESCRIPTOR.services_by_name.values())


CHAOS = [pytest.param(each, marks=pytest.mark.chaos) for each in (("plain", 2), ("TLS", 1))]
"""By default each kind of connection is there with one process or with two, and one kind with both."""


@pytest.fixture(
    scope="module",
    params=[("plain", 1), ("TLS", 2), ("mTLS", 1), ("mTLS", 2), ("mTLS, lean", 2), *CHAOS],
    ids=lambda each: f"{each[0]}, {each[1]} processes",
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    kind, count = request.param
    front = "lean" if kind.endswith("lean") else "grpcio"
    with doors(tmp_path_factory.mktemp("callers"), kind.partition(",")[0], count, HEADWATER_FRONT=front) as made:
        yield made


@pytest.fixture
async def place(server: Doors) -> Any:
    async with placed(server) as made:
        yield made


def kinds(place: Place, name: str) -> list[str]:
    """The identities of one kind of caller: by its token, its JWT and its certificate."""
    found = [kind for kind in place.doors.good if kind.startswith(name)]
    assert len(found) >= (3 if place.doors.stranger else 2), found
    return found


async def test_without_a_caller_no_method_is_there(place: Place) -> None:
    before = await place.left()
    assert before == ([place.stream_id], [(place.run_id, WORKFLOW_RUN_STATUS_RUNNING)])
    assert len(place.doors.bad) == 11
    for kind in place.doors.bad:
        for method in (*METHODS, *REFLECTION):
            assert await place.ask(method, kind) == {UNKNOWN_CALLER}, (kind, method.path)
    assert await place.left() == before


async def test_a_caller_without_the_scope_of_a_method_may_not_call_it(place: Place) -> None:
    before = await place.left()
    for scope in EVERY:
        for kind in kinds(place, f"only {scope}"):
            for method in METHODS:
                if SCOPES[service_of(method)] != scope:
                    assert await place.ask(method, kind) == {FORBIDDEN}, (kind, method.path)
    assert await place.left() == before


async def test_what_belongs_to_another_caller_is_not_there(place: Place) -> None:
    before = await place.left()
    expected = {
        **dict.fromkeys(("Stream", "ResumeStream", "CancelStream"), NO_STREAM),
        **dict.fromkeys(("Watch", "Get", "Cancel", "Resume", "Delete"), NO_RUN),
    }
    for kind in kinds(place, "bob"):
        seen = set()
        for method in METHODS:
            name = name_of(method).removesuffix("WorkflowRun")
            if name in expected:
                seen.add(name)
                assert await place.ask(method, kind) == {expected[name]}, (kind, method.path)
        assert seen == set(expected)
        stream = BY_NAME["Stream"]
        assert await place.ask(stream, kind, {**place.requests(stream), "resumable": False}) == {NO_STREAM}
    assert await place.left() == before


async def test_a_caller_has_what_is_its_own_whatever_it_shows(place: Place) -> None:
    for kind in kinds(place, "alice"):
        for name in ("ResumeStream", "GetWorkflowRun", "WatchWorkflowRun", "ListStreams", "ListModels", "Attach"):
            assert await place.ask(BY_NAME[name], kind) == {OK}, (kind, name)


async def test_an_operator_calls_methods_for_what_belongs_to_others_but_is_no_worker(place: Place) -> None:
    for kind in kinds(place, "operator"):
        for name in (
            "GetWorkflowRun",
            "WatchWorkflowRun",
            "ListStreams",
            "ListModels",
            "ValidateWorkflow",
            "ResumeStream",
            "GetServerStatus",
        ):
            assert await place.ask(BY_NAME[name], kind) == {OK}, (kind, name)
        assert await place.ask(BY_NAME["Attach"], kind) == {FORBIDDEN}
    operator = place.doors.good["operator"]
    agents, workflows = await place.visitor.agents(operator), await place.visitor.workflows(operator)
    cancel = agent_service_pb2.CancelStreamRequest(stream_id=place.stream_id)
    await agents.CancelStream(cancel, metadata=operator.metadata)
    run = workflow_service_pb2.CancelWorkflowRunRequest(run_id=place.run_id)
    await workflows.CancelWorkflowRun(run, metadata=operator.metadata)


async def test_a_worker_attaches_to_the_queues_that_its_scopes_name(place: Place) -> None:
    registration = {"workerId": "w", "handlers": ["other"]}
    for kind in kinds(place, "only worker:mine"):
        for queue, ending in (("mine", OK), ("theirs", FORBIDDEN)):
            request = {"registration": {**registration, "queue": queue}}
            assert await place.ask(BY_NAME["Attach"], kind, request) == {ending}, queue


async def test_health_is_open_and_reflection_takes_any_caller(place: Place) -> None:
    for method in HEALTH:
        assert await place.ask(method, "none", {}) == {OK}, method.path
    for method in REFLECTION:
        for kind in kinds(place, "only worker:mine"):
            assert await place.ask(method, kind, {"listServices": "*"}) == {OK}


async def test_a_seal_from_outside_opens_nothing(place: Place) -> None:
    """The caller that processes tell each other, imitated by a program that knows how they write it."""
    content = b'{"name":"carol","scopes":["operator"],"source":"headwater token create {name} --scope {scope}"}'
    for seal in (bytes(32) + content, content, b""):
        sealed = (("headwater-caller-bin", seal),)
        assert await place.ask(BY_NAME["GetWorkflowRun"], "none", more=sealed) == {UNKNOWN_CALLER}
        assert await place.ask(BY_NAME["GetWorkflowRun"], "bob", more=sealed) == {NO_RUN}
        assert await place.ask(BY_NAME["CancelStream"], "bob", more=sealed) == {NO_STREAM}
