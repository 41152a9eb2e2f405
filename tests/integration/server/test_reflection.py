"""Reflection as clients without the contract use it: by the protocol itself in both versions, by grpcurl and by ghz."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / ".tools" / "bin"
VERSIONS = ["v1", "v1alpha"]
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
AGENT_SERVICE = "headwater/v1/agent_service.proto"

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse
# In both versions the messages are the same bytes.


@pytest.fixture
async def channel(server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield channel


@pytest.fixture(params=VERSIONS)
def info(request, channel) -> Any:
    """The method of one version of the protocol."""
    return channel.stream_stream(
        f"/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo",
        Request.SerializeToString,
        Response.FromString,
    )


async def answer(info: Any, **asked: Any) -> Response:
    """The answer to one request, which it repeats."""
    request = Request(host="here", **asked)
    [response] = [response async for response in info([request])]
    assert response.original_request == request
    return response


def files(response: Response) -> list[descriptor_pb2.FileDescriptorProto]:
    """The described file, then those it imports."""
    found = response.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(file) for file in found]


async def test_it_lists_the_services_and_itself_in_both_versions(info):
    response = await answer(info, list_services="")
    assert [service.name for service in response.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "headwater.v1.AgentService",
        "headwater.v1.OperatorService",
        "headwater.v1.WorkerService",
        "headwater.v1.WorkflowService",
    ]


async def test_every_listed_service_is_described_with_every_method(info):
    for listed in (await answer(info, list_services="")).list_services_response.service:
        file = files(await answer(info, file_containing_symbol=listed.name))[0]
        [service] = [service for service in file.service if f"{file.package}.{service.name}" == listed.name]
        for method in service.method:
            assert files(await answer(info, file_containing_symbol=f"{listed.name}.{method.name}"))[0] == file


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("headwater.v1.AgentService", AGENT_SERVICE),
        ("headwater.v1.AgentService.Stream", AGENT_SERVICE),
        ("headwater.v1.StreamChunk", "headwater/v1/agent.proto"),
        ("headwater.v1.StreamChunk.content", "headwater/v1/agent.proto"),
        ("grpc.health.v1.Health.Check", "grpc_health/v1/health.proto"),
        ("grpc.reflection.v1.ServerReflectionRequest.list_services", "grpc/reflection/v1/reflection.proto"),
    ],
)
async def test_a_symbol_is_found_in_its_file_which_comes_with_its_imports(info, symbol, file):
    found = files(await answer(info, file_containing_symbol=symbol))
    assert found[0].name == file
    assert {name for one in found for name in one.dependency} <= {one.name for one in found}


async def test_a_file_is_found_by_its_name(info):
    assert files(await answer(info, file_by_filename=AGENT_SERVICE))[0].name == AGENT_SERVICE


@pytest.mark.parametrize(
    "symbol",
    [
        "",
        "headwater",
        "headwater.v1",
        "headwater.v1.Nothing",
        "headwater.v1.AgentService.Nothing",
        "headwater.v1.AgentService.",
        "headwater.v1.AgentService/Stream",
        ".headwater.v1.AgentService.Stream",
        "headwater.v1.AgentService.Stream\0",
        "größe",
        "a." * 10_000,
    ],
)
async def test_what_is_not_there_is_not_found_and_the_call_continues(info, symbol):
    responses = [
        response
        async for response in info(
            [Request(file_containing_symbol=symbol), Request(file_by_filename=symbol), Request(list_services="")]
        )
    ]
    assert [response.error_response.error_code for response in responses] == [NOT_FOUND, NOT_FOUND, 0]


async def test_extensions_are_asked_for_in_vain(info):
    extension = reflection_pb2.ExtensionRequest(containing_type="headwater.v1.StreamChunk", extension_number=-1)
    assert (await answer(info, file_containing_extension=extension)).error_response.error_code == NOT_FOUND
    numbers = await answer(info, all_extension_numbers_of_type="headwater.v1.StreamChunk")
    assert not numbers.all_extension_numbers_response.extension_number
    assert (await answer(info, all_extension_numbers_of_type="Nothing")).error_response.error_code == NOT_FOUND


async def test_a_request_for_nothing_is_invalid(info):
    code, _ = grpc.StatusCode.INVALID_ARGUMENT.value
    assert (await answer(info)).error_response.error_code == code


async def test_the_two_versions_describe_the_same_messages(info):
    described = {}
    for version in VERSIONS:
        [file] = files(await answer(info, file_containing_symbol=f"grpc.reflection.{version}.ServerReflection"))
        assert file.package == f"grpc.reflection.{version}"
        assert file.options.deprecated == (version == "v1alpha")
        described[version] = str([*file.message_type, *file.service]).replace("v1alpha", "v1")
    assert described["v1"] == described["v1alpha"]


# With the tools themselves


def tool(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    program = TOOLS / name
    if not program.exists() and not shutil.which("go"):
        pytest.skip(f"{name} is built with Go, which is not here")
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=60, check=False)


def grpcurl(target: str, *args: str) -> subprocess.CompletedProcess[str]:
    return tool("grpcurl", "-plaintext", target, *args)


def test_grpcurl_lists_both_versions(server):
    listed = grpcurl(server.target, "list").stdout.split()
    assert {f"grpc.reflection.{version}.ServerReflection" for version in VERSIONS} <= set(listed)


@pytest.mark.parametrize(
    ("symbol", "described"),
    [
        (
            "headwater.v1.AgentService.Stream",
            "rpc Stream ( .headwater.v1.StreamRequest ) returns ( stream .headwater.v1.StreamChunk );",
        ),
        ("headwater.v1.WorkflowService", "service WorkflowService {"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "rpc ServerReflectionInfo ("),
        ("grpc.reflection.v1alpha.ServerReflection", "service ServerReflection {"),
    ],
)
def test_grpcurl_describes(server, symbol, described):
    done = grpcurl(server.target, "describe", symbol)
    assert (done.returncode, done.stderr) == (0, "")
    assert described in done.stdout


@pytest.mark.parametrize("symbol", ["headwater.v1.Nothing", "headwater.v1.AgentService.Nothing"])
def test_grpcurl_says_what_is_not_there(server, symbol):
    done = grpcurl(server.target, "describe", symbol)
    assert done.returncode != 0
    assert f"Symbol not found: {symbol}" in done.stderr


@pytest.mark.parametrize(
    ("method", "request_json"),
    [
        ("headwater.v1.AgentService.ListProviders", "{}"),
        ("headwater.v1.AgentService/Stream", '{"agent": {"model": "scripted/echo"}, "prompt": "one two"}'),
    ],
)
def test_ghz_calls_a_method_without_the_contract(server, method, request_json):
    options = ["--insecure", "--call", method, "--data", request_json, "--total", "6", "--concurrency", "2"]
    done = tool("ghz", *options, "--format", "json", server.target)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["statusCodeDistribution"] == {"OK": 6}
