"""Answers about logged models, from the projection's tables and their metrics from the points'. Knows no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from events.language.convert import to_message
from events.queries.expressions import Name, Order
from events.queries.queries import ReadModel, not_found, read_options
from events.queries.searching import Search
from events.queries.words import Attribute, Entries, Values, Words
from forgelog_pb.experiments.v1 import logged_models_pb2 as pb
from forgelog_pb.experiments.v1 import logged_models_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.experiments.lifecycle import PURGEABLE, by_lifecycle
from services.experiments.points.answering import PointReader
from services.experiments.purged import note_purged
from services.experiments.search import METRICS, metrics_in
from services.experiments.visibility import FOUND

_CREATED = Attribute("logged_models.created_at", "time")
_UPDATED = Attribute("logged_models.updated_at", "time")

_ATTRIBUTES: Mapping[str, Attribute] = {
    "model_id": Attribute("logged_models.model_id"),
    "name": Attribute("logged_models.name"),
    "status": Attribute("logged_models.status", "word"),
    "model_type": Attribute("logged_models.model_type"),
    "experiment_id": Attribute("logged_models.experiment_id"),
    "source_run_id": Attribute("logged_models.source_run_id"),
    "owner": Attribute("logged_models.owner"),
    "reason": Attribute("logged_models.reason"),
    "created_at": _CREATED,
    "updated_at": _UPDATED,
    # as MLflow's clients call them
    **dict.fromkeys(("creation_time", "creation_timestamp", "creation_timestamp_ms"), _CREATED),
    **dict.fromkeys(("last_updated_time", "last_updated_timestamp", "last_updated_timestamp_ms"), _UPDATED),
}


@lru_cache(maxsize=16)
def _search(measured: str) -> Mapping[int, Search]:
    """`measured`: the table of the last values of models' metrics (model_id, key, value)."""
    words = Words(
        _ATTRIBUTES,
        {
            **dict.fromkeys(("params", "param"), Entries("logged_models.params")),
            **dict.fromkeys(("tags", "tag"), Entries("logged_models.tags")),
            **dict.fromkeys(METRICS, Values(measured, "model_id", "float")),
        },
    )
    return {
        lifecycle: Search(
            pb.SearchLoggedModelsRequest,
            "logged_models",
            words,
            order=[Order(Name("", name, 0), descending=True) for name in ("created_at", "model_id")],
            filters={"project": "project", "experiment_ids": "experiment_id", "visible_to": FOUND},
            where=where,
            own=("lifecycle",),
        )
        for lifecycle, where in PURGEABLE.items()
    }


class LoggedModelQueriesServicer(rpc.LoggedModelQueriesServicer):
    def __init__(self, read: ReadModel, points: PointReader) -> None:
        self._read = read
        self._points = points

    async def GetLoggedModel(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.model_id
        async with self._read.view(**options) as db:
            row = await db.fetchrow("select * from logged_models where model_id = $1", id)
        if row is None:
            raise not_found("logged model", id, options["as_of"])
        metrics = await self._points.metrics_of_models({id: row["project"]}, request.options)
        model = _model(row)
        await note_purged(self._read, [model], request.options, "logged model")
        return pb.GetLoggedModelResponse(model=model, metrics=metrics)

    async def SearchLoggedModels(self, request: Any, context: Any) -> Any:
        keys = metrics_in(request.filter, request.order_by)
        async with self._read.view(**read_options(request.options)) as db:
            measured = await self._points.measured(db, request.options, keys, request)
            search = by_lifecycle(_search(measured), request)
            page = await search.fetch(db, request)
        found = {row["model_id"]: pb.FoundLoggedModel(model=_model(row)) for row in page.rows}
        projects = {row["model_id"]: row["project"] for row in page.rows}
        for metric in await self._points.metrics_of_models(projects, request.options):
            found[metric.model_id].metrics.append(metric)
        await note_purged(self._read, [each.model for each in found.values()], request.options, "logged model")
        return pb.SearchLoggedModelsResponse(models=list(found.values()), next_cursor=page.next_cursor)


def _model(row: Any) -> Any:
    return to_message({name: row[name] for name in types.LoggedModel.DESCRIPTOR.fields_by_name}, types.LoggedModel)
