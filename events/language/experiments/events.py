"""Events of experiments, of their runs, and of the jobs that runs are part of."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Event
from events.language.common import (
    Attempt,
    DisplayName,
    Identifier,
    OptionalIdentifier,
    ProjectName,
    TaskNumber,
    Timestamp,
)
from events.language.experiments.enums import ExperimentStatus, ModelFramework, RunStatus, Visibility
from events.language.experiments.hyperparameters import HyperparameterConfig
from events.language.experiments.launch_spec import LaunchSpec
from events.language.experiments.models import Process, RunNumber, RunSources, Seed
from events.language.experiments.practices import BestPractices
from events.language.experiments.search_space import SearchSpace
from events.language.jobs.spec import JobSpec

# What the catalogue of a project decides


class CatalogueEvent(Event):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "experiment"
    subject_from: ClassVar[str] = "experiment_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"

    project: ProjectName
    experiment_id: Identifier


class ExperimentCreated(CatalogueEvent):
    """There is such an experiment from here on, as a draft."""

    begins: ClassVar[bool] = True

    name: DisplayName
    description: str = ""
    team: str = ""
    framework: ModelFramework | None = None
    experiment_type: str = ""
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    random_seed: Seed | None = None
    visibility: Visibility
    collaborators: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    practices: BestPractices = BestPractices()
    template_id: OptionalIdentifier = ""
    """The template that it was made of; what that gave is in the other fields."""
    template_version: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    sources: RunSources = RunSources()
    search_space: SearchSpace = SearchSpace()
    launch: LaunchSpec = LaunchSpec()


class ExperimentUpdated(CatalogueEvent):
    """These parts of it are so from here on; what is left out stays, and a tag that is null is gone."""

    name: DisplayName | None = None
    description: str | None = None
    team: str | None = None
    framework: ModelFramework | None = None
    experiment_type: str | None = None
    hyperparameters: HyperparameterConfig | None = None
    random_seed: Seed | None = None
    visibility: Visibility | None = None
    collaborators: tuple[str, ...] = ()
    """All that it has now."""
    tags: dict[str, str | None] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """All that it has now."""
    practices: BestPractices | None = None
    sources: RunSources | None = None
    search_space: SearchSpace | None = None
    launch: LaunchSpec | None = None


class ExperimentStatusSet(CatalogueEvent):
    """It stands so from here on."""

    status: ExperimentStatus
    reason: str = ""


class ExperimentDeleted(CatalogueEvent):
    """It is out of the lists."""


class ExperimentRestored(CatalogueEvent):
    """It is in the lists again."""


class EnrolmentEvent(Event):
    """What a catalogue says to a run that asks for a place in an experiment."""

    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "run"
    subject_from: ClassVar[str] = "run_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"
    begins: ClassVar[bool] = True

    project: ProjectName
    run_id: Identifier


class RunEnrolled(EnrolmentEvent):
    """The experiment takes the run."""

    experiment_id: Identifier
    number: RunNumber
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    """The experiment's."""
    random_seed: Seed | None = None
    """The experiment's."""
    sources: RunSources = RunSources()
    """The experiment's."""
    launches: bool = False
    """Whether it waits to be launched."""


class RunRefused(EnrolmentEvent):
    """No experiment takes the run."""

    reason: str


# What a run decides


class RunEvent(Event):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "run"
    subject_from: ClassVar[str] = "run_id"
    key_from: ClassVar[str] = "run_id"

    run_id: Identifier


class RunCreated(RunEvent):
    """A run begins, and asks its project's catalogue for its place."""

    begins: ClassVar[bool] = True

    project: ProjectName
    experiment_id: OptionalIdentifier = ""
    experiment: str = ""
    """The name of the experiment that it is to be part of; empty where the id says it."""
    name: str = ""
    parent_run_id: OptionalIdentifier = ""
    process: Process | None = None
    status: RunStatus
    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    started_at: Timestamp
    reproduces: OptionalIdentifier = ""
    launches: bool = False
    """Whether it is to be launched once it is admitted."""
    job: JobSpec | None = None
    """What it then runs; None: what its experiment says."""


class RunAdmitted(RunEvent):
    """It is this experiment's run of this number; the experiment gave it the rest."""

    experiment_id: Identifier
    number: RunNumber
    params: dict[str, str] = Field(default_factory=dict)
    sources: RunSources = RunSources()


class RunNotAdmitted(RunEvent):
    """No experiment takes it, so it has failed."""

    reason: str

    def refusal(self) -> str:
        return self.reason


class RunDataLogged(RunEvent):
    """It has these parameters and tags. A tag that is null is gone."""

    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str | None] = Field(default_factory=dict)


class RunRenamed(RunEvent):
    name: str


class RunStarted(RunEvent):
    """Its process runs, or it goes on after it had ended."""

    node_id: OptionalIdentifier = ""


class RunEnded(RunEvent):
    """It ended so; once more, if that was corrected."""

    status: RunStatus
    reason: str = ""
    ended_at: Timestamp


class RunProcessEnded(RunEvent):
    """Its process is gone."""

    node_id: OptionalIdentifier = ""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    signal: Annotated[int, Field(ge=1, le=64)] | None = None
    cpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    wall_seconds: Annotated[float, Field(ge=0)] = 0.0
    """From its start to its end."""
    gpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    """The same for each GPU that it was given."""


class RunDeleted(RunEvent):
    """It is out of the lists."""


class RunRestored(RunEvent):
    """It is in the lists again."""


# Jobs that runs are part of


class JobLinkEvent(Event):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "joblink"
    subject_from: ClassVar[str] = "job_id"
    key_from: ClassVar[str] = "job_id"

    job_id: Identifier
    run_id: Identifier


class JobLinked(JobLinkEvent):
    """A run is a process of this job: of this task and attempt."""

    begins: ClassVar[bool] = True

    task: TaskNumber = 0
    attempt: Attempt = 1
    scheduled: bool = False
    """Whether its client has still to submit the job."""
    overdue: bool = False
    """Whether nothing was heard of the job for an hour, so that it is asked for again. If there is none, the run has
    failed."""


class LinkedProcessStarted(JobLinkEvent):
    """The process of this run runs."""

    node_id: OptionalIdentifier = ""


class LinkedProcessEnded(JobLinkEvent):
    """The process of this run is gone, or will never be."""

    status: RunStatus
    """What a run is that its program did not end."""
    reason: str = ""
    node_id: OptionalIdentifier = ""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    signal: Annotated[int, Field(ge=1, le=64)] | None = None
    cpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    ended_at: Timestamp
    wall_seconds: Annotated[float, Field(ge=0)] = 0.0
    gpu_seconds: Annotated[float, Field(ge=0)] = 0.0
