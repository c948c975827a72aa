"""Given states that have numbers to tell, `/metrics` has them as gauges; each of the process that holds the state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from events.queries.log_dispatch import only
from events.writer.decider import Measure
from events.writer.deciders import Deciders
from events.writer.measures import Measured, Measures
from events.writer.partition import Partition
from services.resources.decide import Resources
from tests.unit.resources.pools import POOL, Pools, heartbeat, register
from tests.unit.writer.sample import SampleDecider


def test_the_numbers_of_all_partitions_states_are_told_by_name_and_labels() -> None:
    pool = Pools()
    for number, node in enumerate(("n1", "n2")):
        pool.command(register(node))
        pool.command(heartbeat(node).model_copy(update={"running_tasks": number}))
    partitions = {number: Partition(Deciders(Resources()), number, 2) for number in range(2)}
    registry = CollectorRegistry()
    registry.register(measures := Measures())
    measures.add(Measured("resources", partitions))
    assert generate_latest(registry) == b""
    partitions[1].kinds["pool"].states[POOL] = pool.state
    families = {each.name: each for each in text_string_to_metric_families(generate_latest(registry).decode())}
    assert {*families} == {
        "forgelog_node_cpu_percent",
        "forgelog_node_memory_used_bytes",
        "forgelog_node_running_tasks",
    }
    tasks = families["forgelog_node_running_tasks"]
    assert tasks.type == "gauge"
    assert [(each.labels, each.value) for each in tasks.samples] == [
        ({"context": "resources", "pool": POOL, "node": "n1"}, 0.0),
        ({"context": "resources", "pool": POOL, "node": "n2"}, 1.0),
    ]
    del partitions[1]  # another process has it now
    assert generate_latest(registry) == b""


def test_a_decider_that_measures_nothing_is_not_asked() -> None:
    registry = CollectorRegistry()
    registry.register(measures := Measures())
    measures.add(Measured("jobs", {0: Partition(Deciders(SampleDecider()), 0, 1)}))
    assert generate_latest(registry) == b""


class Loads(SampleDecider):
    """Measures as another context does, with labels of its own."""

    def measured(self, state: Any) -> Iterator[Measure]:
        yield Measure("forgelog_node_running_tasks", "Tasks of another context", {"rack": "r1"}, 7.0)


def test_a_name_that_two_contexts_of_a_process_measure_is_told_once() -> None:
    pool = Pools()
    pool.command(register("n1"))
    pool.command(heartbeat("n1"))
    nodes, loads = Partition(Deciders(Resources()), 0, 1), Partition(Deciders(Loads()), 0, 1)
    nodes.kinds["pool"].states[POOL] = pool.state
    next(iter(loads.kinds.values())).states["s1"] = object()
    registry = CollectorRegistry()
    registry.register(measures := Measures())
    parts = Measured("resources", {0: nodes}), Measured("racks", {0: loads})
    for part in parts:
        measures.add(part)
    text = generate_latest(registry).decode()
    assert text.count("# TYPE forgelog_node_running_tasks gauge") == 1
    families = {each.name: each for each in text_string_to_metric_families(text)}
    tasks = families["forgelog_node_running_tasks"]
    assert [each.labels for each in tasks.samples] == [
        {"context": "resources", "pool": POOL, "node": "n1"},
        {"context": "racks", "rack": "r1"},
    ]
    alone = {each.name: each for each in text_string_to_metric_families(only(text, "racks"))}
    assert [each.value for each in alone["forgelog_node_running_tasks"].samples] == [7.0]
    measures.remove(parts[0])
    assert [each.name for each in measures.collect()] == ["forgelog_node_running_tasks"]
