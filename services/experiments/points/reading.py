"""Reads the points of series from the stream's tables, now or as of a past time.

Rows of heads are read before chunks: heads may become chunks meanwhile, and a point that is seen twice counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from events.language.experiments.points import SeriesName
from events.projections.tables import Db
from events.streams.arrived import Arrived, decode
from events.streams.columns import Columns, Digest, digest, merge
from services.experiments.points.heads import decode_head
from services.experiments.points.tally import Tally, of_row, tally, total

FOREVER = (1 << 63) - 1
"""As of a time that every point has come by."""
_AT_ONCE = 500_000
"""Points read together."""
_ROWS = 32
"""Chunks fetched at once: about 1 MiB."""


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series of a run."""

    number: int
    run: str
    name: SeriesName
    tally: Tally
    """As of now."""


class PointTables:
    """The tables of points on one connection. `as_of`: only what had come by then, in milliseconds since 1970."""

    def __init__(self, db: Db, schema: str, as_of: int = FOREVER) -> None:
        """`schema`: quoted."""
        self._db = db
        self._schema = schema
        self._as_of = as_of

    async def series(
        self, runs: Collection[str], keys: Collection[str] = (), most: int = 1 << 31
    ) -> list[StoredSeries]:
        """The series of runs, at most so many, by run, key, model and data set; of these keys, or all."""
        rows = await self._db.fetch(
            f"select * from {self._schema}.series where run = any($1::text[]) and arrived_from <= $2 "
            "and ($3::text[] = '{}' or key = any($3::text[])) order by run, key, model_id, dataset limit $4",
            list(runs),
            self._as_of,
            list(keys),
            most,
        )
        return self._stored(rows)

    async def series_of_models(self, models: Collection[str], most: int) -> list[StoredSeries]:
        """The series that measure these models, of whichever run, at most so many."""
        rows = await self._db.fetch(
            f"select * from {self._schema}.series where model_id = any($1::text[]) and model_id <> '' "
            "and arrived_from <= $2 order by model_id, key, dataset, run limit $3",
            list(models),
            self._as_of,
            most,
        )
        return self._stored(rows)

    @staticmethod
    def _stored(rows: Sequence[Any]) -> list[StoredSeries]:
        return [
            StoredSeries(
                row["number"], row["run"], SeriesName(row["key"], row["model_id"], row["dataset"]), of_row(row)
            )
            for row in rows
        ]

    async def tallies(self, wanted: Sequence[StoredSeries]) -> dict[int, Tally]:
        """Number of a series → its tally; without series of which nothing had come."""
        late = [each for each in wanted if each.tally.arrived_to > self._as_of]
        found = {each.number: each.tally for each in wanted if each.tally.arrived_to <= self._as_of}
        if not late:
            return found
        points: dict[int, list[Arrived]] = defaultdict(list)
        sums: dict[int, list[Tally]] = defaultdict(list)
        for number, part in await self._heads(late):
            points[number].append(part)
        rows = await self._db.fetch(
            f"select *, case when arrived_to > $2 then data end as part from {self._schema}.chunks "
            "where series = any($1::bigint[]) and arrived_from <= $2",
            [each.number for each in late],
            self._as_of,
        )
        for row in rows:
            if row["part"] is None:
                sums[row["series"]].append(of_row(row))
            else:
                points[row["series"]].append(decode(row["part"]))
        for each in late:
            parts = [_by(part, self._as_of) for part in points[each.number]]
            told = total([*sums[each.number], *(tally(part) for part in parts if len(part))])
            if told is not None:
                found[each.number] = told
        return found

    async def points(self, wanted: Sequence[StoredSeries], first: int | None, last: int | None) -> dict[int, Columns]:
        """Number of a series → its points of these steps."""
        parts: dict[int, list[Columns]] = {each.number: [] for each in wanted}
        for number, part in await self._heads(wanted):
            parts[number].append(part.by(self._as_of))
        async with self._db.transaction():
            rows = self._db.cursor(
                f"select series, data from {self._schema}.chunks where series = any($1::bigint[]) "
                "and arrived_from <= $2 and first_step <= coalesce($4, first_step) "
                "and last_step >= coalesce($3, last_step)",
                [*parts],
                self._as_of,
                first,
                last,
                prefetch=_ROWS,
            )
            async for row in rows:
                parts[row["series"]].append(decode(row["data"]).by(self._as_of))
        return {number: _between(merge(given), first, last) for number, given in parts.items()}

    async def in_order(self, series: StoredSeries, first: int | None, last: int | None) -> AsyncIterator[Columns]:
        """The points of a series in pieces, each behind the one before."""
        heads = [part.by(self._as_of) for _, part in await self._heads([series])]
        waiting = _between(merge(heads), first, last)
        async with self._db.transaction():
            rows = self._db.cursor(
                f"select first_step, data from {self._schema}.chunks where series = $1 and arrived_from <= $2 "
                "and first_step <= coalesce($4, first_step) and last_step >= coalesce($3, last_step) "
                "order by first_step",
                series.number,
                self._as_of,
                first,
                last,
                prefetch=_ROWS,
            )
            async for row in rows:
                done, waiting = _split(waiting, row["first_step"])
                if len(done):
                    yield done
                part = decode(row["data"]).by(self._as_of)
                waiting = merge([waiting, _between(part, first, last)])
        if len(waiting):
            yield waiting

    async def digest(self, run: str) -> tuple[int, int, str]:
        """How many series a run has, how many points, and the digest of all of them in order."""
        hashed, count, series = blake3(), 0, 0
        for group in groups(await self.series([run])):
            async for each, points, found in self._digests(group):
                if points:
                    hashed.update("\0".join((*each.name, str(points), found.hex())).encode() + b"\n")
                    count, series = count + points, series + 1
        return series, count, hashed.hexdigest()

    async def _digests(self, group: Sequence[StoredSeries]) -> AsyncIterator[tuple[StoredSeries, int, bytes]]:
        if len(group) == 1:  # it may be of any length
            made = Digest()
            async for part in self.in_order(group[0], None, None):
                made.add(part)
            yield group[0], *made.result()
            return
        points = await self.points(group, None, None)
        for each in group:
            yield each, *digest([points[each.number]])

    async def _heads(self, wanted: Iterable[StoredSeries]) -> list[tuple[int, Arrived]]:
        by_run: dict[str, set[int]] = defaultdict(set)
        for each in wanted:
            by_run[each.run].add(each.number)
        rows = await self._db.fetch(
            f"select run, data from {self._schema}.heads where run = any($1::text[])", [*by_run]
        )
        return [item for row in rows for item in decode_head(row["data"], by_run[row["run"]]).items()]


def groups(series: Iterable[StoredSeries]) -> Iterator[Sequence[StoredSeries]]:
    """Series that are read together, in order: one, or those that have at most `_AT_ONCE` points."""
    group: list[StoredSeries] = []
    total = 0
    for each in series:
        if group and total + each.tally.count > _AT_ONCE:
            yield group
            group, total = [], 0
        group.append(each)
        total += each.tally.count
    if group:
        yield group


def _by(part: Arrived, time: int) -> Arrived:
    there = part.arrivals <= time
    columns = Columns(part.columns.steps[there], part.columns.times[there], part.columns.values[there])
    return Arrived(columns, part.arrivals[there])


def _between(points: Columns, first: int | None, last: int | None) -> Columns:
    if first is None and last is None:
        return points
    return points.between(-(1 << 63) if first is None else first, (1 << 63) - 1 if last is None else last)


def _split(points: Columns, step: int) -> tuple[Columns, Columns]:
    """Those before a step, and the others."""
    if not len(points):
        return points, points
    before = points.between(int(points.steps[0]), step - 1) if step > int(points.steps[0]) else points[:0]
    return before, points[len(before) :]
