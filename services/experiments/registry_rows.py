"""The tables of models, their versions, datasets and lineage. What the columns mean for a fold is in
`services.experiments.registry_projection`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, create_model

from events.language.experiments.datasets import DatasetVersion, LineageEdge
from events.language.experiments.models import RunInput
from events.language.experiments.registry import LiveVersion, ModelVersion, Promotion, RegisteredModel
from events.projections.row_models import table_of

JOINED = ("name", "aliases", "environments", "experiment_id", "job_id")
"""Of a version, what queries take from other tables."""


class ModelNameRow(BaseModel):
    """A time in which a model had a name."""

    model_id: str
    number: int
    project: str
    name: str
    began_at: datetime
    ended_at: datetime | None = None


class CheckRow(BaseModel):
    """A look at files that is to be taken. It goes when it was taken."""

    subject_id: str
    number: int
    project: str
    is_model: bool
    """Of a model's version; else of a dataset."""
    requested_at: datetime


class RunInputRow(RunInput):
    """A dataset that a run reads."""

    run_id: str
    logged_at: datetime


_fields: dict[str, Any] = {
    name: (info.annotation, info) for name, info in ModelVersion.model_fields.items() if name not in JOINED
}
ModelVersionRow: type[BaseModel] = create_model("ModelVersionRow", **_fields)
"""A `ModelVersion` without what is joined."""

MODELS = table_of(
    RegisteredModel,
    "models",
    key=("model_id",),
    indexes=("created_at desc, model_id desc", "project, name"),
    born="created_at",
)

MODEL_NAMES = table_of(
    ModelNameRow, "model_names", key=("model_id", "number"), indexes=("project, name, began_at desc",)
)

MODEL_VERSIONS = table_of(
    ModelVersionRow,
    "model_versions",
    key=("version_id",),
    indexes=("created_at desc, version_id desc", "model_id, number", "model_id, stage, number desc", "source_run_id"),
    born="created_at",
)

LIVE = table_of(
    LiveVersion,
    "live",
    key=("model_id", "period"),
    indexes=("model_id, slot, began_at desc", "version_id"),
    born="began_at",
)
"""The whole history of which version was live where: a moment in it is found by an index."""

PROMOTIONS = table_of(
    Promotion,
    "promotions",
    key=("promotion_id",),
    indexes=("requested_at desc, promotion_id desc", "model_id"),
    born="requested_at",
)

CHECKS = table_of(CheckRow, "checks", key=("subject_id", "number"), indexes=("requested_at",))

DATASETS = table_of(
    DatasetVersion,
    "datasets",
    key=("version_id",),
    indexes=("created_at desc, version_id desc", "project, name, number desc"),
    born="created_at",
)

INPUTS = table_of(RunInputRow, "run_inputs", key=("run_id", "name", "digest", "role"))

EDGES = table_of(
    LineageEdge,
    "edges",
    key=("target", "target_kind", "source_kind", "source", "relation", "project"),
    indexes=("project, source_kind, source", "project, target_kind, target"),
)
