"""Rebuilds by several processes, on a real broker and a real database."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from events.hosting import open_pool
from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import topics
from events.log.publish import Outgoing, Publisher
from events.process.settings import Settings
from events.process.tasks import end_all
from events.projections import rebuild as rebuilding
from events.projections import shards, tables
from events.projections.positions import live_schema
from events.projections.replaying import Interrupted, connected
from events.projections.runner import Runner
from events.writer.writer import Writer
from tests import PATIENCE
from tests.unit.writer.sample import SampleDecider, SampleProjection

JOBS = 60


@pytest_asyncio.fixture
async def filled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Settings]:
    """A platform with live tables, its writer at rest; every process is worth its start."""
    monkeypatch.setattr(shards, "SMALLEST", 10)
    monkeypatch.setattr(rebuilding.os, "cpu_count", lambda: 3)
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    writer, runner = Writer(SampleDecider(), settings), Runner(SampleProjection(), settings, pool)
    tasks = [asyncio.create_task(writer.run()), asyncio.create_task(runner.run())]
    spec = JobSpec(metadata=JobMetadata(name="n", labels={"kind": "test"}), command="true")
    try:
        async with Publisher(settings) as publisher:
            await publisher.publish_many([Outgoing(SubmitJob(job_id=f"j-{n}", spec=spec)) for n in range(JOBS)])
        async with asyncio.timeout(PATIENCE):
            while not runner.positions or await rows(settings) < JOBS:
                await asyncio.sleep(0.02)
    finally:
        await end_all(tasks)
        await pool.close()
    yield settings


async def rows(settings: Settings, table: str = "jobs") -> int:
    schema = live_schema(settings, "jobs")
    async with connected(settings) as db:
        if not await db.fetchval("select to_regclass($1)", f"{schema}.{table}"):
            return 0
        found: int = await db.fetchval(f"select count(*) from {tables.quoted(schema)}.{table}")
        return found


async def test_several_processes_make_the_same_tables(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    started = count_children(monkeypatch)
    told: list[tuple[int, int]] = []
    rebuilt = await rebuilding.rebuild(filled, SampleProjection(), lambda done, total: told.append((done, total)))
    assert len(started) == 3
    assert rebuilt.events == await rows(filled, "history") == JOBS
    assert told[-1][0] == told[-1][1] > JOBS  # the writer's markers are read too
    found = await rebuilding.diff(filled, SampleProjection())
    assert found.equal, found
    assert found.rows == {"jobs": JOBS, "jobs_past": 0}


async def test_a_process_that_dies_fails_the_rebuild_and_leaves_nothing(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        started = count_children(patch, kill=1)
        with pytest.raises(Interrupted, match="ended with -9"):
            await rebuilding.rebuild(filled, SampleProjection())
    assert len(started) == 3
    assert all(process.returncode is not None for process in started)
    assert await rows(filled) == JOBS
    rebuilt = await rebuilding.rebuild(filled, SampleProjection())
    assert rebuilt.events == JOBS
    found = await rebuilding.diff(filled, SampleProjection())
    assert found.equal, found


async def test_a_share_that_comes_too_late_writes_nothing(filled: Settings) -> None:
    schema = live_schema(filled, "jobs") + "_next"
    async with connected(filled) as db, db.transaction():
        await tables.create_bare(db, schema, SampleProjection())
    target = {("jobs", number): 1 for number in range(4)}
    shares = [[("jobs", 0), ("jobs", 1)], [("jobs", 2), ("jobs", 3)]]
    with pytest.raises(rebuilding.RebuildFailed, match="another rebuild"):
        await shards.fill(filled, SampleProjection(), schema, 1, shares, target, lambda _: None)
    async with connected(filled) as db:
        assert await db.fetchval(f"select count(*) from {tables.quoted(schema)}.history") == 0


async def test_a_share_ends_when_nobody_hears_it(filled: Settings) -> None:
    schema = live_schema(filled, "jobs") + "_next"
    async with connected(filled) as db:
        async with db.transaction():
            await tables.create_bare(db, schema, SampleProjection())
        order = shards.order_of(filled, SampleProjection(), schema, await tables.schema_oid(db, schema))
        hears, says = os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "events.projections.shards", stdin=asyncio.subprocess.PIPE, stdout=says
        )
        os.close(says)
        os.close(hears)
        await process.communicate(
            orjson.dumps({**order, "target": [("jobs", number, 1) for number in range(4)]}) + b"\n"
        )
        assert process.returncode == 1
        assert await db.fetchval(f"select count(*) from {tables.quoted(schema)}.history") == 0


async def test_a_row_of_several_places_fails_the_rebuild(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding.os, "cpu_count", lambda: 1)
    with pytest.raises(rebuilding.RebuildFailed, match="SharedRow"):  # by the one process, which has all places
        await rebuilding.rebuild(filled, OneRow())
    assert await rows(filled) == JOBS
    monkeypatch.setattr(rebuilding.os, "cpu_count", lambda: 4)
    with pytest.raises(rebuilding.RebuildFailed, match="UniqueViolation"):  # by the second of those that write it
        await rebuilding.rebuild(filled, OneRow())
    assert await rows(filled) == JOBS


class OneRow(SampleProjection):
    """Breaks the rule that a row depends on events of one place."""

    def touches(self, _recorded: Any) -> Any:
        return [(self.tables[0], ("all",))]

    def project(self, recorded: Any, to: Any) -> None:
        row = {"job_id": "all", "name": "", "cancelled": 0, "labels": {}, "tags": [], "at": recorded.meta.time}
        to.put(self.tables[0], row)


def count_children(patch: pytest.MonkeyPatch, kill: int = 0) -> list[asyncio.subprocess.Process]:
    """The processes that a rebuild starts from now on; the first `kill` are killed at once."""
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def counted(*args: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*args, **options)
        started.append(process)
        if len(started) <= kill:
            process.kill()
        return process

    patch.setattr(shards.asyncio, "create_subprocess_exec", counted)
    return started
