"""Windows, turns, floods and the compression of headers of a connection in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hpack import Encoder

from headwater_server.transport.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    frame,
    settings,
)
from headwater_server.transport.http2.receiving import CONNECTION_WINDOW
from headwater_server.transport.http2.stream import WINDOW, Sent
from tests.support.fronts.frames import REQUEST, Got, Peer, block


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def sizes(frames: list[Got]) -> list[tuple[int, int]]:
    return [(got.stream, len(got.payload)) for got in frames if got.kind == DATA]


def open_wide(peer: Peer, *streams: int) -> None:
    """Windows of streams that are no hindrance; the one of the connection has 65,535 bytes."""
    peer.connection.receive(settings([(4, 1_000_000)]))
    for id in streams:
        peer.open(id)
    _ = peer.got


def test_bytes_go_out_as_one_frame_where_there_is_room() -> None:
    peer = Peer()
    peer.open(1)
    assert peer.streams[1].send(b"hello") is Sent.SENT
    assert peer.got == [(DATA, 0, 1, b"hello")]
    assert (peer.streams[1].window, peer.connection.sending.window) == (65_530, 65_530)


def test_what_has_no_room_is_held_and_further_bytes_are_not_taken() -> None:
    peer = Peer()
    peer.connection.receive(settings([(4, 10)]))
    peer.open(1)
    assert [peer.streams[1].send(b"x" * 25), peer.streams[1].send(b"y")] == [Sent.SENT, Sent.FULL]
    assert sizes(peer.got) == [(1, 10)]
    peer.send(WINDOW_UPDATE, 0, 1, u32(10))
    assert peer.users[1].notes == []
    peer.send(WINDOW_UPDATE, 0, 1, u32(10))
    assert sizes(peer.got) == [(1, 10), (1, 5)]
    assert peer.users[1].notes == ["writable"]
    assert peer.streams[1].send(b"y") is Sent.SENT


def test_trailers_wait_for_what_is_held() -> None:
    peer = Peer()
    peer.connection.receive(settings([(4, 10)]))
    peer.open(1, ends=True)
    peer.streams[1].send(b"x" * 15)
    peer.streams[1].finish(b"\x88")
    assert peer.streams[1].send(b"late") is Sent.CLOSED
    assert [got.kind for got in peer.got if got.kind != SETTINGS] == [DATA]
    peer.send(WINDOW_UPDATE, 0, 1, u32(100))
    assert [(got.kind, got.flags) for got in peer.got] == [(DATA, 0), (HEADERS, END_HEADERS | END_STREAM)]
    assert peer.streams[1].over


def test_streams_that_wait_for_the_connection_take_turns() -> None:
    peer = Peer()
    open_wide(peer, 1, 3, 5)
    peer.streams[1].send(b"x" * 200_000)
    assert sum(size for _, size in sizes(peer.got)) == 65_535
    peer.streams[3].send(b"y" * 40_000)
    peer.streams[5].send(b"z" * 10)
    peer.send(WINDOW_UPDATE, 0, 0, u32(16_384 * 3 + 10))
    assert sizes(peer.got) == [(1, 16_384), (3, 16_384), (5, 10), (1, 16_384)]


def test_a_short_message_does_not_pass_those_that_wait() -> None:
    peer = Peer()
    open_wide(peer, 1, 3)
    peer.streams[1].send(b"x" * 65_536)
    _ = peer.got
    peer.connection.pause()
    peer.send(WINDOW_UPDATE, 0, 0, u32(100))
    assert peer.streams[3].send(b"y") is Sent.SENT
    assert sizes(peer.got) == []
    peer.connection.resume()
    assert sizes(peer.got) == [(1, 1), (3, 1)]


def test_a_socket_that_is_full_holds_all_up() -> None:
    peer = Peer()
    peer.open(1)
    peer.connection.pause()
    assert [peer.streams[1].send(b"x"), peer.streams[1].send(b"y")] == [Sent.SENT, Sent.FULL]
    assert sizes(peer.got) == []
    peer.connection.resume()
    assert sizes(peer.got) == [(1, 1)]


def test_a_window_may_become_negative_by_a_setting() -> None:
    peer = Peer()
    peer.open(1)
    peer.streams[1].send(b"x" * 100)
    peer.connection.receive(settings([(4, 50)]))
    assert peer.streams[1].window == -50
    peer.streams[1].send(b"y" * 10)
    peer.send(WINDOW_UPDATE, 0, 1, u32(50))
    _ = peer.got
    peer.send(WINDOW_UPDATE, 0, 1, u32(5))
    assert sizes(peer.got) == [(1, 5)]


def test_a_reset_frees_what_is_held() -> None:
    peer = Peer()
    open_wide(peer, 1, 3)
    peer.streams[1].send(b"x" * 100_000)
    peer.send(RST_STREAM, 0, 1, u32(ErrorCode.CANCEL))
    assert peer.users[1].notes == ["reset"]
    _ = peer.got
    peer.streams[3].send(b"y")
    peer.send(WINDOW_UPDATE, 0, 0, u32(10))
    assert sizes(peer.got) == [(3, 1)]
    assert peer.streams[1].send(b"z") is Sent.CLOSED


def test_a_peer_may_send_its_window_and_no_more() -> None:
    peer = Peer()
    peer.open(1)
    for _ in range(WINDOW // 16_384):
        peer.send(DATA, 0, 1, b"x" * 16_384)
    assert len(peer.users[1].data) == WINDOW
    peer.streams[1].allow(100)
    assert peer.got == []  # too small a step
    peer.streams[1].allow(100, needed=1)
    assert [(got.kind, got.stream, got.number) for got in peer.got] == [(WINDOW_UPDATE, 1, 100)]
    peer.send(DATA, 0, 1, b"x" * 101)
    assert [(got.kind, got.number) for got in peer.got] == [(RST_STREAM, ErrorCode.FLOW_CONTROL_ERROR)]


def test_the_window_of_the_connection_is_opened_again() -> None:
    peer = Peer()
    for id in range(1, 2 * CONNECTION_WINDOW // WINDOW, 2):
        peer.open(id)
        for _ in range(4):
            peer.send(DATA, 0, id, b"x" * 16_384)
    steps = [got.number for got in peer.got if got.kind == WINDOW_UPDATE and not got.stream]
    assert sum(steps) >= CONNECTION_WINDOW // 2
    assert not peer.is_closed


def reset_flood(peer: Peer, turn: int) -> bytes:
    id = 2 * turn + 1
    return frame(HEADERS, END_HEADERS, id, block(REQUEST)) + frame(RST_STREAM, 0, id, u32(8))


def own_faults(peer: Peer, turn: int) -> bytes:
    id = 2 * turn + 1
    return frame(HEADERS, END_HEADERS, id, block(REQUEST)) + frame(WINDOW_UPDATE, 0, id, u32(0))


def endless_headers(peer: Peer, turn: int) -> bytes:
    return frame(CONTINUATION, 0, 1, b"\x00" * 10) if turn else frame(HEADERS, 0, 1, b"")


FLOODS: list[tuple[str, Callable[[Peer, int], bytes], int]] = [
    ("resets", reset_flood, 501),
    ("faults of streams", own_faults, 501),
    ("pings", lambda peer, turn: frame(PING, 0, 0, bytes(8)), 5_002),
    ("settings", lambda peer, turn: settings(()), 5_002),
    ("empty DATA", lambda peer, turn: frame(DATA, 0, 1), 501),
    ("priorities", lambda peer, turn: frame(2, 0, 9, bytes(5)), 501),
    ("unknown frames", lambda peer, turn: frame(99, 0, 0), 501),
    ("endless headers", endless_headers, 65),
    ("large headers", lambda peer, turn: frame(CONTINUATION, 0, 1, bytes(16_000)) if turn else frame(HEADERS, 0, 1), 9),
]


@pytest.mark.parametrize(("attack", "most"), [case[1:] for case in FLOODS], ids=[case[0] for case in FLOODS])
def test_a_flood_ends_its_connection(attack: Callable[[Peer, int], bytes], most: int) -> None:
    peer = Peer()
    if attack(peer, 1).startswith(frame(DATA, 0, 1)[:9]):
        peer.open(1)
    turns = 0
    while not peer.is_closed:
        peer.connection.receive(attack(peer, turns))
        turns += 1
        assert turns <= most
    last = peer.got[-1]
    assert (last.kind, ErrorCode(last.number)) == (GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)
    assert not peer.connection.streams


def test_time_fills_an_allowance_again() -> None:
    peer = Peer()
    for turn in range(3_000):
        peer.now += 0.011
        peer.connection.receive(reset_flood(peer, turn))
    assert not peer.is_closed


def test_calls_that_were_answered_may_be_reset_as_often_as_their_caller_likes() -> None:
    peer = Peer()
    for id in range(1, 20_001, 2):
        peer.open(id)
        peer.streams[id].send(b"x")
        peer.send(RST_STREAM, 0, id, u32(8))
        peer.send(WINDOW_UPDATE, 0, 0, u32(1))
    assert not peer.is_closed


def test_pings_beside_chunks_are_no_flood() -> None:
    peer = Peer()
    peer.open(1)
    for _ in range(20_000):
        assert peer.streams[1].send(b"x") is Sent.SENT
        peer.connection.receive(frame(PING, 0, 0, bytes(8)))
    assert not peer.is_closed


def test_answers_do_not_pile_up_for_a_peer_that_does_not_read() -> None:
    peer = Peer()
    peer.connection.pause()
    before = peer.written
    while not peer.is_closed:
        peer.connection.receive(frame(PING, 0, 0, bytes(8)))
    assert peer.written - before < 100_000


def test_headers_are_decoded_the_same_each_time() -> None:
    peer = Peer()
    encoder = Encoder()
    id = 1
    for turn in range(50):
        fields = [*REQUEST, (b"turn", b"%d" % (turn // 10)), (b"x-key", b"a" * 30)]
        for _ in range(3):
            peer.send(HEADERS, END_HEADERS, id, encoder.encode(fields))
            assert list(peer.fields[id]) == fields
            id += 2
        if turn == 25:
            encoder.header_table_size = 0
        if turn == 35:
            encoder.header_table_size = 4096


def test_headers_that_unfold_to_more_than_a_call_may_have_end_the_connection() -> None:
    peer = Peer()
    encoder = Encoder()
    first = encoder.encode([*REQUEST, (b"bomb", b"x" * 3_000)])
    peer.send(HEADERS, END_HEADERS, 1, first)
    again = encoder.encode([(b"bomb", b"x" * 3_000)])
    assert len(again) == 1
    peer.send(HEADERS, END_HEADERS, 3, again * 10_000)
    last = peer.got[-1]
    assert (last.kind, ErrorCode(last.number)) == (GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)
