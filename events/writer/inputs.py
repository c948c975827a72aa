"""Gives the records that a writer has read to its partitions. An exception stops only the place where it was raised.

- A foreign event that can't be decoded, or whose `react` or `observe` raises, stops that input of the partition, at
  that event. The partition goes on with its commands and its other inputs.
- A command whose events do not fold is refused as a defect of the service, and the partition is folded anew.
- A partition stops as a whole if `after_batch`, `wake` or `on_resume` raises, or if it can't even refuse a command.

An exception may leave the state half changed, so the partition is then folded anew, or stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Container, Iterable
from datetime import datetime
from typing import Any

from events.language.common import CommandRejected
from events.log import topics
from events.log.envelope import Position
from events.log.partitioner import partition_of
from events.log.positions import ReaderPosition
from events.log.repairs import Repair, Repairs
from events.log.wire import MARKER, Raw, event_model
from events.process import faults, metrics
from events.process.clock import Clock
from events.writer.deciders import Concerned, Deciders
from events.writer.encoding import DeadLetter, Forward, Unit
from events.writer.partition import Partition
from events.writer.stops import Stops

log = logging.getLogger("forgelog.writer")

Work = dict[int, list[Unit]]


class InputHandler:
    """Gives a writer's inputs to its partitions and keeps the stops."""

    def __init__(
        self,
        deciders: Deciders,
        partitions: dict[int, Partition],
        catching_up: Collection[int],
        clock: Clock,
        start_over: Callable[[int], None],
    ) -> None:
        """`partitions`: those that the writer holds now. `catching_up`: the numbers of those that take no commands yet.
        `start_over`: called for a partition whose state is to be thrown away and folded anew."""
        self.count = 0
        """Partitions of the topic."""
        self.stops = Stops(log)
        self.inputs: dict[int, dict[tuple[str, int], ReaderPosition]] = {}
        """Partition → its stopped inputs, each with the position of the stop."""
        self.repairs = Repairs()
        self._deciders = deciders
        self._partitions = partitions
        self._catching_up = catching_up
        self._clock = clock
        self._start_over = start_over
        self._context = deciders.context
        self._own = topics.events(deciders.context)
        self.foreign = {topics.events(context) for context in deciders.foreign}
        """Topics of the events that are routed to the deciders; the own topic may be among them."""
        self._defective: set[tuple[int, int]] = set()
        """Partition and offset of commands whose events did not fold."""
        self._unrouted: set[bytes | None] = set()
        """Types, as they are recorded, that were met and are routed to no decider."""

    def forget(self) -> None:
        """Drop the stops: the log has been replaced."""
        self.stops.forget()
        self.inputs.clear()
        self._defective.clear()

    # What was read

    def events(self, raws: Iterable[Raw], work: Work, now: datetime) -> None:
        """Give events to the partitions that they concern."""
        last: dict[tuple[str, int], Raw] = {}
        for raw in raws:
            kind = raw.get("ce_type")
            is_marker = kind == MARKER
            if is_marker and raw.topic == self._own:
                partition = self._partitions.get(raw.partition)
                if partition is not None and raw.offset > partition.epoch:
                    log.warning("%s/%d: superseded by the writer of epoch %d", self._own, raw.partition, raw.offset)
                    self._start_over(raw.partition)
            if raw.topic not in self.foreign:
                continue
            if not is_marker and kind not in self._unrouted:
                self._event(raw, work, now)
            last[(raw.topic, raw.partition)] = raw
        for (topic, number), raw in last.items():
            position = ReaderPosition.behind(raw)
            for partition in self._partitions.values():
                partition.passed(topic, number, position)

    def _event(self, raw: Raw, work: Work, now: datetime) -> None:
        """Give one event to its partitions. It is decoded once, and only if it is routed and not handled yet."""
        concerned: dict[int, list[Concerned]] = {}
        try:
            model = event_model(raw)
            if not self._deciders.routes(model):
                self._unrouted.add(raw.get("ce_type"))
                return
            if self._deciders.passes_by(model, raw):
                return
            wanted = self._wanting(raw)
            if not wanted:
                return
            recorded = raw.decode()
            event: Any = recorded.data
            for each in self._deciders.concerned(event, recorded.meta.origin):
                concerned.setdefault(partition_of(each.key, self.count), []).append(each)
        except Exception as error:  # noqa: BLE001 - an error of a record or of a route stops its place and is shown
            for number in self._wanting(raw):
                self.stop_input(number, raw, error)
            return
        if recorded.meta.time > now:
            now = self._clock.at_least(recorded.meta.time)
        for number, states in concerned.items():
            if number not in wanted:
                continue
            handle, observe = wanted[number]
            try:
                if faults.armed():
                    faults.raising(faults.IN_REACT, str(raw.position))
                    if isinstance(event, CommandRejected):
                        faults.raising(faults.IN_REFUSED, str(raw.position))
                unit = self._partitions[number].event(recorded, states, now, handle=handle, observe=observe)
            except Exception as error:  # noqa: BLE001 - as above
                self.stop_input(number, raw, error)
                self._start_over(number)
                continue
            if unit is not None:
                work.setdefault(number, []).append(unit)

    def _wanting(self, raw: Raw) -> dict[int, tuple[bool, bool]]:
        """The partitions that have not handled or observed an event yet: number → what `Partition.wants` returns."""
        return {
            number: wants
            for number, partition in self._partitions.items()
            if any(wants := partition.wants(raw.topic, raw.partition, raw.offset))
        }

    def commands(self, fetched: Any, work: Work, side: list[Forward | DeadLetter], now: datetime) -> None:
        """Give commands to their partitions to decide. `side`: takes what is not for this partition."""
        for place, records in fetched.items():
            number = place.partition
            partition = self._partitions.get(number)
            if partition is None or number in self._catching_up or not records:
                continue  # when the partition starts, a seek brings these commands again
            metrics.commands.labels(self._context).inc(len(records))
            if self.repairs.concern(records[0].topic, number):
                records = [raw for raw in records if not self.repairs.pass_over(raw)]
            for raw in records:
                try:
                    decide = not self._defective or (number, raw.offset) not in self._defective
                    result = partition.command(raw, now, decide=decide)
                except Exception as error:  # noqa: BLE001 - as above
                    self._failed(number, raw, error)
                    break
                if isinstance(result, Unit):
                    work.setdefault(number, []).append(result)
                elif result is not None:
                    side.append(result)
                    if isinstance(result, DeadLetter) and result.unit is not None:
                        work.setdefault(number, []).append(result.unit)

    def _failed(self, number: int, raw: Raw, error: Exception) -> None:
        if (number, raw.offset) in self._defective:
            self.stop(number, error, raw)
            return
        log.exception("%s: its events do not fold; it is refused", raw.position, exc_info=error)
        self._defective.add((number, raw.offset))
        self._start_over(number)

    def time(self, work: Work, now: datetime, deaf: Container[int] = ()) -> None:
        """Let each partition act by itself: `wake`, unless it is `deaf`, then `after_batch`."""
        for number, partition in list(self._partitions.items()):
            if number in self._catching_up:
                continue
            try:
                if faults.armed():
                    faults.raising(faults.IN_WAKE, self.name(number))
                units = [*(() if number in deaf else partition.wake(now)), *partition.after_batch(now)]
            except Exception as error:  # noqa: BLE001 - as above
                self.stop(number, error)
                continue
            if units:
                work.setdefault(number, []).extend(units)

    def on_resume(self, number: int, now: datetime) -> None:
        """Call `Partition.on_resume`: the process was paused, or did not hear."""
        try:
            self._partitions[number].on_resume(now)
        except Exception as error:  # noqa: BLE001 - as above
            self.stop(number, error)

    # Stops

    def name(self, number: int) -> str:
        """A partition, for people."""
        return f"{self._context}/{number}"

    def stop(self, number: int, error: Exception, raw: Raw | None = None) -> None:
        """Stop a partition as a whole; at a record, or while it acted by itself."""
        partition = self._partitions.pop(number, None)
        at, doing = None, ""
        if raw is None and partition is not None:
            at = Position(self._own, number, partition.next_offset)
            doing = f"what {partition.acting_on or 'it'} does by itself"
        self.stops.add(self.name(number), error, raw, at=at, doing=doing, number=number, kind="writer")

    def stop_input(self, number: int, raw: Raw, error: Exception) -> None:
        """Stop one input of a partition, at a record."""
        place = raw.topic, raw.partition
        stands = ReaderPosition(raw.offset, raw.epoch)
        self.inputs.setdefault(number, {})[place] = stands
        if (partition := self._partitions.get(number)) is not None:
            partition.stopped[place] = stands
        self.stops.add(
            f"{self.name(number)} reading {raw.topic}/{raw.partition}", error, raw, number=number, kind="input"
        )

    def release(self, number: int) -> None:
        """Drop the stops of a partition that another process holds now."""
        self.inputs.pop(number, None)
        for stop in self.stops:
            if stop.number == number:
                self.stops.lift(stop.place)

    def repaired(self, repair: Repair) -> set[int]:
        """Take a repair. Returns the partitions to fold anew: those that stopped at the record, and those whose state
        contains it."""
        anew = {stop.number for stop in self.stops.mended_by(repair)}
        for inputs in self.inputs.values():
            stands = inputs.get(repair.place)
            if stands is not None and repair.first <= stands.offset <= repair.last:
                del inputs[repair.place]
        for number, partition in self._partitions.items():
            if repair.skips and partition.contains(repair):
                anew.add(number)
            else:
                partition.repairs = max(partition.repairs, repair.number + 1)
        return anew
