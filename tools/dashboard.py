"""Writes docs/dashboards/headwater.json, a Grafana dashboard over the metrics: `.venv/bin/python tools/dashboard.py`.

A panel is a line of ROWS: its title, its unit, and its queries with their legends. The JSON has the form that Grafana
exports, without what it adds by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "docs" / "dashboards" / "headwater.json"
WIDTH, HEIGHT, PER_ROW = 24, 8, 3
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Panel = tuple[str, str, list[tuple[str, str]]]


def rate(metric: str, by: str) -> str:
    """The rate of a counter, summed."""
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """A quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def quantiles(metric: str) -> list[tuple[str, str]]:
    """Three quantiles of a histogram, of all its series together."""
    return [(quantile(share, metric), f"{share:.0%}") for share in (0.5, 0.95, 0.99)]


MODEL = "{{provider}}/{{model}}"
ROWS: dict[str, list[Panel]] = {
    "Traffic": [
        ("Open streams", "short", [("sum by (provider, model) (headwater_streams_open)", MODEL)]),
        ("Streams started", "reqps", [("sum(rate(headwater_streams_started_total[$__rate_interval]))", "started")]),
        ("Ends of streams", "reqps", [(rate("headwater_streams_ended_total", "reason"), "{{reason}}")]),
        ("Chunks", "cps", [(rate("headwater_chunks_total", "provider, model"), MODEL)]),
        ("Failed calls", "reqps", [(rate("headwater_calls_failed_total", "method, reason"), "{{method}} {{reason}}")]),
        ("Resumed streams", "reqps", [(rate("headwater_resumes_total", "outcome"), "{{outcome}}")]),
    ],
    "Latency": [
        ("First token", "s", quantiles("headwater_first_token_seconds")),
        ("First token by model, 95 %", "s", [
            (quantile(0.95, "headwater_first_token_seconds", "provider, model"), MODEL)]),
        ("Mean gap between chunks", "s", quantiles("headwater_mean_gap_seconds")),
        ("Longest gap of a stream", "s", quantiles("headwater_longest_gap_seconds")),
        ("Longest gap by model, 95 %", "s", [
            (quantile(0.95, "headwater_longest_gap_seconds", "provider, model"), MODEL)]),
    ],
    "Tokens and cost": [
        ("Tokens by kind", "short", [(rate("headwater_tokens_total", "kind"), "{{kind}}")]),
        ("Tokens of output by model", "short", [
            ('sum by (provider, model) (rate(headwater_tokens_total{kind="output"}[$__rate_interval]))', MODEL)]),
        ("Cost of the last hour", "short", [
            ("sum by (provider, model) (increase(headwater_cost_total[1h]))", MODEL)]),
    ],
    "Providers and circuits": [
        ("Failed attempts", "reqps", [
            (rate("headwater_attempts_failed_total", "provider, reason"), "{{provider}} {{reason}}")]),
        ("Fallbacks, by the model that answered", "reqps", [
            (rate("headwater_fallbacks_total", "provider, model"), MODEL)]),
        ("Circuits that are not closed", "short", [
            ("sum by (provider, model, state) (headwater_circuits)", f"{MODEL} {{{{state}}}}")]),
    ],
    "Workflows and workers": [
        ("Open runs", "short", [("sum(headwater_runs_open)", "runs")]),
        ("Ends of runs", "reqps", [(rate("headwater_run_seconds_count", "status"), "{{status}}")]),
        ("Duration of runs, 95 %", "s", [(quantile(0.95, "headwater_run_seconds", "status"), "{{status}}")]),
        ("Attempts of steps", "reqps", [(rate("headwater_step_attempts_total", "outcome"), "{{outcome}}")]),
        ("Tasks", "short", [
            ("sum by (queue) (headwater_tasks_waiting)", "{{queue}} waiting"),
            ("sum by (queue) (headwater_tasks_running)", "{{queue}} running")]),
        ("Workers", "short", [("sum by (queue) (headwater_workers)", "{{queue}}")]),
        ("Journal", "bytes", [("sum(headwater_journal_bytes)", "files")]),
    ],
    "Processes": [
        ("Answering", "short", [("sum by (process) (headwater_process_up)", "{{process}}")]),
        ("Processor", "percentunit", [(rate("process_cpu_seconds_total", "process"), "{{process}}")]),
        ("Memory", "bytes", [("sum by (process) (process_resident_memory_bytes)", "{{process}}")]),
        ("Lag of the event loop", "s", [
            (quantile(0.99, "headwater_loop_lag_seconds", "process"), "{{process}} 99 %"),
            ("max by (process) (headwater_loop_lag_recent_seconds)", "{{process}} longest")]),
        ("Open files", "percentunit", [("max by (process) (process_open_fds / process_max_fds)", "{{process}}")]),
        ("Logs of resumable streams", "bytes", [("sum by (process) (headwater_stream_log_bytes)", "{{process}}")]),
    ],
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana takes it."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "headwater",
        "title": "Headwater",
        "tags": ["headwater"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    """The heads of the rows, and the panels below each, from the top to the bottom."""
    number, top = 0, 0
    for name, panels in ROWS.items():
        number += 1
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": name, "collapsed": False, "panels": [], "gridPos": place}
        top += 1
        for index, (title, unit, queries) in enumerate(panels):
            number += 1
            down, right = divmod(index, PER_ROW)
            wide = WIDTH // PER_ROW
            place = {"x": right * wide, "y": top + down * HEIGHT, "w": wide, "h": HEIGHT}
            yield _panel(number, title, unit, queries, place)
        top += -(-len(panels) // PER_ROW) * HEIGHT


def _panel(number: int, title: str, unit: str, queries: list[tuple[str, str]], place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend, "range": True}
        for index, (query, legend) in enumerate(queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
