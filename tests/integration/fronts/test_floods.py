"""Connections that do nothing but cost: `lean` cuts them off, keeps its memory, and answers other callers."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.support.attacks import OtherCaller, memory
from tests.support.fronts.frames import block
from tests.support.raw_streams import RawConnection
from tests.support.servers.server import ServerProcess

RUN = "/headwater.v1.AgentService/Run"
BEGINNING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
MIB = 12
"""The most that a flood may add to the memory of the server."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def headers() -> bytes:
    """The beginning of a call."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", RUN.encode()),
        (b"content-type", b"application/grpc"),
    )
    return frame(1, 4, 1, block(fields))


def send_until_cut(target: str, first: bytes, again: bytes, times: int) -> bool:
    """Sends bytes again and again; whether the server has closed the connection before all were sent."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as attacker:
        try:
            attacker.sendall(BEGINNING + first)
            for _ in range(times // 100):
                attacker.sendall(again * 100)
        except OSError:
            return True
        with suppress(OSError):
            while attacker.recv(65_536):
                pass
    return True  # the server has closed it after the last byte


def resets(target: str) -> bool:
    opened = cut = 0
    while opened < 30_000:
        with RawConnection(target) as attacker:
            with suppress(OSError):
                while opened + attacker.opened < 30_000 and not attacker.is_closed:
                    attacker.open(RUN, 100, reset=True)
            opened, cut = opened + attacker.opened, cut + 1
    return cut > 1


FLOODS: dict[str, Callable[[str], bool]] = {
    "30,000 resets": resets,
    "pings": lambda target: send_until_cut(target, b"", frame(6, 0, 0, bytes(8)), 200_000),
    "settings": lambda target: send_until_cut(target, b"", frame(4, 0, 0, b""), 200_000),
    "headers without an end": lambda target: send_until_cut(target, frame(1, 0, 1, b""), frame(9, 0, 1, b"\0\1a\1b" * 200), 20_000),
    "empty frames": lambda target: send_until_cut(target, frame(1, 4, 1, b"\x82\x86\x84"), frame(0, 0, 1, b""), 200_000),
    "data of one byte": lambda target: send_until_cut(target, headers(), frame(0, 0, 1, b"\0"), 200_000),
    "blocks of many fields": lambda target: send_until_cut(target, b"", frame(1, 5, 1, b"\x90" * 4_000), 2_000),
    "unknown frames": lambda target: send_until_cut(target, b"", frame(99, 0, 0, b""), 200_000),
}  # fmt: skip


@pytest.fixture(scope="module")
def lean():
    with ServerProcess("--scripted", "--log-level", "warning", variables={"HEADWATER_FRONT": "lean"}) as server:
        with OtherCaller(server.target):
            pass  # its first call loads what all calls need
        yield server


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_cut_off(lean: ServerProcess, flood: Callable[[str], bool]) -> None:
    before = memory(lean.process.pid)
    with OtherCaller(lean.target) as others:
        assert flood(lean.target)
    assert others.failures == []
    assert memory(lean.process.pid, "VmHWM") < before + MIB
