"""The epoch rule and resume: writers that pause, crash and go on at every await, and a network that does its worst.

`docs/decisions/0001-single-writer-epochs.md` argues why this holds; here it is tried, and the mistakes that the
argument excludes are made on purpose: each must be caught.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from events.language.common import CommandNoted
from events.language.jobs import JobSubmitted
from events.log import chain
from events.log.positions import EpochRule, ReaderPosition
from events.log.wire import HASH, Raw, without_hash
from tests.unit.writer.writer_model import COMMANDS, OTHERS, Everything, Flaws, Process, World

ANY = st.integers(0, 1_000_000)
SOME = st.integers(1, 4)
MOST_WRITERS = 4


class Reader:
    """Anyone who follows the log and tells outcomes. Ends anywhere; the next starts at its position."""

    def __init__(self, world: World, told: dict[str, int], position: ReaderPosition) -> None:
        self.world, self.told, self.offset = world, told, position.offset
        epoch = -1 if world.flaws.readers_forget_the_epoch else position.epoch
        self.rule = Everything(epoch) if world.flaws.everything_is_valid else EpochRule(epoch, position.offset)

    @property
    def position(self) -> ReaderPosition:
        return ReaderPosition(self.offset, self.rule.epoch)

    def read(self, most: int) -> None:
        for record in self.world.log.records[self.offset : self.offset + most]:
            self.offset = record.offset + 1
            if self.rule.admits(record):
                tell(record, self.told)


def tell(record: Raw, told: dict[str, int]) -> None:
    """Where a command's outcome is, if this is its first record."""
    cause = record.cause
    if cause is not None and cause.position.topic == COMMANDS and record.type != CommandNoted.type_name():
        told.setdefault(record.text("ce_causationid"), record.offset)


class Writers(RuleBasedStateMachine):
    """Any number of writers that believe to own the partition, each between any two of its steps."""

    flaws = Flaws()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.flaws)
        self.writers: list[Process] = []
        self.told: dict[str, int] = {}
        self.reader = Reader(self.world, self.told, ReaderPosition())
        self.sent = 0
        self.checked = (-1, -1, -1, -1)

    # Inputs

    @rule(fresh=st.booleans(), pick=ANY)
    def a_command_arrives(self, fresh: bool, pick: int) -> None:
        """A new one, or a repeat."""
        self.sent += fresh or not self.sent
        self.world.command(f"c{pick % self.sent if not fresh else self.sent - 1}")

    @rule(pick=ANY)
    def another_partition_says_something(self, pick: int) -> None:
        self.world.say(f"job-c{pick % 3}")

    # Writers

    @precondition(lambda self: len(self.writers) < MOST_WRITERS)
    @rule()
    def a_writer_starts(self) -> None:
        self.writers.append(Process(self.world))

    @precondition(lambda self: len(self.writers) < MOST_WRITERS)
    @rule()
    def a_writer_takes_over_undisturbed(self) -> None:
        """What happens as a rule, so that it happens often enough; so below."""
        self.writers.append(writer := Process(self.world))
        while not writer.ready:
            self._advance(writer)

    @precondition(lambda self: any(writer.ready for writer in self.writers))
    @rule(pick=ANY, most=SOME, fresh=st.booleans())
    def a_writer_handles_a_command_undisturbed(self, pick: int, most: int, fresh: bool) -> None:
        self.a_command_arrives(fresh, pick)
        writer = self._one(pick, lambda each: each.ready)
        assert writer is not None
        writer.decide(most)
        writer.send(0)
        while writer.under_way and writer.under_way[-1] in self.world.network.copies:
            before = self.world.network.copies.copy()
            self._advance(writer)
            if before == self.world.network.copies:
                break

    def _advance(self, writer: Process) -> None:
        """The next step that a writer takes when all goes well."""
        network = self.world.network
        if writer.under_way and writer.under_way[0] in network.copies:
            network.deliver(network.copies.index(writer.under_way[0]), told=True)
            self._hear(len(network.answers) - 1)
        elif writer.reading is not None:
            writer.read_up(1000)
        elif writer.owns:
            writer.react(1000)

    @precondition(lambda self: self.writers)
    @rule(pick=ANY)
    def a_writer_crashes(self, pick: int) -> None:
        """What it has sent is on its way all the same."""
        self.writers.pop(pick % len(self.writers))

    def _one(self, pick: int, kind: Any) -> Process | None:
        able = [writer for writer in self.writers if kind(writer)]
        return able[pick % len(able)] if able else None

    @rule(pick=ANY, most=SOME)
    def a_writer_reads_up(self, pick: int, most: int) -> None:
        if (writer := self._one(pick, lambda each: each.reading is not None)) is not None:
            writer.read_up(most)

    @rule(pick=ANY, most=SOME)
    def a_writer_hears_others(self, pick: int, most: int) -> None:
        if (writer := self._one(pick, lambda each: each.owns)) is not None:
            writer.react(most)

    @rule(pick=ANY, most=SOME)
    def a_writer_decides(self, pick: int, most: int) -> None:
        """Also while what it decided before is on its way."""
        if (writer := self._one(pick, lambda each: each.ready)) is not None:
            writer.decide(most)

    @rule(pick=ANY, split=ANY)
    def a_writer_sends(self, pick: int, split: int) -> None:
        if (writer := self._one(pick, lambda each: each.units)) is not None:
            writer.send(split)

    @rule(pick=ANY)
    def a_writer_sends_again(self, pick: int) -> None:
        """As Kafka's client does by itself when it hears nothing."""
        if (writer := self._one(pick, lambda each: each.under_way)) is not None:
            self.world.network.send(writer.under_way[pick % len(writer.under_way)])

    @rule(pick=ANY)
    def a_writer_gives_up_an_append(self, pick: int) -> None:
        """It may have landed, it may land later, it may never."""
        if (writer := self._one(pick, lambda each: each.under_way)) is not None:
            writer.give_up()

    @rule(pick=ANY)
    def a_writer_reads_its_own_partition(self, pick: int) -> None:
        if (writer := self._one(pick, lambda each: each.owns)) is not None:
            writer.read_own()

    @rule(pick=ANY)
    def a_writer_takes_a_snapshot(self, pick: int) -> None:
        amid = self.flaws.snapshots_amid_an_append

        def able(writer: Process) -> bool:
            return writer.owns and (amid or not (writer.units or writer.under_way))

        if (writer := self._one(pick, able)) is not None:
            writer.take_snapshot()

    # The network

    @precondition(lambda self: self.world.network.copies)
    @rule(pick=ANY, told=st.booleans())
    def a_batch_arrives(self, pick: int, told: bool) -> None:
        """Any of those on their way, in any order."""
        self.world.network.deliver(pick % len(self.world.network.copies), told=told)

    @precondition(lambda self: self.world.network.copies)
    @rule(pick=ANY)
    def a_batch_is_lost(self, pick: int) -> None:
        self.world.network.copies.pop(pick % len(self.world.network.copies))

    @precondition(lambda self: self.world.network.answers)
    @rule(pick=ANY)
    def an_answer_arrives(self, pick: int) -> None:
        self._hear(pick % len(self.world.network.answers))

    def _hear(self, number: int) -> None:
        if not self.world.network.answers:
            return
        batch, base = self.world.network.answers.pop(number)
        for writer in self.writers:
            writer.hear(batch, base)

    # Readers

    @rule(most=SOME)
    def a_reader_reads_on(self, most: int) -> None:
        self.reader.read(most)

    @rule()
    def a_reader_ends_and_another_goes_on_at_its_position(self) -> None:
        self.reader = Reader(self.world, self.told, self.reader.position)

    # What must hold

    def valid(self) -> list[Raw]:
        return self.world.log.records if self.flaws.everything_is_valid else self.world.log.valid()

    @invariant()
    def it_holds(self) -> None:
        """Checked when there is something new to check."""
        known = sum(self.world.known.values())
        now = len(self.world.log.records), len(self.told), len(self.world.told_by_ack), known
        if now != self.checked:
            self.checked = now
            self.no_input_is_handled_twice_and_none_is_passed_over()
            self.every_job_is_submitted_at_most_once()
            self.the_chain_holds_over_the_valid_records()
            self.an_outcome_that_was_told_never_changes()
            self.what_a_writer_knows_without_reading_is_valid()

    def no_input_is_handled_twice_and_none_is_passed_over(self) -> None:
        offsets: dict[str, list[int]] = {COMMANDS: [], OTHERS[0]: []}
        for record in self.valid():
            if (cause := record.cause) is not None:
                assert (cause.part, cause.parts) == (0, 1)
                offsets[cause.position.topic].append(cause.position.offset)
        for topic, found in offsets.items():
            assert found == list(range(len(found))), topic

    def every_job_is_submitted_at_most_once(self) -> None:
        submitted = Counter(r.text("ce_subject") for r in self.valid() if r.type == JobSubmitted.type_name())
        assert all(times == 1 for times in submitted.values())

    def the_chain_holds_over_the_valid_records(self) -> None:
        digest = chain.GENESIS
        for record in self.valid():
            digest = chain.link(digest, record.key or b"", record.value or b"", without_hash(record.headers))
            if not record.is_marker:
                assert record.get(HASH) == digest.hex().encode()

    def an_outcome_that_was_told_never_changes(self) -> None:
        final: dict[str, int] = {}
        for record in self.valid():
            tell(record, final)
        assert self.told.items() <= final.items()
        assert self.world.told_by_ack.items() <= final.items()

    def what_a_writer_knows_without_reading_is_valid(self) -> None:
        valid = {record.offset for record in self.valid()}
        for epoch, end in self.world.known.items():
            assert valid.issuperset(range(epoch + 1, end))
            assert all(record.epoch == epoch for record in self.world.log.records[epoch + 1 : end])

    def teardown(self) -> None:
        """Everyone is gone, and one more writer lives: then nothing is left undone, with anything that arrives late."""
        self.writers.clear()
        late, self.world.network.copies = self.world.network.copies, []
        last = Process(self.world)
        self.writers.append(last)
        while not last.ready or last.units or last.under_way or self._left(last):
            if last.units:
                last.send(0)
            elif last.ready and not last.under_way:
                last.react(1000)
                last.decide(1000)
            else:
                self._advance(last)
        self.world.network.copies = late
        while self.world.network.copies:
            self.world.network.deliver(0, told=False)
        self.reader.read(len(self.world.log.records))
        self.it_holds()
        causes = Counter(r.cause.position.topic for r in self.valid() if r.cause is not None)
        assert causes[COMMANDS] == len(self.world.commands), "no command is left undone"
        assert causes[OTHERS[0]] == len(self.world.others), "nothing that others said is left undone"
        assert {raw.text("ce_id") for raw in self.world.commands} <= set(self.told), "every outcome was told"

    def _left(self, writer: Process) -> bool:
        partition = writer.partition
        assert partition is not None
        commands = partition.resume_of(COMMANDS, 0).offset < len(self.world.commands)
        return commands or writer.heard_to < len(self.world.others)


Writers.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWriters = Writers.TestCase


RARE = "failures_are_passed_over"
"""The machine needs thousands of examples to find this by itself: its steps are below."""


@pytest.mark.parametrize("flaw", [field.name for field in fields(Flaws) if field.name != RARE])
def test_each_mistake_is_caught(flaw: str) -> None:
    """So the machine above is one that would find it."""

    class Flawed(Writers):
        flaws = replace(Flaws(), **{flaw: True})

    settings = hypothesis_settings(
        max_examples=10_000,  # it ends at the first that is found; the examples differ with the modules that are loaded
        stateful_step_count=60,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Flawed, settings=settings)


def test_a_failure_that_is_passed_over_is_caught() -> None:
    """What was sent and given up is lost, and what is appended next does not continue the chain."""

    class Flawed(Writers):
        flaws = replace(Flaws(), **{RARE: True})

    machine = Flawed()
    machine.another_partition_says_something(pick=0)
    machine.a_writer_takes_over_undisturbed()
    machine.a_writer_sends(pick=0, split=0)
    machine.a_writer_gives_up_an_append(pick=0)
    machine.a_writer_handles_a_command_undisturbed(fresh=False, most=1, pick=0)
    with pytest.raises(AssertionError):
        machine.it_holds()
