"""The tables agree with the queue, in any order of the two contexts' events: in memory and in Postgres."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import invariant

from events.language import task_ranges as sets
from events.language.base import Event
from events.language.resources import DrainNode
from events.language.scheduling import ConfigureQueue, JobDeferred, JobScheduled, SchedulingPolicy
from events.log.envelope import Meta, Position, Recorded
from events.process.settings import Settings
from events.projections import tables
from events.projections.folding import Fold
from events.projections.projection import Key, Row, Table
from services.scheduling.projections import ENTRIES, OUTCOMES, PLACEMENTS, PROJECTION, QUEUES, RETURNS
from tests.unit.resources.pools import Pools, ended, register
from tests.unit.scheduling.queues import (
    QUEUE,
    START,
    Queues,
    bound,
    cancel,
    job,
    node,
    plans,
    rejection,
    released,
)
from tests.unit.scheduling.test_machine import QueueMachine

TABLES = PROJECTION.tables


def recorded(event: Event, time: datetime = START) -> Recorded:
    meta = Meta("e", type(event).type_name(), event.subject(), time, "local/default", "owner")
    return Recorded(event, meta, QUEUE, Position(f"events.{type(event).context}", 0, 0))


class Memory:
    """Rows in memory; only those that `touches` names may be used."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Key], Row] = {}
        self._named: set[tuple[str, Key]] = set()

    def get(self, table: Table, key: Key) -> Row | None:
        assert (table.name, key) in self._named
        return self.rows.get((table.name, key))

    def put(self, table: Table, row: Row) -> None:
        key = tuple(row[name] for name in table.key)
        assert (table.name, key) in self._named
        assert set(row) == set(table.columns)
        self.rows[(table.name, key)] = row

    def delete(self, table: Table, key: Key) -> None:
        assert (table.name, key) in self._named
        self.rows.pop((table.name, key), None)

    def fold(self, *events: Event, time: datetime = START) -> None:
        for event in events:
            item = recorded(event, time)
            self._named = {(table.name, key) for table, key in PROJECTION.touches(item)}
            PROJECTION.project(item, self)

    def all(self, table: Table) -> list[Row]:
        return [row for (name, _), row in self.rows.items() if name == table.name]

    @property
    def queue(self) -> Row:
        return self.rows[(QUEUES.name, (QUEUE,))]

    @property
    def placed_tasks(self) -> int:
        """Those that resources has not given back."""
        returned = self.rows.get((RETURNS.name, (QUEUE,)))
        placed: int = self.queue["placed_tasks"]
        return placed - (returned["tasks"] if returned else 0)

    def entry(self, job_id: str) -> Row:
        return self.rows[(ENTRIES.name, (job_id, QUEUE))]


class ProjectedMachine(QueueMachine):
    """The same histories, folded into rows as the topics would bring them."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.own: list[tuple[Event, datetime]] = []
        self.foreign: list[Event] = []

    def queue_says(self, events: list[Event]) -> None:
        for event in events:
            self.own.append((event, self.queue.now))
            self.memory.fold(event, time=self.queue.now)
        super().queue_says(events)

    def pool_says(self, events: list[Event]) -> None:
        self.foreign += events
        self.memory.fold(*events)
        super().pool_says(events)

    @invariant()
    def what_waits_is_told(self) -> None:
        state = self.queue.state
        told = {row["job_id"]: row for row in self.memory.all(ENTRIES)}
        assert set(told) == {entry.job.id for entry in state.backlog}
        for id, row in told.items():
            entries = state.backlog.jobs[id].entries.values()
            assert sorted((item["attempt"], item["tasks"], item["not_before"]) for item in row["waiting"].values()) == (
                sorted((e.attempt, sets.text(e.tasks), e.not_before and e.not_before.isoformat()) for e in entries)
            )
            assert row["waiting_tasks"] == sum(sets.count(entry.tasks) for entry in entries)

    @invariant()
    def the_queue_is_told(self) -> None:
        state = self.queue.state
        if not self.own:
            return
        assert self.memory.queue["status"] == state.status
        assert self.memory.queue["policy"] == state.backlog.policy
        if not self.to_queue and not self.to_pool:
            placed = sum(sets.count(placement.tasks) for placement in state.placements.values())
            assert self.memory.placed_tasks == placed

    @invariant()
    def the_topics_may_come_in_any_order(self) -> None:
        for foreign_first in (True, False):
            other = Memory()
            if foreign_first:
                other.fold(*self.foreign)
            for event, time in self.own:
                other.fold(event, time=time)
            if not foreign_first:
                other.fold(*self.foreign)
            assert other.rows == self.memory.rows


TestProjectedMachine = ProjectedMachine.TestCase
TestProjectedMachine.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_life_of_a_placement() -> None:
    queue, memory = Queues(), Memory()
    queue.event(node())
    events = queue.event(job("job-1", "0-5"))
    (plan,) = plans(events)
    memory.fold(*events)
    assert memory.placed_tasks == 4
    assert (memory.entry("job-1")["waiting_tasks"], memory.entry("job-1")["waiting"]["1"]["tasks"]) == (2, "4-5")
    assert memory.all(OUTCOMES) == []
    memory.fold(bound(plan))
    assert [row["status"] for row in memory.all(OUTCOMES)] == ["bound"]
    memory.fold(*queue.event(bound(plan), cancel("job-1", "5")))
    assert memory.entry("job-1")["waiting"]["1"]["tasks"] == "4"
    memory.fold(released(plan), *queue.event(released(plan)))
    assert [row["status"] for row in memory.all(OUTCOMES)] == [
        "released",
    ]
    assert memory.all(ENTRIES) == []
    assert (memory.placed_tasks, len(memory.all(PLACEMENTS))) == (1, 2)


def test_a_rejection_is_told_with_its_reason() -> None:
    queue, memory = Queues(), Memory()
    queue.event(node())
    events = queue.event(job("job-1"))
    memory.fold(*events)
    (plan,) = plans(events)
    memory.fold(rejection(plan), *queue.event(rejection(plan)))
    (outcome,) = memory.all(OUTCOMES)
    assert (outcome["status"], outcome["reason"]) == ("rejected", "it does not fit any more")
    assert (memory.placed_tasks, memory.entry("job-1")["waiting_tasks"]) == (0, 1)


def test_why_it_waits_is_told_until_it_waits_no_more() -> None:
    queue, memory = Queues(), Memory()
    memory.fold(*queue.event(node(), job("job-1", cpus=64.0)), *queue.after(1))
    row = memory.entry("job-1")
    assert row["message"] == "0 of 1 nodes can take a task: 1 too small: cpus"
    assert [(reason["reason"], reason["nodes"]) for reason in row["reasons"]] == [("too small: cpus", 1)]
    memory.fold(*queue.event(node("n2", cpus=64.0)))
    assert memory.all(ENTRIES) == []


def a_history() -> tuple[list[Recorded], list[Recorded]]:
    """What a queue and its pool said: placements, rejections, cancels, retries, a drain, a lost node."""
    queue, pool = Queues(), Pools(lost_after=15.0)
    own: list[Recorded] = []
    foreign: list[Recorded] = []

    def pool_says(events: Sequence[Event]) -> None:
        foreign.extend(recorded(event, pool.now) for event in events)
        queue_says(queue.event(*events))

    def queue_says(events: Sequence[Event]) -> None:
        own.extend(recorded(event, queue.now) for event in events)
        for plan in events:
            if isinstance(plan, JobScheduled):
                pool_says(pool.event(plan))

    for number in range(3):
        pool_says(pool.command(register(f"n{number}")))
    for number in range(6):
        queue_says(queue.event(job(f"job-{number}", "0-4", age=number)))
    queue_says(queue.command(ConfigureQueue(queue=QUEUE, policy=SchedulingPolicy.FIFO)))
    queue_says(queue.event(cancel("job-5", "1-2"), cancel("job-0")))
    # The drain is not known to the queue when it places the next ones: they are rejected.
    draining = pool.command(DrainNode(pool=QUEUE, node_id="n0"))
    for id, allocation in sorted(pool.state.allocations.items(), key=lambda item: item[1].node_id)[:3]:
        first = sets.text(sets.split(allocation.held, 1)[0])
        pool_says(pool.command(ended((id, first), node_id=allocation.node_id)))
        later = queue.now + timedelta(seconds=5)
        queue_says(queue.event(job(allocation.job_id, first, attempt=2, not_before=later)))
    pool_says(draining)
    for seconds in (1.0, 10.0, 20.0):
        queue_says(queue.after(seconds))
        pool_says(pool.after(seconds))
    return own, foreign


def test_the_history_has_what_it_is_for() -> None:
    own, foreign = a_history()
    kinds = {type(item.data).__name__ for item in [*own, *foreign]}
    assert kinds >= {
        "JobEnqueued",
        "JobScheduled",
        "JobDequeued",
        "JobDeferred",
        "QueueConfigured",
        "AllocationBound",
        "AllocationRejected",
        "AllocationReleased",
        "AllocationStopRequested",
        "NodeLost",
    }
    assert any(isinstance(item.data, JobDeferred) for item in own)


def interleaved(one: Sequence[Recorded], two: Sequence[Recorded], dice: random.Random) -> list[Recorded]:
    """Both in their order, mixed at random."""
    turns = [True] * len(one) + [False] * len(two)
    dice.shuffle(turns)
    first, second = iter(one), iter(two)
    return [next(first) if turn else next(second) for turn in turns]


@pytest.mark.parametrize("seed", range(4))
async def test_postgres_ends_with_the_same_rows(settings: Settings, seed: int) -> None:
    """Batches of any size, rows loaded anew in between, either topic far behind the other."""
    own, foreign = a_history()
    dice = random.Random(seed)
    order = [[*own, *foreign], [*foreign, *own], interleaved(own, foreign, dice), interleaved(own, foreign, dice)][seed]
    expected = Memory()
    for item in [*own, *foreign]:
        expected.fold(item.data, time=item.meta.time)
    db = await asyncpg.connect(settings.postgres_required)
    try:
        await tables.set_codecs(db)
        schema = f"{settings.schema_}_scheduling"
        await tables.create_schema(db, schema, PROJECTION)
        await db.execute(f"set search_path to {tables.quoted(schema)}")
        while order:
            batch, order = order[: (size := dice.randint(1, 9))], order[size:]
            async with db.transaction():
                await Fold(PROJECTION).apply(db, batch)
        for table in TABLES:
            columns = ", ".join(table.columns)
            rows: list[Any] = [dict(row) for row in await db.fetch(f"select {columns} from {table.name}")]
            keys = {tuple(row[name] for name in table.key): row for row in rows}
            assert keys == {key: row for (name, key), row in expected.rows.items() if name == table.name}
            assert keys
    finally:
        await db.close()
