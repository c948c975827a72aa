"""Sends what people are to be told, each notice on each channel until it is delivered. A background of the context.

1. Notices are a table of the projection, so there are none that the log has not.
2. What was sent is in a table of its own, which a rebuild does not touch: one row for a notice and a channel.
3. A row is claimed for a while by whoever sends it, so several processes share the work; one that is killed meanwhile
   sends it twice, with the same id.
4. What can't be sent is tried again, later each time, and given up after `TRIES`. Nothing is sent that is older than
   `MOST_AGE`: after a loss of these tables not all of history is told anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from prometheus_client import Counter

from events.hosting import Answering, open_pool
from events.process.settings import Settings
from events.projections.tables import quoted
from services.deployments.background import LATER, moved
from services.deployments.notices.channels import Undelivered, send

log = logging.getLogger("forgelog.alerts")

TRIES = 8
FIRST_SECONDS = 2.0
"""Until the second try; twice as long until each further one: eight take four minutes."""
MOST_AGE = timedelta(hours=24)
CLAIM_SECONDS = 60.0
AT_ONCE = 16
LOOK_SECONDS = 60.0
"""Longest wait without news."""
AGAIN_SECONDS = 2.0

sent_notices = Counter("forgelog_alert_notices_total", "Notices of alerts", ["kind", "outcome"])

_TABLE = """
    create table if not exists deliveries (notice_id text, channel text, tries int not null default 0,
    due timestamptz not null default now(), done_at timestamptz, error text not null default '',
    primary key (notice_id, channel))
"""
_FORGET = "delete from deliveries where done_at < now() - interval '30 days'"
_CLAIM = """
    update deliveries set tries = tries + 1, due = now() + make_interval(secs => $1) where (notice_id, channel) in (
        select notice_id, channel from deliveries where done_at is null and due <= now() order by due limit $2
        for update skip locked)
    returning notice_id, channel, tries
"""


async def notify(answering: Answering) -> None:
    """Run until cancelled."""
    pool = await open_pool(answering.settings, most=2)
    try:
        notifier = Notifier(answering, pool)
        while True:
            try:
                await notifier.run()
            except LATER as error:
                log.debug("alerts wait: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
    finally:
        await pool.close()


def pause_after(tries: int) -> float:
    """Seconds until the next try."""
    return float(FIRST_SECONDS * 2 ** (tries - 1))


class Notifier:
    def __init__(self, answering: Answering, pool: asyncpg.Pool) -> None:
        self._read = answering.read
        self._settings: Settings = answering.settings
        self._pool = pool
        self._schema = quoted(f"{answering.settings.schema_}_notices")
        self._since: datetime | None = None

    async def run(self) -> None:
        """Until cancelled. Raises errors of the database."""
        async with self._pool.acquire() as db:
            await db.execute(f"create schema if not exists {self._schema}")
            await db.execute(f"set search_path to {self._schema}")
            await db.execute(_TABLE)
            await db.execute(_FORGET)
            while True:
                seen = self._read.runner.positions
                await self._enter(db)
                while rows := await db.fetch(_CLAIM, CLAIM_SECONDS, AT_ONCE):
                    await self._deliver(db, rows)
                due = await db.fetchval("select min(due) from deliveries where done_at is null")
                await self._news(seen, due)

    async def _enter(self, db: Any) -> None:
        """A row for each channel of each new notice."""
        since = self._since or datetime.now(UTC) - MOST_AGE
        async with self._read.view() as view:
            rows = await view.fetch(
                "select notice_id, channels, happened_at from alert_notices where happened_at >= $1", since
            )
        found = [(row["notice_id"], each["name"]) for row in rows for each in row["channels"]]
        if found:
            await db.executemany(
                "insert into deliveries (notice_id, channel) values ($1, $2) on conflict do nothing", found
            )
        if rows:  # events of other partitions may have times that are a little earlier
            newest: datetime = max(row["happened_at"] for row in rows)
            self._since = max(since, newest - timedelta(minutes=5))

    async def _deliver(self, db: Any, rows: Sequence[Any]) -> None:
        async with self._read.view() as view:
            notices = await view.fetch(
                "select * from alert_notices where notice_id = any($1::text[])", [row["notice_id"] for row in rows]
            )
        known = {notice["notice_id"]: notice for notice in notices}
        ended = await asyncio.gather(*(self._try(known.get(row["notice_id"]), row) for row in rows))
        for row, (done, error) in zip(rows, ended, strict=True):
            await db.execute(
                "update deliveries set done_at = case when $3 then now() end, error = $4, "
                "due = now() + make_interval(secs => $5) where notice_id = $1 and channel = $2",
                row["notice_id"],
                row["channel"],
                done,
                error,
                pause_after(row["tries"]),
            )

    async def _try(self, notice: Any, row: Any) -> tuple[bool, str]:
        """Whether nothing is left to be done, and what was wrong."""
        channel = (
            next((each for each in notice["channels"] if each["name"] == row["channel"]), None) if notice else None
        )
        if channel is None:
            return True, "the notice is gone"
        try:
            await send(self._settings, channel, notice)
        except Undelivered as error:
            last = row["tries"] >= TRIES
            sent_notices.labels(channel["kind"], "given_up" if last else "failed").inc()
            (log.error if last else log.warning)(
                "alert %s of %s could not be told on channel %s: %s; %s",
                notice["alert"],
                notice["deployment_id"],
                channel["name"],
                error,
                "it is given up" if last else f"try {row['tries']} of {TRIES}",
            )
            return last, str(error)
        sent_notices.labels(channel["kind"], "sent").inc()
        return True, ""

    async def _news(self, seen: object, due: datetime | None) -> None:
        """Wait for an event, or until something is due."""
        wait = LOOK_SECONDS
        if due is not None:
            wait = min(wait, max(0.05, (due - datetime.now(UTC)).total_seconds()))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await moved(self._read.runner, seen)
