"""Numbers of states for Prometheus, such as a node's load: told by the process whose writer holds the state. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from events.writer.decider import Decider, Measure
from events.writer.partition import Partition


class Measures(Collector):
    """What the deciders of a context tell of the states of these partitions, whenever metrics are asked for."""

    def __init__(self, context: str, partitions: Mapping[int, Partition]) -> None:
        self._context = context
        self._partitions = partitions

    def describe(self) -> Collection[GaugeMetricFamily]:
        """Nothing: which there are depends on the states."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for measure in self._measured():
            family = families.get(measure.name)
            if family is None:
                names = ("context", *measure.labels)
                family = families[measure.name] = GaugeMetricFamily(measure.name, measure.what, labels=names)
            family.add_metric((self._context, *measure.labels.values()), measure.value)
        yield from families.values()

    def _measured(self) -> Iterator[Measure]:
        for partition in self._partitions.values():
            for kind in partition.kinds.values():
                if type(kind.decider).measured is not Decider.measured:
                    for state in kind.states.values():
                        yield from kind.decider.measured(state)
