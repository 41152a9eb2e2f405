"""Frames in any order, with any content and cut anywhere: no exception, and bounded answers and memory."""

from __future__ import annotations

import struct

from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.transport.http2.frames import END_HEADERS, END_STREAM, HEADERS, PREFACE, frame, settings
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.stream import Sent
from tests.support.fronts.frames import REQUEST, Peer, block

IDS = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7, 9, 2**31 - 1])
NUMBERS = st.sampled_from([0, 1, 8, 100, 65_535, 70_000, 2**31 - 1, 2**32 - 1])
BLOCKS = st.sampled_from(
    [block(REQUEST), block(REQUEST)[:9], b"", b"\x82\x84\x86\x41\x01a", b"\x20", b"\x3f\xe1\x1f", b"\xbe"]
)
PAYLOADS = st.one_of(
    st.binary(max_size=20),
    BLOCKS,
    NUMBERS.map(lambda number: struct.pack(">I", number)),
    st.tuples(st.integers(0, 8), NUMBERS).map(lambda pair: struct.pack(">HI", *pair)),
    st.sampled_from([b"x" * 16_384, b"\x05hello", bytes(8)]),
)
REQUESTS = st.tuples(st.sampled_from([1, 3, 5, 7, 9]), st.booleans()).map(
    lambda pair: frame(HEADERS, END_HEADERS | (END_STREAM if pair[1] else 0), pair[0], block(REQUEST))
)
FRAMES = st.one_of(
    REQUESTS,
    st.builds(frame, st.integers(0, 10), st.sampled_from([0, 1, 4, 5, 8, 9, 13, 0x20, 0x2D, 255]), IDS, PAYLOADS),
    st.binary(max_size=12),
)
REPLIES = st.lists(st.tuples(st.sampled_from(["send", "send", "finish", "reset", "pause", "resume"]), IDS), max_size=6)


@given(st.lists(st.tuples(FRAMES, REPLIES), max_size=30), st.integers(1, 4_000), st.booleans())
def test_no_bytes_break_a_connection(turns: list[tuple[bytes, list[tuple[str, int]]]], cut: int, begins: bool) -> None:
    peer = Peer(Limits(max_streams=3), begins=False)
    peer.connection.receive(PREFACE + settings(()) if begins else b"")
    given_out = peer.written
    for data, replies in turns:
        for at in range(0, len(data), cut):
            peer.connection.receive(data[at : at + cut])
        for action, id in replies:
            given_out += reply(peer, action, id)
        assert len(peer.connection.streams) <= 3
        assert peer.held == sum(stream.held for stream in peer.streams.values())
        assert peer.connection.sending.window >= 0
    assert peer.written <= given_out + 80 * (len(turns) + 5)
    assert all(len(user.data) <= 65_536 for user in peer.users.values())
    peer.connection.lost()
    assert peer.held == 0
    assert not peer.connection.streams
    assert not peer.connection.sending.waiting
    for stream, user in zip(peer.streams.values(), peer.users.values(), strict=True):
        assert stream.over
        assert user.notes.count("reset") <= 1
        assert stream.send(b"x") is Sent.CLOSED


def conversation() -> bytes:
    """The bytes of a caller as gRPC's libraries are: compressed headers, messages in parts, resets, pings."""
    encoder, sent = (
        Encoder(),
        [PREFACE, settings([(4, 4 << 20), (5, 4 << 20), (6, 16_384)]), frame(8, 0, 0, b"\0?\0\0")],
    )
    for id in (1, 3, 5, 7):
        fields = [*REQUEST, (b"user-agent", b"grpc-c/1"), (b"grpc-timeout", b"%dS" % id), (b"x-bin", b"AAECAw")]
        head = encoder.encode(fields)
        sent += [frame(HEADERS, 0, id, head[:11]), frame(9, END_HEADERS, id, head[11:])]
        sent += [frame(0, 0, id, b"\0\0\0\0\x09hell"), frame(0, END_STREAM | 8, id, b"\x03o you\0\0\0")]
        sent += [frame(6, 0, 0, b"12345678"), frame(8, 0, 0, b"\0\0\0\x0a"), frame(3, 0, id, b"\0\0\0\x08")]
    return b"".join(sent)


CONVERSATION = conversation()
EDITS = st.tuples(st.integers(0, len(CONVERSATION)), st.integers(0, 12), st.binary(max_size=12))


def test_the_conversation_is_a_good_one() -> None:
    peer = Peer(begins=False)
    peer.connection.receive(CONVERSATION)
    assert [user.data for user in peer.users.values()] == [b"\0\0\0\0\x09hello you"] * 4
    assert not peer.is_closed


@given(st.lists(EDITS, min_size=1, max_size=6), st.integers(1, 200))
def test_no_edit_of_a_conversation_breaks_a_connection(edits: list[tuple[int, int, bytes]], cut: int) -> None:
    data = CONVERSATION
    for at, removed, added in edits:
        data = data[:at] + added + data[at + removed :]
    peer = Peer(begins=False)
    for at in range(0, len(data), cut):
        peer.connection.receive(data[at : at + cut])
    assert peer.written < 3_000
    assert all(len(user.data) < 1_000 for user in peer.users.values())
    peer.connection.lost()
    assert not peer.connection.streams


def reply(peer: Peer, action: str, id: int) -> int:
    """Does something on the server's side; how many bytes it may cost."""
    if action == "pause":
        peer.connection.pause()
    elif action == "resume":
        peer.connection.resume()
    elif (stream := peer.streams.get(id)) is not None:
        if action == "send":
            return 20_500 if stream.send(b"y" * 20_000) is Sent.SENT else 0
        if action == "finish":
            stream.finish(b"\x88")
        else:
            stream.reset(8)  # type: ignore[arg-type]
        return 100
    return 0
