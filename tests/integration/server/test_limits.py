"""Limits of a server: open files, and calls at once on a connection."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time

import pytest

from tests.support.raw_streams import RawConnection
from tests.support.servers.server import ServerProcess, clean_environment, run_cli

WITH_OPEN_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from headwater.cli import main
main()
"""


def events_with_open_files(soft: int, hard: int, processes: int = 1) -> list[dict[str, object]]:
    """The events about open files of a server that starts with these limits."""
    program = ("-c", WITH_OPEN_FILES.format(soft=soft, hard=hard))
    with ServerProcess("--scripted", program=program, processes=processes) as server:
        pass
    return [event for event in server.events if "open_files" in event]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_low_limit_of_open_files_is_a_warning_with_its_cure(processes):
    (event,) = events_with_open_files(1024, 1024, processes)
    assert (event["level"], event["open_files"]) == ("warning", 1024)
    for words in ("ulimit", "LimitNOFILE", "--ulimit"):
        assert words in str(event["cure"])


def test_a_soft_limit_is_raised_to_the_hard_one_which_is_said():
    (event,) = events_with_open_files(1024, 8192)
    assert (event["level"], event["open_files"], event["before"]) == ("info", 8192, 1024)


def test_a_soft_limit_that_is_raised_as_far_as_it_goes_may_still_be_low():
    raised, low = events_with_open_files(512, 2048)
    assert (raised["level"], raised["open_files"]) == ("info", 2048)
    assert (low["level"], low["open_files"]) == ("warning", 2048)


@pytest.mark.parametrize(("soft", "hard", "streams"), [(512, 1_256, 500), (1_256, 1_256, 500), (256, 256, 16)])
def test_the_limit_of_streams_follows_from_the_open_files(soft, hard, streams):
    command = [sys.executable, "-c", WITH_OPEN_FILES.format(soft=soft, hard=hard), "config"]
    shown = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60, check=True)
    assert f"max_streams = {streams} " in shown.stdout


def test_enough_open_files_are_no_event():
    assert events_with_open_files(8192, 8192) == []


MAX_CONCURRENT_STREAMS = 3
"""Its number among the settings of HTTP/2, RFC 9113."""


def settings_of(target: str) -> dict[int, int]:
    """The HTTP/2 settings that a server sends first."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        stream = connection.makefile("rb")
        header = stream.read(9)
        assert header[3] == 4  # the kind of a SETTINGS frame
        return dict(struct.iter_unpack(">HI", stream.read(int.from_bytes(header[:3]))))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_calls_at_once_on_a_connection_can_be_limited(processes):
    variables = {"HEADWATER_MAX_CONCURRENT_STREAMS": "100"}
    with ServerProcess("--scripted", variables=variables, processes=processes) as server:
        assert settings_of(server.target)[MAX_CONCURRENT_STREAMS] == 100
    with ServerProcess("--scripted", "--max-concurrent-streams", "7", variables=variables) as server:
        assert settings_of(server.target)[MAX_CONCURRENT_STREAMS] == 7


def test_a_connection_has_2500_calls_at_once_unless_asked_for_otherwise(server):
    assert settings_of(server.target)[MAX_CONCURRENT_STREAMS] == 2500
    with ServerProcess("--scripted", "--max-concurrent-streams", "0") as server:
        assert settings_of(server.target).get(MAX_CONCURRENT_STREAMS, 2**31 - 1) >= 2**31 - 1


@pytest.mark.parametrize("value", ["-1", "many", str(2**31)])
def test_a_limit_of_calls_that_cannot_be_is_a_mistake(value):
    done = run_cli("serve", "--scripted", variables={"HEADWATER_MAX_CONCURRENT_STREAMS": value})
    assert done.returncode == 78
    assert done.stderr.startswith("headwater: HEADWATER_MAX_CONCURRENT_STREAMS: ")


def test_a_connection_of_the_set_age_is_closed_and_a_younger_one_is_not():
    """gRPC shifts the age by a tenth, so that connections that began together do not end together."""
    with ServerProcess("--scripted", variables={"HEADWATER_MAX_CONNECTION_AGE_SECONDS": "2"}) as server:
        began = time.monotonic()
        with RawConnection(server.target) as connection:
            while not connection.is_closed and time.monotonic() - began < 20:
                connection.look()
        assert 1.5 < time.monotonic() - began < 20
