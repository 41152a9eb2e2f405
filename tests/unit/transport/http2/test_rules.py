"""Each rule of HTTP/2 that a peer may break, and the error that it gets (RFC 9113; RFC 7541)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from headwater_server.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    frame,
    settings,
)
from headwater_server.transport.http2.limits import Limits
from tests.support.fronts.frames import REQUEST, Peer, block


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def opened(peer: Peer) -> None:
    peer.open(1)


def both_ended(peer: Peer) -> None:
    peer.open(1, ends=True)
    peer.streams[1].finish(b"\x88")


def was_reset(peer: Peer) -> None:
    peer.open(1)
    peer.send(RST_STREAM, 0, 1, u32(8))


def nothing(peer: Peer) -> None:
    pass


def block_open(peer: Peer) -> None:
    peer.send(HEADERS, 0, 1, block(REQUEST)[:20])


BAD_FRAMES: list[tuple[str, Callable[[Peer], None], bytes, ErrorCode]] = [
    ("DATA on no stream", nothing, frame(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("DATA on an idle stream", nothing, frame(DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("DATA on a stream of the server", opened, frame(DATA, 0, 2, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("padding longer than DATA", opened, frame(DATA, PADDED, 1, b"\x05abc"), ErrorCode.PROTOCOL_ERROR),
    ("padding without a length", opened, frame(DATA, PADDED, 1), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS on no stream", nothing, frame(HEADERS, END_HEADERS, 0, block(REQUEST)), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS of an even number", nothing, frame(HEADERS, END_HEADERS, 2, block(REQUEST)), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS after both have ended", both_ended, frame(HEADERS, END_HEADERS, 1, block(REQUEST)), ErrorCode.STREAM_CLOSED),
    ("HEADERS after a reset", was_reset, frame(HEADERS, END_HEADERS, 1, block(REQUEST)), ErrorCode.STREAM_CLOSED),
    ("HEADERS with a cut priority", nothing, frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0"), ErrorCode.FRAME_SIZE_ERROR),
    ("HEADERS that depend on themselves", nothing, frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, u32(1) + b"\0" + block(REQUEST)), ErrorCode.PROTOCOL_ERROR),
    ("headers that are no code", nothing, frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    ("headers with an index that is not there", nothing, frame(HEADERS, END_HEADERS, 1, b"\xfe"), ErrorCode.COMPRESSION_ERROR),
    ("headers cut in a literal", nothing, frame(HEADERS, END_HEADERS, 1, b"\x00\x05ab"), ErrorCode.COMPRESSION_ERROR),
    ("PRIORITY on no stream", nothing, frame(PRIORITY, 0, 0, b"\0" * 5), ErrorCode.PROTOCOL_ERROR),
    ("RST_STREAM on no stream", nothing, frame(RST_STREAM, 0, 0, u32(8)), ErrorCode.PROTOCOL_ERROR),
    ("RST_STREAM on an idle stream", nothing, frame(RST_STREAM, 0, 1, u32(8)), ErrorCode.PROTOCOL_ERROR),
    ("RST_STREAM of another size", opened, frame(RST_STREAM, 0, 1, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
    ("SETTINGS on a stream", opened, frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("SETTINGS of another size", nothing, frame(SETTINGS, 0, 0, b"\0" * 5), ErrorCode.FRAME_SIZE_ERROR),
    ("an acknowledgement with settings", nothing, frame(SETTINGS, ACK, 0, b"\0" * 6), ErrorCode.FRAME_SIZE_ERROR),
    ("ENABLE_PUSH of 2", nothing, settings([(2, 2)]), ErrorCode.PROTOCOL_ERROR),
    ("an initial window of 2^31", nothing, settings([(4, 2**31)]), ErrorCode.FLOW_CONTROL_ERROR),
    ("an initial window too large for a stream", opened, frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1 - 65_535)) + settings([(4, 70_000)]), ErrorCode.FLOW_CONTROL_ERROR),
    ("frames of 16,383", nothing, settings([(5, 16_383)]), ErrorCode.PROTOCOL_ERROR),
    ("frames of 2^24", nothing, settings([(5, 2**24)]), ErrorCode.PROTOCOL_ERROR),
    ("PUSH_PROMISE", opened, frame(PUSH_PROMISE, END_HEADERS, 1, u32(2)), ErrorCode.PROTOCOL_ERROR),
    ("PING on a stream", opened, frame(PING, 0, 1, b"\0" * 8), ErrorCode.PROTOCOL_ERROR),
    ("PING of another size", nothing, frame(PING, 0, 0, b"\0" * 7), ErrorCode.FRAME_SIZE_ERROR),
    ("GOAWAY on a stream", opened, frame(GOAWAY, 0, 1, u32(0, 0)), ErrorCode.PROTOCOL_ERROR),
    ("GOAWAY of another size", nothing, frame(GOAWAY, 0, 0, u32(0)), ErrorCode.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE of 0", nothing, frame(WINDOW_UPDATE, 0, 0, u32(0)), ErrorCode.PROTOCOL_ERROR),
    ("WINDOW_UPDATE of another size", nothing, frame(WINDOW_UPDATE, 0, 0, b"\0" * 3), ErrorCode.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE on an idle stream", nothing, frame(WINDOW_UPDATE, 0, 1, u32(1)), ErrorCode.PROTOCOL_ERROR),
    ("a window beyond 2^31", nothing, frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    ("CONTINUATION without HEADERS", opened, frame(CONTINUATION, END_HEADERS, 1, b""), ErrorCode.PROTOCOL_ERROR),
    ("another frame within a header block", block_open, frame(PING, 0, 0, b"\0" * 8), ErrorCode.PROTOCOL_ERROR),
    ("CONTINUATION of another stream", block_open, frame(CONTINUATION, END_HEADERS, 3, b""), ErrorCode.PROTOCOL_ERROR),
    ("an unknown frame within a header block", block_open, frame(99, 0, 0), ErrorCode.PROTOCOL_ERROR),
    ("a frame that is too long", nothing, frame(PING, 0, 0, b"\0" * 16_385), ErrorCode.FRAME_SIZE_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "bad", "code"), [case[1:] for case in BAD_FRAMES], ids=[case[0] for case in BAD_FRAMES]
)
def test_a_fault_of_the_connection_ends_it(before: Callable[[Peer], None], bad: bytes, code: ErrorCode) -> None:
    peer = Peer()
    before(peer)
    _ = peer.got
    peer.connection.receive(bad + frame(PING, 0, 0, b"\0" * 8))
    *_, last = peer.got
    assert (last.kind, ErrorCode(last.number)) == (GOAWAY, code)
    assert peer.is_closed
    assert all(
        "reset" in user.notes or stream.over
        for stream, user in zip(peer.streams.values(), peer.users.values(), strict=True)
    )


BAD_STREAMS: list[tuple[str, Callable[[Peer], None], bytes, ErrorCode]] = [
    ("DATA after its end", lambda peer: peer.open(1, ends=True), frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    ("DATA after both have ended", both_ended, frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    ("DATA after its reset", was_reset, frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    ("HEADERS after its end", lambda peer: peer.open(1, ends=True), frame(HEADERS, END_HEADERS | END_STREAM, 1, b""), ErrorCode.STREAM_CLOSED),
    ("trailers that do not end", opened, frame(HEADERS, END_HEADERS, 1, b""), ErrorCode.PROTOCOL_ERROR),
    ("trailers with a pseudo-header", opened, frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82"), ErrorCode.PROTOCOL_ERROR),
    ("PRIORITY of another size", opened, frame(PRIORITY, 0, 1, b"\0" * 4), ErrorCode.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE of 0", opened, frame(WINDOW_UPDATE, 0, 1, u32(0)), ErrorCode.PROTOCOL_ERROR),
    ("a window beyond 2^31", opened, frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "bad", "code"), [case[1:] for case in BAD_STREAMS], ids=[case[0] for case in BAD_STREAMS]
)
def test_a_fault_of_a_stream_ends_the_stream_alone(before: Callable[[Peer], None], bad: bytes, code: ErrorCode) -> None:
    peer = Peer()
    before(peer)
    _ = peer.got
    peer.connection.receive(bad)
    [reset] = [got for got in peer.got if got.kind == RST_STREAM]
    assert (reset.stream, ErrorCode(reset.number)) == (1, code)
    assert peer.streams[1].over
    peer.open(3)
    assert 3 in peer.streams
    assert not peer.is_closed


@pytest.mark.parametrize(
    "fields",
    [
        [field for field in REQUEST if field[0] != b":method"],
        [field for field in REQUEST if field[0] != b":path"],
        [field for field in REQUEST if field[0] != b":scheme"],
        [*REQUEST, (b":path", b"/late")],
        [(b":path", b"/twice"), *REQUEST],
        [(b":status", b"200"), *REQUEST],
        [(name, b"" if name == b":path" else value) for name, value in REQUEST],
        [*REQUEST, (b"Upper", b"x")],
        [*REQUEST, (b"", b"x")],
        [*REQUEST, (b"a b", b"x")],
        [*REQUEST, (b"connection", b"close")],
        [*REQUEST, (b"transfer-encoding", b"chunked")],
        [*REQUEST, (b"te", b"gzip")],
        [*REQUEST, (b"x", b"a\r\nb: c")],
        [*REQUEST, (b"content-length", b"-1")],
    ],
)
def test_headers_that_make_no_request_end_their_stream(fields: list[tuple[bytes, bytes]]) -> None:
    peer = Peer()
    peer.open(1, fields=fields)
    assert [(got.kind, got.number) for got in peer.got] == [(RST_STREAM, ErrorCode.PROTOCOL_ERROR)]
    assert not peer.streams or peer.streams[1].over


@pytest.mark.parametrize(("stated", "parts"), [(b"5", [b"abc"]), (b"2", [b"abc"]), (b"1", [b""])])
def test_content_of_another_length_than_stated(stated: bytes, parts: list[bytes]) -> None:
    peer = Peer()
    peer.open(1, fields=[*REQUEST, (b"content-length", stated)])
    for part in parts:
        peer.send(DATA, END_STREAM, 1, part)
    assert [(got.kind, got.number) for got in peer.got] == [(RST_STREAM, ErrorCode.PROTOCOL_ERROR)]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"])
def test_another_protocol_is_refused(first: bytes) -> None:
    peer = Peer(begins=False)
    peer.connection.receive(first)
    assert peer.is_closed


def test_the_first_frame_must_be_settings() -> None:
    peer = Peer(begins=False)
    peer.connection.receive(PREFACE + frame(PING, 0, 0, b"\0" * 8))
    assert (peer.got[-1].kind, peer.is_closed) == (GOAWAY, True)


def test_the_beginning_may_come_in_single_bytes() -> None:
    peer = Peer(begins=False)
    for byte in PREFACE + settings([(4, 100)]) + frame(HEADERS, END_HEADERS, 1, block(REQUEST)):
        peer.connection.receive(bytes((byte,)))
    assert list(peer.fields[1]) == list(REQUEST)
    assert peer.streams[1].window == 100


def test_a_smaller_number_than_before_ends_the_connection() -> None:
    peer = Peer()
    peer.open(5)
    peer.open(3)
    assert ErrorCode(peer.got[-1].number) is ErrorCode.PROTOCOL_ERROR
    assert peer.is_closed


def test_frames_on_their_way_to_a_stream_that_was_ended_here_are_left_alone() -> None:
    peer = Peer()
    peer.open(1)
    peer.streams[1].finish(b"\x88")
    assert [got.kind for got in peer.got] == [HEADERS, RST_STREAM]
    for bad in (
        frame(DATA, END_STREAM, 1, b"late"),
        frame(WINDOW_UPDATE, 0, 1, u32(1)),
        frame(RST_STREAM, 0, 1, u32(8)),
    ):
        peer.connection.receive(bad)
    assert peer.got == []


def test_unknown_frames_and_settings_are_left_alone() -> None:
    peer = Peer()
    peer.connection.receive(frame(77, 255, 1, b"any") + settings([(99, 7)]))
    assert [(got.kind, got.flags) for got in peer.got] == [(SETTINGS, ACK)]


def test_a_ping_is_answered_with_its_bytes() -> None:
    peer = Peer()
    peer.send(PING, 0, 0, b"12345678")
    peer.send(PING, ACK, 0, b"12345678")
    assert [tuple(got) for got in peer.got] == [(PING, ACK, 0, b"12345678")]


def test_a_header_block_may_come_in_many_frames() -> None:
    peer = Peer()
    whole = block(REQUEST)
    peer.send(HEADERS, PADDED | HAS_PRIORITY | END_STREAM, 1, b"\x03" + u32(0) + b"\x10" + whole[:7] + b"\0" * 3)
    for at in range(7, len(whole)):
        peer.send(CONTINUATION, END_HEADERS if at == len(whole) - 1 and at < 64 else 0, 1, whole[at : at + 1])
        if at > 60:
            break
    peer.send(CONTINUATION, END_HEADERS, 1, whole[62:])
    assert list(peer.fields[1]) == list(REQUEST)
    assert peer.users[1].notes == ["ended"]


def test_streams_beyond_the_limit_are_refused() -> None:
    peer = Peer(Limits(max_streams=2))
    for id in (1, 3, 5):
        peer.open(id)
    assert [(got.kind, got.stream, got.number) for got in peer.got] == [(RST_STREAM, 5, ErrorCode.REFUSED_STREAM)]
    peer.streams[1].reset(ErrorCode.CANCEL)
    peer.open(7)
    assert 7 in peer.streams


def test_goaway_comes_in_two_steps() -> None:
    peer = Peer()
    peer.open(1)
    peer.connection.say_goodbye()
    first, ping = peer.got
    assert (first.kind, first.payload[:4], ping.kind) == (GOAWAY, u32(2**31 - 1), PING)
    peer.open(3)
    peer.send(PING, ACK, 0, ping.payload)
    [second] = peer.got
    assert (second.kind, second.payload[:4]) == (GOAWAY, u32(3))
    peer.open(5)
    assert 5 not in peer.streams
    peer.streams[1].finish(b"\x88")
    assert not peer.is_closed
    peer.streams[3].finish(b"\x88")
    assert peer.is_closed


def test_a_peer_that_lowers_its_table_is_told_that_ours_is_empty() -> None:
    peer = Peer()
    peer.connection.receive(settings([(1, 0)]))
    peer.open(1)
    _ = peer.got
    peer.streams[1].send_headers(b"\x88")
    peer.streams[1].finish(b"\x88")
    assert [got.payload for got in peer.got if got.kind == HEADERS] == [b"\x20\x88", b"\x88"]


def test_long_headers_go_out_in_several_frames() -> None:
    peer = Peer()
    peer.open(1, ends=True)
    _ = peer.got
    peer.streams[1].finish(b"x" * 40_000)
    frames = peer.got
    assert [(got.kind, got.flags) for got in frames] == [
        (HEADERS, END_STREAM),
        (CONTINUATION, 0),
        (CONTINUATION, END_HEADERS),
    ]
    assert b"".join(got.payload for got in frames) == b"x" * 40_000
