"""Commands of experiments, and of their runs.

A project's catalogue decides what concerns names: it is one aggregate, so a name is given once. A run decides for
itself, so many runs log side by side.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Command, Event
from events.language.common import (
    DisplayName,
    Identifier,
    OptionalDisplayName,
    OptionalIdentifier,
    OptionalProject,
    Timestamp,
)
from events.language.experiments.enums import ExperimentStatus, ModelFramework, RunEnd, Visibility
from events.language.experiments.events import RunAdmitted, RunNotAdmitted
from events.language.experiments.hyperparameters import MAX_ENTRIES, HyperparameterConfig, ParamKey, ParamValue
from events.language.experiments.launch_spec import LaunchSpec
from events.language.experiments.models import Description, Label, Process, RunSources, Seed, Tags
from events.language.experiments.practices import BestPractices
from events.language.experiments.search_space import SearchSpace

MAX_REASON = 500
Reason = Annotated[str, Field(max_length=MAX_REASON)]


class CatalogueCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "experiment"
    subject_from: ClassVar[str] = "experiment_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"

    project: OptionalProject = ""
    """The command's own (`ce_project`): it may be left out, and no other is taken."""


class CreateExperiment(CatalogueCommand):
    """Make an experiment. Its name is its project's once, also while it is deleted. An empty `experiment_id` is
    assigned."""

    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "e"

    experiment_id: OptionalIdentifier = ""
    name: DisplayName
    description: Description = ""
    team: Annotated[str, Field(max_length=200)] = ""
    framework: ModelFramework | None = None
    experiment_type: Annotated[str, Field(max_length=100)] = ""
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    random_seed: Seed | None = None
    visibility: Visibility = Visibility.PROJECT
    collaborators: tuple[DisplayName, ...] = Field(default=(), max_length=100)
    tags: Tags = Field(default_factory=dict)
    labels: tuple[Label, ...] = Field(default=(), max_length=64)
    practices: BestPractices = BestPractices()
    sources: RunSources = RunSources()
    template_id: OptionalIdentifier = ""
    """A template of the project: where this says nothing (framework, type, hyperparameters, practices, search space),
    that counts."""
    search_space: SearchSpace = SearchSpace()
    """What its tunings search where they say nothing else."""
    launch: LaunchSpec = LaunchSpec()
    """How its runs are launched."""


class ExperimentCommand(CatalogueCommand):
    experiment_id: Identifier


class UpdateExperiment(ExperimentCommand):
    """Change an experiment; what is left out stays. A tag without a value (null) is taken away."""

    name: DisplayName | None = None
    description: Description | None = None
    team: Annotated[str, Field(max_length=200)] | None = None
    framework: ModelFramework | None = None
    experiment_type: Annotated[str, Field(max_length=100)] | None = None
    hyperparameters: HyperparameterConfig | None = None
    random_seed: Seed | None = None
    visibility: Visibility | None = None
    add_collaborators: tuple[DisplayName, ...] = Field(default=(), max_length=100)
    remove_collaborators: tuple[DisplayName, ...] = Field(default=(), max_length=100)
    tags: dict[ParamKey, Annotated[str, Field(max_length=8_000)] | None] = Field(
        default_factory=dict, max_length=MAX_ENTRIES
    )
    add_labels: tuple[Label, ...] = Field(default=(), max_length=64)
    remove_labels: tuple[Label, ...] = Field(default=(), max_length=64)
    practices: BestPractices | None = None
    sources: RunSources | None = None
    search_space: SearchSpace | None = None
    launch: LaunchSpec | None = None


class SetExperimentStatus(ExperimentCommand):
    """Say how an experiment stands: pause it, resume it, complete it, give it up, archive it."""

    status: ExperimentStatus
    reason: Reason = ""


class DeleteExperiment(ExperimentCommand):
    """Take an experiment out of the lists. It keeps its name, and can be restored."""


class RestoreExperiment(ExperimentCommand):
    """Bring a deleted experiment back."""


class NewRun(Command):
    """What begins a run. An empty `run_id` is assigned. Its experiment may refuse it: then it has failed."""

    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "run"
    subject_from: ClassVar[str] = "run_id"
    key_from: ClassVar[str] = "run_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "r"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (RunAdmitted, RunNotAdmitted)

    run_id: OptionalIdentifier = ""
    experiment_id: OptionalIdentifier = ""
    """Empty: that of the name `experiment`."""
    experiment: OptionalDisplayName = ""
    """The experiment's name, made if there is none of it; empty, with an empty id: ``Default``."""
    name: Annotated[str, Field(max_length=250)] = ""
    parent_run_id: OptionalIdentifier = ""


class CreateRun(NewRun):
    """Begin a run. An empty `run_id` is assigned. Its experiment may refuse it: then it has failed."""

    process: Process | None = None
    """The process that it is, if the platform runs that: its end ends the run."""
    scheduled: bool = False
    """Whether that process has not begun yet."""
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    """Where it has none, the experiment's count; all become parameters."""
    params: dict[ParamKey, ParamValue] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    tags: Tags = Field(default_factory=dict)
    started_at: Timestamp | None = None
    """By the program's clock; when it was decided if left out."""
    reproduces: OptionalIdentifier = ""
    """The run that it does again; empty if none."""


class RunCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "run"
    subject_from: ClassVar[str] = "run_id"
    key_from: ClassVar[str] = "run_id"

    run_id: Identifier


class LogRunData(RunCommand):
    """Parameters and tags of a run. A parameter keeps its first value; a tag without a value (null) is taken away."""

    params: dict[ParamKey, ParamValue] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    tags: dict[ParamKey, Annotated[str, Field(max_length=8_000)] | None] = Field(
        default_factory=dict, max_length=MAX_ENTRIES
    )


class RenameRun(RunCommand):
    name: Annotated[str, Field(min_length=1, max_length=250)]


class EndRun(RunCommand):
    """Say how a run ended; once more, to correct it."""

    status: RunEnd = RunEnd.FINISHED
    reason: Reason = ""
    ended_at: Timestamp | None = None


class ResumeRun(RunCommand):
    """Go on with a run that has ended."""


class DeleteRun(RunCommand):
    """Take a run out of the lists; it can be restored."""


class RestoreRun(RunCommand):
    """Bring a deleted run back."""


class JobLinkCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "joblink"
    subject_from: ClassVar[str] = "job_id"
    key_from: ClassVar[str] = "job_id"

    job_id: Identifier
    run_id: Identifier


class ReportProcessStarted(JobLinkCommand):
    """The process of a run ran before its job was linked to it. The link orders it of itself."""

    node_id: OptionalIdentifier = ""


class ReportProcessEnded(JobLinkCommand):
    """The process of a run has ended before its job was linked to it. The link orders it of itself."""

    status: RunEnd
    reason: Reason = ""
    node_id: OptionalIdentifier = ""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    signal: Annotated[int, Field(ge=1, le=64)] | None = None
    cpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    ended_at: Timestamp
    wall_seconds: Annotated[float, Field(ge=0)] = 0.0
    gpu_seconds: Annotated[float, Field(ge=0)] = 0.0
