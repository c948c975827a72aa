"""Orders against an exact model of the log: writers that crash, lose acknowledgements and go on as zombies.

With all of this, each valid event's order takes effect once, and no void event's does. The mistakes that would break
this are made on purpose: each must be caught.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from events.language.common import WriterStarted
from events.language.jobs import JobSubmitted
from events.log import topics
from events.log.envelope import Meta
from events.log.ids import new_command_id
from events.log.positions import EpochRule, ReaderPosition
from events.log.publish import Outgoing
from events.log.wire import Raw, headers_of, value_of
from events.process.settings import Settings
from events.writer import snapshots
from events.writer.dispatch import Dispatcher
from events.writer.encoding import Encoded, Unit
from events.writer.inputs import log as stops_log
from events.writer.partition import Partition
from events.writer.stops import Stops
from services.jobs.decide import Jobs
from tests.errands.decide import Errands
from tests.errands.language import ErrandAsked, RunErrand
from tests.unit.writer.test_dispatch import errands, meta_of

__all__ = ["errands"]

START = datetime(2026, 1, 1, tzinfo=UTC)
COMMANDS, EVENTS = topics.commands("errands"), topics.events("errands")
ANY = st.integers(0, 1_000_000)
MOST_WRITERS = 3


@dataclass(frozen=True)
class Flaws:
    """What a wrong implementation would do."""

    position_before_the_ack: bool = False
    acks_instead_of_the_tail: bool = False
    nothing_said_at_first: bool = False
    begins_at_the_marker: bool = False


class Kafka:
    """The topic that orders go to: what is published lands or is lost, and its acknowledgement may be lost too."""

    def __init__(self) -> None:
        self.orders: list[Outgoing] = []
        self.lands = self.tells = True

    async def publish_many(self, orders: Sequence[Outgoing]) -> None:
        if self.lands:
            self.orders += orders
        if not self.lands or not self.tells:
            raise KafkaConnectionError("lost")


class Writer:
    """A writer of the partition of errands with its reader and its dispatcher. It may be a zombie."""

    def __init__(self, world: Dispatching, *, snapshot: bool) -> None:
        self.world = world
        epoch = world.marker()
        self.partition = Partition(Errands(), 0, 1)
        if snapshot and world.snapshots:
            self.partition = snapshots.load(Errands(), 0, 1, world.snapshots[-1])
        rule = EpochRule(self.partition.epoch, self.partition.next_offset)
        for record in world.log[self.partition.next_offset : epoch + 1]:
            if rule.admits(record):
                self.partition.fold(record)
        self.partition.next_offset = epoch + 1
        self.partition.begin(epoch, new_command_id())
        behind = ReaderPosition(epoch + 1, epoch)
        start = min(behind, self.partition.dispatched or behind)
        if world.flaws.begins_at_the_marker:
            start = behind
        self.offset, self.rule = start.offset, EpochRule(start.epoch, start.offset)
        self.partitions = {0: self.partition}
        self.dispatcher = Dispatcher(self.partition.deciders, Settings(), self.partitions, Stops(stops_log))
        if not world.flaws.nothing_said_at_first:
            self.report()

    def decide(self, most: int) -> None:
        """Decide some commands, and append what they lead to."""
        at = self.partition.resume_of(COMMANDS, 0).offset
        found = (self.partition.command(raw, self.world.now()) for raw in self.world.commands[at : at + most])
        self.append([unit for unit in found if isinstance(unit, Unit)])

    def append(self, units: Sequence[Unit]) -> None:
        for unit in units:
            offset = self.world.append(unit.records)
            self.partition.appended(unit, offset)
            if self.world.flaws.acks_instead_of_the_tail:
                self.dispatcher.hear(self.world.log[offset:])

    def read(self, most: int) -> None:
        """Read on in the own topic. A newer marker there ends it, as the writer would start over."""
        read = self.world.log[self.offset : self.offset + most]
        self.offset += len(read)
        valid = [record for record in read if self.rule.admits(record)]
        if not self.world.flaws.acks_instead_of_the_tail:
            self.dispatcher.hear(valid)
        if any(record.is_marker and record.offset > self.partition.epoch for record in valid):
            self.world.writers.remove(self)

    def send(self, kafka: Kafka) -> None:
        """Publish what waits; an acknowledgement that is lost leaves it waiting."""
        place = self.dispatcher._place(0)
        assert place is not None
        if self.world.flaws.position_before_the_ack:
            place.sent, place.ordered = place.heard, True
            self.report()
        if place.waiting:
            asyncio.run(self._once(place, kafka))

    async def _once(self, place: Any, kafka: Any) -> None:
        sending = asyncio.ensure_future(self.dispatcher._send(place, kafka))
        await asyncio.sleep(0)  # up to where it would wait to publish again
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    def report(self) -> None:
        """Say in the log up to where orders are sent."""
        if (place := self.dispatcher._place(0)) is not None:
            place.said = float("-inf")
        work: dict[int, list[Unit]] = {}
        self.dispatcher.report(work, self.world.now())
        self.append(work.get(0, []))


class Dispatching(RuleBasedStateMachine):
    """Any number of writers that believe to own the partition of errands."""

    flaws = Flaws()

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Raw] = []
        self.commands: list[Raw] = []
        self.writers: list[Writer] = []
        self.snapshots: list[bytes] = []
        self.kafka = Kafka()
        self.clock = 0

    def now(self) -> datetime:
        self.clock += 1
        return START + timedelta(seconds=self.clock)

    def append(self, records: Sequence[Encoded]) -> int:
        base = len(self.log)
        self.log += [record.at(EVENTS, 0, base + place) for place, record in enumerate(records)]
        return base

    def marker(self) -> int:
        event = WriterStarted(subject_id="errands/0", writer="w")
        headers = headers_of(Meta("m", WriterStarted.type_name(), "errands/0", START, "", "forgelog"))
        return self.append([Encoded.of(b"errands/0", value_of(event), headers, 0)])

    def valid(self) -> list[Raw]:
        rule = EpochRule()
        return [record for record in self.log if rule.admits(record)]

    @rule()
    def a_command_arrives(self) -> None:
        number = len(self.commands)
        command = RunErrand(errand_id=f"e{number}", command="true")
        meta = Meta(f"c{number}", RunErrand.type_name(), f"e{number}", START, "local/default", "owner")
        self.commands.append(Raw(COMMANDS, 0, number, 0, b"", value_of(command), headers_of(meta)))

    @precondition(lambda self: len(self.writers) < MOST_WRITERS)
    @rule(snapshot=st.booleans())
    def a_writer_takes_over(self, snapshot: bool) -> None:
        self.writers.append(Writer(self, snapshot=snapshot))

    @precondition(lambda self: self.writers)
    @rule(pick=ANY)
    def a_writer_crashes(self, pick: int) -> None:
        self.writers.pop(pick % len(self.writers))

    @precondition(lambda self: self.writers)
    @rule(pick=ANY, most=st.integers(1, 3))
    def a_writer_decides(self, pick: int, most: int) -> None:
        """Also a zombie does: nothing tells it that it is one."""
        self.writers[pick % len(self.writers)].decide(most)

    @precondition(lambda self: self.writers)
    @rule(pick=ANY, most=st.integers(1, 6))
    def a_writer_reads(self, pick: int, most: int) -> None:
        self.writers[pick % len(self.writers)].read(most)

    @precondition(lambda self: self.writers)
    @rule(pick=ANY, lands=st.booleans(), tells=st.booleans())
    def a_writer_orders(self, pick: int, lands: bool, tells: bool) -> None:
        self.kafka.lands, self.kafka.tells = lands, tells
        self.writers[pick % len(self.writers)].send(self.kafka)

    @precondition(lambda self: self.writers)
    @rule(pick=ANY)
    def a_writer_says_what_is_ordered(self, pick: int) -> None:
        self.writers[pick % len(self.writers)].report()

    @precondition(lambda self: self.writers)
    @rule(pick=ANY)
    def a_writer_takes_a_snapshot(self, pick: int) -> None:
        writer, rule = self.writers[pick % len(self.writers)], EpochRule()
        for record in self.log[: writer.partition.next_offset]:
            rule.admits(record)
        if rule.epoch == writer.partition.epoch:
            self.snapshots.append(snapshots.dump(writer.partition))

    def teardown(self) -> None:
        """One more writer does what is left; then the jobs decide all that was ordered."""
        self.kafka.lands = self.kafka.tells = True
        last = Writer(self, snapshot=False)
        self.writers = [last]
        last.decide(len(self.commands))
        last.read(len(self.log))
        last.send(self.kafka)
        asked = [record.decode().data for record in self.valid() if record.type == ErrandAsked.type_name()]
        assert len(asked) == len(self.commands)
        assert sorted(self.decided()) == sorted(event.job_id for event in asked)  # type: ignore[attr-defined]
        void = {record.text("ce_id") for record in self.log} - {record.text("ce_id") for record in self.valid()}
        assert not {order.causation for order in self.kafka.orders} & void, "a void event orders nothing"

    def decided(self) -> list[str]:
        """The jobs that there are for it; no order is refused."""
        jobs, found = Partition(Jobs(), 0, 1), []
        jobs.epoch = 0
        for number, order in enumerate(self.kafka.orders):
            raw = Raw(topics.commands("jobs"), 0, number, 0, b"", value_of(order.command), headers_of(meta_of(order)))
            unit = jobs.command(raw, self.now())
            assert isinstance(unit, Unit)
            jobs.appended(unit, number)
            first = unit.records[0].at(topics.events("jobs"), 0, number).decode().data
            assert type(first).__name__ in ("JobSubmitted", "CommandNoted"), first
            found += [first.job_id] if isinstance(first, JobSubmitted) else []
        return found


def run(machine: type[Dispatching], examples: int, **more: Any) -> None:
    settings = hypothesis_settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    run_state_machine_as_test(machine, settings=settings)


def test_each_valid_event_orders_once_in_effect_and_a_void_one_never() -> None:
    run(Dispatching, 150)


@pytest.mark.parametrize("flaw", [field.name for field in fields(Flaws)])
def test_each_mistake_is_caught(flaw: str) -> None:
    class Flawed(Dispatching):
        flaws = replace(Flaws(), **{flaw: True})

    with pytest.raises(AssertionError):
        run(Flawed, 10_000, derandomize=True, database=None, phases=[Phase.generate])
