"""The queries of the dashboard and of the alerts: they are PromQL, and a real server exports all that they name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from headwater_server.domain.errors import Reason
from tests.support.servers.metrics import get, port_of
from tests.support.servers.server import ServerProcess
from tests.support.services.everything import attached_worker, do_some_of_everything, question
from tests.support.stubs.stub import AgentServiceStub

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "dashboards"
OF_PROMETHEUS = {"job", "instance"}
"""The labels that Prometheus adds to each series."""
ONE_STEP = ("lhs", "rhs", "expr", "vector_selector")


@dataclass(frozen=True)
class Exported:
    """The series of a server: their labels by name, and the values of each label."""

    labels: dict[str, set[str]]
    values: dict[tuple[str, str], set[str]]


def queries_of_dashboard() -> list[str]:
    panels = json.loads((FOLDER / "headwater.json").read_text("utf-8"))["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "5m") for query in found]


def queries_of_alerts() -> list[str]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


QUERIES = [*queries_of_dashboard(), *queries_of_alerts()]


def parts(node: Any) -> Iterator[Any]:
    """The node of a query, and all nodes in it."""
    yield node
    for name in ONE_STEP:
        if (inner := getattr(node, name, None)) is not None:
            yield from parts(inner)
    for inner in getattr(node, "args", ()):
        yield from parts(inner)


def selectors(node: Any) -> list[Any]:
    return [part for part in parts(node) if isinstance(part, promql_parser.VectorSelector)]


def mistakes(query: str, exported: Exported) -> Iterator[str]:
    """The metrics and labels that the query names and the server does not have."""
    whole = promql_parser.parse(query)
    for selector in selectors(whole):
        if selector.name not in exported.labels:
            yield f"{selector.name} is not exported"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in exported.labels[selector.name]:
                yield f"{selector.name} has no label {matcher.name}"
    for part in parts(whole):
        modifier = getattr(part, "modifier", None)
        wanted = set(getattr(modifier, "labels", None) or ())
        for selector in selectors(part) if wanted else ():
            if missing := wanted - exported.labels.get(selector.name, set()) - OF_PROMETHEUS:
                yield f"{selector.name} has no label {', '.join(missing)}"


@pytest.fixture
async def exported(busy: ServerProcess) -> Exported:
    """Those of a server that has done some of everything, and has a stream open."""
    labels: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    async with grpc.aio.insecure_channel(busy.target) as channel, attached_worker(channel, "gpu"):
        await do_some_of_everything(channel, port_of(busy))
        held = AgentServiceStub(channel).Stream(question("scripted/echo", text="one two", hang_after=1))
        await held.read()
        _, text = await get(port_of(busy), "/metrics")
        held.cancel()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
            for name, value in sample.labels.items():
                values.setdefault((sample.name, name), set()).add(value)
    return Exported(labels, values)


async def test_every_query_names_metrics_and_labels_that_a_real_server_exports(exported):
    found = {query: wrong for query in QUERIES if (wrong := list(mistakes(query, exported)))}
    assert found == {}


async def test_the_check_finds_a_metric_and_a_label_that_are_not_there(exported):
    assert list(mistakes('sum(rate(headwater_nothing_total{a="b"}[5m]))', exported))
    assert list(mistakes('headwater_streams_ended_total{color="red"}', exported))
    assert list(mistakes("sum by (color) (headwater_streams_open)", exported))


async def test_the_dashboard_shows_every_metric(exported):
    shown = {name for query in queries_of_dashboard() for name in map(base, names(query))}
    assert {base(name) for name in exported.labels if name.startswith("headwater_")} - shown == set()


async def test_names_of_metrics_follow_the_rules_of_prometheus(exported):
    for name, labels in exported.labels.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert not re.search(r"(milli|micro|minutes|hours|_ms|_kb|_mib|percent)", name), f"{name} has no base unit"
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in labels), labels


def names(query: str) -> list[str]:
    return [selector.name for selector in selectors(promql_parser.parse(query))]


def base(name: str) -> str:
    """The name of a histogram without the ending of its series."""
    return re.sub(r"(_seconds)_(bucket|count|sum)$", r"\1", name)


def test_reasons_in_queries_are_reasons():
    known = {reason.value for reason in Reason}
    for query in QUERIES:
        for selector in selectors(promql_parser.parse(query)):
            for matcher in selector.matchers.matchers:
                if matcher.name == "reason":
                    for one in matcher.value.split("|"):
                        assert [reason for reason in known if re.fullmatch(one, reason)], (query, one)


def test_the_dashboard_is_written_by_its_tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import dashboard

    sys.modules.pop("dashboard")
    assert json.loads((FOLDER / "headwater.json").read_text("utf-8")) == dashboard.dashboard()


def test_no_two_panels_overlap_and_each_has_its_number():
    panels = json.loads((FOLDER / "headwater.json").read_text("utf-8"))["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_each_alert_says_how_urgent_it_is_and_what_is_wrong():
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
    assert all(rule["annotations"]["summary"] for rule in rules)
    assert len({rule["alert"] for rule in rules}) == len(rules)
