"""Rules for taking the port."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from headwater_server.transport.port import PortTakenError, check_port, hold_port

HOST = "127.0.0.1"


@pytest.fixture
def held() -> Iterator[socket.socket]:
    with hold_port(HOST, 0) as held:
        yield held


def port_of(held: socket.socket) -> int:
    return int(held.getsockname()[1])


def listener(port: int, *options: int) -> socket.socket:
    listening = socket.socket()
    for option in (socket.SO_REUSEADDR, *options):
        listening.setsockopt(socket.SOL_SOCKET, option, 1)
    listening.bind((HOST, port))
    listening.listen()
    return listening


@pytest.mark.parametrize("take", [check_port, hold_port])
def test_a_held_port_is_taken_before_anybody_listens_there(held, take):
    with pytest.raises(PortTakenError, match=rf"^cannot listen on {HOST}:{port_of(held)}: Address already in use; "):
        take(HOST, port_of(held))


def test_those_who_share_the_held_port_get_all_its_connections(held):
    with listener(port_of(held), socket.SO_REUSEPORT) as one, listener(port_of(held), socket.SO_REUSEPORT) as two:
        one.settimeout(0)
        two.settimeout(0)
        for _ in range(20):
            with socket.create_connection((HOST, port_of(held))):
                accepted = 0
                for each in (one, two):
                    try:
                        each.accept()[0].close()
                        accepted += 1
                    except BlockingIOError:
                        continue
                assert accepted == 1


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEPORT,)], ids=["alone", "shared"])
def test_connections_that_linger_after_a_server_take_the_port_from_nobody(options):
    with listener(0, *options) as server:
        port = port_of(server)
        with socket.create_connection((HOST, port)):
            server.accept()[0].close()  # the side that closes first lingers
    check_port(HOST, port)
    with hold_port(HOST, port) as held:
        assert port_of(held) == port


def test_a_released_port_is_free(held):
    port = port_of(held)
    held.close()
    check_port(HOST, port)


@pytest.mark.parametrize("take", [check_port, hold_port])
@pytest.mark.parametrize(
    ("host", "why"), [("192.0.2.1", "Cannot assign requested address"), ("a" * 64 + ".b", "not the name of a host")]
)
def test_an_address_that_cannot_be_listened_on_is_told_with_the_cure(take, host, why):
    with pytest.raises(PortTakenError, match=rf"^cannot listen on {host}:50051: {why}; choose with --host and --port$"):
        take(host, 50051)
