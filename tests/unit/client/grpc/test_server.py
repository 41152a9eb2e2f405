"""Addresses of servers, and what goes along with a call."""

from __future__ import annotations

import socket

import pytest

from headwater import Agent, Connection, ValidationError
from headwater._grpc.server import endpoint, is_loopback


@pytest.mark.parametrize(
    "target",
    [
        "localhost:1",
        "LocalHost:1",
        "localhost.:1",
        "api.localhost:1",
        "dns:localhost:1",
        "dns:///localhost:1",
        "dns://8.8.8.8/127.0.0.1:1",
        "127.0.0.1:1",
        "127.1:1",
        "127.8.9.10:1",
        "0.0.0.0:1",
        "[::1]:1",
        "[0:0:0:0:0:0:0:1]:1",
        "[::ffff:127.0.0.1]:1",
        "[::]:1",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "ipv6:[::1]:1",
        "unix:/tmp/headwater",
        "unix:///tmp/headwater",
        "unix-abstract:headwater",
        "localhost6:1",
        "0x7f.1:1",
        "2130706433:1",
        "[::1%lo]:1",
        f"{socket.gethostname()}:1",
    ],
)
def test_an_address_of_this_machine_is_known_in_every_spelling(target: str) -> None:
    assert is_loopback(target)


@pytest.mark.parametrize(
    "target",
    ["localhost.example.com:1", "127.example.com:1", "example.com:1", "10.0.0.1:1", "[2001:db8::1]:1", "ipv4:127.0.0.1:1,10.0.0.1:1"],
)  # fmt: skip
def test_another_machine_is_not_taken_for_this_one(target: str) -> None:
    assert not is_loopback(target)


def test_a_token_that_no_server_would_take_is_refused_by_name_and_not_repeated() -> None:
    for make in (lambda token: Agent(token=token), lambda token: Connection(token=token)):
        with pytest.raises(ValidationError, match="token: must be at most 32,768 characters, not 40,000") as caught:
            make("x" * 40_000)
        assert "xxx" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("localhost:1", ("localhost", 1)),
        ("dns:///example.com:2", ("example.com", 2)),
        ("dns://8.8.8.8/example.com:2", ("example.com", 2)),
        ("[::1]:3", ("::1", 3)),
        ("ipv6:[::1]:3,[::2]:4", ("::1", 3)),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", ("127.0.0.1", 1)),
        ("unix:/run/headwater", "/run/headwater"),
        ("unix:headwater", "headwater"),
        ("unix:///run/headwater", "/run/headwater"),
        ("unix-abstract:headwater", None),
        ("xds:///headwater", None),
    ],
)
def test_where_an_address_leads(target: str, place: object) -> None:
    assert endpoint(target) == place
