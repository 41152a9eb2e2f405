"""The gain of a second process: one and two of them, 32 connections, streams as fast as they go.

    python -m benchmarks.scaling [--seconds S] [--rounds N] [--json]

Upstream and load generator run on the same cores, so the chunks a second say less than the share of each process does.
How many deltas each has passed on is what ListStreams says, in which an id names its process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.contestants.base import upstream
from benchmarks.contestants.headwater import Headwater
from benchmarks.load.load import Failures, Peer, running
from benchmarks.load.processes import raise_file_limit
from benchmarks.load.readers import StubReader
from benchmarks.load.window import Window
from benchmarks.load.wire import Order
from headwater.v1.agent_service_pb2 import ListStreamsRequest

CONNECTIONS = 32
STREAMS = 2  # on each
OPENING_SECONDS = 30.0
SETTLING_SECONDS = 1.0


async def measure(peer: Peer, seconds: float) -> dict[str, Any]:
    """Chunks a second, CPU a chunk in microseconds, and each process's share of streams and chunks."""
    target = f"{peer.host}:{peer.port}"
    failures = Failures()
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(StubReader(target)) for _ in range(CONNECTIONS)]
        spoken = [asyncio.Event() for _ in range(CONNECTIONS * STREAMS)]
        endless = [
            failures.read(readers[number % CONNECTIONS], Order(seconds=600.0), lambda _, one=one: one.set())
            for number, one in enumerate(spoken)
        ]
        async with running(endless):
            async with asyncio.timeout(OPENING_SECONDS):
                await asyncio.gather(*(one.wait() for one in spoken))
            await asyncio.sleep(SETTLING_SECONDS)
            window = Window(peer.pid, peer.upstream_pid)
            before, _ = await _counts(readers[0])
            window.open()
            await asyncio.sleep(seconds)
            after, streams = await _counts(readers[0])
            window.close()
    chunks = {process: after[process] - before[process] for process in sorted(after)}
    total = sum(chunks.values())
    return {
        **window.report(total),
        **failures.report(),
        "streams_of_process": [streams[process] for process in sorted(streams)],
        "share_of_process": [count / total for count in chunks.values()],
    }


async def _counts(reader: StubReader) -> tuple[Counter[str], Counter[str]]:
    """Deltas so far, and streams, of each process."""
    deltas: Counter[str] = Counter()
    streams: Counter[str] = Counter()
    answer = await reader.stub.ListStreams(ListStreamsRequest(page_size=1000))
    for stream in answer.streams:
        process = stream.stream_id.split("_")[1]
        deltas[process] += stream.chunk_count
        streams[process] += 1
    return deltas, streams


def main() -> None:
    """Measures in turn, and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--json", action="store_true", help="print every round as JSON")
    given = parser.parse_args()
    raise_file_limit()
    rounds: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(given.rounds):
        for processes, results in rounds.items():
            with (
                tempfile.TemporaryDirectory() as folder,
                upstream(Path(folder)) as up,
                Headwater(processes=processes).start(up, Path(folder)) as peer,
            ):
                results.append(asyncio.run(measure(peer, given.seconds)))
    print(json.dumps(rounds) if given.json else "\n".join(_line(*one) for one in rounds.items()))


def _line(processes: int, results: list[dict[str, Any]]) -> str:
    rates = [one["chunks_per_second"] for one in results]
    costs = [one["gateway_us_per_chunk"] for one in results]
    shares = ["/".join(f"{share:.0%}" for share in one["share_of_process"]) for one in results]
    streams = ["/".join(map(str, one["streams_of_process"])) for one in results]
    failed = sum(one["failed"] for one in results)
    return (
        f"{processes} process(es), {CONNECTIONS} connections, {CONNECTIONS * STREAMS} streams: "
        f"{statistics.median(rates):,.0f} chunks/s ({min(rates):,.0f} to {max(rates):,.0f}), "
        f"{statistics.median(costs):.1f} us of CPU each, share per process {', '.join(shares)}, "
        f"streams per process {', '.join(streams)}, {failed} failed"
    )


if __name__ == "__main__":
    main()
