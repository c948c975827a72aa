"""The stream of points: from the topic ``points.experiments`` into its own tables, each point once.

A point is told from others by its run, its series (key, model, data set), step, time and value. Its records have the
run as their key. New points of a run are stored at once, as one row of heads a transaction; after `AGE` seconds, or
when they are many, they become chunks (`services.experiments.points.chunks`). A batch that lies behind all that its
series has is new, and costs no look at rows; only one that does not is compared with the rows that it overlaps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from prometheus_client import Counter

from events.language.experiments.points import MAX_SERIES, SeriesName
from events.language.streams import POINTS
from events.log.wire import Raw
from events.projections.tables import Db
from events.streams.stream import Stream, Unusable
from services.experiments.points.tables import FULL, NAME, TABLES, TALLY

# numpy is loaded when the first batch is read: what only names the stream spares that memory.
if TYPE_CHECKING:
    from events.streams.arrived import Arrived
    from events.streams.columns import Columns, Point
    from services.experiments.points.pieces import Piece
    from services.experiments.points.tally import Tally

AGE = 60.0
"""Seconds after which heads become chunks."""
MOST_HEADS = 256
"""Rows of heads of a run."""
_MOST_FULL = 64
"""Heads of a run become chunks when they have so many full chunks' points, or one for each series if that is less."""
_OF_SERIES = 100
"""Points that can be compared in the time that a series of a piece takes however short it is."""
_STEP = 64
"""Runs that are tidied at once."""

stored_points = Counter("forgelog_points_total", "Points stored")

_ARRAYS = tuple(f"{kind.split()[0]}[]" for kind in TALLY.values())


@dataclass(slots=True)
class Series:
    """What is known of a series without its points."""

    number: int | None = None
    """None until it is stored."""
    tally: Tally | None = None
    """Of all that is stored."""
    last: Point | None = None
    """The last of all its points: what lies behind it is new."""
    repeats: list[Columns] = field(default_factory=list)
    """For one transaction: points of its pieces that are in rows, or were taken in it. Each part is more than twice as
    long as the next one: so many small pieces make few parts, and a point is merged seldom."""

    def unknown(self, points: Columns) -> Columns:
        """Those that are not among the repeats."""
        from events.streams.columns import without

        for each in self.repeats:
            points = without(points, each)
        return points

    def note(self, points: Columns) -> None:
        """Add to the repeats."""
        from events.streams.columns import merge

        while self.repeats and len(self.repeats[-1]) <= 2 * len(points):
            points = merge((self.repeats.pop(), points))
        self.repeats.append(points)


@dataclass(slots=True)
class Run:
    series: dict[SeriesName, Series] = field(default_factory=dict)
    rows: int = 0
    """Heads, about."""
    points: int = 0
    """Points in them, about."""
    is_purged: bool = False
    """For one transaction: whether its points are dropped."""


class Fresh(NamedTuple):
    """New points of a series."""

    run: str
    name: SeriesName
    points: Arrived


class PointStream(Stream["Piece", str, Run, Fresh]):
    """Stores each point of a run once."""

    context: ClassVar = "experiments"
    topic: ClassVar = POINTS
    schema: ClassVar = "points"

    tables: ClassVar = TABLES

    def read(self, raw: Raw) -> Piece:
        from services.experiments.points.pieces import read_piece

        return read_piece(raw)

    def key(self, piece: Piece) -> str:
        return piece.run

    def count(self, piece: Piece) -> int:
        return sum(_OF_SERIES + len(points) for points in piece.series.values())

    async def load(self, db: Db, keys: Sequence[str]) -> Mapping[str, Run]:
        from services.experiments.points.tally import of_row

        runs = {run: Run() for run in keys}
        for row in await db.fetch("select * from series where run = any($1::text[])", list(keys)):
            told = of_row(row)
            name = SeriesName(row["key"], row["model_id"], row["dataset"])
            runs[row["run"]].series[name] = Series(row["number"], told, told.last)
        for row in await db.fetch(
            "select run, count(*) as rows, sum(count)::bigint as points from heads where run = any($1::text[]) "
            "group by run",
            list(keys),
        ):
            runs[row["run"]].rows, runs[row["run"]].points = row["rows"], row["points"]
        return runs

    async def prepare(self, db: Db, pieces: Sequence[tuple[Run, Piece]]) -> None:
        """Look up which runs are purged, and those points that do not lie behind all of their series."""
        runs = {piece.run for _, piece in pieces}
        purged = await db.fetch("select run from purged where run = any($1::text[])", list(runs))
        gone = {row["run"] for row in purged}
        for run, piece in pieces:
            run.is_purged = piece.run in gone
            for name in piece.series:
                if (series := run.series.get(name)) is not None:
                    series.repeats.clear()
        asked: dict[str, dict[int, list[Columns]]] = defaultdict(lambda: defaultdict(list))
        numbered: dict[int, Series] = {}
        for run, piece in pieces:
            for name, points in piece.series.items():
                series = run.series.get(name)
                if run.is_purged:
                    break
                if series is not None and series.number is not None and not _behind(points, series.last):
                    asked[piece.run][series.number].append(points)
                    numbered[series.number] = series
        for run_id, wanted in asked.items():
            await _look_up(db, run_id, wanted, numbered)

    def take(self, state: Run, piece: Piece, now: float) -> Sequence[Fresh]:
        from events.streams.arrived import at_once

        if state.is_purged:
            return ()
        if len(state.series) + len(piece.series) > MAX_SERIES:
            count = len(state.series.keys() | piece.series.keys())
            if count > MAX_SERIES:
                raise Unusable(f"run {piece.run} would have {count} series; at most {MAX_SERIES} are taken")
        found: list[Fresh] = []
        for name, points in piece.series.items():
            series = state.series.setdefault(name, Series())
            new = points if _behind(points, series.last) else series.unknown(points)
            if len(new):
                series.note(new)
                last = new.point(-1)
                series.last = last if series.last is None else max(series.last, last)
                found.append(Fresh(piece.run, name, at_once(new, piece.arrival)))
        return found

    async def store(self, db: Db, numbers: range, chunks: Sequence[Fresh], states: Mapping[str, Run]) -> None:
        from events.streams.arrived import merge
        from services.experiments.points.chunks import close
        from services.experiments.points.tally import tally

        gathered: dict[str, dict[SeriesName, list[Arrived]]] = defaultdict(lambda: defaultdict(list))
        arrivals: dict[str, int] = {}
        for number, (run_id, name, points) in zip(numbers, chunks, strict=True):
            gathered[run_id][name].append(points)
            arrivals[run_id] = number
        merged = {id: {name: merge(parts) for name, parts in each.items()} for id, each in gathered.items()}
        for run_id, given in merged.items():
            for name, new in given.items():
                series, told = states[run_id].series[name], tally(new)
                series.tally = told if series.tally is None else series.tally + told
                series.repeats.clear()
        changed = [(run_id, name) for run_id, given in merged.items() for name in given]
        await _store_series(db, [(run_id, name, states[run_id].series[name]) for run_id, name in changed])
        await _store_latest(db, changed, states)
        await _store_heads(db, merged, arrivals, states)
        full = [
            run_id
            for run_id in merged
            if (run := states[run_id]).rows >= MOST_HEADS or run.points >= FULL * min(_MOST_FULL, len(run.series))
        ]
        if full:
            await close(db, full)
            for run_id in full:
                states[run_id].rows = states[run_id].points = 0

    async def tidy(self, db: Db) -> bool:
        """Points of purged runs go; heads that are old become chunks."""
        from services.experiments.points.chunks import close
        from services.experiments.points.purged import remove

        more = await remove(db)

        rows = await db.fetch(
            "select distinct run from (select run from heads where stored_at < now() - make_interval(secs => $1) "
            "order by stored_at limit $2) h",
            AGE,
            _STEP,
        )
        if rows:
            await close(db, [row["run"] for row in rows])
        return more or bool(rows)

    async def carry(self, db: Db, live: str) -> None:
        """The topic does not know which runs are purged. The rows that their records became go by `tidy`."""
        await db.execute(f"insert into purged (run) select run from {live}.purged on conflict do nothing")

    def stored(self, chunks: Sequence[Fresh]) -> None:
        stored_points.inc(sum(len(chunk.points) for chunk in chunks))


def _behind(points: Columns, last: Point | None) -> bool:
    """Whether all points lie behind a series' last one."""
    if last is None:
        return True
    step = int(points.steps[0])
    return step > last.step or (step == last.step and points.point(0) > last)


async def _look_up(db: Db, run: str, asked: Mapping[int, Sequence[Columns]], numbered: Mapping[int, Series]) -> None:
    """Note in series which of the asked points are stored. Heads first: they may become chunks meanwhile."""
    from events.streams.arrived import decode
    from events.streams.columns import common, merge
    from services.experiments.points.heads import decode_head

    wanted = {number: merge(parts) for number, parts in asked.items()}
    first = min(int(points.steps[0]) for points in wanted.values())
    last = max(int(points.steps[-1]) for points in wanted.values())
    heads = db.cursor(
        "select data from heads where run = $1 and first_step <= $3 and last_step >= $2", run, first, last
    )
    async for row in heads:
        for number, part in decode_head(row["data"], wanted).items():
            numbered[number].note(common(wanted[number], part.columns))
    for number, points in wanted.items():
        rows = db.cursor(
            "select data from chunks c where series = $1 and first_step <= $3 and last_step >= $2 "
            "and exists (select 1 from unnest($4::bigint[]) s where s between c.first_step and c.last_step)",
            number,
            int(points.steps[0]),
            int(points.steps[-1]),
            points.steps.tolist(),
        )
        async for row in rows:
            numbered[number].note(common(points, decode(row["data"]).columns))


async def _store_series(db: Db, changed: Iterable[tuple[str, SeriesName, Series]]) -> None:
    """Write the tallies of series; new ones get their numbers."""
    from services.experiments.points.tally import values_of

    new: dict[tuple[str, ...], Series] = {}
    old: dict[int, Series] = {}
    for run, name, series in changed:
        if series.number is None:
            new[run, *name] = series
        else:
            old[series.number] = series
    told = ", ".join(TALLY)
    if new:
        types = ("text[]",) * len(NAME) + _ARRAYS
        unnested = ", ".join(f"${place}::{kind}" for place, kind in enumerate(types, 1))
        for row in await db.fetch(
            f"insert into series ({', '.join(NAME)}, {told}) select * from unnest({unnested}) "
            f"returning number, {', '.join(NAME)}",
            *_transposed([(*name, *values_of(_told(series))) for name, series in new.items()]),
        ):
            new[tuple(row[name] for name in NAME)].number = row["number"]
    if old:
        unnested = ", ".join(f"${place}::{kind}" for place, kind in enumerate(("bigint[]", *_ARRAYS), 1))
        sets = ", ".join(f"{name} = n.{name}" for name in TALLY)
        await db.execute(
            f"update series s set {sets} from unnest({unnested}) n (number, {told}) where s.number = n.number",
            *_transposed([(number, *values_of(_told(series))) for number, series in old.items()]),
        )


async def _store_latest(db: Db, changed: Iterable[tuple[str, SeriesName]], states: Mapping[str, Run]) -> None:
    """Write the last values of the keys of these series."""
    keys: dict[str, set[str]] = defaultdict(set)
    for run_id, name in changed:
        keys[run_id].add(name.key)
    rows = []
    for run_id, wanted in keys.items():
        last: dict[str, Tally] = {}
        for name, series in states[run_id].series.items():
            if name.key not in wanted or (told := series.tally) is None:
                continue
            before = last.get(name.key)
            if before is None or told.last > before.last:
                last[name.key] = told
        rows += [(run_id, key, told.last_value) for key, told in last.items()]
    await db.execute(
        "insert into latest select * from unnest($1::text[], $2::text[], $3::float8[]) "
        "on conflict (run_id, key) do update set value = excluded.value",
        *_transposed(rows),
    )


async def _store_heads(
    db: Db,
    merged: Mapping[str, Mapping[SeriesName, Arrived]],
    arrivals: Mapping[str, int],
    states: Mapping[str, Run],
) -> None:
    """Write what is new as a row for each run."""
    from services.experiments.points.heads import encode_head

    rows = []
    for run_id, given in merged.items():
        run = states[run_id]
        count = sum(map(len, given.values()))
        first = min(int(points.columns.steps[0]) for points in given.values())
        last = max(int(points.columns.steps[-1]) for points in given.values())
        data = encode_head({_number(run.series[name]): points for name, points in given.items()})
        rows.append((arrivals[run_id], run_id, first, last, count, data))
        run.rows += 1
        run.points += count
    names = ("arrival", "run", "first_step", "last_step", "count", "data")
    await db.copy_records_to_table("heads", records=rows, columns=names)


def _number(series: Series) -> int:
    assert series.number is not None, "a series is stored before its points"
    return series.number


def _told(series: Series) -> Tally:
    assert series.tally is not None, "a series that changed has points"
    return series.tally


def _transposed(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
