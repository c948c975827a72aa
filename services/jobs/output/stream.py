"""The stream of tasks' output: from the topic ``logs.jobs`` into its own tables. No decision depends on it.

Node agents send output in pieces (key: the job; headers ``job``, ``task``, ``attempt``, ``stream``, ``offset`` in
bytes, ``eof``, ``truncated``, ``missing``). The size of a part shows which bytes of a piece are stored already. A piece
that is ahead of its part is held for a while (see `services.jobs.output.pieces`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from prometheus_client import Counter

from events.language.streams import OUTPUT
from events.log.wire import Raw
from events.process.settings import Settings
from events.projections.tables import Db
from events.streams.retention import Expiring
from events.streams.stream import Stream
from services.jobs.output.pieces import WAIT, Chunk, Part, PartKey, Piece, give_up, read_piece, take

log = logging.getLogger("forgelog.logs")

stored_bytes = Counter("forgelog_output_bytes_total", "Bytes of tasks' output stored", ["context"])

_KEYS = "unnest($1::text[], $2::int[], $3::int[], $4::smallint[]"
_PART = ("job_id", "task", "attempt", "stream")
_CHUNKS = ("job_id", "arrival", "task", "attempt", "stream", "off", "data", "at", "eof", "truncated", "missing")


class OutputStream(Stream[Piece, PartKey, Part, Chunk]):
    """Stores each byte that a task printed once, in its place."""

    context: ClassVar = "jobs"
    topic: ClassVar = OUTPUT
    schema: ClassVar = "jobs_logs"
    place: ClassVar = "logs"
    tables: ClassVar = (
        "create table if not exists streams (job_id text, task int, attempt int, stream smallint, "
        "size bigint not null, eof bool not null, truncated bool not null, missing bigint not null default 0, "
        "primary key (job_id, task, attempt, stream))",
        "alter table streams add column if not exists missing bigint not null default 0",
        "create table if not exists chunks (job_id text, arrival bigint, task int not null, attempt int not null, "
        "stream smallint not null, off bigint not null, data bytea not null, at timestamptz not null, "
        "eof bool not null, truncated bool not null, missing bigint not null default 0, primary key (job_id, arrival))",
        "alter table chunks add column if not exists missing bigint not null default 0",
        # Null in rows of an earlier version: their arrival was not recorded, and `at` stands in for it.
        "alter table chunks add column if not exists arrived_at timestamptz",
        "alter table chunks alter column arrived_at set default now()",
        "create index if not exists chunks_by_time on chunks (at)",
    )
    expiring: ClassVar = (Expiring("chunks", "at"),)

    def configure(self, settings: Settings) -> None:
        self._most = settings.output_bytes

    def read(self, raw: Raw) -> Piece:
        return read_piece(raw)

    def key(self, piece: Piece) -> PartKey:
        return piece.key

    async def load(self, db: Db, keys: Sequence[PartKey]) -> Mapping[PartKey, Part]:
        rows = await db.fetch(
            f"select s.* from streams s join {_KEYS}) as k(job_id, task, attempt, stream) "
            "using (job_id, task, attempt, stream)",
            *_columns(keys),
        )
        parts = {key: Part() for key in keys}
        for row in rows:
            key = (row["job_id"], row["task"], row["attempt"], row["stream"])
            parts[key] = Part(row["size"], row["eof"], row["truncated"], row["missing"])
        return parts

    def take(self, state: Part, piece: Piece, now: float) -> Sequence[Chunk]:
        return take(state, piece, self._most, now)

    def held(self, state: Part) -> Sequence[int]:
        return [piece.arrival for piece in state.held] if state.held else ()

    def due(self, state: Part) -> float | None:
        return state.since + WAIT if state.held else None

    def overdue(self, state: Part, now: float) -> Sequence[Chunk]:
        return give_up(state, self._most, now)

    async def store(self, db: Db, numbers: range, chunks: Sequence[Chunk], states: Mapping[PartKey, Part]) -> None:
        await db.copy_records_to_table(
            "chunks",
            records=[
                (
                    chunk.key[0],
                    number,
                    *chunk.key[1:],
                    chunk.offset,
                    chunk.data,
                    chunk.at,
                    chunk.eof,
                    chunk.truncated,
                    chunk.missing,
                )
                for number, chunk in zip(numbers, chunks, strict=True)
            ],
            columns=_CHUNKS,
        )
        await db.execute(
            f"insert into streams select * from {_KEYS}, $5::bigint[], $6::bool[], $7::bool[], $8::bigint[]) "
            "on conflict (job_id, task, attempt, stream) do update set size = excluded.size, eof = excluded.eof, "
            "truncated = excluded.truncated, missing = excluded.missing",
            *_columns(states),
            [part.size for part in states.values()],
            [part.eof for part in states.values()],
            [part.truncated for part in states.values()],
            [part.missing for part in states.values()],
        )

    def stored(self, chunks: Sequence[Chunk]) -> None:
        stored_bytes.labels(self.context).inc(sum(len(chunk.data) for chunk in chunks))
        for chunk in chunks:
            if chunk.lost:
                log.warning("%s: %d bytes were lost on the way", chunk.key, chunk.lost)

    async def carry(self, db: Db, live: str) -> None:
        """Copy the arrival of pieces: the time and the number, which readers use as a cursor. If a part has new pieces
        between old ones, all its pieces get new numbers, so that readers get them in order."""
        same = " and ".join(f"c.{name} = l.{name}" for name in (*_PART, "off", "eof", "truncated"))
        part = ", ".join(f"c.{name}" for name in _PART)
        await db.execute(
            "with m as (select c.ctid as id, l.arrival, coalesce(l.arrived_at, l.at) as arrived_at, "
            "min(c.off) filter (where l.arrival is null) over part "
            "< max(c.off) filter (where l.arrival is not null) over part as mixed "
            f"from chunks c left join {live}.chunks l on {same} and length(c.data) = length(l.data) "
            f"window part as (partition by {part})) "
            "update chunks c set arrived_at = coalesce(m.arrived_at, c.at), "
            "arrival = case when m.arrival is null or m.mixed then c.arrival else m.arrival end "
            "from m where c.ctid = m.id"
        )

    async def newest(self, db: Db) -> int:
        number: int = await db.fetchval("select coalesce(max(arrival), 0) from chunks")
        return number


def _columns(keys: Iterable[PartKey]) -> list[list[Any]]:
    return [list(column) for column in zip(*keys, strict=True)]
