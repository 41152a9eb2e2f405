"""Measures what Headwater costs between provider and caller, beside the direct way and other gateways.

Every contestant stands between the same upstream and the same load generator, all on this machine and in one run: the
rounds go through the contestants in turn. Upstream, gateway and load generator are separate processes; CPU is that of
the gateway's processes alone. A chunk is a delta of the provider, also where a gateway merges several into one
message. Nothing is installed here: `make bench-peers` does that for the other gateways.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from benchmarks import measure, report
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.load.processes import raise_file_limit


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(one.name for one in CONTESTANTS)
    usual = measure.Sizes()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAMES", help=f"these contestants, of {names}; default: headwater, direct")
    parser.add_argument("--peers", action="store_true", help="all contestants")
    parser.add_argument("--figures", metavar="NAMES", help=f"these figures, of {', '.join(measure.FIGURES)}")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of each measurement of CPU [%(default)s]")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="[%(default)s]")
    parser.add_argument("--streams", type=int, default=usual.streams, help="paced streams [%(default)s]")
    parser.add_argument("--calls", type=int, default=usual.calls, help="for the time to first chunk [%(default)s]")
    parser.add_argument("--silent", type=int, default=usual.silent, help="silent streams for memory [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print every round as JSON, not a table")
    parser.add_argument(
        "--write", action="store_true", help=f"write {report.PAGE.name} and its chart; takes all figures"
    )
    return parser


def _chosen(parser: argparse.ArgumentParser, text: str | None, known: Sequence[str], default: list[str]) -> list[str]:
    """The names that were given. Ends the program when one is unknown."""
    if text is None:
        return default
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            parser.error(f"{name!r} is none of {', '.join(known)}")
    return [name for name in known if name in names]


def _contestants(parser: argparse.ArgumentParser, only: str | None, peers: bool) -> list[Contestant]:
    known = [one.name for one in CONTESTANTS]
    names = _chosen(parser, only, known, known if peers else ["headwater", "direct"])
    chosen = [one for one in CONTESTANTS if one.name in names]
    for one in chosen:
        if not one.installed:
            parser.error(f"{one.name} is not installed: `make bench-peers` does it")
    return chosen


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds, so that every process is ended


def main() -> None:
    """Runs and reports."""
    parser = _parser()
    given = parser.parse_args()
    figures = _chosen(parser, given.figures, list(measure.FIGURES), list(measure.FIGURES))
    contestants = _contestants(parser, given.only, given.peers)
    sizes = measure.Sizes(given.seconds, given.rounds, given.streams, calls=given.calls, silent=given.silent)
    if min(sizes.seconds, sizes.rounds, sizes.streams, sizes.calls, sizes.silent) <= 0:
        parser.error("sizes are above zero")
    if given.write and (given.figures or given.only):
        parser.error("--write takes all figures: leave --only and --figures out")
    signal.signal(signal.SIGTERM, _stop)
    raise_file_limit()
    run = report.collect(contestants, figures, sizes, measure.run(contestants, figures, sizes))
    if given.write:
        report.write(run)
    print(json.dumps(run, indent=1) if given.json else report.table(run))
    for line in [] if given.json else [*report.rig(run), *report.ratios(run), *report.notes(run)]:
        print(line)
    if any("error" in result for one in run["rounds"] for name in run["contestants"] for result in one[name].values()):
        sys.exit("some figures could not be measured, see above")


if __name__ == "__main__":
    main()
