"""Answers about models, their versions and datasets, from the projection's tables. Knows no decisions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from events.language.common import shown
from events.language.convert import to_message
from events.projections.tables import Db
from events.queries.listing import Condition, Listing
from events.queries.named import NamedRows
from events.queries.queries import ReadModel, invalid, not_found, read_options
from events.queries.row_watch import RowWatch
from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from forgelog_pb.experiments.v1 import registry_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.experiments.lineage_queries import lineage
from services.experiments.registry_rows import MODEL_VERSIONS
from services.experiments.registry_search import MODELS_LIST, VERSION, VERSIONS_LIST
from services.experiments.training_data import training_of

_NAMED = NamedRows("models", "model")

_LIVE = {
    only: Listing(
        pb.ListLiveVersionsRequest,
        "live",
        order={"began_at": datetime, "period": range(-1, (1 << 31) - 1)},
        descending=True,
        where="ended_at is null" if only else "",
        filters={"model_id": "model_id", "slot": "slot"},
        own=("only_live",),
    )
    for only in (False, True)
}

_PROMOTIONS = Listing(
    pb.ListPromotionsRequest,
    "promotions",
    order={"requested_at": datetime, "promotion_id": str},
    descending=True,
    filters={"project": "project", "model_id": "model_id", "environment": "environment", "statuses": "status"},
)

_DATASETS = Listing(
    pb.ListDatasetsRequest,
    "datasets",
    order={"created_at": datetime, "version_id": str},
    descending=True,
    filters={
        "project": "project",
        "name": "strpos(lower(name), lower({value})) > 0",
        "statuses": "status",
        "formats": "data_format",
        "tags": "tags",
        "digest": "digest",
        "parent_version_id": "parents ? {value}",
        "column": "columns ? {value}",
        "source_run_id": "source_run_id",
    },
    own=("preprocessing", "preprocessing_parameters"),
)


def _step(request: Any) -> list[Condition]:
    """That one step has what is asked for of steps."""
    step: dict[str, Any] = {"name": request.preprocessing} if request.preprocessing else {}
    if request.preprocessing_parameters:
        step["parameters"] = dict(request.preprocessing_parameters)
    return [Condition("preprocessing @> {0}::jsonb", [[step]])] if step else []


_WATCH = RowWatch(
    pb.WatchModelVersionsRequest,
    "experiments",
    MODEL_VERSIONS,
    kind="model version",
    changed="updated_at",
    ids="version_ids",
    filters={"project": "project", "model_id": "model_id"},
)


class RegistryQueriesServicer(rpc.RegistryQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetModel(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        id = await self._model_id(request, options)
        async with self._read.view(**options) as db:
            row = await db.fetchrow("select * from models where model_id = $1", id)
        if row is None:
            raise not_found("model", id, options["as_of"])
        return pb.GetModelResponse(model=to_message(dict(row), types.RegisteredModel))

    async def ListModels(self, request: Any, context: Any) -> Any:
        async with self._read.view(**read_options(request.options)) as db:
            page = await MODELS_LIST.fetch(db, request)
        found = [to_message(dict(row), types.RegisteredModel) for row in page.rows]
        return pb.ListModelsResponse(models=found, next_cursor=page.next_cursor)

    async def GetModelVersion(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        id, live = request.version_id, None
        if not id:
            asked = [name for name in ("number", "alias", "environment") if getattr(request, name)]
            if len(asked) > 1:
                raise invalid(f"{asked[1]}: goes without {asked[0]}; give one of them")
            model_id = await self._model_id(request, options)
            async with self._read.view(at_least=options["at_least"]) as db:
                if slot := _slot(request):
                    live = await _live_at(db, model_id, slot, options["as_of"])
                    if live is None:
                        which = "version with alias" if request.alias else "version live in"
                        kind = f"{which} {shown(request.alias or request.environment)} of model"
                        raise not_found(kind, request.name or model_id, options["as_of"])
                    id = live["version_id"]
                else:
                    id = await _numbered(db, model_id, request.number, options["as_of"])
                    if id is None:
                        kind = f"version {request.number} of model" if request.number else "version of model"
                        raise not_found(kind, request.name or model_id, options["as_of"])
        async with self._read.view(**options) as db:
            row = await db.fetchrow(f"{VERSION} where v.version_id = $1", id)
            trained = await training_of(db, row, request, options["as_of"]) if request.training and row else None
        if row is None:
            raise not_found("model version", id, options["as_of"])
        return pb.GetModelVersionResponse(
            version=_version(row),
            live=to_message(dict(live), types.LiveVersion) if live is not None else None,
            training=_dataset(trained) if trained is not None else None,
        )

    async def ListModelVersions(self, request: Any, context: Any) -> Any:
        async with self._read.view(**read_options(request.options)) as db:
            page = await VERSIONS_LIST[request.newest_of_stage].fetch(db, request)
        return pb.ListModelVersionsResponse(versions=[_version(row) for row in page.rows], next_cursor=page.next_cursor)

    async def WatchModelVersions(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(_WATCH.batches(self._read, request)) as batches:
            async for rows in batches:
                for row in rows:
                    yield pb.WatchModelVersionsResponse(version=_version(row))

    async def ListLiveVersions(self, request: Any, context: Any) -> Any:
        page = await _NAMED.page(self._read, _LIVE[request.only_live], request)
        found = [to_message(dict(row), types.LiveVersion) for row in page.rows]
        return pb.ListLiveVersionsResponse(live=found, next_cursor=page.next_cursor)

    async def ListPromotions(self, request: Any, context: Any) -> Any:
        async with self._read.view(**read_options(request.options)) as db:
            page = await _PROMOTIONS.query(request).fetch(db)
        found = [to_message(dict(row), types.Promotion) for row in page.rows]
        return pb.ListPromotionsResponse(promotions=found, next_cursor=page.next_cursor)

    async def GetDataset(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.version_id
        if not id and not (request.project and request.name):
            raise invalid("version_id: is empty; give it, or project and name")
        named = False
        async with self._read.view(**options) as db:
            if id:
                row = await db.fetchrow("select * from datasets where version_id = $1", id)
            else:
                row = await db.fetchrow(
                    "select * from datasets where project = $1 and name = $2 and ($3::bigint = 0 or number = $3) "
                    "order by number desc limit 1",
                    request.project,
                    request.name,
                    request.number,
                )
                if row is None and request.number:
                    any_of_it = "select 1 from datasets where project = $1 and name = $2 limit 1"
                    named = await db.fetchval(any_of_it, request.project, request.name) is not None
        if row is None:
            kind = f"version {request.number} of dataset" if named else "dataset"
            raise not_found(kind, id or request.name, options["as_of"])
        return pb.GetDatasetResponse(dataset=_dataset(row))

    async def ListDatasets(self, request: Any, context: Any) -> Any:
        async with self._read.view(**read_options(request.options)) as db:
            page = await _DATASETS.query(request, more=_step(request)).fetch(db)
        return pb.ListDatasetsResponse(datasets=[_dataset(row) for row in page.rows], next_cursor=page.next_cursor)

    async def GetRunInputs(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            if await db.fetchval("select 1 from runs where run_id = $1", request.run_id) is None:
                raise not_found("run", request.run_id, options["as_of"])
            rows = await db.fetch(
                "select * from run_inputs where run_id = $1 order by logged_at, name, digest, role", request.run_id
            )
        return pb.GetRunInputsResponse(inputs=[to_message(dict(row), types.RunInput) for row in rows])

    async def GetLineage(self, request: Any, context: Any) -> Any:
        async with self._read.view(**read_options(request.options)) as db:
            return await lineage(db, request)

    async def _model_id(self, request: Any, options: Any) -> str:
        """The model that a request names. As of a time, one that had the name then counts before the one that has it
        now."""
        if request.model_id:
            return str(request.model_id)
        if not (request.project and request.name):
            raise invalid("model_id: is empty; give it, or project and name")
        async with self._read.view(at_least=options["at_least"]) as db:
            id = await db.fetchval(
                "select model_id from model_names where project = $1 and name = $2 and "
                "($3::timestamptz is null or began_at <= $3) and (ended_at is null or ended_at > $3) "
                "order by began_at desc limit 1",
                request.project,
                request.name,
                options["as_of"],
            ) or await db.fetchval(
                "select model_id from model_names where project = $1 and name = $2 and ended_at is null",
                request.project,
                request.name,
            )
        if id is None:
            raise not_found("model", request.name, options["as_of"])
        return str(id)


def _slot(request: Any) -> str:
    if request.alias:
        return f"alias:{request.alias}"
    return f"environment:{request.environment}" if request.environment else ""


async def _live_at(db: Db, model_id: str, slot: str, at: datetime | None) -> Any:
    """What had the slot at a time; None for now."""
    return await db.fetchrow(
        "select * from live where model_id = $1 and slot = $2 and ($3::timestamptz is null or began_at <= $3) and "
        "(ended_at is null or ended_at > $3) order by began_at desc limit 1",
        model_id,
        slot,
        at,
    )


async def _numbered(db: Db, model_id: str, number: int, at: datetime | None) -> str | None:
    """The id of a version; of the newest one then, that is not deleted, if the number is 0. None if there is none."""
    id: str | None = await db.fetchval(
        "select version_id from model_versions where model_id = $1 and (case $2::bigint when 0 then "
        "($3::timestamptz is null or created_at <= $3) and (deleted_at is null or deleted_at > $3) "
        "else number = $2 end) order by number desc limit 1",
        model_id,
        number,
        at,
    )
    return id


def _version(row: Any) -> Any:
    return to_message(dict(row), types.ModelVersion)


def _dataset(row: Any) -> Any:
    return to_message(dict(row), types.DatasetVersion)
