"""Resumable streams through connections that fail in every way: nothing is lost or doubled, and each has one end."""

from __future__ import annotations

import os

import pytest

from headwater._grpc import channels
from tests.support.faults.chaos import quick_options, run_chaos

SEED = int(os.environ.get("CHAOS_SEED", "20261129"))
STREAMS = int(os.environ.get("CHAOS_STREAMS", "10000"))


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
