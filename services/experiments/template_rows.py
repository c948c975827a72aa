"""The tables of templates and what people think of them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, create_model

from events.language.base import Message
from events.language.experiments import ExperimentCreated
from events.language.experiments.templates import (
    ExperimentTemplate,
    TemplateDeleted,
    TemplateEvent,
    TemplateRated,
    TemplateRating,
    TemplateRevised,
    TemplateSaved,
    TemplateSpec,
)
from events.log.envelope import Meta
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import put_references, reference_keys
from events.projections.row_models import table_of

JOINED = ("ratings", "rating")
"""Of a template, what queries take from the table of ratings."""

_fields: dict[str, Any] = {
    name: (info.annotation, info) for name, info in ExperimentTemplate.model_fields.items() if name not in JOINED
}
TemplateRow: type[BaseModel] = create_model("TemplateRow", **_fields)
"""An `ExperimentTemplate` without what is joined."""

TEMPLATES = table_of(
    TemplateRow,
    "templates",
    key=("template_id",),
    indexes=("created_at desc, template_id desc", "project, name"),
    born="created_at",
)

RATINGS = table_of(TemplateRating, "template_ratings", key=("template_id", "rater"))

TABLES = (TEMPLATES, RATINGS)


def touched(event: Message) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    match event:
        case ExperimentCreated() if event.template_id:
            yield TEMPLATES, (event.template_id,)
        case TemplateRated():
            yield RATINGS, (event.template_id, event.rater)
        case TemplateEvent():
            yield TEMPLATES, (event.template_id,)
    if isinstance(event, TemplateSaved | TemplateRevised):
        yield from reference_keys(event.template_id, [each.file for each in event.spec.files])


def put(event: Message, meta: Meta, rows: Rows) -> None:
    """Fold an event into its rows."""
    match event:
        case ExperimentCreated() if event.template_id:
            row = _known(rows, event.template_id)
            rows.put(TEMPLATES, {**row, "uses": row["uses"] + 1})
        case TemplateSaved():
            row = TEMPLATES.first(
                **_said(event.spec),
                template_id=event.template_id,
                project=event.project,
                name=event.name,
                version=1,
                owner=meta.actor,
                created_at=meta.time,
                updated_at=meta.time,
            )
            rows.put(TEMPLATES, row)
        case TemplateRevised():
            row = _known(rows, event.template_id)
            rows.put(TEMPLATES, {**row, **_said(event.spec), "version": event.number, "updated_at": meta.time})
        case TemplateRated():
            said = event.model_dump(mode="json")
            rows.put(RATINGS, RATINGS.first(**said, rated_at=meta.time))
        case TemplateDeleted():
            rows.put(TEMPLATES, {**_known(rows, event.template_id), "deleted_at": meta.time})
    if isinstance(event, TemplateSaved | TemplateRevised):
        put_references(rows, event.template_id, [each.file for each in event.spec.files])


def _said(spec: TemplateSpec) -> Row:
    return spec.model_dump(mode="json")


def _known(rows: Rows, id: str) -> Row:
    found = rows.get(TEMPLATES, (id,))
    assert found is not None, "the decider lets nothing come before the saving"
    return found
