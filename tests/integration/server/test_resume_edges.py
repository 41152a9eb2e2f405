"""A stream that is resumed at an awkward moment: nothing is lost or doubled, and each caller gets an end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import pytest

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import details

Stub: TypeAlias = "AgentServiceStub[Any]"

OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))
WORDS = 40
TEXT = " ".join(f"w{i}" for i in range(WORDS))
LARGE_WORD = "x" * 20_000
LARGE_WORDS = 200
"""Together twice the bound of a log of 1 MiB."""


def request(text: str = TEXT, **options: object) -> agent_service_pb2.StreamRequest:
    question = agent_service_pb2.StreamRequest(agent={"model": "scripted/echo"}, prompt="x", resumable=True)
    question.agent.provider_options["scripted"].update({"text": text, **options})
    return question


@asynccontextmanager
async def connection(server: ServerProcess) -> AsyncIterator[Stub]:
    """A connection that no other stub has."""
    async with grpc.aio.insecure_channel(server.target, options=OPTIONS) as channel:
        yield AgentServiceStub(channel)


def resume(stub: Stub, stream_id: str, after: int = 0) -> Any:
    return stub.ResumeStream(agent_service_pb2.ResumeStreamRequest(stream_id=stream_id, after_sequence=after))


async def chunks_of(call: Any) -> list[agent_pb2.StreamChunk]:
    """The chunks that still come. Raises the error of the call."""
    chunks = []
    while (chunk := await call.read()) is not grpc.aio.EOF:
        chunks.append(chunk)
    return chunks


async def text_of(call: Any) -> str:
    """The text of a stream that ends well, by one final chunk."""
    chunks = await chunks_of(call)
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert [chunk.sequence for chunk in chunks] == sorted({chunk.sequence for chunk in chunks})
    return "".join(chunk.content for chunk in chunks)


async def error_of(call: Any) -> tuple[str, dict[str, str]]:
    """The reason and the metadata of the error with which a stream ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await chunks_of(call)
    info: Any = details(caught.value)["ErrorInfo"]
    return str(info.reason), dict(info.metadata)


async def id_of(call: Any) -> str:
    return str(dict(await call.initial_metadata())["headwater-stream-id"])


@pytest.fixture(scope="module")
def forgetful() -> Iterator[ServerProcess]:
    """A server that keeps at most 1 MiB of a stream, and that only for half a second."""
    variables = {"HEADWATER_RESUME_RETENTION_SECONDS": "0.5", "HEADWATER_RESUME_STREAM_MIB": "1"}
    with ServerProcess("--scripted", variables=variables) as server:
        yield server


@pytest.mark.parametrize("delay_ms", [0, 2])
async def test_in_its_first_millisecond(server: ServerProcess, delay_ms: int) -> None:
    for moment in range(10):
        async with connection(server) as stub:
            call = stub.Stream(request(delay_ms=delay_ms))
            stream_id = await id_of(call)
            await asyncio.sleep(moment / 10_000)
            call.cancel()
            assert await text_of(resume(stub, stream_id)) == TEXT


async def test_while_its_first_reader_still_reads(server: ServerProcess) -> None:
    async with connection(server) as stub, connection(server) as other:
        call = stub.Stream(request(delay_ms=10))
        stream_id = await id_of(call)
        assert await asyncio.gather(text_of(call), text_of(resume(other, stream_id))) == [TEXT, TEXT]


@pytest.mark.parametrize("after", [WORDS, WORDS + 1], ids=["the-last-chunk", "the-final-chunk"])
@pytest.mark.parametrize("has_ended", [False, True])
async def test_after_the_last_chunk_only_the_end_comes(server: ServerProcess, after: int, has_ended: bool) -> None:
    async with connection(server) as stub:
        call = stub.Stream(request())
        stream_id = await id_of(call)
        if has_ended:
            await text_of(call)
        else:
            while (await call.read()).sequence < after:
                pass
            call.cancel()
        for _ in range(2):
            [last] = await chunks_of(resume(stub, stream_id, after))
            assert (last.is_final, last.content, last.sequence) == (True, "", WORDS + 1)


async def test_after_its_time_it_has_expired(forgetful: ServerProcess) -> None:
    async with connection(forgetful) as stub:
        call = stub.Stream(request())
        stream_id = await id_of(call)
        assert await text_of(call) == TEXT
        reason, pause = "", 0.2
        while not reason:  # each reader keeps it for half a second more
            await asyncio.sleep(pause)
            reason, pause = await reason_at_once(resume(stub, stream_id)), 2 * pause
    assert reason == "STREAM_EXPIRED"


async def test_past_the_bound_of_its_log_a_caller_learns_where_the_rest_begins(forgetful: ServerProcess) -> None:
    async with connection(forgetful) as stub:
        call = stub.Stream(request(LARGE_WORD, repeat=LARGE_WORDS, delay_ms=2))
        stream_id = await id_of(call)
        call.cancel()
        async with asyncio.timeout(10):
            while await reason_at_once(resume(stub, stream_id)) != "STREAM_EXPIRED":
                await asyncio.sleep(0.05)
        first, rest = await rest_from_the_first_kept(stub, stream_id)
    assert first > 1
    assert (" " + " ".join([LARGE_WORD] * LARGE_WORDS)).endswith(rest)
    assert rest.count(LARGE_WORD) == LARGE_WORDS - first + 1


async def rest_from_the_first_kept(stub: Stub, stream_id: str) -> tuple[int, str]:
    """The first chunk that is kept when a reader comes, and the text from there on."""
    first = 1
    while True:  # until a reader comes, the oldest chunks go
        try:
            return first, await text_of(resume(stub, stream_id, first - 1))
        except grpc.aio.AioRpcError as error:
            info: Any = details(error)["ErrorInfo"]
            assert info.reason == "STREAM_EXPIRED"
            first = int(info.metadata["first_sequence"])
            assert f"resume after {first - 1} for those that are" in str(error.details())


async def reason_at_once(call: Any) -> str:
    """The reason for which a call gives no chunk; empty when it gives one."""
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return str(details(error)["ErrorInfo"].reason)  # type: ignore[attr-defined]
    call.cancel()
    return ""


async def test_while_its_log_is_at_its_bound_all_that_its_reader_lacks_is_kept(forgetful: ServerProcess) -> None:
    whole = " ".join([LARGE_WORD] * LARGE_WORDS)
    async with connection(forgetful) as stub, connection(forgetful) as other:
        call = stub.Stream(request(LARGE_WORD, repeat=LARGE_WORDS))
        stream_id = await id_of(call)
        first = await call.read()  # and no more: soon the log is full, and the provider waits
        text, sequence = first.content, first.sequence
        for _ in range(5):
            again = resume(other, stream_id, sequence)
            chunk = await again.read()
            text, sequence = text + chunk.content, chunk.sequence
            again.cancel()
        assert first.content + await text_of(call) == whole
        assert whole.startswith(text)


async def test_through_each_of_two_processes() -> None:
    with ServerProcess("--scripted", processes=2) as server:
        async with connection(server) as stub:
            call = stub.Stream(request(delay_ms=10))
            stream_id = await id_of(call)
            async with asyncio.timeout(20):
                while len({"owner" in event for event in resumed(server)}) < 2:
                    async with connection(server) as other:  # the kernel gives it to one of the two
                        assert await text_of(resume(other, stream_id)) == TEXT
            assert await text_of(call) == TEXT


def resumed(server: ServerProcess) -> list[dict[str, Any]]:
    """The lines of its log about calls that resumed a stream; the one that was relayed names the owner."""
    return [event for event in server.events if event.get("rpc") == "ResumeStream"]


async def test_during_a_drain_it_is_read_to_its_end_where_its_connection_stands() -> None:
    with ServerProcess("--scripted") as server:
        async with connection(server) as stub, connection(server) as other:
            call = stub.Stream(request(delay_ms=15))
            stream_id = await id_of(call)
            again = resume(other, stream_id)
            await again.read()
            server.process.send_signal(signal.SIGTERM)
            while "draining" not in server.log:
                await asyncio.sleep(0.01)
            assert await text_of(call) == TEXT
            assert (await chunks_of(again))[-1].is_final


async def test_during_a_drain_one_without_a_reader_ends_at_once() -> None:
    with ServerProcess("--scripted") as server:
        async with connection(server) as stub, connection(server) as other:
            hangs = stub.Stream(request(hang_after=1))
            await hangs.read()
            call = other.Stream(request(delay_ms=15))
            first = await call.read()
            server.process.send_signal(signal.SIGTERM)
            while "draining" not in server.log:
                await asyncio.sleep(0.01)
            hangs.cancel()  # the server does not wait for it
            assert first.content + await text_of(call) == TEXT
            async with asyncio.timeout(8):
                await asyncio.to_thread(server.process.wait)


async def test_after_a_drain_its_client_gets_a_typed_end() -> None:
    with ServerProcess("--scripted", variables={"HEADWATER_DRAIN_SECONDS": "0.3"}) as server:
        async with connection(server) as stub:
            call = stub.Stream(request(hang_after=1))
            await call.read()
            server.process.send_signal(signal.SIGTERM)
            assert (await error_of(call))[0] == "STREAM_INTERRUPTED"
