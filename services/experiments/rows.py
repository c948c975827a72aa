"""The tables of experiments and runs. What the columns mean for a fold is in `services.experiments.projections`."""

from __future__ import annotations

from pydantic import BaseModel

from events.language.experiments import (
    Experiment,
    ExperimentRun,
)
from events.projections.row_models import table_of

SHORT = 64
"""Characters of a value that are indexed: a B-tree's row takes no 6,000."""


class RunParamRow(BaseModel):
    """A parameter of a run."""

    run_id: str
    key: str
    value: str


class RunTagRow(BaseModel):
    """A tag of a run."""

    run_id: str
    key: str
    value: str


EXPERIMENTS = table_of(
    Experiment,
    "experiments",
    key=("experiment_id",),
    indexes=("created_at desc, experiment_id desc", "project, name"),
    born="created_at",
)

RUNS = table_of(
    ExperimentRun,
    "runs",
    key=("run_id",),
    indexes=(
        "started_at desc, run_id desc",
        "experiment_id, started_at desc, run_id desc",
        "job_id",
        "parent_run_id",
        "reproduces",
    ),
)

PARAMS = table_of(RunParamRow, "run_params", key=("run_id", "key"), indexes=(f"key, left(value, {SHORT})",))

TAGS = table_of(RunTagRow, "run_tags", key=("run_id", "key"), indexes=(f"key, left(value, {SHORT})",))
