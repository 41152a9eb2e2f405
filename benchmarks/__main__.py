"""Measures what Headwater costs between provider and caller, beside the direct way and other gateways.

Every contestant stands between the same upstream and the same load generator, all on this machine and in one run: the
rounds go through the contestants in turn. Upstream, gateway and load generator are separate processes; CPU is that of
the gateway's processes alone. A chunk is a delta of the provider, also where a gateway merges several into one
message. Nothing is installed here: `make bench-peers` does that for the other gateways.

A name is a contestant and options, such as headwater-lean-tls: {options}. smg, envoy and direct take tls too.
With --against, `before` is the Headwater of another checkout, in turn with this one's; one checkout against itself
shows how much two equal programs differ.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks import measure, report
from benchmarks.contestants import choice
from benchmarks.contestants.base import Contestant
from benchmarks.contestants.headwater import OPTIONS
from benchmarks.load.processes import raise_file_limit


def _parser() -> argparse.ArgumentParser:
    usual = measure.Sizes()
    options = ", ".join(f"{name} ({what})" for name, what in OPTIONS.items())
    about = (__doc__ or "").format(options=options)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=about)
    bases = "headwater, before, direct, smg, envoy, litellm"
    parser.add_argument(
        "--only", metavar="NAMES", help=f"these contestants, of {bases}; default: {', '.join(choice.USUAL)}"
    )
    parser.add_argument("--peers", action="store_true", help=f"those of the page: {', '.join(choice.PAGE)}")
    parser.add_argument("--against", metavar="PATH", type=Path, help="another checkout, with its own .venv")
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


def _figures(parser: argparse.ArgumentParser, text: str | None) -> list[str]:
    """The figures that were named. Ends the program when one is unknown."""
    names = [name.strip() for name in text.split(",")] if text else list(measure.FIGURES)
    for name in names:
        if name not in measure.FIGURES:
            parser.error(f"{name!r} is none of {', '.join(measure.FIGURES)}")
    return names


def _contestants(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[Contestant]:
    """The contestants that were named. Ends the program when one is unknown or not there."""
    usual: Sequence[str] = choice.PAGE if given.peers else ("headwater", "before") if given.against else choice.USUAL
    names = [name.strip() for name in given.only.split(",")] if given.only else usual
    against = given.against.resolve() if given.against else None
    try:
        return [choice.contestant(name, against) for name in dict.fromkeys(names)]
    except ValueError as error:
        parser.error(str(error))


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds, so that every process is ended


def main() -> None:
    """Runs and reports."""
    parser = _parser()
    given = parser.parse_args()
    figures = _figures(parser, given.figures)
    contestants = _contestants(parser, given)
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
    for text in [] if given.json else ["", report.ratios(run), "", *report.rig(run), *report.notes(run)]:
        print(text)
    if any("error" in result for one in run["rounds"] for name in run["contestants"] for result in one[name].values()):
        sys.exit("some figures could not be measured, see above")


if __name__ == "__main__":
    main()
