"""The tables of templates of pipelines and of what people think of them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, create_model

from events.language.base import Message
from events.language.pipelines.pipeline import bundles_of
from events.language.pipelines.templates import (
    PipelineTemplate,
    PipelineTemplateDefined,
    PipelineTemplateDeleted,
    PipelineTemplateRated,
    PipelineTemplateRating,
    PipelineTemplateUsed,
    TemplateEvent,
)
from events.log.envelope import Meta
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import holder, put_references, reference_keys
from events.projections.row_models import table_of

JOINED = ("ratings", "rating")
"""Of a template, what queries take from the table of ratings."""

_fields: dict[str, Any] = {
    name: (info.annotation, info) for name, info in PipelineTemplate.model_fields.items() if name not in JOINED
}
TemplateRow: type[BaseModel] = create_model("TemplateRow", **_fields)
"""A `PipelineTemplate` without what is joined."""

TEMPLATES = table_of(
    TemplateRow,
    "pipeline_templates",
    key=("template_id",),
    indexes=("created_at desc, template_id desc", "project, name"),
    born="created_at",
)

RATINGS = table_of(PipelineTemplateRating, "pipeline_template_ratings", key=("template_id", "rater"))

TABLES = (TEMPLATES, RATINGS)


def touched(event: Message) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    match event:
        case PipelineTemplateUsed() if event.first:
            yield TEMPLATES, (event.template_id,)
        case PipelineTemplateRated():
            yield RATINGS, (event.template_id, event.rater)
        case TemplateEvent():
            yield TEMPLATES, (event.template_id,)
    if isinstance(event, PipelineTemplateDefined):
        yield from reference_keys(holder(event), bundles_of(event.spec.definition))


def put(event: Message, meta: Meta, rows: Rows) -> None:
    """Fold an event into its rows."""
    match event:
        case PipelineTemplateUsed() if event.first:
            row = _known(rows, event.template_id)
            rows.put(TEMPLATES, {**row, "uses": row["uses"] + 1})
        case PipelineTemplateDefined():
            rows.put(TEMPLATES, _defined(event, meta, rows.get(TEMPLATES, (event.template_id,))))
            put_references(rows, holder(event), bundles_of(event.spec.definition), bundle=True)
        case PipelineTemplateRated():
            said = event.model_dump(mode="json")
            rows.put(RATINGS, RATINGS.first(**said, rated_at=meta.time))
        case PipelineTemplateDeleted():
            rows.put(TEMPLATES, {**_known(rows, event.template_id), "deleted_at": meta.time})


def _defined(event: PipelineTemplateDefined, meta: Meta, found: Row | None) -> Row:
    said = {**event.spec.model_dump(mode="json"), "revision": event.revision, "updated_at": meta.time}
    if found is not None:
        return {**found, **said, "deleted_at": None}
    return TEMPLATES.first(
        template_id=event.template_id,
        project=event.project,
        name=event.name,
        owner=meta.actor,
        created_at=meta.time,
        **said,
    )


def _known(rows: Rows, id: str) -> Row:
    found = rows.get(TEMPLATES, (id,))
    assert found is not None, "a template is used and deleted after its definition"
    return found
