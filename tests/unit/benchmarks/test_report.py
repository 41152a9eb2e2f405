from __future__ import annotations

import re

import pytest

from benchmarks import report
from benchmarks.chart import draw
from benchmarks.contestants import choice


def run_of(*rounds):
    return {
        "date": "2026-01-02T03:04+00:00",
        "commit": "abc",
        "machine": {"processor": "p", "cores": 2, "memory_gb": 1.0, "system": "s"},
        "versions": {"python": "3"},
        "sizes": {"seconds": 1.0, "rounds": len(rounds), "streams": 200, "pace": 20.0, "calls": 9, "silent": 9},
        "contestants": ["headwater", "direct", "litellm"],
        "rounds": [{"load_average": 1.0, **one} for one in rounds],
    }


def paced(headwater, litellm):
    return {
        "headwater": {"paced": {"gateway_us_per_chunk": headwater, "failed": 0, "reasons": {}}},
        "direct": {"paced": {"gateway_us_per_chunk": 0.0, "failed": 0, "reasons": {}}},
        "litellm": {"paced": {"gateway_us_per_chunk": litellm, "failed": 2, "reasons": {"not over in time": 2}}},
    }


RUN = run_of(paced(100.0, 1000.0), paced(120.0, 900.0), paced(90.0, 1100.0))


def test_a_cell_is_the_median_and_the_spread():
    row = report.table(RUN).splitlines()[2]
    assert row == "| CPU per chunk, 200 streams at 20 chunks/s, µs | 100 (90 to 120) | – | 1,000 (900 to 1,100) |"


def test_a_figure_that_nobody_has_leaves_no_row():
    assert len(report.table(RUN).splitlines()) == 3


def test_ratios_are_those_of_the_medians_and_of_each_round():
    assert report.ratios(RUN).splitlines() == [
        "| | CPU, paced |",
        "| --- | --- |",
        "| headwater / litellm | 0.10 (0.08 to 0.13) |",
    ]


def test_each_headwater_is_beside_all_others_once():
    names = ["headwater", "headwater-lean", "before", "direct-tls", "smg", "envoy-tls", "headwater-tls"]
    run = {**run_of({name: {"paced": {"gateway_us_per_chunk": 50.0}} for name in names}), "contestants": names}
    assert [line.split(" | ")[0] for line in report.ratios(run).splitlines()[2:]] == [
        "| headwater / headwater-lean",
        "| headwater / before",
        "| headwater / smg",
        "| headwater / headwater-tls",
        "| headwater-lean / before",
        "| headwater-lean / smg",
        "| headwater-lean / headwater-tls",
        "| headwater-tls / envoy-tls",
    ]


@pytest.mark.parametrize("value", [0.0, -0.1])
def test_nothing_is_in_parts_of_what_is_not_above_zero(value):
    assert report.ratios(run_of(paced(1.0, value))) == ""


def test_a_figure_of_some_rounds_has_the_ratio_of_medians_alone():
    run = run_of(paced(100.0, 1000.0), {"headwater": {"paced": {"gateway_us_per_chunk": 100.0}}})
    assert report.ratios(run).splitlines()[2] == "| headwater / litellm | 0.10 |"


def test_the_page_has_every_contestant_and_the_ratios():
    names = list(choice.PAGE)
    results = {name: {"paced": {"gateway_us_per_chunk": 50.0, "failed": 0, "reasons": {}}} for name in names}
    text = report.page({**run_of(results), "contestants": names})
    assert f"| | {' | '.join(names)} |" in text
    assert "| headwater-stub / smg | 1.00 |" in text


def test_failed_streams_and_figures_are_told():
    broken = run_of(paced(1.0, 2.0), {"headwater": {"paced": {"error": "it died\nat line 3"}}})
    assert report.notes(broken) == [
        "litellm, paced: not over in time (2 in all)",
        "headwater, paced: could not be measured: it died (1 in all)",
    ]


def test_the_page_keeps_what_stands_around_the_marks():
    text = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n"
    once = report.insert(text, "new")
    assert once == f"above\n{report.BEGIN}\n\nnew\n\n{report.END}\nbelow\n"
    assert report.insert(once, "new") == once


@pytest.mark.parametrize("text", ["", report.BEGIN, report.END, f"{report.END}\n{report.BEGIN}"])
def test_a_page_without_its_marks_is_left_alone(text):
    with pytest.raises(ValueError, match="needs the lines"):
        report.insert(text, "new")


def test_the_documented_page_has_its_marks():
    assert "here it stands" in report.insert(report.PAGE.read_text(), "here it stands")


def bar_widths(chart: str) -> list[float]:
    return [float(width) for width in re.findall(r'<rect x="110" y="[\d.]+" width="([\d.]+)" height="15"', chart)]


def test_a_bar_is_as_long_as_its_logarithm():
    one, ten, hundred = bar_widths(draw("t", {"g": {"a": 2.0, "b": 20.0, "c": 200.0}}))
    assert hundred - ten == pytest.approx(ten - one, abs=1)


def test_names_are_escaped():
    assert "<b>" not in draw("t<b>", {"g<b>": {"n<b>": 1.0}})


def test_a_chart_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="above zero"):
        draw("t", {"g": {}})
