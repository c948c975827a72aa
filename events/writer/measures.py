"""Numbers of states for Prometheus, such as a node's load: told by the process whose writer holds the state. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.registry import Collector

from events.writer.decider import Decider, Measure
from events.writer.partition import Partition


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What the deciders of a context tell of the states of these partitions, whenever metrics are asked for."""

    context: str
    partitions: Mapping[int, Partition]

    def __iter__(self) -> Iterator[Measure]:
        for partition in self.partitions.values():
            for kind in partition.kinds.values():
                if type(kind.decider).measured is not Decider.measured:
                    for state in kind.states.values():
                        yield from kind.decider.measured(state)


class Measures(Collector):
    """The numbers of all contexts of a process. A name is told once, whichever of them have it: Prometheus refuses the
    whole text otherwise."""

    def __init__(self) -> None:
        self._told: list[Measured] = []

    def add(self, measured: Measured) -> None:
        """Tell these, too."""
        self._told.append(measured)

    def remove(self, measured: Measured) -> None:
        """Tell these no more."""
        self._told.remove(measured)

    def describe(self) -> Collection[Metric]:
        """Nothing: which there are depends on the states."""
        return ()

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for measured in self._told:
            for each in measured:
                family = families.get(each.name)
                if family is None:
                    family = families[each.name] = Metric(each.name, each.what, "gauge")
                family.add_sample(each.name, {"context": measured.context, **each.labels}, each.value)
        yield from families.values()
