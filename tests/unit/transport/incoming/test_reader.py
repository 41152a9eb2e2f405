"""The limits of one request: by method, by elements, and together with all others."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2

from headwater.v1 import agent_service_pb2, operator_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.transport.incoming.budget import SMALL_BYTES, RequestBudget
from headwater_server.transport.incoming.reader import ELEMENT_BYTES, LIMITS, MAX_ELEMENTS, RequestReader

MIB = 1024 * 1024
SERVICES = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (agent_service_pb2, "AgentService"),
        (workflow_service_pb2, "WorkflowService"),
        (worker_service_pb2, "WorkerService"),
        (operator_service_pb2, "OperatorService"),
        (health_pb2, "Health"),
    )
]
METHODS = {f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}
STREAM = "/headwater.v1.AgentService/Stream"
START = "/headwater.v1.WorkflowService/StartWorkflowRun"


def refusal(reader: RequestReader, raw: bytes) -> tuple[str, str]:
    with pytest.raises(HeadwaterError) as caught:
        reader.read(raw)
    assert caught.value.reason is Reason.INVALID_REQUEST
    [violation] = caught.value.violations
    return violation.field, violation.description


def text(size: int) -> bytes:
    """A message whose first field is a text of so many bytes."""
    return b"\x0a" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21]) + b"x" * size


def test_only_methods_that_there_are_have_a_limit():
    assert LIMITS.keys() <= METHODS.keys()


@pytest.mark.parametrize("path", METHODS)
def test_each_method_takes_so_many_bytes_and_no_more(path):
    reader, most = RequestReader(path, bytes), LIMITS.get(path, 64 * 1024)
    first = METHODS[path].input_type.fields_by_number.get(1)
    unknown = b"\xfa\x7f" + text(most - 6)[1:]  # a field that no message has: nothing is to be counted in it
    assert len(unknown) == most
    assert len(reader.read(unknown)) == most
    field, what = refusal(reader, text(most))
    assert field == (first.name if first else "request")
    assert what.startswith("is too large")
    assert f"{path.rpartition('/')[2]} takes {most:,}" in what


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (text(2 * MAX_ELEMENTS)[:5] + b"\x1a\x00" * MAX_ELEMENTS, "workflow.steps"),
        (b"\x1a\x00" * (MAX_ELEMENTS + 1), "context_json"),
        (b"\xfa\x01\x00" * (MAX_ELEMENTS + 1), "request"),
    ],
    ids=["a list", "a text", "an unknown field"],
)
def test_more_elements_than_allowed_are_refused_before_they_are_parsed(raw, named):
    def parse(raw: bytes) -> None:
        raise AssertionError("parsed")

    field, what = refusal(RequestReader(START, parse), raw)
    assert field == named
    assert f"{MAX_ELEMENTS:,} fields and items" in what


def test_the_lists_of_a_request_may_be_as_long_as_documented():
    tools = [{"function": {"name": "f", "description": "d", "parameters_json": "{}"}}] * 10_000
    messages = [{"role": 1, "parts": [{"text": "x"}]}] * 10_000
    request = agent_service_pb2.StreamRequest(messages=messages, agent={"tools": tools})
    reader = RequestReader(STREAM, agent_service_pb2.StreamRequest.FromString)
    assert reader.read(request.SerializeToString()) == request


def test_the_elements_of_a_request_count_as_memory():
    request = agent_service_pb2.StreamRequest(messages=[{"content": "some text"}] * 1000)
    raw = request.SerializeToString()
    reader = RequestReader(STREAM, agent_service_pb2.StreamRequest.FromString)
    assert reader.weigh(raw) == (request, len(raw) + 2000 * ELEMENT_BYTES)


def test_a_request_over_the_budget_is_refused_until_another_ends():
    budget = RequestBudget(10 * MIB)
    budget.begin(8 * MIB)
    with pytest.raises(HeadwaterError) as caught:
        budget.begin(3 * MIB)
    assert caught.value.reason is Reason.SERVER_OVERLOADED
    assert caught.value.retry_after_seconds == 1.0
    assert "max_requests_mib" in caught.value.message
    budget.begin(2 * MIB)
    budget.begin(SMALL_BYTES)
    assert budget.taken == 10 * MIB + SMALL_BYTES
    for size in (8 * MIB, 2 * MIB, SMALL_BYTES):
        budget.give_back(size)
    budget.begin(3 * MIB)
    budget.give_back(3 * MIB)
    assert budget.taken == 0


def test_a_request_larger_than_the_whole_budget_is_taken_alone():
    budget = RequestBudget(MIB)
    budget.begin(31 * MIB)
    with pytest.raises(HeadwaterError):
        budget.begin(MIB)
