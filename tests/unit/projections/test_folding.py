"""Rows between batches: what a fold keeps, forgets and loads again. The tables here are a dictionary."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from events.language.jobs import JobSubmitted, JobTasksCancelled
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log.envelope import Meta, Position, Recorded
from events.projections import folding, tables
from events.projections.folding import Fold, UndeclaredRow
from events.projections.projection import Key, Row, Table
from tests.unit.writer.sample import JOBS, SampleProjection

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Stored:
    """A table's rows by key, and the keys that were asked for. Refuses to insert a row twice, as a primary key does."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.rows: dict[Key, Row] = {}
        self.loaded: list[Key] = []
        for name in ("load_rows", "insert_rows", "upsert_rows", "delete_rows", "insert_past"):
            patch.setattr(tables, name, getattr(self, name))

    async def load_rows(self, _db: Any, _table: Table, keys: list[Key]) -> dict[Key, tables.Versioned]:
        self.loaded += keys
        return {key: (self.rows[key], NOW) for key in keys if key in self.rows}

    async def insert_rows(self, _db: Any, table: Table, rows: list[tables.Versioned]) -> None:
        for row, _ in rows:
            key = table.key_of(row)
            assert key not in self.rows
            self.rows[key] = row

    async def upsert_rows(self, _db: Any, table: Table, rows: list[tables.Versioned]) -> None:
        self.rows.update({table.key_of(row): row for row, _ in rows})

    async def insert_past(self, _db: Any, _table: Table, versions: list[Any]) -> None:
        assert not versions, "all that happens here happens at one time"

    async def delete_rows(self, _db: Any, _table: Table, keys: list[Key]) -> None:
        for key in keys:
            del self.rows[key]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    return Stored(monkeypatch)


def event(data: JobSubmitted | JobTasksCancelled) -> Recorded:
    meta = Meta("e", data.type_name(), data.job_id, NOW, "local/default", "owner")
    return Recorded(data, meta, data.job_id, Position("events.jobs", 0, 0))


def submitted(id: str) -> Recorded:
    spec = JobSpec(metadata=JobMetadata(name=id), command="true")
    return event(JobSubmitted(job_id=id, project="local/default", owner="owner", spec=spec))


def cancelled(id: str) -> Recorded:
    return event(JobTasksCancelled(job_id=id, tasks="0", reason="test"))


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("hold", [0, 7])
async def test_rows_that_were_forgotten_are_loaded_again(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, empty: bool, hold: int
) -> None:
    monkeypatch.setattr(folding, "CACHE_ROWS", 5)
    dice = random.Random(1)
    fold = Fold(SampleProjection(), empty=empty, hold=hold)
    counts: dict[str, int] = {}
    for _ in range(200):
        batch = []
        for _ in range(dice.randint(1, 4)):
            id = f"job-{dice.randint(0, 60)}"
            batch.append(cancelled(id) if id in counts else submitted(id))
            counts[id] = counts[id] + 1 if id in counts else 0
        await fold.apply(None, batch)  # type: ignore[arg-type]
    await fold.flush(None)  # type: ignore[arg-type]
    assert {key[0]: row["cancelled"] for key, row in stored.rows.items()} == counts
    assert len(stored.loaded) > 20


async def test_a_table_that_was_empty_is_not_asked_for_what_nobody_wrote(stored: Stored) -> None:
    fold = Fold(SampleProjection(), empty=True)
    for start in range(0, 2000, 100):
        await fold.apply(None, [submitted(f"job-{n}") for n in range(start, start + 100)])  # type: ignore[arg-type]
    assert len(stored.rows) == 2000
    assert len(stored.loaded) < 20  # but for a key whose hash is that of another


async def test_a_row_that_was_not_named_is_refused(stored: Stored) -> None:
    fold = Fold(SampleProjection())
    with pytest.raises(UndeclaredRow, match="read"):
        fold.get(JOBS, ("other",))
    with pytest.raises(UndeclaredRow, match="written"):
        fold.delete(JOBS, ("other",))
    assert not stored.rows
