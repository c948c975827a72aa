"""All contexts with one partition each, their orders too: what recorded histories and odd values are played on.

No broker and no clock. Questions to other contexts are not answered here: an order that an answer led to is sent as it
was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from events.language.base import Command, Event
from events.language.common import LogEvent
from events.language.contexts import contexts
from events.log import topics
from events.log.envelope import Meta, Recorded
from events.log.ids import with_assigned_id
from events.log.positions import ReaderPosition
from events.log.publish import Outgoing
from events.log.wire import Raw, headers_of, value_of
from events.projections.folding import history_row
from events.projections.rebuild import projection_of
from events.writer.encoding import Unit
from events.writer.orders import orders_of, questions_of
from events.writer.partition import Partition
from events.writer.snapshots import dump, load
from tests.golden.folding import deciders_of, known_to
from tests.rows import HeldRows

MOST_ROUNDS = 300
"""Rounds through all contexts after which one input is taken for one that never settles."""


class Fault(Exception):
    """Something raised that may not; the text says where and for what."""


class Whole:
    """A platform of all contexts. Raises `Fault` where a service would stop a place."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.logs: dict[str, list[Raw]] = {context: [] for context in contexts()}
        self.partitions = {context: self._fresh(context) for context in contexts()}
        self.sent: set[str] = set()
        """Ids of the commands that were sent."""
        self._commands = dict.fromkeys(contexts(), 0)
        self._orders: list[Outgoing] = []
        self._last: Any = None

    @staticmethod
    def _fresh(context: str) -> Partition:
        partition = Partition(deciders_of(context), 0, 1)
        partition.epoch = 0
        return partition

    # What comes in

    def publish(self, given: Outgoing) -> None:
        """Send a command as its publisher does, and carry what it leads to through all contexts."""
        self._send(given)
        self.settle()

    def _send(self, given: Outgoing) -> None:
        command = with_assigned_id(given.command, given.id, given.project) if given.origin else given.command
        kind = type(command)
        meta = Meta(
            id=given.id,
            type=kind.type_name(),
            source=given.source,
            subject=command.subject(),
            time=given.time or self.now,
            project=given.project,
            actor=given.actor,
            correlation=given.correlation or given.id,
            causation=given.causation,
            traceparent=given.traceparent,
            origin=given.origin,
        )
        self.command(kind.context, value_of(command), headers_of(meta), given.id, command)

    def command(self, context: str, value: bytes, headers: list[tuple[str, bytes]], id: str, told: object) -> None:
        """Let a command be decided."""
        self.sent.add(id)
        self._last = told
        raw = Raw(topics.commands(context), 0, self._commands[context], 0, b"", value, headers)
        self._commands[context] += 1
        with _named(f"{context} decides", told, self._last):
            unit = self.partitions[context].command(raw, self.now)
            unit = getattr(unit, "unit", unit)  # of a dead letter
            if isinstance(unit, Unit):
                self._append(context, [unit])

    def until(self, moment: datetime, most: int = 200) -> None:
        """Let time pass, with at most so many moments at which something is due."""
        for _ in range(most):
            due = min((due for each in self.partitions.values() if (due := each.next_due()) is not None), default=None)
            if due is None or due > moment:
                break
            self.now = max(self.now, due) + timedelta(microseconds=1)
            for context, partition in self.partitions.items():
                with _named(f"{context} wakes {partition.acting_on}", "", self._last):
                    self._append(context, partition.wake(self.now))
            self.settle()
        self.now = max(self.now, moment)

    # What follows

    def settle(self) -> None:
        for _ in range(MOST_ROUNDS):
            if not self._round():
                return
        raise Fault(f"it does not settle after {self._last!r}")

    def _round(self) -> bool:
        before = sum(map(len, self.logs.values()))
        orders, self._orders = self._orders, []
        for order in orders:
            if order.id not in self.sent:
                self._send(order)
        for context, partition in self.partitions.items():
            for other in sorted(partition.deciders.foreign):
                self._hear(context, partition, other)
            with _named(f"{context} after a batch, {partition.acting_on}", "", self._last):
                self._append(context, partition.after_batch(self.now))
        return bool(orders) or sum(map(len, self.logs.values())) > before

    def _hear(self, context: str, partition: Partition, other: str) -> None:
        topic = topics.events(other)
        for raw in self.logs[other][partition.read_from(topic, 0).offset :]:
            recorded = raw.decode()
            event: Any = recorded.data
            with _named(f"{context} hears", event, self._last):
                if partition.deciders.routes(type(event)) and not partition.deciders.passes_by(type(event), raw):
                    handle, observe = partition.wants(topic, 0, raw.offset)
                    concerned = partition.deciders.concerned(event, recorded.meta.origin)
                    unit = partition.event(recorded, concerned, self.now, handle=handle, observe=observe)
                    if unit is not None:
                        self._append(context, [unit])
            partition.passed(topic, 0, ReaderPosition(raw.offset + 1, 0))

    def _append(self, context: str, units: Sequence[Unit]) -> None:
        log, dispatching = self.logs[context], self.partitions[context].deciders.dispatching
        for unit in units:
            offset = len(log)
            new = [each.at(topics.events(context), 0, offset + place) for place, each in enumerate(unit.records)]
            log += new
            self.partitions[context].appended(unit, offset)
            for raw in new:
                recorded = raw.decode()
                if (decider := dispatching.get(type(recorded.data))) is None:  # type: ignore[arg-type]
                    continue
                with _named(f"{context} orders", recorded.data, self._last):
                    if not decider.consults or not questions_of(decider, recorded):
                        self._orders += orders_of(decider, recorded, context)

    # What must be so at the end

    def check(self) -> None:
        """States are those of a fresh fold and of a snapshot, and what was said has its rows."""
        for context, partition in self.partitions.items():
            known = _states(partition)
            fresh = self._fresh(context)
            with _named(f"{context} folds its history", "", self._last):
                for raw in self.logs[context]:
                    fresh.fold(raw)
                loaded = load(deciders_of(context), 0, 1, dump(partition))
            if not partition.has_view:  # what is observed is no part of the own history
                assert _states(fresh) == known, f"{context}: another fold gives another state"
            assert _states(loaded) == known, f"{context}: a snapshot gives another state"

    def recorded(self, context: str) -> Iterable[Recorded]:
        return [raw.decode() for raw in self.logs[context]]

    def project(self) -> dict[str, HeldRows]:
        """The rows of every context."""
        found = {}
        for context in contexts():
            projection = projection_of(context)
            found[context] = held = HeldRows(projection)
            inputs = projection.contexts
            told = [(raw.time(), rank, raw) for rank, each in enumerate(inputs) for raw in self.logs[each]]
            for _, rank, raw in sorted(told, key=lambda item: item[:2]):
                recorded = raw.decode()
                with _named(f"{context} projects", recorded.data, self._last):
                    if inputs[rank] == context:
                        history_row(recorded, raw.value or b"")
                    if not isinstance(recorded.data, LogEvent):
                        projection.project(recorded, held)
        return found


def _states(partition: Partition) -> dict[str, Any]:
    return {kind: items for kind, items in known_to(partition, "").items() if "/states" in kind}


class _named:
    """Names in an error what was done, and for what."""

    def __init__(self, doing: str, given: Command | Event | str | object, last: object) -> None:
        self.doing, self.given, self.last = doing, given, last

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and not isinstance(error, Fault) and isinstance(error, Exception):
            raise Fault(f"{self.doing}: {self.given!r}; last command: {self.last!r}") from error
