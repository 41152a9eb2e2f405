"""Servicers and callers see the same of this server and of gRPC's own: each test runs on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.unit.transport.http2.conftest import SERVICE, Running, make, start

PATIENCE = 10


async def status(call: Any) -> tuple[grpc.StatusCode, str]:
    return await call.code(), await call.details()


async def test_one_request_has_one_response(running: Running):
    assert await running.unary("Echo")(b"hello") == b"hello"
    assert await running.unary("Echo")(b"") == b""
    assert await running.unary("Number")(b"41") == b"42"


@pytest.mark.parametrize("size", [65_000, 1 << 20, 4 * (1 << 20) - 100])
async def test_large_messages_pass_both_ways(running: Running, size: int):
    message = bytes(range(256)) * (size // 256)
    assert await running.unary("Echo")(message) == message


@pytest.mark.parametrize("method", ["Count", "Write"])
async def test_a_generator_and_a_writer_send_many(running: Running, method: str):
    assert [message async for message in running.stream(method)(b"1000")] == [b"%d" % n for n in range(1000)]


async def test_many_requests_have_one_response(running: Running):
    join = running.channel.stream_unary(f"/{SERVICE}/Join")
    assert await join(iter([b"a", b"b", b"c"])) == b"a,b,c"
    assert await join(iter([])) == b""


async def test_requests_and_responses_alternate(running: Running):
    call = running.channel.stream_stream(f"/{SERVICE}/Double")()
    for word in (b"a", b"bc", b"x" * 200_000):
        await call.write(word)
        assert await call.read() == word * 2
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await status(call) == (grpc.StatusCode.OK, "")


async def test_metadata_goes_first_and_last(running: Running):
    call = running.stream("Write")(b"1")
    first = dict(await call.initial_metadata())
    assert (first["first"], first["first-bin"]) == ("yes", b"\x00\xff")
    assert [message async for message in call] == [b"0"]
    last = dict(await call.trailing_metadata())
    assert (last["last"], last["last-bin"]) == ("yes", b"\x00\xff")


async def test_the_metadata_of_the_caller_arrives(running: Running):
    sent = (("some-key", "a, b"), ("some-key", "c"), ("some-bin", b"\x00\x01\xff"))
    await running.unary("Echo")(b"", metadata=sent)
    found = running.seen.calls[0][0]
    assert [tuple(entry) for entry in found if entry[0].startswith("some")] == list(sent)
    assert next(entry.value for entry in found if entry.key == "user-agent").startswith("grpc-python-asyncio/")
    assert not {"te", "content-type", "grpc-timeout", ":path"} & {entry[0] for entry in found}


@pytest.mark.parametrize("words", ["", "plain", "100 % sure: line\nbreak, ümlaut 你好 \x00", "%41 stays", "x" * 1000])
async def test_the_words_of_a_status_arrive_as_they_are(running: Running, words: str):
    assert await status(running.unary("Code")(words.encode())) == (grpc.StatusCode.NOT_FOUND, words)


async def test_abort_ends_a_call_with_its_metadata(running: Running):
    call = running.unary("Abort")(b"too far")
    assert await status(call) == (grpc.StatusCode.OUT_OF_RANGE, "too far")
    last = dict(await call.trailing_metadata())
    assert (last["last"], last["last-bin"]) == ("yes", b"\xff")


async def test_a_fault_is_unknown_and_logged(running: Running, caplog: pytest.LogCaptureFixture):
    code, words = await status(running.unary("Fail")(b""))
    assert (code, words) == (grpc.StatusCode.UNKNOWN, "Unexpected <class 'ValueError'>: a fault")
    assert "Unexpected [ValueError]" in caplog.text


async def test_a_method_that_there_is_not_is_unimplemented(running: Running):
    assert await status(running.unary("None")(b"")) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


async def test_a_request_that_cannot_be_read_is_an_error(running: Running):
    code, _ = await status(running.unary("Number")(b"x"))
    assert code is not grpc.StatusCode.OK


async def test_a_caller_that_leaves_ends_the_handler(running: Running):
    call = running.stream("Wait")(b"first")
    assert await call.read() == b"first"
    call.cancel()
    assert await asyncio.wait_for(running.seen.ended.get(), PATIENCE) == "cancelled"
    assert await asyncio.wait_for(running.seen.done.get(), PATIENCE)


async def test_a_connection_that_is_lost_ends_the_handler(running: Running):
    call = running.stream("Wait")(b"first")
    assert await call.read() == b"first"
    await running.channel.close()
    assert await asyncio.wait_for(running.seen.ended.get(), PATIENCE) == "cancelled"


async def test_a_deadline_ends_the_handler(running: Running):
    call = running.stream("Wait")(b"", timeout=0.2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
        await call
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await asyncio.wait_for(running.seen.ended.get(), PATIENCE) == "cancelled"


async def test_time_remaining_is_none_without_a_deadline(running: Running):
    await running.unary("Echo")(b"")
    await running.unary("Echo")(b"", timeout=100)
    without, with_one = (call[2] for call in running.seen.calls)
    assert without is None
    assert 50 < with_one < 102


async def test_the_caller_has_an_address(running: Running):
    await running.unary("Echo")(b"")
    assert running.seen.calls[0][1].startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize("address", ["[::1]:0", "unix"])
async def test_other_addresses(front: str, address: str, tmp_path: Any):
    running = await start(make(front), f"unix:{tmp_path / 'socket'}" if address == "unix" else address)
    assert await running.unary("Echo")(b"hello") == b"hello"
    assert running.seen.calls[0][1].startswith("unix:" if address == "unix" else "ipv6:%5B::1%5D:")
    await running.channel.close()
    await running.server.stop(None)
    assert not list(tmp_path.iterdir())


class Noting(grpc.aio.ServerInterceptor):
    """Notes the calls, and makes another handler for one method."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self._notes.append(f"{self._name} {details.method} {dict(details.invocation_metadata).get('who')}")
        handler = await continuation(details)
        if not details.method.endswith("Echo"):
            return handler

        async def twice(request: bytes, context: Any) -> AsyncIterator[bytes]:
            return request + await handler.unary_unary(request, context) + b"."

        return grpc.unary_unary_rpc_method_handler(twice)


async def test_interceptors_surround_a_call_the_first_outermost(front: str):
    notes: list[str] = []
    running = await start(make(front, (Noting("outer", notes), Noting("inner", notes))))
    assert await running.unary("Echo")(b"a", metadata=(("who", "me"),)) == b"aaa.."
    assert notes == [f"outer /{SERVICE}/Echo me", f"inner /{SERVICE}/Echo me"]
    await running.channel.close()
    await running.server.stop(None)


async def test_a_slow_reader_holds_up_its_handler_alone(running: Running):
    slow = running.stream("Flood")(b"1000")
    assert len(await slow.read()) == 1000
    for _ in range(20):
        assert await running.unary("Echo")(b"quick") == b"quick"
    for _ in range(1000):
        assert len(await slow.read()) == 1000
    slow.cancel()
    assert await asyncio.wait_for(running.seen.done.get(), PATIENCE)


async def test_calls_in_great_number_at_once(running: Running):
    results = await asyncio.gather(*(running.unary("Echo")(b"%d" % number) for number in range(500)))
    assert list(results) == [b"%d" % number for number in range(500)]


async def test_stop_waits_for_calls_and_takes_no_more(running: Running):
    call = running.stream("Wait")(b"first")
    assert await call.read() == b"first"
    stopping = asyncio.create_task(running.server.stop(PATIENCE))
    late = grpc.aio.insecure_channel(running.address, options=(("grpc.use_local_subchannel_pool", 1),))
    while await late.unary_unary(f"/{SERVICE}/Echo")(b"").code() is not grpc.StatusCode.UNAVAILABLE:
        pass
    assert not stopping.done()
    call.cancel()
    await asyncio.wait_for(stopping, PATIENCE)
    await late.close()
    assert await running.server.wait_for_termination(0.1) in (True, False)


async def test_stop_ends_calls_when_its_time_is_over(running: Running):
    call = running.stream("Wait")(b"first")
    assert await call.read() == b"first"
    await running.server.stop(0.2)
    assert await call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert await asyncio.wait_for(running.seen.ended.get(), PATIENCE) == "cancelled"


async def test_a_later_stop_with_less_time_counts(running: Running):
    call = running.stream("Wait")(b"first")
    assert await call.read() == b"first"
    first = asyncio.create_task(running.server.stop(3_600))
    await asyncio.sleep(0)
    await asyncio.wait_for(running.server.stop(0.1), PATIENCE)
    await asyncio.wait_for(first, PATIENCE)
