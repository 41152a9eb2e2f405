"""Attacks on a connection in memory: each costs little, or ends the connection."""

from __future__ import annotations

import asyncio
import struct

import grpc
import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.transport.http2.calls.messages import RefusedError
from headwater_server.transport.http2.calls.metadata import read_head
from headwater_server.transport.http2.calls.no_call import NoCall
from headwater_server.transport.http2.frames import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    WINDOW_UPDATE,
    ConnectionFaultError,
    ErrorCode,
    frame,
    settings,
)
from headwater_server.transport.http2.headers import MOST_FIELDS, Fields, HeaderReader
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.link import READ_BYTES, Link
from headwater_server.transport.http2.peers import Peer as Address
from headwater_server.transport.http2.sending import MOST_UNREAD_BYTES
from headwater_server.transport.http2.stream import Sent, Stream
from tests.support.fronts.frames import REQUEST, Peer, block


class FakeOwner:
    """Takes any connection."""

    def link_made(self, link: Link) -> bool:
        return True

    def link_lost(self, link: Link) -> None:
        pass

    def stream_opened(self, link: Link, stream: Stream, fields: Fields) -> None:
        pass

    def held(self, step: int) -> None:
        pass


class FakeTransport:
    """Notes when it is not to be read."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None:
        self._done.append("paused")

    def resume_reading(self) -> None:
        self._done.append("resumed")


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def count_widenings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    widen = Stream.widen

    def counted(self: Stream, step: int) -> None:
        steps.append(step)
        widen(self, step)

    monkeypatch.setattr(Stream, "widen", counted)
    return steps


def test_a_frame_with_thousands_of_settings_changes_each_stream_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = count_widenings(monkeypatch)
    peer = Peer()
    for id in range(1, 200, 2):
        peer.open(id)
    peer.connection.receive(settings([(4, 100), (4, 200)] * 1_365))
    assert {stream.window for stream in peer.streams.values()} == {200}
    assert len(steps) == 100


def test_windows_that_change_again_and_again_with_calls_open_end_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = count_widenings(monkeypatch)
    peer = Peer()
    for id in range(1, 200, 2):
        peer.open(id)
    for number in range(4_000):
        if not peer.is_closed:
            peer.connection.receive(settings([(4, 100 + number % 2)]))
    last = peer.got[-1]
    assert (last.kind, ErrorCode(last.number)) == (GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)
    assert len(steps) <= 100 * 101


def test_windows_that_grow_by_a_few_bytes_end_the_connection() -> None:
    peer = Peer()
    peer.connection.receive(settings([(4, 0)]))
    peer.open(1)
    assert peer.streams[1].send(b"x" * 10_000) is Sent.SENT
    _ = peer.got
    for _ in range(600):
        if not peer.is_closed:
            peer.send(WINDOW_UPDATE, 0, 1, u32(1))
    frames = peer.got
    assert (frames[-1].kind, ErrorCode(frames[-1].number)) == (GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)
    assert sum(got.kind == DATA for got in frames) <= 500


def test_a_message_in_parts_of_a_few_bytes_ends_the_connection() -> None:
    peer = Peer()
    peer.open(1)
    for _ in range(600):
        if not peer.is_closed:
            peer.send(DATA, 0, 1, b"x" * 4)
    assert peer.is_closed
    assert len(peer.users[1].data) == 500 * 4


def test_the_smallest_messages_cost_nothing() -> None:
    peer = Peer()
    peer.open(1)
    for _ in range(2_000):
        peer.send(DATA, 0, 1, bytes(5))
    assert not peer.is_closed


def test_small_windows_of_a_peer_that_keeps_up_cost_nothing() -> None:
    peer = Peer()
    peer.open(1)
    for _ in range(5_000):
        assert peer.streams[1].send(b"hello") is Sent.SENT
        peer.send(WINDOW_UPDATE, 0, 1, u32(5))
        peer.send(WINDOW_UPDATE, 0, 0, u32(5))
    assert not peer.is_closed


def test_answers_that_are_not_read_end_the_connection() -> None:
    peer = Peer()
    peer.connection.pause()
    for id in range(1, 200_000, 2):
        if peer.is_closed:
            break
        _ = peer.got
        peer.open(id, ends=True)
        if id in peer.streams:
            peer.streams[id].finish(block([(b"grpc-status", b"12"), (b"grpc-message", b"x" * 100)]))
    assert peer.is_closed
    assert peer.written < MOST_UNREAD_BYTES + 1_000


def test_answers_that_are_read_late_are_no_fault() -> None:
    peer = Peer()
    for id in range(1, 40_000, 2):
        if id % 1_000 == 1:
            _ = peer.got
            peer.connection.resume()
            peer.connection.pause()
        peer.open(id, ends=True)
        peer.streams[id].finish(block([(b"grpc-status", b"12"), (b"grpc-message", b"x" * 100)]))
        peer.streams.clear()
        peer.users.clear()
    assert not peer.is_closed


def test_long_header_blocks_are_not_kept() -> None:
    reader = HeaderReader(256 * 1024)
    for number in range(8):
        reader.read(block([(b"x-%d" % number, b"y" * 60_000)]))
    reader.read(b"\x82" * MOST_FIELDS)
    assert (
        sum(len(kept) + sum(len(n) + len(v) + 32 for n, v in fields) for kept, fields in reader._kept.items()) < 16_384
    )


@pytest.mark.parametrize("one", [b"\x90", b"\x40\x01a\x01b", b"\x00\x01a\x01b", b"\x10\x01a\x00", b"\x0f\x01\x01b"])
def test_a_block_with_too_many_fields_is_not_decoded(monkeypatch: pytest.MonkeyPatch, one: bytes) -> None:
    reader = HeaderReader(256 * 1024)
    assert len(reader.read(one * MOST_FIELDS)) == MOST_FIELDS
    monkeypatch.setattr(reader._decoder, "decode", lambda *args, **more: pytest.fail("it was decoded"))
    with pytest.raises(ConnectionFaultError) as caught:
        reader.read(one * (MOST_FIELDS + 1))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "block_",
    [b"\x90" * 300 + b"\x7f", b"\x00\x7f" + b"\xff" * 400, b"\x00" + b"\x7f\xff\x7f" + b"x" * 300, b"\xff" * 400],
)
def test_a_long_block_that_ends_too_early_cannot_be_decoded(block_: bytes) -> None:
    with pytest.raises(ConnectionFaultError) as caught:
        HeaderReader(256 * 1024).read(block_)
    assert caught.value.code in (ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)


@given(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=9_000)), max_size=12), st.booleans())
def test_blocks_with_few_fields_are_decoded_however_long_they_are(
    fields: list[tuple[bytes, bytes]], huffman: bool
) -> None:
    found = HeaderReader(1 << 20).read(Encoder().encode(fields, huffman=huffman))
    assert list(found) == fields


def test_a_connection_that_has_more_to_say_waits_for_the_others() -> None:
    async def main() -> list[str]:
        done: list[str] = []
        transport = FakeTransport(done)
        link = Link(FakeOwner(), Limits(), memoryview(bytearray(READ_BYTES)))
        link.connection_made(transport)
        asyncio.get_running_loop().call_soon(done.append, "another")
        link.buffer_updated(5)
        link.buffer_updated(READ_BYTES)
        await asyncio.sleep(0)
        link.connection_lost(None)
        return done

    assert asyncio.run(main()) == ["paused", "another", "resumed"]


def test_parts_of_binary_metadata_count_like_fields() -> None:
    with pytest.raises(RefusedError) as caught:
        read_head([*REQUEST, (b"x-bin", b"," * 60_000)])
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(read_head([*REQUEST, (b"x-bin", b"," * 50)]).metadata) == 51


def test_the_answer_to_a_browser_goes_out_once() -> None:
    peer = Peer()
    peer.connection.receive(settings([(4, 0)]))
    peer.open(1)
    _ = peer.got
    peer.streams[1].user = NoCall(peer.streams[1], 405, has_body=True)
    for _ in range(3):
        peer.send(DATA, 0, 1, b"x" * 16_000)
    peer.send(DATA, END_STREAM, 1, b"x")
    assert [got.kind for got in peer.got if got.kind == HEADERS] == [HEADERS]


@pytest.mark.parametrize(
    ("extra", "ends"),
    [
        ([(b"content-length", b"5")], True),
        ([(b"content-length", b"5"), (b"content-length", b"6")], False),
    ],
)
def test_fields_that_contradict_the_request_end_its_stream(extra: list[tuple[bytes, bytes]], ends: bool) -> None:
    peer = Peer()
    peer.open(1, ends=ends, fields=[*REQUEST, *extra])
    assert [(got.kind, got.number) for got in peer.got] == [(RST_STREAM, ErrorCode.PROTOCOL_ERROR)]
    assert not peer.streams or "ended" not in peer.users[1].notes


@pytest.mark.parametrize("name", [b":path", b":authority", b":scheme", b":method"])
def test_pseudo_headers_have_no_line_breaks(name: bytes) -> None:
    peer = Peer()
    peer.open(1, fields=[(key, value + b"\r\nx: y" if key == name else value) for key, value in REQUEST])
    assert [(got.kind, got.number) for got in peer.got] == [(RST_STREAM, ErrorCode.PROTOCOL_ERROR)]


def test_streams_that_send_again_in_turn_do_not_call_each_other_deeper_and_deeper() -> None:
    peer = Peer()
    peer.connection.receive(settings([(4, 1_000_000)]) + frame(WINDOW_UPDATE, 0, 0, u32(1_000_000)))
    peer.connection.pause()
    left = {1: 5_000, 3: 5_000}

    def again(id: int) -> None:
        if left[id]:
            left[id] -= 1
            assert peer.streams[id].send(b"x" * 10) is Sent.SENT

    for id in (1, 3):
        peer.open(id)
        peer.users[id].on_writable = lambda id=id: again(id)  # type: ignore[misc]
        again(id)
    _ = peer.got
    peer.connection.resume()
    assert left == {1: 0, 3: 0}
    assert sum(len(got.payload) for got in peer.got if got.kind == DATA) == 100_000


def test_streams_that_ended_here_all_at_once_are_no_fault_of_their_peer() -> None:
    peer = Peer()
    for id in range(1, 5_000, 2):
        peer.open(id)
    for stream in list(peer.streams.values()):
        stream.finish(b"\x88")
    _ = peer.got
    for id in range(1, 5_000, 2):
        peer.send(DATA, END_STREAM, id)
    assert not peer.is_closed


def test_a_peer_without_an_address_is_no_unix_socket() -> None:
    assert Address(None, None).name == ""


def test_a_fault_of_one_user_does_not_keep_the_other_streams_waiting() -> None:
    peer = Peer()
    peer.connection.pause()
    for id in (1, 3):
        peer.open(id)
        assert peer.streams[id].send(b"x") is Sent.SENT

    def fail() -> None:
        raise RuntimeError("a fault")

    peer.users[1].on_writable = fail
    with pytest.raises(RuntimeError, match="a fault"):
        peer.connection.resume()
    peer.connection.resume()
    assert [got.stream for got in peer.got if got.kind == DATA] == [1, 3]
