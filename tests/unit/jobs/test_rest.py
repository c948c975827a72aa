"""Jobs that have ended are packed away by the writer, and answer every later command as if they had not been."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from events.language.base import Command, Event
from events.log import topics
from events.log.envelope import Meta
from events.log.wire import Raw, headers_of, value_of
from events.writer import states
from events.writer.decider import DecisionContext
from events.writer.encoding import Unit
from events.writer.partition import Partition
from services.jobs.decide import Jobs
from services.jobs.state import Job
from tests.unit.jobs.desk import START, after, cancel, requeue, submit

COUNT = 12


class Restless(Jobs):
    """The same decisions, and nothing is packed."""

    def may_passivate(self, state: Job) -> bool:
        return False


class Settling(Jobs):
    """Jobs that are looked at whenever something has happened to them."""

    def after_batch(self, state: Job, context: DecisionContext) -> Sequence[Event]:
        return ()


class Writer:
    """A partition that is given commands, and foreign events by hand."""

    def __init__(self, decider: Jobs) -> None:
        self.partition: Partition = Partition(decider, 0, 1)
        self.partition.epoch = 0
        self.said: list[Any] = []

    def command(self, command: Command) -> None:
        number = len(self.said)
        now = START + timedelta(seconds=number)
        meta = Meta(f"c{number}", type(command).type_name(), "jobs", now, "local/default", "owner")
        raw = Raw(topics.commands("jobs"), 0, number, 0, b"", value_of(command), headers_of(meta))
        unit = self.partition.command(raw, now)
        assert isinstance(unit, Unit)
        read = [record.at("events.jobs", 0, offset) for offset, record in enumerate(unit.records)]
        self.said.append([(raw.key, raw.value) for raw in read])

    def ends(self, id: str) -> None:
        self.command(submit(id, depends_on=[after("never")]))
        self.command(cancel(id))


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> list[Writer]:
    monkeypatch.setattr(states, "PACK", 2)
    return [Writer(Jobs()), Writer(Restless())]


def test_ended_jobs_are_packed_and_answer_as_before(pair: list[Writer]) -> None:
    for writer in pair:
        for number in range(COUNT):
            writer.ends(f"job{number}")
        for number in range(COUNT):
            writer.command(submit(f"job{number}"))  # refused: it exists
            writer.command(cancel(f"job{number}"))  # it has ended
            writer.command(requeue(f"job{number}"))  # lives again
            writer.command(cancel(f"job{number}"))
            writer.command(requeue(f"none{number}"))
    packing, plain = pair
    assert packing.partition.kinds["job"].states.packed > 0
    assert plain.partition.kinds["job"].states.packed == 0
    assert packing.said == plain.said
    assert packing.partition.digest == plain.partition.digest
    for number in range(COUNT):
        assert packing.partition.kinds["job"].states.get(f"job{number}") == plain.partition.kinds["job"].states.get(
            f"job{number}"
        )


def test_an_ended_job_is_neither_settled_nor_looked_at_again() -> None:
    settling = Writer(Settling())
    for number in range(COUNT):
        settling.ends(f"job{number}")
    settling.command(submit("alive"))
    assert settling.partition.kinds["job"].initiative.dirty == {"alive"}
    assert settling.partition.kinds["job"].initiative.next_due() is None


def test_nobody_remembers_what_happened_to_jobs_that_never_act_of_themselves() -> None:
    writer = Writer(Jobs())
    writer.command(submit("alive"))
    assert writer.partition.kinds["job"].initiative.dirty == set()
