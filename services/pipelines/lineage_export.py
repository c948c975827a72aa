"""Sends published versions to a catalogue of lineage as they happen, as events of OpenLineage. A background.

1. What is sent is read from the history of the tables, in the order of each partition, from a stored position on: first
   from the beginning. The position moves on once the catalogue has taken the event, so each comes at least once; the
   same version is the same run each time.
2. Where the catalogue is away, is busy or does not know the key, the event is tried again, later each time, and those
   behind it wait in the log. One that it refuses for what it says (400, 413, 422) is written down, and passed over.
3. One process sends at a time. Another place has positions of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import httpx
from blake3 import blake3
from prometheus_client import Counter

from events.hosting import Answering, open_pool
from events.language.pipelines.dataset_messages import VersionPublished
from events.notices.channels import Undelivered, read_secret
from events.process.settings import Settings
from events.projections.tables import quoted
from events.queries.following import LATER, moved
from events.queries.openlineage import event_of

log = logging.getLogger("forgelog.openlineage")

REFUSED = frozenset({400, 413, 422})
"""What a catalogue answers that will not take the event however often it comes."""

BATCH = 100
"""Events that are read at a time."""

SECONDS = 10.0
"""Longest wait for the catalogue's answer."""

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
"""Between two tries: doubled each time."""

LOOK_SECONDS = 60.0
"""Longest wait without news, and for another process that sends."""

sent_events = Counter("forgelog_openlineage_events_total", "Events of OpenLineage that were sent", ["outcome"])

_TABLES = (
    "create table if not exists positions (place text, partition int, next bigint, primary key (place, partition))",
    "create table if not exists refused (place text, partition int, off bigint, dataset_id text, version int, "
    "status int, error text, refused_at timestamptz default now(), primary key (place, partition, off))",
)
_NEXT = """
    select off, data::jsonb as data, time from history where context = 'pipelines' and type = $1 and partition = $2
    and off >= $3 order by off limit $4
"""
_MOVE = """
    insert into positions (place, partition, next) values ($1, $2, $3)
    on conflict (place, partition) do update set next = excluded.next
"""
_PASS = """
    insert into refused (place, partition, off, dataset_id, version, status, error) values ($1, $2, $3, $4, $5, $6, $7)
    on conflict do nothing
"""


class Away(Exception):
    """The catalogue does not take the event now. The text says why."""


class Unwanted(Exception):
    """The catalogue will not take the event."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def export_lineage(answering: Answering) -> None:
    """Run until cancelled; ends at once where no catalogue is set."""
    if not answering.settings.openlineage:
        return
    pool = await open_pool(answering.settings, most=1)
    exporter = Exporter(answering)
    wait = FIRST_SECONDS
    try:
        while True:
            try:
                async with pool.acquire() as db:
                    await exporter.run(db)
                wait = FIRST_SECONDS
            except LATER as error:
                log.debug("lineage waits: %s", error)
            except Away as error:
                log.warning("lineage waits %g s: %s", wait, error)
                sent_events.labels("failed").inc()
            if exporter.moved:
                wait, exporter.moved = FIRST_SECONDS, False
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_SECONDS)
    finally:
        await pool.close()


def place_of(url: str) -> str:
    """What the positions of a catalogue are kept under."""
    return blake3(url.encode()).hexdigest(length=16)


class Exporter:
    """Sends what its catalogue does not have."""

    def __init__(self, answering: Answering) -> None:
        self.moved = False
        """Whether the catalogue has taken or refused something since this was set to False."""
        self._read = answering.read
        self._settings: Settings = answering.settings
        self._url = answering.settings.openlineage
        self._place = place_of(self._url)
        self._schema = quoted(f"{answering.settings.schema_}_openlineage")

    async def run(self, db: Any) -> None:
        """Until cancelled. Raises Away, and errors of the database."""
        await db.execute(f"create schema if not exists {self._schema}")
        await db.execute(f"set search_path to {self._schema}")
        for statement in _TABLES:
            await db.execute(statement)
        lock = int(self._place[:15], 16)
        while not await db.fetchval("select pg_try_advisory_lock($1)", lock):
            await asyncio.sleep(LOOK_SECONDS)
        try:
            async with self._client() as client:
                while True:
                    seen = self._read.runner.positions
                    await self.send_all(db, client)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await moved(self._read.runner, seen)
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # it goes with the connection too
                await db.execute("select pg_advisory_unlock($1)", lock)

    async def send_all(self, db: Any, client: httpx.AsyncClient) -> None:
        """All that there is now."""
        known = await db.fetch("select partition, next from positions where place = $1", self._place)
        stored = {row["partition"]: row["next"] for row in known}
        async with self._read.snapshot() as (_, positions):
            ends = {number: at.offset for (context, number), at in positions.items() if context == "pipelines"}
        for partition, end in ends.items():
            start = stored.get(partition, 0)
            if start > end:
                log.warning("partition %d of the log is shorter than it was: its lineage is sent anew", partition)
                start = 0
            while rows := await self._following(partition, start):
                for off, version in rows:
                    await self._send(db, client, partition, off, version)
                    start = off + 1
                    await db.execute(_MOVE, self._place, partition, start)
                    self.moved = True

    async def _following(self, partition: int, start: int) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """The next versions of a partition, each with its offset."""
        async with self._read.view() as view:
            events = await view.fetch(_NEXT, VersionPublished.type_name(), partition, start, BATCH)
            found = []
            for event in events:
                said = event["data"]
                row = await view.fetchrow(
                    "select * from data_versions where dataset_id = $1 and version = $2",
                    said["dataset_id"],
                    said["dataset_version"],
                )
                assert row is not None, "what is published was committed"
                found.append((event["off"], {**row, "published_at": row["published_at"] or event["time"]}))
        return found

    async def _send(
        self, db: Any, client: httpx.AsyncClient, partition: int, off: int, version: Mapping[str, Any]
    ) -> None:
        try:
            await post(client, self._url, event_of(version), self._key())
        except Unwanted as error:
            id, number = version["dataset_id"], version["version"]
            log.error("the catalogue refuses version %s of %s (%d): %s", number, id, error.status, error)
            await db.execute(_PASS, self._place, partition, off, id, number, error.status, str(error)[:1_000])
            sent_events.labels("refused").inc()
        else:
            sent_events.labels("sent").inc()

    def _key(self) -> str:
        if not self._settings.openlineage_secret:
            return ""
        try:
            return read_secret(self._settings, self._settings.openlineage_secret)
        except Undelivered as error:
            raise Away(str(error)) from None

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=SECONDS)


async def post(client: httpx.AsyncClient, url: str, event: Mapping[str, Any], key: str) -> None:
    """Send one event. `key`: of the catalogue; empty for none. Raises Away, Unwanted."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with client.stream("POST", url, json=event, headers=headers) as answer:
            if answer.is_success:
                return
            status = answer.status_code
            text = (await anext(answer.aiter_bytes(1_000), b"")).decode(errors="replace") if status in REFUSED else ""
    except httpx.HTTPError as error:
        raise Away(f"{type(error).__name__} at {httpx.URL(url).host}") from None
    if status in REFUSED:
        raise Unwanted(status, text)
    raise Away(f"{httpx.URL(url).host} answered {status}")
