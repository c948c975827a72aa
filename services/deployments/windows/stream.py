"""The stream of windows: from the topic ``windows.deployments`` into its own table, the newest state of each.

A record has all of its window, so one that comes again, or late, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from events.language.deployments.traffic_records import WindowRecord
from events.language.streams import WINDOWS
from events.log.wire import Raw
from events.projections.tables import Db
from events.streams.retention import Expiring
from events.streams.stream import Stream
from services.deployments.stream_records import read_record

WindowKey = tuple[str, int, int, str]
"""Deployment, revision, minute, part."""


@dataclass(slots=True)
class Stored:
    """What is stored of a window."""

    version: int = 0


class WindowStream(Stream[WindowRecord, WindowKey, Stored, WindowRecord]):
    """Stores the windows."""

    context: ClassVar = "deployments"
    topic: ClassVar = WINDOWS
    schema: ClassVar = "windows"
    tables: ClassVar = (
        "create table if not exists windows (deployment_id text, revision int, minute bigint, part text, "
        "version bigint not null, requests jsonb not null, usage jsonb not null, arrival bigint not null, "
        "stored_at timestamptz not null default now(), primary key (deployment_id, minute, revision, part))",
        "create index if not exists windows_by_time on windows (stored_at)",
    )
    expiring: ClassVar = (Expiring("windows", "stored_at"),)

    def read(self, raw: Raw) -> WindowRecord:
        return read_record(raw, WindowRecord, "it is no window")

    def key(self, piece: WindowRecord) -> WindowKey:
        return piece.deployment_id, piece.revision, piece.minute, piece.part

    async def load(self, db: Db, keys: Sequence[WindowKey]) -> Mapping[WindowKey, Stored]:
        rows = await db.fetch(
            "select w.deployment_id, w.revision, w.minute, w.part, w.version from windows w "
            "join unnest($1::text[], $2::int[], $3::bigint[], $4::text[]) as k(deployment_id, revision, minute, part) "
            "using (deployment_id, revision, minute, part)",
            *(list(column) for column in zip(*keys, strict=True)),
        )
        known = {(row[0], row[1], row[2], row[3]): Stored(row[4]) for row in rows}
        return {key: known.get(key, Stored()) for key in keys}

    def take(self, state: Stored, piece: WindowRecord, now: float) -> Sequence[WindowRecord]:
        if piece.version <= state.version:
            return []
        state.version = piece.version
        return [piece]

    async def store(
        self, db: Db, numbers: range, chunks: Sequence[WindowRecord], states: Mapping[WindowKey, Stored]
    ) -> None:
        newest = {self.key(chunk): (number, chunk) for number, chunk in zip(numbers, chunks, strict=True)}
        await db.executemany(
            "insert into windows (deployment_id, revision, minute, part, version, requests, usage, arrival) "
            "values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (deployment_id, minute, revision, part) do update "
            "set version = excluded.version, requests = excluded.requests, usage = excluded.usage, "
            "arrival = excluded.arrival, stored_at = now()",
            [(*key, chunk.version, *_json(chunk), number) for key, (number, chunk) in newest.items()],
        )

    async def carry(self, db: Db, live: str) -> None:
        """Copy when each state of a window was stored: from then on its retention counts."""
        await db.execute(
            "update windows w set arrival = l.arrival, stored_at = l.stored_at "
            f"from {live}.windows l where l.version = w.version and l.deployment_id = w.deployment_id "
            "and l.minute = w.minute and l.revision = w.revision and l.part = w.part"
        )

    async def newest(self, db: Db) -> int:
        number: int = await db.fetchval("select coalesce(max(arrival), 0) from windows")
        return number


def _json(window: WindowRecord) -> tuple[Any, Any]:
    return window.requests.model_dump(mode="json"), window.usage.model_dump(mode="json")
