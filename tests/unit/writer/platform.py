"""The three contexts with one partition each, and the logs between them: no broker, no clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from events.language.base import Command
from events.language.common import ResourceVector
from events.language.resources import RegisterNode
from events.language.resources.hardware import NodeSpec
from events.log import topics
from events.log.envelope import Meta, Recorded
from events.log.positions import ReaderPosition
from events.log.wire import Raw, headers_of, value_of
from events.writer.deciders import Deciders
from events.writer.encoding import Unit
from events.writer.partition import Partition
from events.writer.snapshots import dump, load
from services.jobs.decide import Jobs
from services.resources.decide import Resources
from services.scheduling.decide import Scheduling

START = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
LOST_AFTER = 15.0
CONTEXTS: dict[str, Callable[[], Deciders]] = {
    "jobs": lambda: Deciders(Jobs()),
    "scheduling": lambda: Deciders(Scheduling()),
    "resources": lambda: Deciders(Resources(LOST_AFTER)),
}


def register(node_id: str = "n1") -> RegisterNode:
    capacity = ResourceVector(cpus=4, memory_bytes=8 << 30, storage_bytes=100 << 30, network_mbps=1000)
    spec = NodeSpec(hostname=node_id, capacity=capacity)
    return RegisterNode(pool="default", node_id=node_id, spec=spec, boot_id="boot", agent_id="agent")


class Platform:
    """Commands go in one at a time; each is carried through all contexts until nothing more follows."""

    def __init__(self) -> None:
        self.now = START
        self.logs: dict[str, list[Raw]] = {context: [] for context in CONTEXTS}
        self.partitions = {context: self._fresh(context) for context in CONTEXTS}
        self._commands = dict.fromkeys(CONTEXTS, 0)

    @staticmethod
    def _fresh(context: str) -> Partition:
        partition = Partition(CONTEXTS[context](), 0, 1)
        partition.epoch = 0
        return partition

    def send(self, command: Command, id: str, **meta: Any) -> list[Recorded]:
        """All that a command leads to, in all contexts, in order."""
        context = command.context
        envelope = Meta(id, type(command).type_name(), "", self.now, "local/default", "owner")._replace(**meta)
        raw = Raw(topics.commands(context), 0, self._commands[context], 0, b"", value_of(command), headers_of(envelope))
        self._commands[context] += 1
        unit = self.partitions[context].command(raw, self.now)
        assert isinstance(unit, Unit), unit
        return [*self._append(context, [unit]), *self._settle()]

    def after(self, seconds: float) -> list[Recorded]:
        """All that the passing of time leads to."""
        self.now += timedelta(seconds=seconds)
        said = []
        for context, partition in self.partitions.items():
            said += self._append(context, partition.wake(self.now))
        return said + self._settle()

    def _settle(self) -> list[Recorded]:
        said: list[Recorded] = []
        while more := self._round():
            said += more
        return said

    def _round(self) -> list[Recorded]:
        said: list[Recorded] = []
        for context, partition in self.partitions.items():
            for other in sorted(partition.deciders.foreign):
                said += self._append(context, self._hear(partition, other))
            said += self._append(context, partition.after_batch(self.now))
        return said

    def _hear(self, partition: Partition, other: str) -> list[Unit]:
        topic = topics.events(other)
        units: list[Unit] = []
        for raw in self.logs[other][partition.read_from(topic, 0).offset :]:
            handle, observe = partition.wants(topic, 0, raw.offset)
            recorded = raw.decode()
            concerned = partition.deciders.concerned(recorded.data)  # type: ignore[arg-type]
            unit = partition.event(recorded, concerned, self.now, handle=handle, observe=observe)
            units += [unit] if unit is not None else []
            partition.passed(topic, 0, ReaderPosition(raw.offset + 1, 0))
        return units

    def _append(self, context: str, units: list[Unit]) -> list[Recorded]:
        log = self.logs[context]
        first = len(log)
        for unit in units:
            offset = len(log)
            log += [each.at(topics.events(context), 0, offset + place) for place, each in enumerate(unit.records)]
            self.partitions[context].appended(unit, offset)
        return [raw.decode() for raw in log[first:]]

    # Who goes on

    def keep(self) -> None:
        """The same writers."""

    def recover(self) -> None:
        """Others, that fold the logs."""
        for context, log in self.logs.items():
            self.partitions[context] = partition = self._fresh(context)
            for raw in log:
                partition.fold(raw)
        self._resume()

    def from_snapshots(self) -> None:
        """Others, that begin with snapshots."""
        for context, partition in self.partitions.items():
            self.partitions[context] = load(CONTEXTS[context](), 0, 1, dump(partition))
        self._resume()

    def _resume(self) -> None:
        assert self._round() == [], "nothing is said twice"
        for partition in self.partitions.values():
            partition.on_resume(self.now)
        assert self._settle() == []
