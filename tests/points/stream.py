"""A stream of points, as a context of experiments has it: the metrics of runs, thousands of points a record.

A record's key is the run. Its value is a `PointBatch` (protobuf); a header ``end`` of ``1`` says that the run has
ended. A point is identified by its run, its series' key, step, time and value. New points are stored at once as small
rows, the series' heads. They become chunks of `FULL` points, and what is less becomes one after `AGE` seconds, or at
the end of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from events.language.streams import StreamTopic
from events.log.wire import Raw
from events.projections.tables import Db
from events.streams.stream import Stream, Unusable

if TYPE_CHECKING:
    from events.streams.columns import Columns, Point

POINTS = StreamTopic("points.jobs", compression="zstd")
FULL = 4096
"""Points of a chunk."""
AGE = 60.0
"""Seconds after which heads become a chunk."""
_STEP = 64
"""Series that are tidied at once."""
_MOST_KEY = 250
_MOST_POINTS = 10_000

Series = tuple[str, str]
"""Run, key."""


def _messages() -> Any:
    """`PointBatch`: ``string run_id = 1; repeated Series series = 2`` with ``Series { string key = 1; bytes steps = 2,
    times = 3, values = 4 }``. To those that write ``repeated sfixed64`` and ``repeated double`` it is the same on the
    wire; read as bytes no point costs a Python object."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/points.proto", package="tests.points", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto
    series = file.message_type.add(name="Series")
    series.field.add(name="key", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    for number, name in enumerate(("steps", "times", "values"), 2):
        series.field.add(name=name, number=number, type=kind.TYPE_BYTES, label=kind.LABEL_OPTIONAL)
    batch = file.message_type.add(name="PointBatch")
    batch.field.add(name="run_id", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    batch.field.add(
        name="series", number=2, type=kind.TYPE_MESSAGE, label=kind.LABEL_REPEATED, type_name=".tests.points.Series"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.points.PointBatch"))


PointBatch = _messages()


class Piece(NamedTuple):
    """A record, read."""

    run: str
    series: dict[str, Columns]
    at: datetime
    ended: bool


@dataclass(slots=True)
class SeriesState:
    """What is known of a series without its points."""

    last: Point | None = None
    """The last of all its points: what is behind it is new."""
    heads: int = 0
    """Points in heads, about: when to make a chunk of them."""
    repeats: list[Columns] = field(default_factory=list)
    """For one transaction: points of its pieces that are in rows, or were taken in it."""


@dataclass(slots=True)
class Run:
    series: dict[str, SeriesState] = field(default_factory=dict)
    ended: bool = False


class Fresh(NamedTuple):
    """New points of a series; none where a run ends."""

    run: str
    key: str
    points: Columns
    at: datetime


class Points(Stream[Piece, str, Run, Fresh]):
    """Each point of a run is stored once."""

    context: ClassVar = "jobs"
    topic: ClassVar = POINTS
    schema: ClassVar = "points"
    tables: ClassVar = (
        "create table if not exists runs (run text primary key, ended bool not null)",
        "create table if not exists series (run text, key text, last_step bigint not null, last_time bigint not null, "
        "last_rank bigint not null, primary key (run, key))",
        "create table if not exists heads (arrival bigint primary key, run text not null, key text not null, "
        "arrived_at timestamptz not null, first_step bigint not null, last_step bigint not null, "
        "count int not null, data bytea not null)",
        "create index if not exists heads_of_series on heads (run, key)",
        "create index if not exists heads_by_time on heads (arrived_at)",
        "create table if not exists chunks (run text, key text, number int, first_step bigint not null, "
        "last_step bigint not null, count int not null, low float8, high float8, first_time bigint not null, "
        "last_time bigint not null, arrival bigint not null, arrived_at timestamptz not null, data bytea not null, "
        "primary key (run, key, number))",
    )

    def read(self, raw: Raw) -> Piece:
        from events.streams.columns import Malformed, from_bytes

        try:
            batch = PointBatch.FromString(raw.value or b"")
        except DecodeError as error:
            raise Unusable(f"it is no PointBatch: {error}") from None
        if not batch.run_id or batch.run_id.encode() != raw.key:
            raise Unusable("run_id is not the record's key")
        series: dict[str, Columns] = {}
        for each in batch.series:
            if not 0 < len(each.key) <= _MOST_KEY or each.key in series:
                raise Unusable(f"series: keys must differ and have 1 to {_MOST_KEY} characters")
            try:
                series[each.key] = from_bytes(each.steps, each.times, each.values)
            except Malformed as error:
                raise Unusable(f"series {each.key}: {error}") from None
        if (count := sum(map(len, series.values()))) > _MOST_POINTS:
            raise Unusable(f"{count} points are too many for a batch: at most {_MOST_POINTS}")
        at = datetime.fromtimestamp(raw.timestamp / 1000, UTC)
        ended = any(name == "end" and value == b"1" for name, value in raw.headers)
        return Piece(batch.run_id, {key: points for key, points in series.items() if len(points)}, at, ended)

    def key(self, piece: Piece) -> str:
        return piece.run

    async def load(self, db: Db, keys: Sequence[str]) -> Mapping[str, Run]:
        from events.streams.columns import Point

        runs = {run: Run() for run in keys}
        for row in await db.fetch("select * from runs where run = any($1::text[])", list(keys)):
            runs[row["run"]].ended = row["ended"]
        for row in await db.fetch(
            "select s.*, (select coalesce(sum(count), 0) from heads h where (h.run, h.key) = (s.run, s.key)) as heads "
            "from series s where run = any($1::text[])",
            list(keys),
        ):
            last = Point(row["last_step"], row["last_time"], row["last_rank"])
            runs[row["run"]].series[row["key"]] = SeriesState(last, int(row["heads"]))
        return runs

    async def prepare(self, db: Db, pieces: Sequence[tuple[Run, Piece]]) -> None:
        """Look up those points that do not lie behind all of their series."""
        from events.streams.columns import common, merge

        for run, piece in pieces:
            for key in piece.series:
                if (state := run.series.get(key)) is not None:
                    state.repeats.clear()
        asked: dict[Series, list[Columns]] = defaultdict(list)
        for run, piece in pieces:
            for key, points in piece.series.items():
                state = run.series.get(key)
                if state is not None and state.last is not None and points.point(0) <= state.last:
                    asked[piece.run, key].append(points)
        states = {
            (piece.run, key): run.series[key] for run, piece in pieces for key in piece.series if key in run.series
        }
        for (name, key), parts in asked.items():
            wanted = merge(parts)
            # Heads first: they may become chunks meanwhile.
            for table in ("heads", "chunks"):
                rows = db.cursor(
                    f"select data from {table} c where run = $1 and key = $2 and first_step <= $4 and last_step >= $3 "
                    "and exists (select 1 from unnest($5::bigint[]) s where s between c.first_step and c.last_step)",
                    name,
                    key,
                    int(wanted.steps[0]),
                    int(wanted.steps[-1]),
                    wanted.steps.tolist(),
                )
                async for row in rows:
                    states[name, key].repeats.append(common(wanted, _decode(row)))

    def take(self, state: Run, piece: Piece, now: float) -> Sequence[Fresh]:
        from events.streams.columns import columns, merge, without

        found: list[Fresh] = []
        for key, points in piece.series.items():
            series = state.series.setdefault(key, SeriesState())
            new = points
            if series.last is not None and points.point(0) <= series.last:
                new = without(points, merge(series.repeats))
            if len(new):
                series.repeats.append(new)
                series.last = new.point(-1) if series.last is None else max(series.last, new.point(-1))
                series.heads += len(new)
                found.append(Fresh(piece.run, key, new, piece.at))
        if piece.ended and not state.ended:
            state.ended = True
            found.append(Fresh(piece.run, "", columns([], [], []), piece.at))
        return found

    async def store(self, db: Db, numbers: range, chunks: Sequence[Fresh], states: Mapping[str, Run]) -> None:
        from events.streams.columns import encode

        rows = [
            (number, run, key, at, int(points.steps[0]), int(points.steps[-1]), len(points), encode(points))
            for number, (run, key, points, at) in zip(numbers, chunks, strict=True)
            if len(points)
        ]
        names = ("arrival", "run", "key", "arrived_at", "first_step", "last_step", "count", "data")
        await db.copy_records_to_table("heads", records=rows, columns=names)
        runs = list(states)
        await db.execute(
            "insert into runs select * from unnest($1::text[], $2::bool[]) "
            "on conflict (run) do update set ended = excluded.ended",
            runs,
            [states[run].ended for run in runs],
        )
        changed = {(run, key): states[run].series[key] for run, key, points, _ in chunks if len(points)}
        lasts = [(run, key, *state.last) for (run, key), state in changed.items() if state.last is not None]
        await db.execute(
            "insert into series select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) "
            "on conflict (run, key) do update set last_step = excluded.last_step, last_time = excluded.last_time, "
            "last_rank = excluded.last_rank",
            *(list(column) for column in zip(*lasts, strict=True)) if lasts else [[]] * 5,
        )
        for name in states:
            if states[name].ended:
                ended = await db.fetch("select distinct key from heads where run = $1", name)
                await self._close(db, [(name, row["key"]) for row in ended])
        full = [series for series, state in changed.items() if state.heads >= FULL and not states[series[0]].ended]
        for (name, key), left in (await self._close(db, full, keep=True)).items():
            states[name].series[key].heads = left
        for series in changed.values():
            series.repeats.clear()

    async def tidy(self, db: Db) -> bool:
        """Heads that are old become chunks."""
        rows = await db.fetch(
            "select distinct run, key from (select run, key from heads "
            "where arrived_at < now() - make_interval(secs => $1) limit $2) h",
            AGE,
            _STEP,
        )
        await self._close(db, [(row["run"], row["key"]) for row in rows])
        return bool(rows)

    async def _close(self, db: Db, wanted: Iterable[Series], *, keep: bool = False) -> dict[Series, int]:
        """Heads of these series become chunks; with `keep` full ones only, and the rest stays a head. How many points
        stay."""
        from events.streams.columns import cut, encode, merge

        left: dict[Series, int] = {}
        for run, key in wanted:
            rows = await db.fetch("delete from heads where run = $1 and key = $2 returning *", run, key)
            if not rows:
                continue
            points = merge(map(_decode, rows))
            full = len(points) // FULL * FULL if keep else len(points)
            arrival, arrived_at = max((row["arrival"], row["arrived_at"]) for row in rows)
            last = await db.fetchval(
                "select coalesce(max(number), 0) from chunks where run = $1 and key = $2", run, key
            )
            made = []
            for number, part in enumerate(cut(points[:full], FULL), last + 1):
                told = part.summary()
                extent = (told.first_step, told.last_step, told.count, told.low, told.high)
                times = (told.first_time, told.last_time)
                made.append((run, key, number, *extent, *times, arrival, arrived_at, encode(part)))
            await db.copy_records_to_table("chunks", records=made)
            rest = points[full:]
            left[run, key] = len(rest)
            if len(rest):
                values = (int(rest.steps[0]), int(rest.steps[-1]), len(rest), encode(rest))
                await db.execute(
                    "insert into heads values ($1, $2, $3, $4, $5, $6, $7, $8)", arrival, run, key, arrived_at, *values
                )
        return left


async def points_of(db: Db, schema: str, run: str, key: str) -> Columns:
    """All points of a series."""
    from events.streams.columns import merge

    return merge(map(_decode, await _rows(db, schema, run, key)))


async def digest_of(db: Db, schema: str, run: str, key: str) -> tuple[int, bytes]:
    """How many points a series has, and the digest that an event of the run may anchor in the hash chain."""
    from events.streams.columns import digest

    return digest(map(_decode, await _rows(db, schema, run, key)))


async def _rows(db: Db, schema: str, run: str, key: str) -> list[Any]:
    rows: list[Any] = await db.fetch(
        f"select first_step, data from {schema}.chunks where run = $1 and key = $2 "
        f"union all select first_step, data from {schema}.heads where run = $1 and key = $2 order by first_step",
        run,
        key,
    )
    return rows


def _decode(row: Any) -> Columns:
    from events.streams.columns import decode

    return decode(row["data"])
