"""gRPC's messages and headers as bytes."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.transport.http2.calls.messages import MessageReader, Packed, RefusedError
from headwater_server.transport.http2.calls.metadata import (
    NoCallError,
    headers,
    read_head,
    trailers,
)
from headwater_server.transport.http2.calls.unpacking import AT_ONCE_BYTES, Unpacker
from headwater_server.transport.http2.headers import HeaderReader
from headwater_server.transport.http2.peers import Peer
from tests.support.fronts.frames import prefixed

GRPC = [(b":method", b"POST"), (b":path", b"/a/b"), (b"content-type", b"application/grpc")]


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 30), max_size=40))
def test_messages_are_found_however_their_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(map(prefixed, messages))
    reader, found = MessageReader(100, "identity"), []
    for cut in [*cuts, max(1, len(whole))]:
        found += reader.read(whole[:cut])
        whole = whole[cut:]
        assert reader.held <= 45
    assert (found, reader.held, reader.missing) == (messages, 0, 0)


def test_a_reader_knows_how_much_is_missing() -> None:
    reader = MessageReader(100, "identity")
    assert (list(reader.read(b"\0\0\0")), reader.missing) == ([], 0)
    assert (list(reader.read(b"\0\x0aab")), reader.missing) == ([], 8)
    assert (list(reader.read(b"cdefghij\0")), reader.missing, reader.held) == ([b"abcdefghij"], 0, 1)


@pytest.mark.parametrize(
    ("encoding", "data", "code"),
    [
        ("identity", b"\0\0\0\0\x65", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("identity", b"\0\xff\xff\xff\xff", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("identity", b"\x02\0\0\0\0", grpc.StatusCode.INTERNAL),
        ("identity", b"\x01\0\0\0\0", grpc.StatusCode.INTERNAL),
    ],
)
def test_a_bad_message_is_refused(encoding: str, data: bytes, code: grpc.StatusCode) -> None:
    with pytest.raises(RefusedError) as caught:
        MessageReader(100, encoding).read(data)
    assert caught.value.code is code


def test_a_compressed_message_is_found_as_it_came() -> None:
    found = MessageReader(100, "gzip").read(b"\x01" + prefixed(b"abc")[1:] + prefixed(b"plain"))
    assert [(type(message), message) for message in found] == [(Packed, b"abc"), (bytes, b"plain")]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("size", [0, 50, AT_ONCE_BYTES - 1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 300_000])
async def test_messages_may_be_compressed(encoding: str, compress: Any, size: int) -> None:
    for most in (0, size, 300_000):
        for message in (bytes(size), os.urandom(size)):
            unpacked = await Unpacker(most).unpack(compress(message), encoding)
            assert unpacked == message, (most, len(unpacked))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"abc", grpc.StatusCode.INTERNAL),
        (b"", grpc.StatusCode.INTERNAL),
        (gzip.compress(bytes(101), mtime=0), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (gzip.compress(bytes(1_000_000), mtime=0), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (gzip.compress(bytes(50), mtime=0)[:-9], grpc.StatusCode.INTERNAL),
    ],
)
async def test_what_cannot_be_decompressed_is_refused(data: bytes, code: grpc.StatusCode) -> None:
    with pytest.raises(RefusedError) as caught:
        await Unpacker(100).unpack(data, "gzip")
    assert caught.value.code is code


async def test_a_fault_behind_the_first_bytes_is_refused_too() -> None:
    packed = gzip.compress(os.urandom(300_000), mtime=0)
    for bad in (packed[:-9], packed[:200_000] + b"x" * 100_000):
        with pytest.raises(RefusedError):
            await Unpacker(0).unpack(bad, "gzip")


async def test_large_messages_are_decompressed_one_at_a_time_and_the_loop_has_its_turns() -> None:
    packed, unpacker, turns = gzip.compress(bytes(20_000_000), mtime=0), Unpacker(20_000_000), 0
    doing = [asyncio.create_task(unpacker.unpack(packed, "gzip")) for _ in range(3)]
    left = asyncio.create_task(unpacker.unpack(packed, "gzip"))
    while not all(task.done() for task in doing):
        await asyncio.sleep(0)
        turns += 1
        left.cancel()
    assert turns > 100
    assert {len(task.result()) for task in doing} == {20_000_000}
    with pytest.raises(asyncio.CancelledError):
        await left


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"5S", 5), (b"10m", 0.01), (b"1H", 3600), (b"2M", 120), (b"7u", 7e-6), (b"99999999n", 0.099999999)],
)
def test_a_timeout_is_read(value: bytes, seconds: float) -> None:
    assert read_head([*GRPC, (b"grpc-timeout", value)]).timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    "bad",
    [
        (b"grpc-timeout", b"5"),
        (b"grpc-timeout", b"S"),
        (b"grpc-timeout", b"123456789S"),
        (b"grpc-timeout", b"-1S"),
        (b"x-bin", b"!!"),
        (b"x-bin", b"a"),
        (b"grpc-encoding", b"br"),
    ],
)
def test_a_bad_head_is_refused(bad: tuple[bytes, bytes]) -> None:
    with pytest.raises(RefusedError):
        read_head([*GRPC, bad])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b":method", b"GET"), *GRPC[1:]], 405),
        ([*GRPC[:2], (b"content-type", b"application/json")], 415),
        ([*GRPC[:2], (b"content-type", b"application/grpc-web")], 415),
        (GRPC[:2], 415),
    ],
)
def test_a_request_of_the_web_gets_an_answer_of_the_web(fields: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(NoCallError) as caught:
        read_head(fields)
    assert caught.value.status == status


def test_metadata_is_read() -> None:
    head = read_head([*GRPC, (b"key", b"a"), (b"x-bin", b"AAE"), (b"x-bin", b"AA==,AQ"), (b"te", b"trailers")])
    assert [tuple(entry) for entry in head.metadata] == [
        ("key", "a"),
        ("x-bin", b"\0\x01"),
        ("x-bin", b"\0"),
        ("x-bin", b"\x01"),
    ]


@pytest.mark.parametrize("bad", [("Upper", "x"), ("a b", "x"), ("", "x"), ("key", "ä"), ("key", "a\n"), (":path", "x")])
def test_metadata_that_cannot_be_sent_is_an_error(bad: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        headers([bad], None)


def test_what_a_caller_does_not_take_is_left_out() -> None:
    long = (("x-bin", b"x" * 1_000),)
    status = trailers(grpc.StatusCode.NOT_FOUND, "ä" * 300, long, 600)
    found = dict(HeaderReader(10_000).read(status))
    assert found[b"grpc-status"] == b"5"
    assert found[b"grpc-message"].startswith(b"%C3%A4")
    assert b"x-bin" not in found
    assert len(status) < 600
    assert b"x-bin" in dict(HeaderReader(10_000).read(trailers(grpc.StatusCode.OK, "", long, 3_000)))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 5), "ipv4:127.0.0.1:5"),
        (("::1", 5, 0, 0), "ipv6:%5B::1%5D:5"),
        (("::ffff:10.0.0.1", 5, 0, 0), "ipv4:10.0.0.1:5"),
        ("", "unix:"),
    ],
)
def test_the_name_of_a_peer_is_the_one_of_grpc(address: object, name: str) -> None:
    peer = Peer(address, None)
    assert (peer.name, peer.auth_context, peer.identity_key) == (name, {}, None)
