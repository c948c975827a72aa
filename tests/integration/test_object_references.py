"""Which objects events name, as the tables say it: asked of Postgres, once they have what the log has."""

from __future__ import annotations

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from events.language.objects import ObjectRef
from events.log import topics
from events.log.access import client_options
from events.log.topics import ensure_topics, events
from events.objects import references as module
from events.objects.references import Named, References, ReferencesUnknown
from events.process.settings import Settings
from events.projections.positions import live_schema
from events.projections.projection import Projection
from events.projections.rebuild import NoProjection
from events.projections.references import PURGED, REFERENCES, put_references, reference_keys
from events.projections.replaying import connected
from events.projections.tables import create_schema, quoted
from tests.rows import HeldRows

PLOT = ObjectRef(digest="4f" * 32, size=3)
CODE = ObjectRef(digest="5f" * 32, size=4)


class Naming(Projection):
    context = "jobs"
    tables = (REFERENCES, PURGED)
    version = 3


def naming(context: str) -> Projection:
    """The projection of jobs; no other context has any."""
    if context == "jobs":
        return Naming()
    raise NoProjection(context)


@pytest_asyncio.fixture
async def db_schema(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "projection_of", naming)
    await ensure_topics(settings)
    schema = live_schema(settings, "jobs")
    async with connected(settings) as db:
        await create_schema(db, schema, Naming())
        rows = HeldRows(Naming())
        put_references(rows, "j1", [PLOT])
        put_references(rows, "j2", [PLOT, CODE], bundle=True)
        _, *second = named = rows.tables[REFERENCES.name]
        assert [(REFERENCES, key) for key in second] == reference_keys("j2", [PLOT, CODE])
        for row in named.values():
            names, marks = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
            insert = f"insert into {quoted(schema)}.objects ({names}, since) values ({marks}, now())"
            await db.execute(insert, *row.values())
    return schema


@pytest.mark.usefixtures("db_schema")
async def test_what_events_name_is_found(settings: Settings) -> None:
    references = References(settings)
    await references.caught_up()
    both = {PLOT.digest: Named(PLOT, True), CODE.digest: Named(CODE, True)}
    assert await references.all() == await references.bundles() == both
    assert await references.among([PLOT.digest, "00" * 32]) == {PLOT.digest: Named(PLOT, True)}


async def test_what_is_purged_names_nothing(settings: Settings, db_schema: str) -> None:
    async with connected(settings) as db:
        purged = f"insert into {quoted(db_schema)}.purged (subject, purged_at, since) values ('j2', now(), now())"
        await db.execute(purged)
    assert await References(settings).all() == {PLOT.digest: Named(PLOT, False)}


@pytest.mark.usefixtures("db_schema")
async def test_tables_behind_the_log_do_not_answer(settings: Settings) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(settings.prefix + events("jobs"), b"an event that the tables do not have")
    with pytest.raises(ReferencesUnknown, match="behind the log"):
        await References(settings, patience=0.3).caught_up()


async def test_tables_of_another_version_do_not_answer(settings: Settings, db_schema: str) -> None:
    async with connected(settings) as db:
        await db.execute(f"update {quoted(db_schema)}.made set version = 2")
    with pytest.raises(ReferencesUnknown, match="of another version"):
        await References(settings).all()
    async with connected(settings) as db:
        await db.execute(f"drop schema {quoted(db_schema)} cascade")
    with pytest.raises(ReferencesUnknown, match="not there"):
        await References(settings).all()


@pytest.mark.usefixtures("db_schema")
async def test_a_context_of_the_log_that_is_not_known_here_stops_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "CONTEXTS", (*topics.CONTEXTS, "notes"))
    await ensure_topics(settings)
    with pytest.raises(ReferencesUnknown, match=r"the log has the context 'notes'.*FORGELOG_CONTEXTS"):
        await References(settings).caught_up()


@pytest.mark.usefixtures("db_schema")
async def test_a_context_of_the_database_that_is_not_known_here_stops_it(settings: Settings) -> None:
    async with connected(settings) as db:
        await create_schema(db, live_schema(settings, "notes"), Naming())
        await create_schema(db, live_schema(settings, "jobs") + "_former", Naming())
    with pytest.raises(ReferencesUnknown, match=r"the database has the context 'notes'.*FORGELOG_CONTEXTS"):
        await References(settings).caught_up()


@pytest.mark.usefixtures("db_schema")
async def test_rows_of_a_context_without_projection_here_stop_it(settings: Settings) -> None:
    async with connected(settings) as db:
        await create_schema(db, live_schema(settings, "resources"), Naming())
    with pytest.raises(ReferencesUnknown, match=r"'resources'.*projection of it here keeps none"):
        await References(settings).caught_up()
