"""Every metric, label and path in deploy/grafana and deploy/prometheus is one that `/metrics` has."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry
from ruamel.yaml import YAML

from events.language.contexts import contexts
from events.log.topics import CONTEXTS
from events.writer.deciders import Deciders
from events.writer.measures import Measured, Measures
from events.writer.partition import Partition
from forgelog.serve.statistics import Statistics, Timing
from proto import scrapes
from tests.unit.resources.pools import POOL, Pools, heartbeat, register

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "forgelog.json").read_text())
SCRAPES: dict[str, Any] = YAML(typ="safe", pure=True).load((DEPLOY / "prometheus" / "prometheus.yml").read_text())

SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
ADDED = {"process", "job", "instance"}
"""Labels that Prometheus adds."""


class Replica(Collector):
    """What a model server tells that has answered one request."""

    def collect(self) -> Iterator[Any]:
        statistics = Statistics()
        statistics.answered("rest", "ok", Timing(), 0.1, 1)
        labels = dict.fromkeys(("deployment", "revision", "model", "version"), "a")
        return statistics.metrics(labels, True, 0)


def with_a_node() -> Partition:
    """A partition with a pool of one node that was heard of."""
    pool = Pools()
    pool.command(register())
    pool.command(heartbeat())
    partition = Partition(Deciders(pool.decider), 0, 1)
    partition.kinds["pool"].states[POOL] = pool.state
    return partition


def exposed() -> dict[str, set[str]]:
    """Sample → its labels: those of the gateway, of each context's service, of nodes and of a replica."""
    importlib.import_module("services.gateway.http")
    for context in CONTEXTS:
        importlib.import_module(f"{contexts()[context].package}.service")
    found: dict[str, set[str]] = {}
    for collector in {*REGISTRY._names_to_collectors.values()}:
        for metric in getattr(collector, "describe", collector.collect)():
            labels = {*getattr(collector, "_labelnames", ())}
            for suffix in SAMPLES.get(metric.type, ()):
                found[metric.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    registry = CollectorRegistry()
    registry.register(Replica())
    measures = Measures()
    measures.add(Measured("resources", {0: with_a_node()}))
    registry.register(measures)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found[sample.name] = {*sample.labels}
    return found


EXPOSED = exposed()


def expressions() -> Iterator[tuple[str, str]]:
    """A panel's title, or a variable's name, and a query of its."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def problems(expression: str) -> list[str]:
    """What a query asks for that nobody tells."""
    found = []
    named = re.findall(r"\b(forgelog_\w+)(?:\{([^}]*)\})?", expression)
    labels = {*re.findall(r"(\w+)=~?\"", expression)}
    for grouped in re.findall(r"(?:by|ignoring) \(([^)]*)\)", expression):
        labels |= {label.strip() for label in grouped.split(",")}
    if asked := re.search(r"label_values\(\w+, (\w+)\)", expression):
        labels.add(asked[1])
    for name, _ in named:
        if name not in EXPOSED:
            found.append(f"nobody tells {name}")
    known = set[str]().union(*(EXPOSED.get(name, set()) for name, _ in named), ADDED)
    found += [f"{name} has no label {label}" for name, _ in named[:1] for label in labels - known]
    for name, given in named:
        found += [
            f"{name} has no label {label}"
            for label in re.findall(r"(\w+)=~?\"", given)
            if label not in EXPOSED.get(name, set()) | ADDED
        ]
    return found + ([] if named else ["it asks for no metric"])


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_a_panel_asks_for_what_is_told(title: str, expression: str) -> None:
    assert problems(expression) == [], f"{title}: {expression}"


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("sum(rate(forgelog_commands[5m]))", "nobody tells forgelog_commands"),
        ('forgelog_ready{kind="a"}', "forgelog_ready has no label kind"),
        ("sum by (colour) (forgelog_ready)", "forgelog_ready has no label colour"),
        ("label_values(forgelog_ready, node)", "forgelog_ready has no label node"),
        ("up", "it asks for no metric"),
    ],
)
def test_a_query_for_what_is_not_told_is_found(expression: str, problem: str) -> None:
    assert problem in problems(expression)


def test_each_legend_names_labels_that_its_query_leaves() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            kept = {label.strip() for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in by.split(",")}
            assert {*re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])} <= kept, panel["title"]


def test_what_a_service_tells_is_asked_for() -> None:
    asked = " ".join(expression for _, expression in expressions())
    left = {name for name in EXPOSED if re.fullmatch("forgelog_.*(?<!_sum)(?<!_count)", name) and name not in asked}
    assert left == {
        "forgelog_gateway_forwarded_total",
        "forgelog_openlineage_events_total",
        "forgelog_replacements_total",
    }


def test_panels_do_not_lie_on_each_other() -> None:
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_prometheus_asks_the_gateway_and_each_context_once() -> None:
    platform, replica = SCRAPES["scrape_configs"]
    paths = [each["labels"]["__metrics_path__"] for each in platform["static_configs"]]
    assert sorted(paths) == sorted(["/metrics", *(f"/metrics/{context}" for context in CONTEXTS)])
    assert len({each["labels"]["process"] for each in platform["static_configs"]}) == len(paths)
    assert "authorization" in platform
    assert [each["labels"]["__metrics_path__"] for each in replica["static_configs"]] == [
        "/serve/local/default/digits/metrics"
    ]


def test_a_context_that_is_added_is_asked_too() -> None:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    more = scrapes.render(text, [*CONTEXTS, "notes"])
    (added,) = [line for line in more.splitlines() if line not in text.splitlines()]
    assert added.strip() == "labels: { __metrics_path__: /metrics/notes, process: notes }"
    assert scrapes.render(more, CONTEXTS) == text
