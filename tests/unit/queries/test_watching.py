"""Watchers are told of the rows that batches changed, from memory, and look at the tables only when they must. The
tables here are a dictionary, and each look is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from events.log.positions import ReaderPosition
from events.projections.folding import Held
from events.projections.projection import Row, Table
from events.projections.stored import Positions, Stored
from events.projections.tables import HISTORY
from events.queries import watching
from events.queries.watching import Watcher, Watching, changes, within

JOBS = Table(name="jobs", key=("id",), columns={"id": "text", "queue": "text", "state": "int"})
OTHERS = Table(name="others", key=("id",), columns={"id": "text"})


@dataclass(frozen=True)
class OfQueue:
    queue: str

    def __call__(self, row: Row) -> bool:
        return bool(row["queue"] == self.queue)


class Tables:
    """What is stored, how far, and who is told of it."""

    def __init__(self) -> None:
        self.watching = Watching()
        self.rows: dict[str, Row] = {}
        self.changed: dict[str, int] = {}
        self.end = 0
        self.looks = 0

    @property
    def positions(self) -> Positions:
        return {("jobs", 0): ReaderPosition(self.end, 0)}

    def commit(self, *rows: Row) -> Stored:
        """A batch that is stored; nobody is told yet."""
        before = self.positions
        self.end += 1
        for row in rows:
            self.rows[row["id"]] = row
            self.changed[row["id"]] = self.end
        held = {(row["id"],): Held(row) for row in rows}
        return Stored(before, self.positions, [(JOBS, held)], [])

    def store(self, *rows: Row) -> None:
        self.watching.stored(self.commit(*rows))

    async def look(self, since: Positions) -> tuple[Positions, Sequence[Row]]:
        self.looks += 1
        reached, offset = self.positions, since["jobs", 0].offset if since else 0
        rows = [row for id, row in self.rows.items() if self.changed[id] > offset]
        await asyncio.sleep(0)
        return reached, rows


def job(id: str, state: int, queue: str = "default") -> Row:
    return {"id": id, "queue": queue, "state": state}


async def told(watch: AsyncGenerator[Sequence[Row], None]) -> list[tuple[str, int]]:
    async with asyncio.timeout(30):
        return [(row["id"], row["state"]) for row in await anext(watch)]


async def waits(watcher: Watcher) -> bool:
    """Whether there is nothing to take."""
    return watcher.take() == []


async def test_a_watcher_is_told_of_what_there_is_then_of_what_changes_without_a_look() -> None:
    here = Tables()
    here.store(job("a", 1))
    with here.watching.joined(JOBS, keys=[("a",)]) as watcher:
        async with aclosing(changes(watcher, here.look)) as watch:
            assert await told(watch) == [("a", 1)]
            for state in range(2, 5):
                here.store(job("a", state), job("b", state))
                assert await told(watch) == [("a", state)]
    assert here.looks == 1


async def test_a_change_reaches_those_whom_it_concerns_once() -> None:
    here = Tables()
    with (
        here.watching.joined(JOBS, keys=[("a",)]) as of_a,
        here.watching.joined(JOBS, keys=[("b",), ("c",)]) as of_others,
        here.watching.joined(JOBS, matches=OfQueue("gpu")) as of_gpu,
        here.watching.joined(JOBS) as of_all,
        here.watching.joined(OTHERS) as elsewhere,
    ):
        watchers = [of_a, of_others, of_gpu, of_all, elsewhere]
        for watcher in watchers:
            assert watcher.take() is None
            watcher.looked(here.positions)
        a, b = job("a", 1, "gpu"), job("b", 1)
        here.store(a, b)
        assert [watcher.take() for watcher in watchers] == [[a], [b], [a], [a, b], []]
        assert [watcher.take() for watcher in watchers] == [[]] * 5


async def test_a_thousand_watchers_wait_and_one_change_wakes_one() -> None:
    here = Tables()
    for number in range(1000):
        here.store(job(f"{number}", 1))
    woken: list[str] = []
    first: list[str] = []

    async def watch(id: str) -> None:
        with here.watching.joined(JOBS, keys=[(id,)]) as watcher:
            async with aclosing(changes(watcher, here.look)) as watched:
                await anext(watched)
                first.append(id)
                async for rows in watched:
                    woken.extend(row["id"] for row in rows)

    tasks = [asyncio.create_task(watch(f"{number}")) for number in range(1000)]
    while len(first) < 1000:
        await asyncio.sleep(0)
    looks = here.looks
    here.store(job("7", 2))
    here.store(job("unwatched", 1))
    while not woken:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert woken == ["7"]
    assert here.looks == looks == 1000


async def test_a_slow_watcher_gets_the_newest_state_only() -> None:
    here = Tables()
    with here.watching.joined(JOBS) as watcher:
        async with aclosing(changes(watcher, here.look)) as watch:
            await anext(watch)
            for state in range(10):
                here.store(job("a", state))
                here.store(job("b", state))
            assert await told(watch) == [("a", 9), ("b", 9)]
            assert await waits(watcher)


async def test_what_is_not_kept_any_more_is_looked_for_since_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "KEPT_ROWS", 3)
    here = Tables()
    here.store(job("old", 0))
    with here.watching.joined(JOBS) as watcher, here.watching.joined(JOBS, keys=[("old",)]) as calm:
        assert calm.take() is None
        calm.looked(here.positions)
        async with aclosing(changes(watcher, here.look)) as watch:
            assert await told(watch) == [("old", 0)]
            for number in range(5):
                here.store(job(f"{number}", 1))
            assert await told(watch) == [(f"{number}", 1) for number in range(5)]
            assert here.looks == 2
            here.store(job("0", 2))
            assert await told(watch) == [("0", 2)]
        assert here.looks == 2
        assert await waits(calm)  # nothing that it has missed concerns it


async def test_everyone_looks_once_where_another_runner_has_stored() -> None:
    here = Tables()
    here.store(job("a", 1), job("b", 1))
    with here.watching.joined(JOBS) as one, here.watching.joined(JOBS, keys=[("b",)]) as other:
        async with aclosing(changes(one, here.look)) as watch, aclosing(changes(other, here.look)) as second:
            await anext(watch)
            await anext(second)
            here.store(job("a", 2))  # taken by nobody yet
            here.commit(job("b", 2))
            here.watching.unknown()
            assert await told(watch) == [("a", 2), ("b", 2)]
            assert await told(second) == [("b", 2)]
            assert here.looks == 4
            here.store(job("b", 3))
            assert (await told(watch), await told(second)) == ([("b", 3)], [("b", 3)])
            assert here.looks == 4


async def test_a_look_that_sees_more_than_was_told_of_shows_no_older_state_after_it() -> None:
    here = Tables()
    with here.watching.joined(JOBS) as watcher:
        assert watcher.take() is None
        batches = [here.commit(job("a", state)) for state in range(3)]
        here.watching.stored(batches[0])  # while it looks
        watcher.looked(batches[1].after)
        here.watching.stored(batches[1])
        assert watcher.take() == []
        here.watching.stored(batches[2])
        assert watcher.take() == [job("a", 2)]


async def test_what_is_told_of_during_a_look_follows_it() -> None:
    here = Tables()
    with here.watching.joined(JOBS) as watcher:
        assert watcher.take() is None
        seen = here.positions
        here.store(job("a", 1))
        here.store(job("b", 1))
        watcher.looked(seen)
        assert watcher.take() == [job("a", 1), job("b", 1)]


async def test_another_runner_that_stores_during_a_look_leads_to_another_look() -> None:
    here = Tables()
    with here.watching.joined(JOBS) as watcher:
        assert watcher.take() is None
        here.watching.unknown()
        watcher.looked(here.positions)
        assert watcher.take() is None


async def test_rows_that_are_deleted_are_no_news() -> None:
    here = Tables()
    with here.watching.joined(JOBS, keys=[("a",)]) as watcher:
        watcher.take()
        watcher.looked(here.positions)
        batch = here.commit()
        here.watching.stored(Stored(batch.before, batch.after, [(JOBS, {("a",): Held()})], []))
        assert await waits(watcher)


async def test_events_come_as_rows_of_history_in_their_order() -> None:
    here = Tables()
    with here.watching.joined(HISTORY, matches=lambda row: row["subject"] == "a") as watcher:
        watcher.take()
        watcher.looked(here.positions)
        rows: list[dict[str, Any]] = [
            {**dict.fromkeys(HISTORY.columns), "context": "jobs", "partition": 0, "off": off, "subject": subject}
            for off, subject in enumerate("abaa")
        ]
        batch = here.commit()
        here.watching.stored(Stored(batch.before, batch.after, [], [tuple(row.values()) for row in rows]))
        assert watcher.take() == [rows[0], rows[2], rows[3]]


async def test_nothing_is_kept_when_nobody_watches() -> None:
    here = Tables()
    with here.watching.joined(JOBS) as watcher:
        here.store(job("a", 1))
        assert len([*here.watching.since(0)]) == 1
    here.store(job("a", 2))
    assert not [*here.watching.since(0)]
    with here.watching.joined(JOBS) as watcher:
        assert watcher.take() is None
        watcher.looked(here.positions)
        here.store(job("a", 3))
        assert watcher.take() == [job("a", 3)]


def test_positions_are_within_others_place_by_place() -> None:
    def at(**offsets: int) -> Positions:
        return {(name, 0): ReaderPosition(offset, 0) for name, offset in offsets.items()}

    assert within(at(a=1), at(a=1, b=0))
    assert not within(at(a=2, b=0), at(a=1, b=5))
    assert not within(at(a=1), {})
