"""CPU a chunk with the metrics, without them, and of one build against itself: `python -m benchmarks.metrics`.

The three servers run at the same time, and the rounds go through them in turn, each round beginning with the next one:
so a machine that is busy for a while is so for all. The differences are those of the measurements of one round. The two
that are equal show the spread: a smaller difference of the other one says nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.contestants.base import upstream
from benchmarks.contestants.headwater import Headwater
from benchmarks.load.load import ENDING_SECONDS, Peer, describe
from benchmarks.load.processes import job, raise_file_limit
from benchmarks.load.window import REST_SECONDS
from benchmarks.samples import spread

SERVERS = {"with": Headwater(), "with again": Headwater(), "without": Headwater(options=frozenset({"unmetered"}))}
NAMES = tuple(SERVERS)


def measure(peer: Peer, log: Path, streams: int, pace: float, seconds: float) -> float:
    """Microseconds of CPU a chunk of this server."""
    order = describe("paced", peer, streams=streams, pace=pace, seconds=seconds)
    result = job("load", order, log, 2 * seconds + 60 + ENDING_SECONDS + REST_SECONDS)
    if result["failed"]:
        raise RuntimeError(f"streams failed: {result['reasons']}")
    return float(result["gateway_us_per_chunk"])


def run(rounds: int, streams: int, pace: float, seconds: float) -> dict[str, list[float]]:
    """The measurements of each server, one a round."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-bench-")))
        up = stack.enter_context(upstream(folder))
        peers = {}
        for name, server in SERVERS.items():
            place = folder / name.replace(" ", "-")
            place.mkdir()
            peers[name] = stack.enter_context(server.start(up, place))
        for number in range(rounds):
            first = number % len(NAMES)
            for name in (*NAMES[first:], *NAMES[:first]):
                found[name].append(measure(peers[name], folder / "load.log", streams, pace, seconds))
            print(f"round {number + 1}: " + ", ".join(f"{n} {found[n][-1]:.1f}" for n in NAMES), file=sys.stderr)
    return found


def differences(found: dict[str, list[float]], one: str, other: str) -> list[float]:
    """By how many percent `one` took more than `other`, in each round."""
    return [100 * (a - b) / b for a, b in zip(found[one], found[other], strict=True)]


def report(found: dict[str, list[float]]) -> str:
    """The medians, smallest and largest, and the differences of the rounds."""
    lines = [f"{len(found['with'])} rounds, µs of CPU a chunk:"]
    for name, values in found.items():
        lines.append("  {:<11} {median:6.1f}  ({min:.1f} to {max:.1f})".format(name, **spread(values)))
    for title, one, other in (("with, not without", "with", "without"), ("with, with again", "with", "with again")):
        apart = differences(found, one, other)
        deviation = statistics.stdev(apart) if len(apart) > 1 else 0.0
        facts = spread(apart)
        lines.append(
            f"  {title:<18} {facts['median']:+.2f} % ({facts['min']:+.2f} to {facts['max']:+.2f}), "
            f"standard deviation {deviation:.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="[%(default)s]")
    parser.add_argument("--streams", type=int, default=100, help="[%(default)s]")
    parser.add_argument("--pace", type=float, default=20.0, help="chunks a second of each [%(default)s]")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print every round as JSON")
    given = parser.parse_args()
    raise_file_limit()
    found = run(given.rounds, given.streams, given.pace, given.seconds)
    print(json.dumps(found) if given.json else report(found))


if __name__ == "__main__":
    main()
