"""Commands and events of datasets. One aggregate decides all of them: the dataset, as one writer of its versions.

A version is committed, which is the only decision about it, and is then published or, if that can't be, abandoned.
There is at most one committed version that is not published yet.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from events.language.base import Command, Event
from events.language.common import Identifier, ProjectName, Timestamp
from events.language.pipelines.commits import (
    AttemptNumber,
    CommitRequest,
    DatasetLabel,
    DatasetVersionNumber,
    StageKey,
)
from events.language.pipelines.contracts import DatasetContract, SchemaChange
from events.language.pipelines.formats import Columns
from events.language.pipelines.lineage import (
    MAX_LINEAGE_INPUTS,
    LineageEdges,
    LineageInput,
    Location,
    OptionalVersion,
)
from events.language.pipelines.quality import MAX_RULES, DataQualityRule, RuleOutcome

Reason = Annotated[str, StringConstraints(max_length=1_000)]


class CommitRefusal(StrEnum):
    """Why an output does not become a version."""

    STALE = "stale"
    """A newer attempt of the stage asks, or the stage has its version already."""
    CONTRACT = "contract"
    """Its schema breaks the dataset's contract."""
    RULES = "rules"
    """The dataset's rules, or the columns that its contract requires, are others than the attempt knew; another attempt
    evaluates them."""
    QUALITY = "quality"
    """A rule is breached that stops a stage."""
    DATASET = "dataset"
    """There can be no such dataset in the pipeline's project."""
    BUSY = "busy"
    """Too many wait already for a version that is not published."""
    WITHDRAWN = "withdrawn"
    """Its run was stopped before the dataset had decided."""


class DatasetCommand(Command):
    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline_dataset"
    subject_from: ClassVar[str] = "dataset_id"
    key_from: ClassVar[str] = "dataset_id"

    dataset_id: Identifier
    """Its name in ``local/default``; elsewhere the name and the ending of the project's ids."""


class DefineQualityRule(DatasetCommand):
    """Have all versions of a dataset checked by a rule, whichever pipeline makes them; or change the rule of that id.
    There need not be such a dataset yet."""

    rule: DataQualityRule


class SetContract(DatasetCommand):
    """Say what the versions of a dataset must be. There need not be such a dataset yet."""

    contract: DatasetContract


class AbandonVersion(DatasetCommand):
    """Give up a committed version that can't be published, so that the next one can be committed. What a worker has
    published of it stays where it is."""

    dataset_version: DatasetVersionNumber
    reason: Reason = ""


class RecordLineage(DatasetCommand):
    """Say that a job outside of the platform has written a dataset, and what of. It takes the place of what was
    recorded of the same job and dataset before."""

    location: Location = ""
    """Where the dataset is."""
    job: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    """The job outside, with its namespace: ``airflow/daily.load``."""
    run: Annotated[str, StringConstraints(max_length=200)] = ""
    """Its run."""
    columns: Columns = ()
    """The dataset's schema, if it is known."""
    inputs: Annotated[tuple[LineageInput, ...], Field(max_length=MAX_LINEAGE_INPUTS)] = ()
    lineage: LineageEdges = LineageEdges()


class DatasetEvent(Event):
    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline_dataset"
    subject_from: ClassVar[str] = "dataset_id"
    key_from: ClassVar[str] = "dataset_id"

    dataset_id: Identifier


class DatasetDefined(DatasetEvent):
    """There is this dataset from here on."""

    begins: ClassVar[bool] = True

    project: ProjectName
    name: DatasetLabel
    location: Location = ""
    """Where its first version was written; empty if it has none yet."""


class QualityRuleDefined(DatasetEvent):
    """The dataset has this rule from here on."""

    rule: DataQualityRule
    revision: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """How often the dataset's rules have been changed."""


class ContractSet(DatasetEvent):
    """The dataset's versions are held to this contract from here on."""

    contract: DatasetContract


class OfStage(DatasetEvent):
    """What becomes of the output of one attempt of a stage."""

    pipeline_id: Identifier
    run_id: Identifier
    stage_id: StageKey
    attempt: AttemptNumber


class CommitHeld(OfStage):
    """The output waits until the version before it is published."""

    request: CommitRequest


class VersionCommitted(OfStage):
    """The output is this version from here on. It is to be published."""

    dataset_version: DatasetVersionNumber
    request: CommitRequest


class CommitRefused(OfStage):
    """The output does not become a version."""

    cause: CommitRefusal
    reason: Reason
    changes: tuple[SchemaChange, ...] = Field(default=(), max_length=100)
    """How its schema breaks the contract; the first 100."""
    dataset_version: OptionalVersion = 0
    """The version that the stage has already."""


class VersionPublished(OfStage):
    """The version is where readers find it."""

    dataset_version: DatasetVersionNumber
    location: Location = ""


class VersionAbandoned(OfStage):
    """The version is not published and will not be."""

    dataset_version: DatasetVersionNumber
    reason: Reason = ""


class SchemaChanged(DatasetEvent):
    """A version has another schema than the one before it; the first has none before it."""

    dataset_version: DatasetVersionNumber
    schema_version: DatasetVersionNumber
    """Which schema of the dataset it is; the first is 1."""
    columns: Columns
    changes: tuple[SchemaChange, ...] = Field(default=(), max_length=4_000)


class QualityEvaluated(DatasetEvent):
    """Rules were evaluated on an output."""

    pipeline_id: Identifier
    run_id: Identifier
    stage_id: StageKey
    attempt: AttemptNumber
    dataset_version: OptionalVersion = 0
    """The version that the output became; 0 if it became none."""
    outcomes: Annotated[tuple[RuleOutcome, ...], Field(min_length=1, max_length=2 * MAX_RULES)]


class DatasetStale(DatasetEvent):
    """The newest published version is older than the contract allows."""

    dataset_version: DatasetVersionNumber
    published_at: Timestamp
    within_seconds: float


class VolumeAnomaly(DatasetEvent):
    """A version has far more or fewer rows than those before it."""

    dataset_version: DatasetVersionNumber
    rows: Annotated[int, Field(ge=0)]
    median: float
    """Of the rows of the versions before it."""
    deviation: float
    """Their median absolute deviation, or the contract's floor."""


class SubscriberAdded(DatasetEvent):
    """A pipeline is told of the dataset's versions from here on."""

    pipeline_id: Identifier


class SubscriberRemoved(DatasetEvent):
    """A pipeline is told no more."""

    pipeline_id: Identifier


class SubscriberNotified(DatasetEvent):
    """A pipeline is told of a version, which is published."""

    pipeline_id: Identifier
    dataset_version: DatasetVersionNumber


class LineageRecorded(DatasetEvent):
    """A job outside has written the dataset."""

    location: Location = ""
    job: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    run: Annotated[str, StringConstraints(max_length=200)] = ""
    columns: Columns = ()
    inputs: Annotated[tuple[LineageInput, ...], Field(max_length=MAX_LINEAGE_INPUTS)] = ()
    lineage: LineageEdges = LineageEdges()
