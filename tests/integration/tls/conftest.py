"""A server with TLS for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers.certificates import Authority
from tests.support.servers.server import ServerProcess


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs what is good."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def tls_server(authority: Authority, processes: int) -> Iterator[ServerProcess]:
    """A server whose certificate is good on this machine; callers need none."""
    with ServerProcess("--scripted", *authority.issue("shared").flags, processes=processes) as server:
        yield server
