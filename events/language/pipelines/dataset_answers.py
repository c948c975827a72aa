"""Datasets, their versions, quality and lineage as queries answer them; tables have these fields as columns."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, ProjectName, Timestamp
from events.language.pipelines.commits import AppliedTransformation
from events.language.pipelines.contracts import DatasetContract, SchemaChange
from events.language.pipelines.formats import Columns
from events.language.pipelines.lineage import LineageEdges, LineageInput
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.quality import DataQualityRule, QualityRuleType, QualitySeverity, RuleOutcome

_Number = Annotated[int, Field(ge=0, lt=1 << 31)]
_Count = Annotated[int, Field(ge=0)]


class DataVersionStatus(StrEnum):
    """How far a version of a dataset has got."""

    COMMITTED = "committed"
    """It is decided, and not yet where readers find it."""
    PUBLISHED = "published"
    ABANDONED = "abandoned"
    """It was given up."""


class DefinedRule(Model):
    """A rule that all versions of a dataset are checked by."""

    rule: DataQualityRule
    revision: _Number
    """Outcomes of it name this number."""


class Dataset(Model):
    """A dataset that pipelines write, or that lineage tells of."""

    dataset_id: Identifier
    project: ProjectName
    name: str
    location: str = ""
    """Where its data is; empty if nothing was published yet."""
    version: _Number = 0
    """The newest published version; 0: none."""
    committed: _Number = 0
    """The newest version. It waits to be published if it is not `version` and was not abandoned."""
    pipeline_id: str = ""
    """What made the newest published version."""
    run_id: str = ""
    rows: _Count = 0
    """Of the newest published version, as `bytes` and `columns`."""
    bytes: _Count = 0
    columns: Columns = ()
    schema_version: _Number = 0
    quality_score: float | None = None
    """Of the newest evaluation: the mean of its rules' pass rates. Missing if no rule was evaluated."""
    contract: DatasetContract = DatasetContract()
    rules: tuple[DefinedRule, ...] = ()
    stale: bool = False
    """Whether the newest published version is older than the contract allows."""
    anomalous: bool = False
    """Whether the newest published version has far more or fewer rows than those before it."""
    subscribers: tuple[str, ...] = ()
    """Pipelines that are told of its versions."""
    created_at: Timestamp
    updated_at: Timestamp
    published_at: Timestamp | None = None


class DataVersion(Model):
    """A version of a dataset: who made it, of what, and how good it is."""

    dataset_id: Identifier
    version: _Number
    project: ProjectName
    status: DataVersionStatus
    reason: str = ""
    """Why it was abandoned."""
    pipeline_id: str
    pipeline_version: _Number
    run_id: str
    stage_id: str
    attempt: _Number
    rows: _Count
    bytes: _Count
    quarantined: _Count = 0
    """Rows that rules have set aside."""
    columns: Columns = ()
    location: str = ""
    quality_score: float | None = None
    outcomes: tuple[RuleOutcome, ...] = ()
    inputs: tuple[LineageInput, ...] = ()
    lineage: LineageEdges = LineageEdges()
    transformations: tuple[AppliedTransformation, ...] = ()
    median_rows: float | None = None
    """Of an anomaly: the median of the versions before it."""
    committed_at: Timestamp
    published_at: Timestamp | None = None


class DataManifest(Model):
    """The files of a version."""

    dataset_id: Identifier
    version: _Number
    manifest: CommitManifest
    quarantine: CommitManifest | None = None


class DataSchema(Model):
    """A schema that a dataset has had, from a version on."""

    dataset_id: Identifier
    schema_version: _Number
    version: _Number
    """The first version that has it."""
    columns: Columns = ()
    changes: tuple[SchemaChange, ...] = ()
    """From the schema before it."""
    changed_at: Timestamp


class QualityCheck(Model):
    """What came of one rule in one evaluation."""

    run_id: str
    stage_id: str
    attempt: _Number
    rule_id: str
    revision: _Number
    """Of a dataset's own rule; 0 of a rule of the stage."""
    pipeline_id: str
    dataset_id: str = ""
    """Empty if the stage failed before its output asked to become a version."""
    version: _Number = 0
    """The version that the output became; 0: none."""
    type: QualityRuleType
    severity: QualitySeverity
    threshold: float
    rows: _Count
    passed: _Count
    failed: _Count
    pass_rate: float
    breached: bool
    stops: bool
    quarantined: _Count = 0
    evaluated_at: Timestamp


class RuleRecord(Model):
    """How a rule has done on a dataset so far."""

    dataset_id: Identifier
    rule_id: str
    evaluations: _Count = 0
    breaches: _Count = 0
    failed: _Count = 0
    """Rows that failed, of all evaluations."""
    pass_rate: float = 1.0
    """At the last evaluation."""
    evaluated_at: Timestamp


class LineageSource(Model):
    """What the newest version of a dataset, or what a job outside has told, is computed from."""

    dataset_id: Identifier
    origin: str
    """The job outside; empty: the dataset's newest published version."""
    project: ProjectName
    version: _Number = 0
    """That version; 0 of a job outside."""
    pipeline_id: str = ""
    run_id: str = ""
    stage_id: str = ""
    columns: Columns = ()
    """Of a job outside: the schema that it told."""
    sources: tuple[str, ...] = ()
    """The ids of the datasets that it is computed from."""
    inputs: tuple[LineageInput, ...] = ()
    lineage: LineageEdges = LineageEdges()
    updated_at: Timestamp


class DataNode(Model):
    """A dataset in a lineage, or one of its columns."""

    dataset_id: Identifier
    column: str = ""
    """Empty: the dataset as a whole."""
    version: _Number = 0
    """The version that is meant; 0: no version of it is known."""
    label: str = ""
    """Its name, or where it is."""
    depth: _Number = 0
    """Steps from where the lineage begins."""


class DataEdge(Model):
    """One step of a lineage."""

    source: Identifier
    source_column: str = ""
    source_version: _Number = 0
    target: Identifier
    target_column: str = ""
    target_version: _Number = 0
    pipeline_id: str = ""
    """What computes it; a job outside is in `job`."""
    run_id: str = ""
    stage_id: str = ""
    job: str = ""
    unresolved: str = ""
    """Why the step is known for the datasets and not for their columns; empty if it is known, or columns were not asked
    for."""
    depth: _Number = 0
    """Of the node that is further away."""
