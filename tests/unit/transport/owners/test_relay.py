"""The relay between two real servers: callers on one side, the owner of the method on a Unix socket on the other."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.telemetry.starved import Given
from headwater_server.transport.interceptors.chain import interceptors
from headwater_server.transport.owners import heartbeats as heartbeats_module
from headwater_server.transport.owners import relay as relay_module
from headwater_server.transport.owners.heartbeats import Heartbeats
from headwater_server.transport.owners.relay import Method, Relay
from headwater_server.transport.server import SiblingServer
from tests.support.servers.callers import NO_CALLERS
from tests.support.stubs.stub import details

KIB = 1024
MIB = 1024 * KIB
SERVICE = "test.Owned"
DETAILS = bytes(range(256)) * 8
OWNER = 0

Behaviour = Callable[[Any, Any], Awaitable[None]]


class Owner:
    """The process that answers; the test says how.

    Attributes:
        ended: how each of its calls has ended: "done", or the name of the exception.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.behaviour: Behaviour = _echo
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def _answer(self, requests: Any, context: Any) -> None:
        how = "done"
        try:
            await self.behaviour(requests, context)
        except BaseException as error:
            how = type(error).__name__
            raise
        finally:
            self.ended.put_nowait(how)

    async def start(self) -> None:
        handlers = {"Any": grpc.stream_stream_rpc_method_handler(self._answer)}
        handler = grpc.method_handlers_generic_handler(SERVICE, handlers)
        self._server = SiblingServer([lambda server: server.add_generic_rpc_handlers((handler,))], NO_CALLERS)
        await self._server.start(self._socket)

    async def stop(self) -> None:
        await self._server._server.stop(None)


async def _echo(requests: Any, context: Any) -> None:
    async for request in requests:
        await context.write(b"re: " + request)


class Site:
    """An owner, a process that passes calls on to it, and a caller."""

    def __init__(self, folder: Path) -> None:
        self.identity = ProcessIdentity(1, 2, folder)
        self.owner = Owner(self.identity.socket(OWNER))
        self.relay = Relay(self.identity)
        self.requests: Callable[[Any], Any] = lambda requests: requests
        handler = grpc.stream_stream_rpc_method_handler(self._pass_on)
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", 32 * MIB),
            ("grpc.http2.bdp_probe", 0),  # data that waits here must not hide data that waits in the relay
        ]
        self._front = grpc.aio.server(interceptors=interceptors(NO_CALLERS), options=options)
        self._front.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Any": handler}),))

    async def _pass_on(self, requests: Any, context: Any) -> None:
        await self.relay.pass_on(OWNER, Method(f"/{SERVICE}/Any"), self.requests(requests), context, context.write)

    async def __aenter__(self) -> Site:
        self.port = self._front.add_insecure_port("127.0.0.1:0")
        await self._front.start()
        options = [("grpc.http2.bdp_probe", 0), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self._front.stop(1)
        await self.relay.close()

    def method(self, kind: str) -> Any:
        return getattr(self.channel, kind)(f"/{SERVICE}/Any")

    def call(self, **options: Any) -> Any:
        return self.method("stream_stream")(**options)

    async def idle(self) -> None:
        """Waits until no call is passed on."""
        await asyncio.wait_for(self.relay._idle.wait(), 10)
        assert len(self.relay) == 0


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Site]:
    """The site while its owner is not there; nothing of it may be left running afterwards."""
    before = asyncio.all_tasks()
    async with Site(tmp_path) as site:
        yield site
        await site.idle()
    async with asyncio.timeout(10):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.wait(left)


@pytest.fixture
async def site(front: Site) -> AsyncIterator[Site]:
    await front.owner.start()
    yield front
    await front.owner.stop()


async def soon(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, 10)


async def several(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(10):
            while await call.read() is not grpc.aio.EOF:
                pass
    return caught.value


# Calls that go through


async def test_one_request_one_answer(site):
    assert await site.method("unary_unary")(b"a") == b"re: a"


async def test_one_request_many_answers(site):
    async def twice(requests: Any, context: Any) -> None:
        request = await anext(requests)
        await context.write(request + b"1")
        await context.write(request + b"2")

    site.owner.behaviour = twice
    assert [answer async for answer in site.method("unary_stream")(b"a")] == [b"a1", b"a2"]


async def test_many_requests_one_answer(site):
    async def joined(requests: Any, context: Any) -> None:
        await context.write(b"".join([request async for request in requests]))

    site.owner.behaviour = joined
    assert await site.method("stream_unary")(several(b"a", b"b", b"c")) == b"abc"


async def test_many_requests_many_answers_each_at_once(site):
    call = site.call()
    for request in (b"a", b"", b"c"):
        await call.write(request)
        assert await soon(call.read()) == b"re: " + request
    await call.done_writing()
    assert await soon(call.read()) is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_call_without_a_word_on_either_side(site):
    call = site.call()
    await call.done_writing()
    assert await soon(call.read()) is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_large_messages(site):
    request = bytes(31 * MIB)
    assert await soon(site.method("unary_unary")(request)) == b"re: " + request


async def test_metadata_of_the_request_without_grpcs_own(site):
    heard: list[tuple[str, Any]] = []

    async def note(requests: Any, context: Any) -> None:
        heard.extend(context.invocation_metadata())

    site.owner.behaviour = note
    sent = (("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\x00\xff"))
    assert [_ async for _ in site.method("unary_stream")(b"", metadata=sent)] == []
    assert [(key, value) for key, value in heard if key.startswith("x-")] == list(sent)
    assert [key for key, _ in heard].count("user-agent") == 1


async def test_headers_come_before_the_first_answer_and_trailers_after_the_last(site):
    goes_on = asyncio.Event()

    async def slow(requests: Any, context: Any) -> None:
        await context.send_initial_metadata((("headwater-stream-id", "str_0_x"), ("x-bin", b"\x01\xfe")))
        await goes_on.wait()
        context.set_trailing_metadata((("x-last", "1"),))

    site.owner.behaviour = slow
    call = site.call()
    headers = await soon(call.initial_metadata())
    assert (headers["headwater-stream-id"], headers["x-bin"]) == ("str_0_x", b"\x01\xfe")
    goes_on.set()
    assert (await soon(call.trailing_metadata()))["x-last"] == "1"
    await call.done_writing()


@pytest.mark.parametrize("answers", [0, 2])
async def test_a_status_with_its_details_to_the_byte(site, answers):
    async def fail(requests: Any, context: Any) -> None:
        for _ in range(answers):
            await context.write(b"x")
        trailers = (("grpc-status-details-bin", DETAILS), ("x-other", "1"))
        await context.abort(grpc.StatusCode.ABORTED, "größer % als\n1", trailing_metadata=trailers)

    site.owner.behaviour = fail
    error = await failure(site.call())
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "größer % als\n1")
    assert {(key, value) for key, value in error.trailing_metadata()} == {
        ("grpc-status-details-bin", DETAILS),
        ("x-other", "1"),
    }


async def test_a_status_of_one_request_and_one_answer(site):
    async def fail(requests: Any, context: Any) -> None:
        trailers = (("grpc-status-details-bin", DETAILS),)
        await context.abort(grpc.StatusCode.CANCELLED, "ended by CancelStream", trailing_metadata=trailers)

    site.owner.behaviour = fail
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.method("unary_unary")(b"a")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.CANCELLED, "ended by CancelStream")
    assert caught.value.trailing_metadata()["grpc-status-details-bin"] == DETAILS


async def test_all_answers_and_the_status_of_an_owner_that_ends_while_the_caller_still_talks(site):
    async def first_word(requests: Any, context: Any) -> None:
        await anext(requests)
        for _ in range(20):
            await context.write(bytes(10 * KIB))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")

    def talk(port: int) -> set[tuple[int, grpc.StatusCode, str]]:
        # A client of grpc.aio may say INTERNAL by itself when its write fails.
        ends = set()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(100):
                call = channel.stream_stream(f"/{SERVICE}/Any")(itertools.repeat(bytes(KIB)), timeout=10)
                answers = 0
                with pytest.raises(grpc.RpcError) as caught:
                    for _ in call:
                        answers += 1
                ends.add((answers, caught.value.code(), caught.value.details()))
        return ends

    site.owner.behaviour = first_word
    assert await asyncio.to_thread(talk, site.port) == {(20, grpc.StatusCode.INVALID_ARGUMENT, "no")}


# The deadline


async def test_the_owner_knows_the_deadline(site):
    async def tell(requests: Any, context: Any) -> None:
        await context.write(repr(context.time_remaining()).encode())

    site.owner.behaviour = tell
    assert 0 < float(await site.method("unary_unary")(b"", timeout=30)) < 31  # gRPC rounds it up on the way
    assert await site.method("unary_unary")(b"") == b"None"


async def test_a_deadline_that_passes_ends_the_call_at_the_owner(site):
    site.owner.behaviour = _hang
    error = await failure(site.method("unary_stream")(b"", timeout=0.2))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await soon(site.owner.ended.get()) == "CancelledError"


# Callers that leave


async def _hang(requests: Any, context: Any) -> None:
    await context.write(b"begun")
    await asyncio.Event().wait()


async def _flood(requests: Any, context: Any) -> None:
    while True:
        await context.write(bytes(KIB))


async def test_a_caller_that_cancels_ends_the_call_at_the_owner(site):
    site.owner.behaviour = _hang
    call = site.call()
    assert await soon(call.read()) == b"begun"
    call.cancel()
    assert await soon(site.owner.ended.get()) == "CancelledError"


async def test_a_caller_that_cancels_before_the_first_answer_ends_the_call_at_the_owner(site):
    begun = asyncio.Event()

    async def silent(requests: Any, context: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    site.owner.behaviour = silent
    call = site.call()
    await soon(begun.wait())
    call.cancel()
    assert await soon(site.owner.ended.get()) == "CancelledError"


async def test_a_caller_whose_connection_is_lost_ends_the_call_at_the_owner(site):
    site.owner.behaviour = _hang
    call = site.call()
    assert await soon(call.read()) == b"begun"
    await site.channel.close()
    assert await soon(site.owner.ended.get()) == "CancelledError"


async def test_a_caller_that_reads_nothing_and_leaves_ends_the_call_at_the_owner(site):
    site.owner.behaviour = _flood
    call = site.call()
    await soon(call.read())
    await _stalled(lambda: len(site.relay))
    call.cancel()
    assert await soon(site.owner.ended.get()) in ("CancelledError", "ExecuteBatchError")


async def test_many_callers_that_leave_at_any_moment_leave_nothing_behind(site):
    site.owner.behaviour = _echo

    async def talk(steps: int) -> None:
        call = site.call()
        try:
            for step in range(steps):
                if step % 2:
                    await call.read()
                else:
                    await call.write(b"x")
        finally:
            call.cancel()

    await soon(asyncio.gather(*(talk(i % 7) for i in range(70))))
    await site.idle()


# Back-pressure


async def _stalled(count: Callable[[], int]) -> int:
    """Waits until the count has not changed for a while, and says what it is."""
    async with asyncio.timeout(20):
        before = -1
        while (now := count()) != before:
            before = now
            await asyncio.sleep(0.3)
    return now


async def test_a_caller_that_does_not_read_stops_the_owner(site):
    written = 0

    async def flood(requests: Any, context: Any) -> None:
        nonlocal written
        while True:
            await context.write(bytes(KIB))
            written += 1

    site.owner.behaviour = flood
    call = site.call()
    await soon(call.read())
    assert await _stalled(lambda: written) < 1024  # KiB
    before = written
    for _ in range(before + 100):
        await soon(call.read())
    assert written >= before + 100
    call.cancel()


async def test_an_owner_that_does_not_read_stops_the_caller(site):
    site.owner.behaviour = _hang
    call = site.call()
    written = 0

    async def flood() -> None:
        nonlocal written
        while True:
            await call.write(bytes(KIB))
            written += 1

    flooding = asyncio.create_task(flood())
    assert await _stalled(lambda: written) < 1024  # KiB
    flooding.cancel()
    await asyncio.wait([flooding])


async def test_callers_that_do_not_read_hold_up_nobody_else(site):
    site.owner.behaviour = _flood
    calls = [site.call() for _ in range(20)]
    for call in calls:
        await soon(call.read())
    site.owner.behaviour = _echo
    for i in range(20):
        assert await soon(site.method("unary_unary")(b"%d" % i)) == b"re: %d" % i
    for call in calls:
        call.cancel()


async def test_a_fault_while_the_caller_is_heard_ends_both_calls(site):
    async def broken(requests: Any) -> AsyncIterator[bytes]:
        yield await anext(requests)
        raise ValueError

    site.requests = broken
    site.owner.behaviour = _hang
    call = site.call()
    await call.write(b"a")
    error = await failure(call)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert details(error)["ErrorInfo"].reason == "INTERNAL"  # type: ignore[attr-defined]
    assert await soon(site.owner.ended.get()) == "CancelledError"


# Owners that are not there


async def test_a_call_waits_for_an_owner_that_is_starting(front):
    async def ask() -> bytes:
        return bytes(await front.method("unary_unary")(b"a"))

    call = asyncio.create_task(ask())
    while not len(front.relay):
        await asyncio.sleep(0)
    await front.owner.start()
    assert await soon(call) == b"re: a"
    await front.owner.stop()


async def test_an_owner_that_stays_away_is_told_as_restarting(front, monkeypatch):
    monkeypatch.setattr(relay_module, "REACH_SECONDS", 0.2)
    error = await failure(front.method("unary_stream")(b"a"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    found = details(error)
    assert found["ErrorInfo"].reason == "SERVER_DRAINING"  # type: ignore[attr-defined]
    assert "RetryInfo" in found


@pytest.mark.parametrize(("starved", "answered"), [(30.0, True), (0.0, False)])
async def test_an_owner_is_waited_for_that_the_machine_gives_no_processor(site, monkeypatch, starved, answered):
    waited = iter([0.0, *[starved] * 100])
    path = site.identity.heartbeats
    with Heartbeats(path, 2, lambda _: Given(0.0, next(waited)), lambda _: False) as heartbeats:
        heartbeats.beat(OWNER)
        late = SimpleNamespace(monotonic=lambda: time.monotonic() + 30.0)
        monkeypatch.setattr(heartbeats_module, "time", late)
        monkeypatch.setattr(site.relay, "_heartbeats", heartbeats)
        call = site.method("unary_stream")(b"a")
        if answered:
            assert await soon(call.read()) == b"re: a"
        else:
            error = await failure(call)
            assert details(error)["ErrorInfo"].reason == "SERVER_DRAINING"  # type: ignore[attr-defined]


async def test_a_deadline_that_passes_while_the_owner_is_away(front):
    error = await failure(front.method("unary_stream")(b"a", timeout=0.2))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_caller_that_leaves_while_the_owner_is_away(front):
    call = front.call()
    await call.write(b"a")
    while not len(front.relay):
        await asyncio.sleep(0)
    call.cancel()
    await front.idle()


async def test_an_owner_that_dies_in_the_middle_is_a_lost_connection_and_its_successor_is_found(site):
    site.owner.behaviour = _hang
    call = site.call()
    assert await soon(call.read()) == b"begun"
    await site.owner.stop()
    error = await failure(call)
    assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert details(error) == {}
    site.owner.behaviour = _echo
    await site.owner.start()
    assert await soon(site.method("unary_unary")(b"a")) == b"re: a"


# The end of this process


async def test_draining_waits_for_the_owner_to_end_its_calls(site):
    ends = asyncio.Event()

    async def wait(requests: Any, context: Any) -> None:
        await context.write(b"begun")
        await ends.wait()
        await context.write(b"last")

    site.owner.behaviour = wait
    call = site.call()
    assert await soon(call.read()) == b"begun"
    draining = asyncio.create_task(site.relay.drain(30))
    await asyncio.sleep(0)
    assert not draining.done()
    ends.set()
    assert await soon(call.read()) == b"last"
    assert await soon(call.read()) is grpc.aio.EOF
    await call.done_writing()
    await soon(draining)


async def test_calls_that_outlast_the_draining_are_told_so_and_new_ones_are_refused(site):
    site.owner.behaviour = _hang
    calls = [site.call() for _ in range(3)]
    for call in calls:
        assert await soon(call.read()) == b"begun"
    await site.relay.drain(0.1)
    for call in [*calls, site.call()]:
        error = await failure(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert details(error)["ErrorInfo"].reason == "SERVER_DRAINING"  # type: ignore[attr-defined]
