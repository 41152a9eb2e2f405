"""Each proxy of examples/proxies in front of the shared server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater import Connection
from tests.support.proxies import NAMES, program, proxy
from tests.support.servers.certificates import Authority
from tests.support.servers.server import ServerProcess


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of the proxies."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """The proxy, whose program is here."""
    if program(request.param) is None:
        pytest.skip(f"{request.param} is not here: .ci/run installs it")
    return str(request.param)


@pytest.fixture(scope="session")
def front(
    name: str, server: ServerProcess, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the proxy."""
    with proxy(name, server.target, authority, tmp_path_factory.mktemp("proxy") / name) as target:
        yield target


@pytest.fixture
def connection(front: str, authority: Authority) -> Connection:
    """A connection to the proxy, which the test opens."""
    return Connection(front, ca_file=authority.file)
