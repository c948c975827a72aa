"""The services of now on what an earlier version has left behind: its log and its tables, as they were recorded.

They open it, answer as was answered then, and go on. See `tests/golden/README.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from events.language.jobs import JobCancelled, JobQueued
from events.log import topics
from events.log.access import client_options
from events.process.settings import Settings
from events.projections import rebuild
from tests.access import admit_users
from tests.conftest import Servers, own_settings
from tests.golden import folding, scenes
from tests.golden.changes import CHANGES
from tests.golden.comparing import Comparison
from tests.golden.history import SCHEMA, History, recorded
from tests.integration.cluster import Cluster, served

pytestmark = pytest.mark.slow

LOST_SECONDS = 3600.0
"""No agent comes back, and the recorded nodes are to stay."""

REMEDY = (
    "What was asked then must be answered so now. If it is meant to be another answer, add a Change with its reason to "
    "tests/golden/changes.py; see tests/golden/README.md."
)


@pytest_asyncio.fixture(scope="module", params=recorded(), ids=lambda history: history.name)
async def upgraded(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[History, Cluster]]:
    """A recorded platform with the services of now."""
    history: History = request.param
    folder: Path = tmp_path_factory.mktemp("upgraded")
    async with own_settings(servers, folder) as own:
        settings = own.model_copy(update={"partitions": history.about["partitions"], "data": folder})
        await restore_log(history, settings)
        await restore_tables(history, settings)
        await admit_users(settings)
        async with served(Cluster(settings, folder, LOST_SECONDS), tasks=False) as platform:
            yield history, platform


async def restore_log(history: History, settings: Settings) -> None:
    """Every record where it was."""
    counts = await topics.ensure_topics(settings)
    assert {name: counts[name] for name in history.about["topics"]} == history.about["topics"]
    producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True)
    await producer.start()
    try:
        sent = [
            await producer.send(
                settings.prefix + raw.topic,
                raw.value,
                key=raw.key,
                partition=raw.partition,
                timestamp_ms=raw.timestamp,
                headers=list(raw.headers),
            )
            for raw in history.records
        ]
        stored = await asyncio.gather(*sent)
    finally:
        await producer.stop()
    assert [at.offset for at in stored] == [raw.offset for raw in history.records]


async def restore_tables(history: History, settings: Settings) -> None:
    db = await asyncpg.connect(settings.postgres_required)
    try:
        await db.execute(history.sql.replace(SCHEMA, settings.schema_))
    finally:
        await db.close()


async def test_what_was_asked_then_is_answered_as_then(upgraded: tuple[History, Cluster]) -> None:
    """Lists, single ones, output, histories; as it was at the end, and as of earlier moments."""
    history, platform = upgraded
    present: dict[str, Any] = {}
    async with platform.http() as client:
        for path in history.answers:
            present[path] = folding.answer(await client.get(path))
    comparison = Comparison(history.name, CHANGES)
    comparison.whole("answers", {"by": history.answers}, {"by": present})
    assert not comparison.differences, comparison.told(REMEDY)


async def test_tables_of_the_present_form_are_opened_as_they_are(upgraded: tuple[History, Cluster]) -> None:
    """And those of another form are rebuilt; nobody takes them for those of another log."""
    history, platform = upgraded
    db = await asyncpg.connect(platform.settings.postgres_required)
    try:
        for context, version in history.about["stored_as"]["rows"].items():
            schema = f"{platform.settings.schema_}_{context}"
            (made,) = await db.fetch(f"select version, format, at from {schema}.made")
            present = folding.versions()["rows"][context]
            assert f"{made['format']}.{made['version']}" == present
            assert f"'{made['at']:%Y-%m-%d %H:%M:%S}" in history.sql or present != version, f"{context} was rebuilt"
            assert not await db.fetchval("select count(*) from pg_namespace where nspname = $1", f"{schema}_former")
    finally:
        await db.close()


async def test_the_tables_are_what_a_rebuild_makes_of_the_log(upgraded: tuple[History, Cluster]) -> None:
    history, platform = upgraded
    for context in history.about["contexts"]:
        found = await rebuild.diff(platform.settings, context)
        assert found.equal, found


async def test_the_platform_goes_on_where_the_recording_ends(upgraded: tuple[History, Cluster]) -> None:
    """A job that waited then is cancelled, and one that failed then is queued again."""
    history, platform = upgraded
    waiting, failed = history.about["jobs"][scenes.HELD], history.about["jobs"]["fails"]
    before = len(platform.seen)
    await platform.publish("jobs", "CancelJob", {"job_id": waiting}, key=waiting)
    await platform.event(JobCancelled, lambda event: event.job_id == waiting)
    await platform.publish("jobs", "RequeueJob", {"job_id": failed}, key=failed)
    again = await platform.recorded(lambda each: isinstance(each.data, JobQueued) and each.data.attempt == 3, before)
    assert again.meta.subject == failed
