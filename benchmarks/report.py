"""The report of a run for people: the table, and the page with its chart. Only figures that were measured appear."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chart import draw
from benchmarks.contestants.base import Contestant
from benchmarks.contestants.headwater import Headwater
from benchmarks.load.processes import ROOT
from benchmarks.measure import Sizes
from benchmarks.samples import spread

PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "benchmarks.svg"
BEGIN = "<!-- written by the benchmarks: begin -->"
END = "<!-- written by the benchmarks: end -->"

Run = Mapping[str, Any]

# The values to read in the result of a figure, and their texts in the table, with {streams}, {pace} and so on of Sizes.
ROWS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("paced", ("gateway_us_per_chunk",), "CPU per chunk, {streams} streams at {pace:g} chunks/s, µs"),
    ("paced", ("running_us_per_chunk",), "the same, without the streams' beginning and end, µs"),
    ("saturated", ("gateway_us_per_chunk",), "CPU per chunk, as fast as it goes, µs"),
    ("saturated", ("chunks_per_second",), "chunks/s, as fast as it goes"),
    ("saturated", ("messages_per_chunk",), "messages per chunk, as fast as it goes"),
    ("first", ("added_p50_ms",), "added time to first chunk, 1 stream, p50, ms"),
    ("first", ("added_p99_ms",), "the same, p99, ms"),
    ("first_busy", ("added_p50_ms",), "added time to first chunk beside {streams} streams, p50, ms"),
    ("first_busy", ("added_p99_ms",), "the same, p99, ms"),
    ("paced", ("gap_p99_ms",), "how much longer gaps between chunks are than written, p99, ms"),
    ("paced", ("share_of_pace",), "share of the pace that was kept, {streams} streams"),
    (
        "paced",
        ("messages_per_chunk",),
        "messages per chunk, paced: less than 1 where a gateway falls behind and merges",
    ),
    ("capacity", ("streams",), "most streams at {pace:g} chunks/s with that p99 under 50 ms"),
    ("many", ("failed",), "streams that failed, of {many} at {half_pace:g} chunks/s"),
    ("silent", ("idle_rss_mb",), "memory after the first calls (RSS), MB"),
    ("silent", ("idle_pss_mb",), "the same (PSS), MB"),
    ("silent", ("kb_per_stream",), "memory per open stream, {silent} silent ones, KiB"),
    ("resumable", ("resumable_us_per_chunk",), "CPU per chunk of resumable streams, paced as above, µs"),
    ("resumable", ("plain_us_per_chunk",), "the same, of plain streams of the same process, µs"),
    ("resumable", ("times_plain",), "the first, in parts of the second"),
    ("resumable", ("added_p50_ms",), "how much later a resumable stream's first chunk comes, p50, ms"),
    ("resumable", ("added_p99_ms",), "the same, p99, ms"),
    ("wire", ("bytes_per_chunk",), "bytes per chunk to the caller, above TCP"),
    (
        "caller",
        ("paced", "client_us_per_chunk"),
        "CPU per chunk of the Python client, {callers} streams at {pace:g} chunks/s, µs",
    ),
    ("caller", ("paced", "messages_per_chunk"), "messages per chunk there"),
    ("caller", ("burst", "client_us_per_chunk"), "the same, one stream as fast as it goes, µs"),
    ("saturated", ("upstream_us_per_chunk",), "the upstream's own CPU per chunk, as fast as it goes, µs"),
    ("paced", ("upstream_us_per_chunk",), "the upstream's own CPU per chunk, paced, µs"),
    ("paced", ("load_us_per_chunk",), "the load generator's own CPU per chunk, paced, µs"),
)
# The figures in which contestants are compared, and their titles.
RATIOS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("paced", ("gateway_us_per_chunk",), "CPU, paced"),
    ("paced", ("running_us_per_chunk",), "the same, running"),
    ("saturated", ("gateway_us_per_chunk",), "CPU, as fast as it goes"),
    ("first", ("added_p50_ms",), "first chunk, p50"),
    ("first_busy", ("added_p50_ms",), "the same, beside others"),
    ("silent", ("kb_per_stream",), "a silent stream"),
    ("caller", ("paced", "client_us_per_chunk"), "Python client"),
)
# Figures of a gateway's own processes: the direct way has none, and a zero would look like one.
_OF_A_GATEWAY = ("gateway_us_per_chunk", "running_us_per_chunk", "added_p50_ms", "added_p99_ms")


def collect(
    contestants: Sequence[Contestant], figures: Sequence[str], sizes: Sizes, rounds: list[dict[str, Any]]
) -> dict[str, Any]:
    """Everything about a run, as it is printed by --json."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "commit": Headwater().commit(),
        "machine": {
            "processor": _processor(),
            "cores": psutil.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("grpcio", "aiohttp", "httpx", "msgspec")},
            **{one.product: one.version() for one in contestants if one.product != "direct"},
        },
        "sizes": asdict(sizes),
        "figures": list(figures),
        "contestants": [one.name for one in contestants],
        "rounds": rounds,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _is_direct(contestant: str) -> bool:
    return contestant.partition("-")[0] == "direct"


def _is_tls(contestant: str) -> bool:
    return "tls" in contestant.split("-")


def values(run: Run, contestant: str, figure: str, path: Sequence[str]) -> list[float]:
    """A figure in each round in which it was measured."""
    found = []
    for results in run["rounds"]:
        value = results.get(contestant, {}).get(figure, {})
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and not (_is_direct(contestant) and path[-1] in _OF_A_GATEWAY):
            found.append(value)
    return found


def rows(run: Run) -> list[tuple[str, dict[str, dict[str, float]]]]:
    """The table: the text of a row, and contestant to median and spread. Rows without a figure are left out."""
    sizes = run["sizes"]
    texts = {**sizes, "many": 2 * sizes["streams"], "callers": sizes["streams"] // 2, "half_pace": sizes["pace"] / 2}
    table = []
    for figure, path, text in ROWS:
        found = {name: values(run, name, figure, path) for name in run["contestants"]}
        cells = {name: spread(measured) for name, measured in found.items() if measured}
        if cells:
            table.append((text.format(**texts), cells))
    return table


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def _cell(cells: Mapping[str, Mapping[str, float]], name: str) -> str:
    if name not in cells:
        return "–"
    one = cells[name]
    low, middle, high = (_number(one[key]) for key in ("min", "median", "max"))
    return middle if low == high else f"{middle} ({low} to {high})"


def table(run: Run) -> str:
    """The table in Markdown: medians over the rounds, and smallest to largest."""
    names = run["contestants"]
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    lines += [f"| {text} | " + " | ".join(_cell(cells, name) for name in names) + " |" for text, cells in rows(run)]
    return "\n".join(lines)


def notes(run: Run) -> list[str]:
    """The failures and their places: a figure beside a failed stream must be read with them."""
    found: dict[str, int] = {}
    for results in run["rounds"]:
        for name in run["contestants"]:
            for figure, result in results.get(name, {}).items():
                if "error" in result:
                    first = str(result["error"]).splitlines()[0]
                    key = f"{name}, {figure}: could not be measured: {first}"
                    found[key] = found.get(key, 0) + 1
                for reason, count in result.get("reasons", {}).items():
                    key = f"{name}, {figure}: {reason}"
                    found[key] = found.get(key, 0) + count
    return [f"{text} ({count} in all)" for text, count in found.items()]


def rig(run: Run) -> list[str]:
    """How fast upstream and load generator are by themselves: no gateway can be measured above that."""
    through = values(run, "direct", "saturated", ("chunks_per_second",))
    cost = values(run, "direct", "saturated", ("upstream_us_per_chunk",))
    if not through or not min(cost):
        return []
    rate, ceiling = spread(through)["median"], 1e6 / spread(cost)["median"]
    return [f"straight from the upstream: {rate:,.0f} chunks/s; it could write {ceiling:,.0f} alone on a core"]


def ratios(run: Run) -> str:
    """A table of each Headwater in parts of each other contestant, in the figures that are compared.

    Others have TLS where it has TLS. Of each figure the ratio of the medians, and the smallest and largest ratio within
    a round. Empty when there is no pair.
    """
    names = [name for name in run["contestants"] if not _is_direct(name)]
    own = [name for name in names if name.partition("-")[0] == "headwater"]
    pairs = [
        (one, other)
        for number, one in enumerate(own)
        for other in names
        if other not in own[: number + 1] and (other in own or _is_tls(one) == _is_tls(other))
    ]
    columns = {
        title: cells
        for figure, path, title in RATIOS
        if any(cells := [_ratio(run, one, other, figure, path) for one, other in pairs])
    }
    if not columns:
        return ""
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for number, (one, other) in enumerate(pairs):
        lines.append(f"| {one} / {other} | " + " | ".join(cells[number] or "–" for cells in columns.values()) + " |")
    return "\n".join(lines)


def _ratio(run: Run, one: str, other: str, figure: str, path: Sequence[str]) -> str:
    above, below = values(run, one, figure, path), values(run, other, figure, path)
    if not above or not below or min(above + below) <= 0:
        return ""
    middle = spread(above)["median"] / spread(below)["median"]
    # In pairs only where no round is without one of the two.
    each = [first / second for first, second in zip(above, below, strict=True)] if len(above) == len(below) else []
    return f"{middle:.2f}" + (f" ({min(each):.2f} to {max(each):.2f})" if len(each) > 1 else "")


def page(run: Run) -> str:
    """The text between the marks of the page."""
    machine, sizes, loads = run["machine"], run["sizes"], [f"{one['load_average']:.1f}" for one in run["rounds"]]
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    parts = [
        f"Measured {run['date'][:10]} at commit {run['commit']}, in one run of {sizes['rounds']} rounds, on "
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB, {machine['system']}. "
        f"Load average as each round began: {', '.join(loads)}. Versions: {versions}.",
        "Medians over the rounds, in brackets the smallest and the largest. A dash: not measured, or no such thing.",
        table(run),
        f"![CPU per chunk of each gateway]({CHART.name})",
    ]
    if compared := ratios(run):
        parts += ["Ratios of the medians, in brackets the smallest and the largest ratio within a round:", compared]
    for title, lines in (("The rig itself", rig(run)), ("Failures on the way", notes(run))):
        if lines:
            parts.append("\n".join([f"{title}:", "", *(f"- {line}" for line in lines)]))
    return "\n\n".join(parts)


def insert(text: str, new: str) -> str:
    """The page with `new` between its marks. ValueError when it does not have both."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"


def write(run: Run) -> None:
    """Writes page and chart."""
    PAGE.write_text(insert(PAGE.read_text(), page(run)))
    bars = {
        how: {
            name: spread(found)["median"]
            for name in run["contestants"]
            if (found := values(run, name, figure, ("gateway_us_per_chunk",)))
        }
        for figure, how in (("paced", "paced"), ("saturated", "as fast as it goes"))
    }
    CHART.write_text(draw("CPU per chunk of the gateway, µs (logarithmic)", bars))
