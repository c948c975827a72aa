"""Answers about the points of runs, from the stream's tables. Which runs there are is told by the projection's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from events.projections.tables import Db
from events.queries.listing import next_cursor, page
from events.queries.queries import ReadModel, invalid, not_found, read_options
from events.streams.intake import Intake
from events.streams.reading import StreamReader
from forgelog_pb.experiments.v1 import points_queries_pb2 as pb
from forgelog_pb.experiments.v1 import points_queries_pb2_grpc as rpc
from services.experiments.purged import gone, purged_since

MAX_WIDTH = 10_000
DEFAULT_WIDTH = 500
MOST_METRICS = 100_000
"""Series in one answer of metrics."""
MOST_PAST = 20_000
"""Runs whose metrics as of a past time are searched."""
MOST_DRAWN = 2_000_000
"""Points in one answer of curves."""
MAX_WAIT = 20.0
"""Seconds of a wait for what is in the log."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT8 = range(-(1 << 63), 1 << 63)
_ORDER = {"step": _INT8, "time": _INT8, "rank": _INT8}


class PointReader:
    """The points of runs that are there."""

    def __init__(self, read: ReadModel, intake: Intake) -> None:
        self._read = read
        self._reader = StreamReader(read, intake)

    async def latest(self, db: Db, options: Any, keys: Collection[str], among: Any) -> str:
        """The table of the last values of runs' metrics: run_id, key, value. It has at least these keys, of the runs
        that may be found. As of a past time it is made for that, on `db`, a view of the tables as they were.

        `among`: a request with the fields `project` and `experiment_ids`. Raises QueryError.
        """
        if keys and not self._reader.ready:
            async with self._reader.view():  # says so
                pass
        at = read_options(options)["as_of"]
        if at is None or not keys:
            return f"{self._reader.schema}.latest"
        rows = await db.fetch(
            "select run_id from runs where ($1 = '' or project = $1) and "
            "($2::text[] = '{}' or experiment_id = any($2)) limit $3",
            among.project,
            list(among.experiment_ids),
            MOST_PAST + 1,
        )
        if len(rows) > MOST_PAST:
            raise invalid(f"options.as_of: metrics of more than {MOST_PAST} runs would be told anew; name experiments")
        async with self._all(at) as tables:
            series = await tables.series([row["run_id"] for row in rows], keys, MOST_METRICS + 1)
            if len(series) > MOST_METRICS:
                raise invalid(f"options.as_of: these runs have more than {MOST_METRICS} series; name fewer experiments")
            tallies = await tables.tallies(series)
        last: dict[tuple[str, str], Any] = {}
        for each in series:
            told, place = tallies.get(each.number), (each.run, each.name.key)
            if told is not None and (place not in last or told.last > last[place].last):
                last[place] = told
        return await _past_values(db, "past_latest", "run_id", last)

    async def measured(self, db: Db, options: Any, keys: Collection[str], among: Any) -> str:
        """The table, or what stands for one, of the last values of logged models' metrics: model_id, key, value. As
        `latest`; the last one is by time, then step, of all runs of the model's project."""
        if keys and not self._reader.ready:
            async with self._reader.view():  # says so
                pass
        at = read_options(options)["as_of"]
        if at is None or not keys:
            return (
                "(select distinct on (s.model_id, s.key) s.model_id, s.key, s.last_value as value "
                f"from {self._reader.schema}.series s join runs r on r.run_id = s.run "
                "join logged_models m on m.model_id = s.model_id and m.project = r.project where s.model_id <> '' "
                "order by s.model_id, s.key, s.last_time desc, s.last_step desc, s.run)"
            )
        rows = await db.fetch(
            "select model_id, project from logged_models where ($1 = '' or project = $1) and "
            "($2::text[] = '{}' or experiment_id = any($2)) limit $3",
            among.project,
            list(among.experiment_ids),
            MOST_PAST + 1,
        )
        if len(rows) > MOST_PAST:
            raise invalid(
                f"options.as_of: metrics of more than {MOST_PAST} models would be told anew; name experiments"
            )
        projects = {row["model_id"]: row["project"] for row in rows}
        last: dict[tuple[str, str], Any] = {}
        for each, told in await self._of_models(projects, options):
            place = each.name.model_id, each.name.key
            before = last.get(place)
            if before is None or (told.last_time, told.last_step) > (before.last_time, before.last_step):
                last[place] = told
        return await _past_values(db, "past_measured", "model_id", last)

    @asynccontextmanager
    async def tables(self, runs: Sequence[str], options: Any) -> AsyncIterator[Any]:
        """The tables of points, once these runs are known to be there, and not purged. Raises QueryError."""
        told = read_options(options)
        async with self._read.view(**told) as db:
            rows = await db.fetch("select run_id, purged_at from runs where run_id = any($1::text[])", list(runs))
        there = {row["run_id"]: row["purged_at"] for row in rows}
        if missing := [run for run in runs if run not in there]:
            raise not_found("run", missing[0], told["as_of"])
        there |= await purged_since(self._read, runs, options)
        for run, purged_at in there.items():
            if purged_at is not None:
                raise gone("run", run, purged_at)
        async with self._all(told["as_of"]) as tables:
            yield tables

    @asynccontextmanager
    async def _all(self, as_of: datetime | None) -> AsyncIterator[Any]:
        """The tables of points."""
        from services.experiments.points.reading import FOREVER, PointTables

        moment = FOREVER if as_of is None else _milliseconds(as_of)
        async with self._reader.view() as db:
            yield PointTables(db, self._reader.schema, moment)

    async def _projects(self, runs: Collection[str], options: Any) -> dict[str, str]:
        """The projects of those of these runs that there are. Raises QueryError."""
        async with self._read.view(**read_options(options)) as db:
            rows = await db.fetch("select run_id, project from runs where run_id = any($1::text[])", list(runs))
        return {row["run_id"]: row["project"] for row in rows}

    @asynccontextmanager
    async def arrived_by(self, time: datetime | None) -> AsyncIterator[Any]:
        """The tables of points, with what had come by a time; with nothing if it is None. Raises QueryError."""
        from services.experiments.points.reading import PointTables

        async with self._reader.view() as db:
            yield PointTables(db, self._reader.schema, -1 if time is None else _milliseconds(time))

    async def metrics(self, runs: Sequence[str], keys: Collection[str], options: Any) -> list[Any]:
        """The metrics of runs, as messages. Raises QueryError, also for a run that is purged."""
        if not runs:
            return []
        async with self.tables(runs, options) as tables:
            series = await tables.series(runs, keys, MOST_METRICS + 1)
            if len(series) > MOST_METRICS:
                raise invalid(f"run_ids: these runs have more than {MOST_METRICS} series; name fewer, or some keys")
            tallies = await tables.tallies(series)
        return [_metric(each, tallies[each.number]) for each in series if each.number in tallies]

    async def completed(self, run: str) -> None:
        """Wait until all points of a run that are in the log now can be read. Raises QueryError."""
        await self._reader.completed(run, MAX_WAIT)

    async def metrics_of_models(self, models: Mapping[str, str], options: Any) -> list[Any]:
        """The metrics of logged models, as messages: those that runs of the same project measured. `models`: id →
        project. Raises QueryError."""
        return [_metric(each, told) for each, told in await self._of_models(models, options)]

    async def _of_models(self, models: Mapping[str, str], options: Any) -> list[tuple[Any, Any]]:
        """The series that runs of the same project measured, and their tallies. Raises QueryError."""
        if not models:
            return []
        async with self._all(read_options(options)["as_of"]) as tables:
            series = await tables.series_of_models(models, MOST_METRICS + 1)
            if len(series) > MOST_METRICS:
                raise invalid(f"page: these models have more than {MOST_METRICS} series; ask for fewer at a time")
            tallies = await tables.tallies(series)
        projects = await self._projects({each.run for each in series}, options) if series else {}
        return [
            (each, tallies[each.number])
            for each in series
            if each.number in tallies and projects.get(each.run) == models[each.name.model_id]
        ]

    async def totals(self, runs: Sequence[str]) -> dict[str, int]:
        """How many points each run has; runs without any are left out. Raises QueryError."""
        async with self._reader.view() as db:
            rows = await db.fetch(
                f"select run, sum(count)::bigint as points from {self._reader.schema}.series "
                "where run = any($1::text[]) group by run",
                list(runs),
            )
        return {row["run"]: row["points"] for row in rows}

    async def counts(self, runs: Sequence[str]) -> dict[str, int]:
        """How many series each run has; runs without any are left out. Raises QueryError."""
        async with self._reader.view() as db:
            rows = await db.fetch(
                f"select run, count(*) as series from {self._reader.schema}.series where run = any($1::text[]) "
                "group by run",
                list(runs),
            )
        return {row["run"]: row["series"] for row in rows}


class PointQueriesServicer(rpc.PointQueriesServicer):
    def __init__(self, reader: PointReader) -> None:
        self._reader = reader

    async def ListMetrics(self, request: Any, context: Any) -> Any:
        runs = list(dict.fromkeys(request.run_ids))
        return pb.ListMetricsResponse(metrics=await self._reader.metrics(runs, request.keys, request.options))

    async def GetCurves(self, request: Any, context: Any) -> Any:
        runs, width = list(dict.fromkeys(request.run_ids)), min(request.width or DEFAULT_WIDTH, MAX_WIDTH)
        if request.axis not in (pb.AXIS_UNSPECIFIED, pb.AXIS_TIME):
            raise invalid(f"axis: {request.axis} is no Axis; take time, or leave it out for steps")
        first, last = _range(request, "first", "last")
        async with self._reader.tables(runs, request.options) as tables:
            series = await tables.series(runs, request.keys, MOST_DRAWN // width + 1)
            if len(series) * width > MOST_DRAWN:
                raise invalid(
                    f"run_ids: these runs have {len(series)} or more series, too many for a drawing of {width} "
                    "pixels; name fewer, or some keys"
                )
            drawn = await _drawn(tables, series, request.axis == pb.AXIS_TIME, first, last, width)
        return pb.GetCurvesResponse(curves=drawn)

    async def ListPoints(self, request: Any, context: Any) -> Any:
        from services.experiments.points.tally import rank_of

        first, last = _range(request, "first_step", "last_step")
        limit, after = _page(request)
        points: list[tuple[int, int, float]] = []
        async with self._reader.tables([request.run_id], request.options) as tables:
            wanted = (request.key, request.model_id, request.dataset)
            found = [each for each in await tables.series([request.run_id], [request.key]) if each.name == wanted]
            if not found:
                raise not_found("series", request.key)
            start = first if after is None else max(after[0], after[0] if first is None else first)
            async for part in tables.in_order(found[0], start, last):
                if after is not None and int(part.steps[0]) <= after[0]:
                    part = part[_behind(part, after) :]
                points += part[: limit + 1 - len(points)]
                if len(points) > limit:
                    break
        more = len(points) > limit
        points = points[:limit]
        cursor = ""
        if more:
            step, time, value = points[-1]
            row = {"step": step, "time": time, "rank": rank_of(value)}
            cursor = next_cursor(row, _ORDER, request)
        answered = [pb.Point(step=step, time=_time(time), value=value) for step, time, value in points]
        return pb.ListPointsResponse(points=answered, next_cursor=cursor)

    async def GetPointsDigest(self, request: Any, context: Any) -> Any:
        if request.complete:
            await self._reader.completed(request.run_id)
        async with self._reader.tables([request.run_id], request.options) as tables:
            series, points, digest = await tables.digest(request.run_id)
        return pb.GetPointsDigestResponse(series=series, points=points, digest=digest)


async def _drawn(
    tables: Any, series: Sequence[Any], by_time: bool, first: int | None, last: int | None, width: int
) -> list[Any]:
    """The curves of series, on one axis."""
    from events.streams.columns import columns
    from services.experiments.points.curves import between, merged, reduce
    from services.experiments.points.reading import groups

    tallies = await tables.tallies(series)
    there = [each for each in series if each.number in tallies]
    told = [tallies[each.number] for each in there]
    lows = [each.time_from if by_time else each.first_step for each in told]
    highs = [each.time_to if by_time else each.last_step for each in told]
    low = max([min(lows, default=0)] if first is None else [min(lows, default=0), first])
    high = min([max(highs, default=0)] if last is None else [max(highs, default=0), last])
    steps = (None, None) if by_time else (first, last)
    none = columns([], [], [])
    curves = []
    for group in groups(there):
        if len(group) == 1:  # it may be of any length
            kept, count = none, 0
            async for part in tables.in_order(group[0], *steps):
                part = between(part, by_time, first, last)
                count += len(part)
                kept = merged(kept, reduce(part, by_time, low, high, width), by_time)
                kept = reduce(kept, by_time, low, high, width)
            curves.append(_curve(group[0], kept, count))
            continue
        points = await tables.points(group, *steps)
        for each in group:
            part = between(points[each.number], by_time, first, last)
            curves.append(_curve(each, reduce(part, by_time, low, high, width), len(part)))
    return curves


def _curve(series: Any, points: Any, count: int) -> Any:
    return pb.Curve(
        run_id=series.run,
        key=series.name.key,
        model_id=series.name.model_id,
        dataset=series.name.dataset,
        steps=points.steps.tolist(),
        times=points.times.tolist(),
        values=points.values.tolist(),
        points=count,
    )


def _metric(series: Any, told: Any) -> Any:
    return pb.Metric(
        run_id=series.run,
        key=series.name.key,
        model_id=series.name.model_id,
        dataset=series.name.dataset,
        value=told.last_value,
        step=told.last_step,
        time=_time(told.last_time),
        min=told.low,
        min_step=told.low_step,
        max=told.high,
        max_step=told.high_step,
        first_step=told.first_step,
        count=told.count,
        nans=told.nans,
        arrived_at=_time(told.arrived_to),
    )


async def _past_values(db: Db, table: str, owner: str, last: Mapping[tuple[str, str], Any]) -> str:
    """A temporary table of last values as of a past time; `last`: owner and key → tally."""
    await db.execute(f"create temporary table {table} ({owner} text, key text, value float8) on commit drop")
    records = [(*place, told.last_value) for place, told in last.items()]
    await db.copy_records_to_table(table, records=records)
    return table


def _range(request: Any, first: str, last: str) -> tuple[int | None, int | None]:
    low, high = (getattr(request, name) if request.HasField(name) else None for name in (first, last))
    return low, high


def _page(request: Any) -> tuple[int, tuple[int, int, int] | None]:
    limit, after = page(request, _ORDER)
    return limit, None if after is None else (after["step"], after["time"], after["rank"])


def _behind(part: Any, after: tuple[int, int, int]) -> int:
    """How many points are not behind a point."""
    from events.streams.columns import Point

    point = Point(*after)
    low, high = 0, len(part)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if part.point(middle) <= point else (low, middle)
    return low


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)


def _time(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
