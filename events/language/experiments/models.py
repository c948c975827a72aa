"""Values of experiments and runs; `Experiment` and `ExperimentRun` are what queries answer, and rows of tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from events.language.base import Model
from events.language.common import (
    Attempt,
    DisplayName,
    Identifier,
    OptionalIdentifier,
    ProjectName,
    TaskNumber,
    Timestamp,
    printable,
)
from events.language.experiments.enums import ExperimentStatus, ModelFramework, RunStatus, Visibility
from events.language.experiments.hyperparameters import MAX_ENTRIES, HyperparameterConfig, ParamKey
from events.language.experiments.launch_spec import LaunchSpec
from events.language.experiments.practices import BestPractices
from events.language.experiments.search_space import SearchSpace

DEFAULT_EXPERIMENT = "Default"
"""Name of the experiment that every project has as soon as it is asked for: runs that name none are its."""

Description = Annotated[str, StringConstraints(max_length=10_000)]

TagValue = Annotated[str, StringConstraints(max_length=8_000)]

Tags = Annotated[dict[ParamKey, TagValue], Field(max_length=MAX_ENTRIES)]
"""Key → value."""

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]

Seed = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]

RunNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which run of its experiment; the first is 1. No number is given twice."""


MAX_INPUTS = 100
"""Most inputs in one command."""

Digest = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(printable)]
"""What tells the content of a dataset from others: any text of 1 to 128 printable characters."""

Details = Annotated[str, StringConstraints(max_length=60_000)]


class RunInput(Model):
    """A dataset that a run reads. Name and digest say which: a version that is registered with both is the same one."""

    name: DisplayName
    digest: Digest
    role: Annotated[str, Field(max_length=250)] = ""
    """What it is used for, such as ``training``."""
    source_type: Annotated[str, Field(max_length=250)] = ""
    source: Details = ""
    columns: Details = ""
    """Its schema, as the program has it."""
    profile: Details = ""
    """Its statistics, as the program has them."""
    tags: Tags = Field(default_factory=dict)


class RunSources(Model):
    """What runs of an experiment begin with."""

    inputs: tuple[RunInput, ...] = Field(default=(), max_length=MAX_INPUTS)
    """Datasets that each of them reads."""
    base_version_id: OptionalIdentifier = ""
    """The version of a model that each goes on from, such as in fine-tuning."""


class Process(Model):
    """The process that a run is: an attempt of a task of a job."""

    job_id: Identifier
    task: TaskNumber = 0
    attempt: Attempt = 1


class Experiment(Model):
    """A question that runs are to answer, as queries tell of it."""

    experiment_id: Identifier
    project: ProjectName
    name: DisplayName
    description: str = ""
    owner: str
    """Who made it."""
    team: str = ""
    framework: ModelFramework | None = None
    experiment_type: str = ""
    """Such as ``classification``."""
    status: ExperimentStatus
    reason: str = ""
    """Why it was set to this status, if somebody said so."""
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    """What its runs are configured with where they say nothing else."""
    random_seed: Seed | None = None
    """What its runs begin their random numbers with where they say nothing else."""
    visibility: Visibility
    collaborators: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None = None
    practices: BestPractices = BestPractices()
    """What its runs are looked at for when they have ended."""
    template_id: OptionalIdentifier = ""
    """The template that it was made of; empty for none."""
    template_version: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """As it was then; 0 without a template."""
    sources: RunSources = RunSources()
    """What each of its runs reads and goes on from."""
    purged_at: Timestamp | None = None
    """When it was purged: it can't be restored, and its name is free."""
    search_space: SearchSpace = SearchSpace()
    """What its tunings search where they say nothing else."""
    launch: LaunchSpec = LaunchSpec()
    """How its runs are launched."""


class ExperimentRun(Model):
    """One execution of an experiment, as queries tell of it."""

    run_id: Identifier
    project: ProjectName
    experiment_id: OptionalIdentifier = ""
    """Empty until an experiment takes it."""
    number: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Which run of its experiment; 0 until that takes it."""
    name: str
    owner: str
    parent_run_id: OptionalIdentifier = ""
    status: RunStatus
    reason: str = ""
    """Why it ended so."""
    job_id: OptionalIdentifier = ""
    task: TaskNumber = 0
    attempt: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Of its process; 0 where it has none that the platform knows."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    """Of its process, once that has ended."""
    node_id: OptionalIdentifier = ""
    started_at: Timestamp
    ended_at: Timestamp | None = None
    updated_at: Timestamp
    deleted_at: Timestamp | None = None
    reproduces: OptionalIdentifier = ""
    """The run that it does again; empty if none."""
    cpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    """What its process, and those below that, used of CPUs; 0 until it has ended, and where the platform did not run
    it."""
    wall_seconds: Annotated[float, Field(ge=0)] = 0.0
    """From the start of its process to its end."""
    gpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    """The same for each GPU that it was given."""
    best_checkpoint: str = ""
    """File or folder of the run, as its program says; empty for none."""
    purged_at: Timestamp | None = None
    """When what it held was given up. Also told as of an earlier time, since that is gone then, too."""
