"""Answers about templates of pipelines, from the projection's tables. Knows no decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT4, Keys, Listing
from events.queries.named import NamedRows
from events.queries.queries import ReadModel, invalid, read_options
from events.queries.rated import rated
from forgelog_pb.pipelines.v1 import template_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import template_queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types

_RATED = f"({rated('pipeline_templates', 'pipeline_template_ratings', 'template_id')}) found"

_ORDERS: dict[int, Keys] = {
    pb.PIPELINE_TEMPLATE_ORDER_UNSPECIFIED: {"created_at": datetime, "template_id": str},
    pb.PIPELINE_TEMPLATE_ORDER_USES: {"uses": INT4, "template_id": str},
    pb.PIPELINE_TEMPLATE_ORDER_RATING: {"rating": float, "template_id": str},
}

_LISTS = {
    (order, deleted): Listing(
        pb.ListPipelineTemplatesRequest,
        _RATED,
        own=("order", "deleted"),
        order=keys,
        descending=True,
        filters={
            "project": "project",
            "text": "strpos(lower(name || ' ' || description), lower({value})) > 0",
            "owner": "owner",
            "category": "category",
        },
        where=f"deleted_at is {'not null' if deleted else 'null'}",
    )
    for order, keys in _ORDERS.items()
    for deleted in (False, True)
}

_RATINGS = Listing(
    pb.ListPipelineTemplateRatingsRequest,
    "pipeline_template_ratings",
    order={"rated_at": datetime, "rater": str},
    descending=True,
    filters={"template_id": "template_id"},
)

TEMPLATES = NamedRows(_RATED, "template")


class PipelineTemplateQueriesServicer(rpc.PipelineTemplateQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetPipelineTemplate(self, request: Any, context: Any) -> Any:
        row = await TEMPLATES.get(self._read, request)
        return pb.GetPipelineTemplateResponse(template=to_message(dict(row), types.PipelineTemplate))

    async def ListPipelineTemplates(self, request: Any, context: Any) -> Any:
        if (listing := _LISTS.get((request.order, request.deleted))) is None:
            raise invalid(f"order: {request.order} is no PipelineTemplateOrder; take uses, rating, or leave it out")
        query = listing.query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [to_message(dict(row), types.PipelineTemplate) for row in page.rows]
        return pb.ListPipelineTemplatesResponse(templates=found, next_cursor=page.next_cursor)

    async def ListPipelineTemplateRatings(self, request: Any, context: Any) -> Any:
        page = await TEMPLATES.page(self._read, _RATINGS, request, "give the template whose ratings are wanted")
        found = [to_message(dict(row), types.PipelineTemplateRating) for row in page.rows]
        return pb.ListPipelineTemplateRatingsResponse(ratings=found, next_cursor=page.next_cursor)
