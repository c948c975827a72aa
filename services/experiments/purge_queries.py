"""Answers about what is deleted and can be purged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from events.queries.queries import ReadModel, read_options
from forgelog_pb.experiments.v1 import purge_queries_pb2 as pb
from forgelog_pb.experiments.v1 import purge_queries_pb2_grpc as rpc
from services.experiments.points.answering import PointReader

_USUAL, _MOST = 1_000, 10_000

_DELETED = """
    select d.id, d.kind, d.project, d.deleted_at, coalesce(e.name, r.name, m.name, '') as name from deletions d
    left join experiments e on d.kind = 'experiment' and e.experiment_id = d.id
    left join runs r on d.kind = 'run' and r.run_id = d.id
    left join logged_models m on d.kind = 'logged_model' and m.model_id = d.id
    where ($1 = '' or d.project = $1) and ($2::timestamptz is null or d.deleted_at < $2)
    order by d.deleted_at, d.id, d.kind limit $3
"""
_RUNS = """
    select e.id as owner, r.run_id as id from unnest($1::text[]) e (id) join runs r on r.experiment_id = e.id
    where r.purged_at is null
"""
_MODELS = """
    select e.id as owner, m.model_id as id from unnest($1::text[]) e (id) join logged_models m on m.experiment_id = e.id
    where m.purged_at is null
"""
_FILES = """
    select run_id as id, 'run' as kind, count(*) as files, sum(size)::bigint as bytes from run_artifacts
    where run_id = any($1::text[]) group by run_id
    union all
    select model_id, 'logged_model', count(*), sum(size)::bigint from logged_model_files
    where model_id = any($2::text[]) group by model_id
"""


class PurgeQueriesServicer(rpc.PurgeQueriesServicer):
    def __init__(self, read: ReadModel, points: PointReader) -> None:
        self._read = read
        self._points = points

    async def PlanPurge(self, request: Any, context: Any) -> Any:
        limit = min(request.limit or _USUAL, _MOST)
        before: datetime | None = None
        if request.HasField("deleted_before"):
            before = request.deleted_before.ToDatetime(tzinfo=UTC)
        async with self._read.view(**read_options(request.options)) as db:
            rows = await db.fetch(_DELETED, request.project, before, limit + 1)
            found = {(row["kind"], row["id"]): pb.Purgeable(**_said(row)) for row in rows[:limit]}
            experiments = [id for kind, id in found if kind == "experiment"]
            runs = [(row["id"], found["experiment", row["owner"]]) for row in await db.fetch(_RUNS, experiments)]
            models = [(row["id"], found["experiment", row["owner"]]) for row in await db.fetch(_MODELS, experiments)]
            runs += [(id, each) for (kind, id), each in found.items() if kind == "run"]
            models += [(id, each) for (kind, id), each in found.items() if kind == "logged_model"]
            files = await db.fetch(_FILES, [id for id, _ in runs], [id for id, _ in models])
        points = await self._points.totals([id for id, _ in runs])
        held = {(row["kind"], row["id"]): row for row in files}
        for id, owner in runs:
            owner.runs += 1
            owner.points += points.get(id, 0)
            _add(owner, held.get(("run", id)))
        for id, owner in models:
            owner.logged_models += 1
            _add(owner, held.get(("logged_model", id)))
        return pb.PlanPurgeResponse(purgeable=list(found.values()), more=len(rows) > limit)


def _said(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in ("kind", "id", "project", "name", "deleted_at")}


def _add(owner: Any, files: Any) -> None:
    if files is not None:
        owner.files += files["files"]
        owner.bytes += files["bytes"]
