"""Sends what people are to be told, each notice on each channel until it is delivered. A background of a context.

1. Notices are a table of the projection, so there are none that the log has not.
2. What was sent is in a table of its own (`deliveries`), which a rebuild does not touch.
3. A row is claimed for a while by whoever sends it, so several processes share the work; one that is killed meanwhile
   sends it twice, with the same id.
4. What can't be sent is tried again, later each time, and given up after `TRIES`. Nothing is sent that is older than
   `MOST_AGE`.
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
from events.notices import deliveries
from events.notices.channels import Undelivered, send
from events.notices.deliveries import MOST_AGE, schema_of
from events.process.settings import Settings
from events.queries.following import LATER, moved

log = logging.getLogger("forgelog.alerts")

TRIES = 8
FIRST_SECONDS = 2.0
"""Until the second try; twice as long until each further one: eight take four minutes."""
CLAIM_SECONDS = 60.0
AT_ONCE = 16
LOOK_SECONDS = 60.0
"""Longest wait without news."""
AGAIN_SECONDS = 2.0

sent_notices = Counter("forgelog_alert_notices_total", "Notices to people", ["kind", "outcome"])


async def notify(answering: Answering) -> None:
    """Run until cancelled."""
    pool = await open_pool(answering.settings, most=2)
    try:
        notifier = Notifier(answering, pool)
        while True:
            try:
                await notifier.run()
            except LATER as error:
                log.debug("notices wait: %s", error)
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
        self._context = answering.read.runner.projection.context
        self._pool = pool
        self._schema = schema_of(answering.settings)
        self._since: datetime | None = None

    async def run(self) -> None:
        """Until cancelled. Raises errors of the database."""
        async with self._pool.acquire() as db:
            await db.execute(f"create schema if not exists {self._schema}")
            await db.execute(f"set search_path to {self._schema}")
            for statement in deliveries.MAKE:
                await db.execute(statement)
            await db.execute(deliveries.FORGET, self._context)
            while True:
                seen = self._read.runner.positions
                await self._enter(db)
                while rows := await db.fetch(deliveries.CLAIM, self._context, CLAIM_SECONDS, AT_ONCE):
                    await self._deliver(db, rows)
                await self._news(seen, await db.fetchval(deliveries.NEXT, self._context))

    async def _enter(self, db: Any) -> None:
        """A row for each channel of each new notice."""
        since = self._since or datetime.now(UTC) - MOST_AGE
        async with self._read.view() as view:
            new = "select notice_id, channels, happened_at from notices where happened_at >= $1"
            rows = await view.fetch(new, since)
        found = [(row["notice_id"], each["name"], self._context) for row in rows for each in row["channels"]]
        if found:
            await db.executemany(deliveries.ENTER, found)
        if rows:  # events of other partitions may have times that are a little earlier
            newest: datetime = max(row["happened_at"] for row in rows)
            self._since = max(since, newest - timedelta(minutes=5))

    async def _deliver(self, db: Any, rows: Sequence[Any]) -> None:
        async with self._read.view() as view:
            notices = await view.fetch(
                "select * from notices where notice_id = any($1::text[])", [row["notice_id"] for row in rows]
            )
        known = {notice["notice_id"]: notice for notice in notices}
        ended = await asyncio.gather(*(self._try(known.get(row["notice_id"]), row) for row in rows))
        for row, (done, error) in zip(rows, ended, strict=True):
            pause = pause_after(row["tries"])
            await db.execute(deliveries.TRIED, row["notice_id"], row["channel"], done, error, pause)

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
                "%s of %s could not be told on channel %s: %s; %s",
                notice["title"],
                notice["subject"],
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
