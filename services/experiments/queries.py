"""Answers about experiments and runs, from the projection's tables. Knows no Kafka and no decisions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.language.experiments import ENDED, RunStatus
from events.language.experiments.practices import BestPractices
from events.projections.tables import Db
from events.queries.listing import Listing
from events.queries.queries import ReadModel, invalid, not_found, read_options
from events.queries.row_watch import RowWatch
from events.queries.searching import filter_condition
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from forgelog_pb.experiments.v1 import queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.experiments.data_practices import data_results, registered_inputs
from services.experiments.lifecycle import PURGEABLE, by_lifecycle, listings
from services.experiments.points.answering import PointReader
from services.experiments.practices import results
from services.experiments.purged import note_purged
from services.experiments.rows import RUNS
from services.experiments.search import EXPERIMENTS_SEARCH, metrics_in, run_words, runs_search
from services.experiments.visibility import EXPERIMENT_FOUND, FOUND

MOST_BYTES = 8 << 20
"""Of parameters, tags, metrics and inputs in one page of a search; a run that has more comes alone."""
METRIC_BYTES = 100
"""What a metric counts for there."""


_EXPERIMENTS = listings(
    pb.ListExperimentsRequest,
    "experiments",
    which=PURGEABLE,
    order={"created_at": datetime, "experiment_id": str},
    filters={
        "project": "project",
        "statuses": "status",
        "name": "strpos(lower(name), lower({value})) > 0",
        "owner": "owner",
        "team": "team",
        "frameworks": "framework",
        "experiment_type": "experiment_type",
        "labels": "labels @> to_jsonb({value})",
        "tags": "tags",
        "visible_to": EXPERIMENT_FOUND,
    },
)

_RUNS = listings(
    pb.ListRunsRequest,
    "runs",
    own=("filter",),
    which=PURGEABLE,
    order={"started_at": datetime, "run_id": str},
    filters={
        "project": "project",
        "experiment_ids": "experiment_id",
        "statuses": "status",
        "name": "strpos(lower(name), lower({value})) > 0",
        "owner": "owner",
        "job_id": "job_id",
        "parent_run_id": "parent_run_id",
        "params": "not exists (select from jsonb_each_text({value}) w where not exists (select from run_params p where "
        "p.run_id = runs.run_id and p.key = w.key and p.value = w.value))",
        "tags": "not exists (select from jsonb_each_text({value}) w where not exists (select from run_tags t where "
        "t.run_id = runs.run_id and t.key = w.key and t.value = w.value))",
        "visible_to": FOUND,
    },
)

_INPUTS = Listing(
    pb.ListInputsRequest,
    "(select distinct project, experiment_id, i.name, i.digest, i.role from run_inputs i join runs using (run_id) "
    "where deleted_at is null) found",
    order={"experiment_id": str, "name": str, "digest": str, "role": str},
    filters={"project": "project", "experiment_ids": "experiment_id", "visible_to": FOUND},
)

_WATCH = RowWatch(
    pb.WatchRunsRequest,
    "experiments",
    RUNS,
    kind="run",
    changed="updated_at",
    ids="run_ids",
    filters={"project": "project", "experiment_id": "experiment_id"},
)


_JOBS = """
    select job_id from runs where experiment_id = $1 and job_id <> '' and status in ('scheduled', 'running')
    and deleted_at is null group by job_id order by max(started_at) desc limit 100
"""


class ExperimentQueriesServicer(rpc.ExperimentQueriesServicer):
    def __init__(self, read: ReadModel, points: PointReader) -> None:
        self._read = read
        self._points = points

    async def GetExperiment(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        by_id = bool(request.experiment_id)
        if not by_id and not (request.project and request.name):
            raise invalid("experiment_id: is empty; give it, or project and name")
        async with self._read.view(**options) as db:
            if by_id:
                row = await db.fetchrow("select * from experiments where experiment_id = $1", request.experiment_id)
            else:
                of_name = "select * from experiments where project = $1 and name = $2 and purged_at is null"
                row = await db.fetchrow(of_name, request.project, request.name)
            if row is None:
                raise not_found("experiment", request.experiment_id or request.name, options["as_of"])
            counted = await db.fetch(
                "select status, count(*) as runs from runs where experiment_id = $1 and deleted_at is null "
                "group by status",
                row["experiment_id"],
            )
            jobs = await db.fetch(_JOBS, row["experiment_id"])
            versions = await db.fetchval(
                "select count(*) from model_versions v join runs r on r.run_id = v.source_run_id "
                "where r.experiment_id = $1 and v.deleted_at is null",
                row["experiment_id"],
            )
        return pb.GetExperimentResponse(
            experiment=_experiment(row),
            runs={each["status"]: each["runs"] for each in counted},
            job_ids=[each["job_id"] for each in jobs],
            model_versions=versions,
        )

    async def ListExperiments(self, request: Any, context: Any) -> Any:
        query = by_lifecycle(_EXPERIMENTS, request).query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [_experiment(row) for row in page.rows]
        return pb.ListExperimentsResponse(experiments=found, next_cursor=page.next_cursor)

    async def GetRun(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.run_id
        async with self._read.view(**options) as db:
            row = await db.fetchrow("select * from runs where run_id = $1", id)
            if row is None:
                raise not_found("run", id, options["as_of"])
            (found,) = await _with_values(db, [row])
            practices = await _practices(db, row)
            inputs = await registered_inputs(db, id) if practices.data_checks else []
        await note_purged(self._read, [found.run], request.options)
        held = [] if found.run.HasField("purged_at") else [id]
        metrics = await self._points.metrics(held, (), request.options)
        found_out = [*results(practices, metrics), *data_results(practices, inputs)] if held else []
        checks = [to_message(each.model_dump(), types.CheckResult) for each in found_out]
        return pb.GetRunResponse(
            run=found.run,
            params=found.params,
            tags=found.tags,
            metrics=metrics,
            checks=checks,
            inputs=found.inputs,
            models=found.models,
            outputs=found.outputs,
        )

    async def ListRuns(self, request: Any, context: Any) -> Any:
        keys = metrics_in(request.filter)
        async with self._read.view(**read_options(request.options)) as db:
            latest = await self._points.latest(db, request.options, keys, request)
            said = filter_condition(request.filter, run_words(latest), "runs")
            query = by_lifecycle(_RUNS, request).query(request, more=[said] if said else [])
            page = await query.fetch(db)
        runs = [_run(row) for row in page.rows]
        await note_purged(self._read, runs, request.options)
        return pb.ListRunsResponse(runs=runs, next_cursor=page.next_cursor)

    async def SearchExperiments(self, request: Any, context: Any) -> Any:
        search = by_lifecycle(EXPERIMENTS_SEARCH, request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await search.fetch(db, request)
        found = [_experiment(row) for row in page.rows]
        return pb.SearchExperimentsResponse(experiments=found, next_cursor=page.next_cursor)

    async def SearchRuns(self, request: Any, context: Any) -> Any:
        keys = metrics_in(request.filter, request.order_by)
        async with self._read.view(**read_options(request.options)) as db:
            latest = await self._points.latest(db, request.options, keys, request)
            search = by_lifecycle(runs_search(latest), request)
            page = await search.fetch(db, request)
            series = await self._points.counts([row["run_id"] for row in page.rows])
            rows = await _fitting(db, page.rows, series)
            found = await _with_values(db, rows)
        by_run = {each.run.run_id: each for each in found}
        await note_purged(self._read, [each.run for each in found], request.options)
        held = [id for id, each in by_run.items() if not each.run.HasField("purged_at")]
        for metric in await self._points.metrics(held, (), request.options):
            by_run[metric.run_id].metrics.append(metric)
        cursor = page.next_cursor if len(rows) == len(page.rows) else search.cursor(rows[-1], request)
        return pb.SearchRunsResponse(runs=found, next_cursor=cursor)

    async def ListInputs(self, request: Any, context: Any) -> Any:
        query = _INPUTS.query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [
            pb.ExperimentInput(**{name: row[name] for name in ("experiment_id", "name", "digest", "role")})
            for row in page.rows
        ]
        return pb.ListInputsResponse(inputs=found, next_cursor=page.next_cursor)

    async def WatchRuns(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(_WATCH.batches(self._read, request)) as batches:
            async for rows in batches:
                for row in rows:
                    yield pb.WatchRunsResponse(run=_run(row))


async def _fitting(db: Db, rows: Sequence[Any], series: Mapping[str, int]) -> Sequence[Any]:
    """The first of these runs, as many as hold `MOST_BYTES`; at least one, if there is any. `series`: run → how many
    it has."""
    sizes = await db.fetch(
        "select run_id, sum(bytes)::bigint as bytes from ("
        "select run_id, octet_length(key) + octet_length(value) as bytes from run_params union all "
        "select run_id, octet_length(key) + octet_length(value) from run_tags union all "
        "select run_id, octet_length(source) + octet_length(columns) + octet_length(profile) from run_inputs"
        ") as held where run_id = any($1) group by run_id",
        [row["run_id"] for row in rows],
    )
    held = {each["run_id"]: each["bytes"] for each in sizes}
    room = MOST_BYTES
    for number, row in enumerate(rows):
        room -= held.get(row["run_id"], 0) + METRIC_BYTES * series.get(row["run_id"], 0)
        if room < 0:
            return rows[: max(number, 1)]
    return rows


async def _with_values(db: Db, rows: Sequence[Any]) -> list[Any]:
    """These runs with their parameters, tags, inputs and outputs."""
    runs = {row["run_id"]: pb.FoundRun(run=_run(row)) for row in rows}
    for each in await db.fetch("select run_id, key, value from run_params where run_id = any($1)", list(runs)):
        runs[each["run_id"]].params[each["key"]] = each["value"]
    for each in await db.fetch("select run_id, key, value from run_tags where run_id = any($1)", list(runs)):
        runs[each["run_id"]].tags[each["key"]] = each["value"]
    of = "run_id = any($1) order by run_id, logged_at"
    for each in await db.fetch(f"select * from run_inputs where {of}, name, digest, role", list(runs)):
        runs[each["run_id"]].inputs.append(to_message(dict(each), types.RunInput))
    for each in await db.fetch(f"select * from run_models where {of}, step, model_id", list(runs)):
        if each["is_output"]:
            runs[each["run_id"]].outputs.append(types.RunModel(model_id=each["model_id"], step=each["step"]))
        else:
            runs[each["run_id"]].models.append(each["model_id"])
    return list(runs.values())


async def _practices(db: Db, run: Any) -> BestPractices:
    """What a run is looked at for: its experiment's practices, once it has ended."""
    if RunStatus(run["status"]) not in ENDED:
        return BestPractices()
    found = await db.fetchval("select practices from experiments where experiment_id = $1", run["experiment_id"])
    return BestPractices.model_validate(found or {})


def _experiment(row: Any) -> Any:
    return to_message(dict(row), types.Experiment)


def _run(row: Any) -> Any:
    return to_message(dict(row), types.ExperimentRun)
