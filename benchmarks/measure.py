"""The run: every figure of every contestant, round after round, the contestants in turn within each."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.contestants.base import Contestant, start_direct, upstream
from benchmarks.load.load import ENDING_SECONDS, FIRST_SECONDS, OPENING_SECONDS, SETTLING_SECONDS, Peer, describe
from benchmarks.load.processes import job
from benchmarks.load.window import REST_SECONDS
from benchmarks.load.wire import KEY, MODEL, Order

LADDER = (10, 25, 50, 75, 100, 150, 200, 250, 300, 350, 400, 500, 600, 800, 1000)
"""Numbers of streams that the search for the largest one tries, in turn."""

MOST_GAP_MS = 50.0
LEAST_SHARE_OF_PACE = 0.97

Result = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        seconds: of each measurement in which CPU is counted.
        rounds: how often everything is repeated.
        streams: in the paced figures, at `pace` chunks a second each; half of them, at most 100, when saturated.
        calls: for the time to the first chunk.
        silent: streams that are open and say nothing.
    """

    seconds: float = 5.0
    rounds: int = 3
    streams: int = 200
    pace: float = 20.0
    calls: int = 2000
    silent: int = 2000


@dataclass(frozen=True)
class Bench:
    """The parts of a measurement: the sizes, a contestant that runs and its Python client, the direct way beside it."""

    sizes: Sizes
    client: tuple[str, Path] | None
    peer: Peer
    direct: Peer
    log: Path

    def load(self, kind: str, limit: float, **arguments: Any) -> Result:
        """A job of the load generator; it may take `limit` seconds."""
        result: Result = job("load", describe(kind, self.peer, **arguments), self.log, limit)
        return result


def _silent(bench: Bench) -> Result:
    if bench.peer.pid is None:
        return {}
    return bench.load("silent", 120 + bench.sizes.silent / 20, streams=bench.sizes.silent)


def _paced(bench: Bench, streams: int, pace: float, seconds: float) -> Result:
    limit = seconds * 2 + 60 + ENDING_SECONDS + REST_SECONDS
    return bench.load("paced", limit, streams=streams, pace=pace, seconds=seconds)


def _resumable(bench: Bench) -> Result:
    """Resumable streams beside plain ones of the same process, in turn; nothing where there are none."""
    if bench.peer.protocol != "grpc" or bench.peer.resumable:
        return {}
    sizes = bench.sizes
    kept = replace(bench, peer=replace(bench.peer, resumable=True), direct=bench.peer)
    parts = {
        name: _paced(one, sizes.streams, sizes.pace, sizes.seconds)
        for name, one in (("resumable", kept), ("plain", bench))
    }
    cost = {name: result["gateway_us_per_chunk"] for name, result in parts.items()}
    parts["first"] = _first(kept, sizes.calls, 0)
    return {
        **{f"{name}_us_per_chunk": microseconds for name, microseconds in cost.items()},
        "times_plain": cost["resumable"] / cost["plain"],
        "added_p50_ms": parts["first"]["added_p50_ms"],
        "added_p99_ms": parts["first"]["added_p99_ms"],
        "failed": sum(result["failed"] for result in parts.values()),
        "reasons": {f"{name}: {why}": n for name, result in parts.items() for why, n in result["reasons"].items()},
    }


def _saturated(bench: Bench) -> Result:
    sizes = bench.sizes
    return bench.load(
        "saturated", sizes.seconds + 120, streams=min(sizes.streams // 2, 100) or 1, seconds=sizes.seconds
    )


def _first(bench: Bench, calls: int, streams: int) -> Result:
    return bench.load(
        "first", 120 + FIRST_SECONDS, direct=bench.direct, calls=calls, streams=streams, pace=bench.sizes.pace
    )


def _capacity(bench: Bench) -> Result:
    """The largest number of streams that keeps the pace with small gaps and no failure.

    From below, since a gateway that was overloaded is slow for a while; a step that fails is tried once more.
    """
    steps: list[Result] = []
    most = 0
    for streams in LADDER:
        for _ in range(2):
            steps.append(_paced(bench, streams, bench.sizes.pace, min(bench.sizes.seconds, 2.0)))
            if keeps_up(steps[-1]):
                most = streams
                break
        else:
            break
    return {"streams": most, "steps": steps}


def keeps_up(result: Result) -> bool:
    """Whether a paced measurement was clean: none failed, all at their pace, gaps small."""
    return (
        not result["failed"] and result["share_of_pace"] >= LEAST_SHARE_OF_PACE and result["gap_p99_ms"] < MOST_GAP_MS
    )


def _caller(bench: Bench) -> Result:
    """CPU of the Python client of this way: Headwater's own, and OpenAI's straight to the provider."""
    if bench.client is None or not bench.client[1].exists():
        return {}
    client, python = bench.client
    seconds, lead = bench.sizes.seconds, OPENING_SECONDS + SETTLING_SECONDS
    count = round(bench.sizes.pace * (lead + seconds + 0.5))
    common = {"client": client, "address": f"{bench.peer.host}:{bench.peer.port}", "key": KEY, "model": MODEL}
    paced = {
        "streams": max(bench.sizes.streams // 2, 1),  # as many as the slower client can still read at this pace
        "count": count,
        "prompt": Order(pace=bench.sizes.pace, count=count).prompt,
        "lead": lead,
        "seconds": seconds,
    }
    burst = {"streams": 1, "count": 20_000, "prompt": Order(count=20_000).prompt, "lead": 0, "seconds": 0}
    return {
        name: job("caller", {**common, **how}, bench.log, 2 * (count / bench.sizes.pace) + 60, python)
        for name, how in (("paced", paced), ("burst", burst))
    }


FIGURES: dict[str, Callable[[Bench], Result]] = {
    "silent": _silent,
    "paced": lambda bench: _paced(bench, bench.sizes.streams, bench.sizes.pace, bench.sizes.seconds),
    "resumable": _resumable,
    "saturated": _saturated,
    "first": lambda bench: _first(bench, bench.sizes.calls, 0),
    "first_busy": lambda bench: _first(bench, max(bench.sizes.calls // 10, 1), bench.sizes.streams),
    "wire": lambda bench: bench.load("wire", 60, chunks=200),
    "many": lambda bench: _paced(bench, 2 * bench.sizes.streams, bench.sizes.pace / 2, bench.sizes.seconds),
    "capacity": _capacity,
    "caller": _caller,
}


def run(contestants: Sequence[Contestant], figures: Sequence[str], sizes: Sizes) -> list[dict[str, Any]]:
    """The rounds: contestant to figure to result, and the machine's load as the round began.

    A figure that could not be taken is `{"error": why}`.
    """
    rounds = []
    for number in range(sizes.rounds):
        results: dict[str, Any] = {"load_average": os.getloadavg()[0], **{one.name: {} for one in contestants}}
        # Each round begins with another contestant, so that none always comes first. The contestants
        # follow each other within a figure, since the machine may be slower a minute later.
        turn = number % len(contestants)
        for name in figures:
            for contestant in [*contestants[turn:], *contestants[:turn]]:
                if contestant.figures is not None and name not in contestant.figures:
                    continue
                print(f"round {number + 1}: {name}, {contestant.name}", file=sys.stderr, flush=True)
                with tempfile.TemporaryDirectory(prefix="headwater-bench-") as folder:
                    results[contestant.name][name] = _one(contestant, name, sizes, Path(folder))
        rounds.append(results)
    return rounds


def _one(contestant: Contestant, figure: str, sizes: Sizes, folder: Path) -> Result:
    """One figure, of a contestant started for it alone.

    The rest of one figure would weigh on the next: after 2,000 silent streams a gateway may be busy for minutes.
    """
    try:
        with (
            upstream(folder, contestant.tls) as up,
            start_direct(up, folder) as direct,
            contestant.start(up, folder) as peer,
        ):
            return FIGURES[figure](Bench(sizes, contestant.client, peer, direct, folder / "load.log"))
    except RuntimeError as error:
        print(f"  could not be measured: {error}", file=sys.stderr)
        return {"error": str(error)}
