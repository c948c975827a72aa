"""Answers about templates of experiments, from the projection's tables. Knows no decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT4, Keys, Listing
from events.queries.named import NamedRows
from events.queries.queries import ReadModel, invalid, not_found, read_options
from events.queries.rated import rated
from forgelog_pb.experiments.v1 import templates_pb2 as pb
from forgelog_pb.experiments.v1 import templates_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.experiments.lifecycle import by_lifecycle, listings

_TEMPLATE = rated("templates", "template_ratings", "template_id")
"""Templates with what people think of them."""

_ORDERS: dict[int, Keys] = {
    pb.TEMPLATE_ORDER_UNSPECIFIED: {"created_at": datetime, "template_id": str},
    pb.TEMPLATE_ORDER_USES: {"uses": INT4, "template_id": str},
    pb.TEMPLATE_ORDER_RATING: {"rating": float, "template_id": str},
}

_TEMPLATES = {
    order: listings(
        pb.ListTemplatesRequest,
        f"({_TEMPLATE}) found",
        own=("order",),
        order=keys,
        filters={
            "project": "project",
            "name": "strpos(lower(name), lower({value})) > 0",
            "owner": "owner",
            "frameworks": "framework",
            "architecture": "architecture",
            "experiment_type": "experiment_type",
            "metric": "practices -> 'metrics' ? {value}",
        },
    )
    for order, keys in _ORDERS.items()
}

_NAMED = NamedRows("templates", "template")

_RATINGS = Listing(
    pb.ListRatingsRequest,
    "template_ratings",
    order={"rated_at": datetime, "rater": str},
    descending=True,
    filters={"template_id": "template_id"},
)


class TemplateQueriesServicer(rpc.TemplateQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetTemplate(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.template_id
        if not id and not (request.project and request.name):
            raise invalid("template_id: is empty; give it, or project and name")
        async with self._read.view(**options) as db:
            if id:
                row = await db.fetchrow(f"{_TEMPLATE} where t.template_id = $1", id)
            else:
                of_name = f"{_TEMPLATE} where t.project = $1 and t.name = $2 and t.deleted_at is null"
                row = await db.fetchrow(of_name, request.project, request.name)
        if row is None:
            raise not_found("template", id or request.name, options["as_of"])
        return pb.GetTemplateResponse(template=_template(row))

    async def ListTemplates(self, request: Any, context: Any) -> Any:
        if (lists := _TEMPLATES.get(request.order)) is None:
            raise invalid(f"order: {request.order} is no TemplateOrder; take uses, rating, or leave it out")
        query = by_lifecycle(lists, request).query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [_template(row) for row in page.rows]
        return pb.ListTemplatesResponse(templates=found, next_cursor=page.next_cursor)

    async def ListRatings(self, request: Any, context: Any) -> Any:
        page = await _NAMED.page(self._read, _RATINGS, request)
        found = [to_message(dict(row), types.TemplateRating) for row in page.rows]
        return pb.ListRatingsResponse(ratings=found, next_cursor=page.next_cursor)


def _template(row: Any) -> Any:
    return to_message(dict(row), types.ExperimentTemplate)
