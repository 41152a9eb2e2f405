"""Resumable streams through connections that fail in every way: nothing is lost or doubled, and each has one end."""

from __future__ import annotations

import os
from itertools import chain, count, repeat

import pytest

from headwater import Connection
from headwater._grpc import channels
from tests.support.faults.chaos import authority_of, quick_options, run_chaos
from tests.support.faults.plan import NO_FAULT, Fault, Kind
from tests.support.faults.proxy import FaultyProxy
from tests.support.faults.reading import read_with_client
from tests.support.faults.source import Source
from tests.support.faults.truth import truth_of
from tests.support.servers.server import ServerProcess

SEED = int(os.environ.get("CHAOS_SEED", "20261129"))
STREAMS = int(os.environ.get("CHAOS_STREAMS", "10000"))
SEEDS_THAT_FOUND_FAULTS = (7, 8, 106)


@pytest.fixture(autouse=True)
def _short_keepalive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_OPTIONS", quick_options())


@pytest.mark.parametrize("processes", [1, 2])
async def test_streams_are_whole_whatever_happens_to_their_connections(tmp_path, processes) -> None:
    report = await run_chaos(tmp_path, SEED, streams=150, processes=processes, callers=20)
    print(report)
    assert report.streams == 150
    assert report.faults == []


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("processes", [1, 2])
async def test_ten_thousand_streams_are_whole(tmp_path, processes) -> None:
    report = await run_chaos(tmp_path, SEED, STREAMS, processes, callers=40)
    print(report)
    assert report.streams == STREAMS
    assert report.faults == []


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS_THAT_FOUND_FAULTS)
async def test_streams_of_seeds_that_found_faults_are_whole(tmp_path, seed) -> None:
    report = await run_chaos(tmp_path, seed, streams=1_500, processes=2, callers=40)
    print(report)
    assert report.faults == []


async def test_a_byte_that_is_flipped_within_tls_is_a_broken_connection_and_no_other_text(tmp_path) -> None:
    # The source pauses between pieces, so the server has passed the first ones on before the flip reaches it: otherwise
    # it would ask again, over a connection with the next flip.
    truths = (truth_of(SEED, number) for number in count())
    truth = next(each for each in truths if each.pause == 0.01 and len(each.rounds) == 1 and len(each.text) > 500)
    flips = [Fault(Kind.FLIP, after=after) for after in (5_000, 6_000, 7_000, 8_000)]
    async with (
        Source(authority_of(tmp_path)) as source,
        FaultyProxy(source.port, chain(*((flip, NO_FAULT) for flip in flips), repeat(NO_FAULT))) as proxy,
    ):
        file = tmp_path / "headwater.toml"
        address = f'base_url = "https://{proxy.target}/v1"\nca_file = "{tmp_path / "ca.pem"}"'
        file.write_text(f'[providers.sealed]\ntype = "openai"\n{address}\n')
        with ServerProcess("--config", str(file)) as server:
            async with Connection(server.target) as connection:
                got = [await read_with_client(connection, "sealed", truth) for _ in flips]
                whole = await read_with_client(connection, "sealed", truth)
    assert [each.error for each in got] == ["STREAM_INTERRUPTED"] * len(flips)
    assert [fault for each in got for fault in each.faults(truth, may_fail=True)] == []
    assert whole.faults(truth, may_fail=False) == []
    assert proxy.happened == {Kind.FLIP: len(flips)}
