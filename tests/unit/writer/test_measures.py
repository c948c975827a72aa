"""Given states that have numbers to tell, `/metrics` has them as gauges; each of the process that holds the state."""

from __future__ import annotations

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from events.writer.deciders import Deciders
from events.writer.measures import Measures
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
    registry.register(Measures("resources", partitions))
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
    registry.register(Measures("jobs", {0: Partition(Deciders(SampleDecider()), 0, 1)}))
    assert generate_latest(registry) == b""
