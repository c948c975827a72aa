"""Commands and events of hyperparameter tuning.

A project's catalogue gives a tuning its name and number, and takes the name back when the tuning is deleted. All else a
tuning decides for itself, as the single writer of its trials.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Command, Event
from events.language.common import (
    Attempt,
    Identifier,
    OptionalDisplayName,
    OptionalIdentifier,
    OptionalProject,
    ProjectName,
    Timestamp,
)
from events.language.experiments.hyperparameters import HyperparameterConfig
from events.language.experiments.tuning_models import (
    AttributeKey,
    Attributes,
    Direction,
    Double,
    EarlyStopping,
    IntermediateValue,
    JsonText,
    Scope,
    Step,
    TrialEnd,
    TrialNumber,
    TrialParameter,
    TrialStatus,
    TuningLimits,
    TuningName,
    TuningNumber,
    TuningStatus,
)
from events.language.experiments.tuning_pruning import Objective
from events.language.experiments.tuning_space import TuningPlan
from events.language.jobs.spec import JobSpec

Directions = Annotated[tuple[Direction, ...], Field(min_length=1, max_length=100)]
Reason = Annotated[str, Field(max_length=500)]


# What the catalogue of a project decides


class TuningPlaceEvent(Event):
    """What a catalogue says of a tuning's place in its project."""

    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "tuning"
    subject_from: ClassVar[str] = "tuning_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"

    project: ProjectName
    tuning_id: Identifier
    number: TuningNumber


class TuningAdmitted(TuningPlaceEvent):
    """The name and the number are the tuning's, which begins with it."""

    begins: ClassVar[bool] = True

    name: str
    directions: Directions
    limits: TuningLimits = TuningLimits()
    early_stopping: EarlyStopping | None = None
    plan: TuningPlan | None = None
    job: JobSpec | None = None
    """What each trial runs as a job of its own; None: programs take trials up."""
    objectives: tuple[Objective, ...] = ()
    """The metrics that the trials' jobs log, one for each direction. Empty: who runs a trial tells its values."""
    experiment_id: OptionalIdentifier = ""
    """The experiment that it is of; empty for none."""
    experiment: str = ""
    """That experiment's name, as it was then: the jobs of trials are told it, so their runs are its."""
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    """That experiment's, as they were then: what the jobs of trials are configured with beside what is searched."""


class TuningReleased(TuningPlaceEvent):
    """The tuning is deleted, and its name is free."""


class TuningPlaceCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "tuning"
    subject_from: ClassVar[str] = "tuning_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"

    project: OptionalProject = ""
    """The command's own (`ce_project`): it may be left out, and no other is taken."""


class DeleteTuning(TuningPlaceCommand):
    """Take a tuning out of the lists, for good. Its name is free for another one; its history stays."""

    tuning_id: Identifier


# What a tuning decides


class TuningEvent(Event):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "tuning"
    subject_from: ClassVar[str] = "tuning_id"
    key_from: ClassVar[str] = "tuning_id"

    tuning_id: Identifier


class TuningCreated(TuningEvent):
    """It takes trials from here on."""

    begins: ClassVar[bool] = True

    project: ProjectName
    number: TuningNumber
    name: str
    directions: Directions
    limits: TuningLimits = TuningLimits()
    early_stopping: EarlyStopping | None = None
    plan: TuningPlan | None = None
    """How the platform searches; None: its clients do."""
    job: JobSpec | None = None
    """What each trial runs as a job of its own; None: programs take trials up."""
    objectives: tuple[Objective, ...] = ()
    """The metrics that the trials' jobs log, one for each direction. Empty: who runs a trial tells its values."""
    experiment_id: OptionalIdentifier = ""
    """The experiment that it is of; empty for none."""
    experiment: str = ""
    """That experiment's name, as it was then: the jobs of trials are told it, so their runs are its."""
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    """That experiment's, as they were then: what the jobs of trials are configured with beside what is searched."""


class TuningStatusSet(TuningEvent):
    """It stands so from here on."""

    status: TuningStatus
    reason: str = ""


class TuningAttributeSet(TuningEvent):
    """It has this attribute."""

    scope: Scope
    name: str
    value: str
    """JSON."""


class TuningDeleted(TuningEvent):
    """It is out of the lists, and changes no more."""


class TrialEvent(TuningEvent):
    number: TrialNumber


class TrialAdded(TrialEvent):
    """There is such a trial from here on: one that waits, that runs, or that has ended elsewhere."""

    status: TrialStatus
    parameters: tuple[TrialParameter, ...] = ()
    objective_values: tuple[Double, ...] = ()
    intermediate: tuple[IntermediateValue, ...] = ()
    user_attributes: dict[str, str] = Field(default_factory=dict)
    system_attributes: dict[str, str] = Field(default_factory=dict)
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None


class TrialProposed(TrialEvent):
    """Its values are chosen. They follow from the plan, the number, and the tuning's first `known_events` events."""

    parameters: tuple[TrialParameter, ...] = ()
    system_attributes: dict[str, str] = Field(default_factory=dict)
    """What the algorithm wants to find again, as JSON."""
    known_events: Annotated[int, Field(ge=1)]
    """How many of the tuning's own events were known when they were chosen."""
    algorithm_version: str
    """What chose them, such as ``optuna 5.0.0``."""


class TrialLaunched(TrialEvent):
    """A job is ordered that runs it."""

    job_id: Identifier
    spec: JobSpec


class TrialStarted(TrialEvent):
    """Somebody works at it from here on."""

    attempt: Attempt = 1
    started_at: Timestamp


class TrialParameterSet(TrialEvent):
    """It tries this value."""

    parameter: TrialParameter


class TrialReported(TrialEvent):
    """It has got so far; a later report of the same step replaces an earlier one."""

    attempt: Attempt = 1
    step: Step
    value: Double


class TrialAttributeSet(TrialEvent):
    """It has this attribute."""

    scope: Scope
    name: str
    value: str
    """JSON."""


class TrialRequeued(TrialEvent):
    """Its process is lost: it waits for another, which is its next attempt. What the lost one reported does not
    count."""

    attempt: Attempt
    """The next one."""
    status: TrialStatus = TrialStatus.REQUESTED
    """How it waits: proposed, if the platform chose its values, which stay."""
    reason: str = ""


class TrialEnded(TrialEvent):
    """It has ended so. It ends once."""

    attempt: Attempt = 1
    status: TrialStatus
    objective_values: tuple[Double, ...] = ()
    reason: str = ""
    cancelled_job: OptionalIdentifier = ""
    """Its job, which is to be cancelled, for the trial is over."""
    ended_at: Timestamp


# Commands


class CreateTuning(TuningPlaceCommand):
    """Make a tuning. Its name is its project's once. An empty `tuning_id` is assigned."""

    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "t"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (TuningCreated,)

    tuning_id: OptionalIdentifier = ""
    name: TuningName
    directions: tuple[Direction, ...] = Field(default=(), max_length=100)
    """One for each objective; empty: one, which is minimized."""
    limits: TuningLimits = TuningLimits()
    early_stopping: EarlyStopping | None = None
    """For one objective alone: of several, none tells whether a trial is better."""
    plan: TuningPlan | None = None
    """What the platform is to search, and how. Left out: the tuning's clients choose the values themselves. Where it
    has no space, that of the experiment counts."""
    job: JobSpec | None = None
    """What is to run each trial, as a job of its own, where the platform searches. It finds the values in its
    environment, and tells how it went. Left out: programs take trials up."""
    objectives: tuple[Objective, ...] = Field(default=(), max_length=100)
    """Which metrics the trials' jobs log, one for each direction: their points are the trials' values. Left out: the
    jobs tell the values themselves."""
    experiment_id: OptionalIdentifier = ""
    """An experiment that it is of. Empty: that of the name `experiment`."""
    experiment: OptionalDisplayName = ""
    """The experiment's name; empty, with an empty id: none."""


class TuningCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "tuning"
    subject_from: ClassVar[str] = "tuning_id"
    key_from: ClassVar[str] = "tuning_id"

    tuning_id: Identifier


class PauseTuning(TuningCommand):
    """Let no new trial begin."""


class ResumeTuning(TuningCommand):
    """Let trials begin again."""


class StopTuning(TuningCommand):
    """End a tuning. Trials that run may still be told."""

    reason: Reason = ""


class SetTuningAttribute(TuningCommand):
    scope: Scope = Scope.USER
    name: AttributeKey
    value: JsonText


class AskTrial(TuningCommand):
    """Add a trial; its number is the next. Left out, it runs at once; requested, it waits to be started; ended, it was
    made elsewhere."""

    status: TrialStatus = TrialStatus.RUNNING
    parameters: tuple[TrialParameter, ...] = Field(default=(), max_length=10_000)
    objective_values: tuple[Double, ...] = Field(default=(), max_length=100)
    intermediate: tuple[IntermediateValue, ...] = Field(default=(), max_length=100_000)
    user_attributes: Attributes = Field(default_factory=dict)
    system_attributes: Attributes = Field(default_factory=dict)
    started_at: Timestamp | None = None
    """When it began; when it was decided if left out."""
    ended_at: Timestamp | None = None


class TrialCommand(TuningCommand):
    number: TrialNumber


class StartTrial(TrialCommand):
    """Take up a trial that waits. Of two who do, the second is told that nothing changed."""


class ProposeTrial(TrialCommand):
    """Say what a requested trial is to try, where the platform searches. The first proposal counts."""

    parameters: tuple[TrialParameter, ...] = Field(default=(), max_length=10_000)
    system_attributes: Attributes = Field(default_factory=dict)
    known_events: Annotated[int, Field(ge=1, le=(1 << 63) - 1)]
    algorithm_version: Annotated[str, Field(max_length=100)]


class SetTrialParameter(TrialCommand):
    """Say what value a trial tries. All trials of a tuning draw a parameter from the same kind of distribution."""

    parameter: TrialParameter


class AttemptCommand(TrialCommand):
    attempt: Attempt | None = None
    """Which process says so; one that is taken for lost is refused. Left out: the one that counts now."""


class ReportTrial(AttemptCommand):
    """Say how far a trial has got."""

    step: Step
    value: Double


class SetTrialAttribute(TrialCommand):
    scope: Scope = Scope.USER
    name: AttributeKey
    value: JsonText


class TellTrial(AttemptCommand):
    """Say how a trial ended: completed, with a value for each objective; pruned, with values or without; failed."""

    status: TrialEnd = TrialEnd.COMPLETED
    objective_values: tuple[Double, ...] = Field(default=(), max_length=100)
    reason: Reason = ""


class RequeueTrial(AttemptCommand):
    """Take a running trial's process for lost: the trial waits for its next attempt."""

    reason: Reason = ""
