"""Versions of datasets, what runs read of them, and the edges of lineage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Command, Event, Model
from events.language.common import (
    DisplayName,
    Identifier,
    OptionalIdentifier,
    OptionalProject,
    ProjectName,
    Timestamp,
)
from events.language.experiments.commands import RunCommand
from events.language.experiments.events import RunEvent
from events.language.experiments.hyperparameters import ParamKey, ParamValue
from events.language.experiments.models import MAX_INPUTS, Description, RunInput, Tags
from events.language.experiments.registry.events import Check, Finding
from events.language.experiments.registry.models import VersionNumber
from events.language.objects import ObjectRef

MAX_COLUMNS = 2_000
MAX_FREQUENT = 100
"""Most values of a column that are counted one by one."""

MAX_EDGES = 50
"""Most bounds of a column's bins."""

MAX_NODE_BYTES = 900
"""Most of a dataset's name and digest in lineage: what a dataset and its parent are called is one key of an index."""

OptionalDigest = Annotated[str, StringConstraints(max_length=128)]
Source = Annotated[str, StringConstraints(max_length=2_000)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class DatasetFormat(StrEnum):
    """How a dataset's files are to be read."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"
    ARROW = "arrow"
    TFRECORD = "tfrecord"
    IMAGES = "images"
    TEXT = "text"
    OTHER = "other"


class DatasetStatus(StrEnum):
    """Whether a dataset's files are those that were registered."""

    EXTERNAL = "external"
    """They are elsewhere: the platform can't look at them."""
    PENDING = "pending"
    VERIFIED = "verified"
    DAMAGED = "damaged"


class ColumnStatistics(Model):
    """What the values of a column are like."""

    count: Count | None = None
    """Of values that are there."""
    nulls: Count | None = None
    """Of values that are missing: null, or NaN."""
    distinct: Count | None = None
    """How many different values there are; of many it may be an estimate."""
    mean: float | None = None
    """Of numbers, and of truth values, which are 0 and 1."""
    deviation: Annotated[float, Field(ge=0)] | None = None
    """Standard deviation."""
    least: float | None = None
    most: float | None = None
    frequent: dict[ParamKey, Count] = Field(default_factory=dict, max_length=MAX_FREQUENT)
    """How often values occur that do so often, in a column that has few; the others are what is left of `count`."""
    edges: tuple[float, ...] = Field(default=(), max_length=MAX_EDGES)
    """Of numbers: upper bounds of bins, ascending, such as deciles. A value that equals one is below it. What is above
    the last has a bin too."""
    bins: tuple[Count, ...] = Field(default=(), max_length=MAX_EDGES + 1)
    """How many values each bin has: one more than there are edges."""

    @model_validator(mode="after")
    def _in_order(self) -> ColumnStatistics:
        if any(left >= right for left, right in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges are not in ascending order without repeats; sort them, and join equal ones")
        if len(self.bins) != (len(self.edges) + 1 if self.edges else 0):
            raise ValueError(
                f"bins has {len(self.bins)} entries for {len(self.edges)} edges; give one more than there are edges"
            )
        if self.count is not None and sum(self.bins) > self.count:
            raise ValueError(
                f"bins sum to {sum(self.bins)}, and count is {self.count}; count all values that are there"
            )
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least is {self.least:g} and most {self.most:g}; give least the smaller one")
        if self.count is not None and (named := sum(self.frequent.values())) > self.count:
            raise ValueError(f"frequent sums to {named}, and count is {self.count}; count all values that are there")
        return self


class Preprocessing(Model):
    """A step that made the data what it is."""

    name: DisplayName
    parameters: dict[ParamKey, ParamValue] = Field(default_factory=dict, max_length=250)


class _DatasetContent(Model):
    """What a version of a dataset is. It never changes."""

    bundle: ObjectRef | None = None
    """Managed by the platform: the manifest of its files, in the object store before the version is made."""
    digest: OptionalDigest = ""
    """External: what tells its content from others. Of a managed one it is the bundle's."""
    source: Source = ""
    """Where it is, or came from: a URI or a path."""
    data_format: DatasetFormat = DatasetFormat.OTHER
    samples: Count | None = None
    features: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    size_bytes: Count | None = None
    """Of an external one; those of a managed one are counted."""
    splits: dict[ParamKey, Count] = Field(default_factory=dict, max_length=100)
    """Name (``train``, ``validation``, ``test``) → samples; together they are `samples`."""
    columns: dict[ParamKey, Annotated[str, Field(max_length=200)]] = Field(default_factory=dict, max_length=MAX_COLUMNS)
    """The schema: name → type."""
    statistics: dict[ParamKey, ColumnStatistics] = Field(default_factory=dict, max_length=MAX_COLUMNS)
    """By column."""
    preprocessing: tuple[Preprocessing, ...] = Field(default=(), max_length=100)
    """In their order."""
    parents: tuple[Identifier, ...] = Field(default=(), max_length=100)
    """Ids of the versions that it was made of."""
    source_run_id: OptionalIdentifier = ""
    """The run that made it."""


class DatasetSpec(_DatasetContent):
    """What a version of a dataset is, as it is registered."""

    @model_validator(mode="after")
    def _fits_together(self) -> DatasetSpec:
        if self.bundle is not None and self.digest not in ("", self.bundle.digest):
            raise ValueError("digest differs from that of bundle; leave it out")
        if self.bundle is None and not self.digest:
            raise ValueError("digest is empty; give the digest of the external data, or a bundle")
        if self.bundle is not None and self.size_bytes is not None:
            raise ValueError("size_bytes of a bundle is counted; leave it out")
        if self.splits:
            total = sum(self.splits.values())
            if self.samples is None:
                raise ValueError(f"splits sum to {total}, and samples is missing; give samples too")
            if total != self.samples:
                raise ValueError(f"splits sum to {total}, and samples is {self.samples}; make them equal")
        if self.columns and (stray := next((name for name in self.statistics if name not in self.columns), "")):
            raise ValueError(f"statistics has {stray!r}, which columns has not; name the same columns")
        if self.columns and self.features is not None and self.features > len(self.columns):
            raise ValueError(f"features is {self.features}, and columns has {len(self.columns)}; name all columns")
        return self


class DatasetVersion(_DatasetContent):
    """A version of a dataset, as queries tell of it."""

    version_id: Identifier
    project: ProjectName
    name: DisplayName
    number: VersionNumber
    status: DatasetStatus
    reason: str = ""
    """Why it is damaged."""
    description: Description = ""
    tags: Tags = Field(default_factory=dict)
    files: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """0 until they were looked at."""
    created_by: str
    created_at: Timestamp
    updated_at: Timestamp
    checked_at: Timestamp | None = None


class DatasetEvent(Event):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "dataset"
    subject_from: ClassVar[str] = "version_id"
    decided_by: ClassVar[str] = "datasets"
    key_from: ClassVar[str] = "project"

    project: ProjectName
    version_id: Identifier


class DatasetRegistered(DatasetEvent):
    """There is such a version from here on."""

    begins: ClassVar[bool] = True

    name: DisplayName
    number: VersionNumber
    spec: DatasetSpec
    made_of: tuple[str, ...] = ()
    """Its parents as lineage names them: ``name@digest``."""
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)


class DatasetCheckRequested(DatasetEvent):
    """Its files are to be looked at once more."""

    check: Check


class DatasetChecked(DatasetEvent):
    """Each of its files was read and compared with its digest."""

    check: Check
    intact: bool
    reason: str = ""
    files: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    size_bytes: Count = 0

    def refusal(self) -> str:
        return self.reason


class DatasetCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "dataset"
    subject_from: ClassVar[str] = "version_id"
    decided_by: ClassVar[str] = "datasets"
    key_from: ClassVar[str] = "project"

    project: OptionalProject = ""
    """The command's own (`ce_project`): it may be left out, and no other is taken."""


class RegisterDataset(DatasetCommand):
    """Make a version of a dataset, of the next number. Content that the dataset has already is refused."""

    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "ds"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (DatasetChecked,)

    version_id: OptionalIdentifier = ""
    name: DisplayName
    spec: DatasetSpec
    description: Description = ""
    tags: Tags = Field(default_factory=dict)


class CheckDataset(DatasetCommand):
    """Have the files of a managed one looked at once more."""

    version_id: Identifier


class ReportDatasetChecked(DatasetCommand):
    """What its files are like. The platform's own worker says it."""

    version_id: Identifier
    check: Check
    intact: bool
    reason: Finding = ""
    files: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    size_bytes: Count = 0


# What runs read


class LogInputs(RunCommand):
    """Say what a run reads."""

    inputs: Annotated[tuple[RunInput, ...], Field(min_length=1, max_length=MAX_INPUTS)]


class InputsLogged(RunEvent):
    """It reads these."""

    inputs: tuple[RunInput, ...]


# Lineage


def dataset_node(name: str, digest: str) -> str:
    """How lineage names a dataset: by its content, whether it is registered or not."""
    return f"{name}@{digest}"


class NodeKind(StrEnum):
    """What lineage is about."""

    EXPERIMENT = "experiment"
    RUN = "run"
    JOB = "job"
    DATASET = "dataset"
    CHECKPOINT = "checkpoint"
    MODEL_VERSION = "model_version"
    LOGGED_MODEL = "logged_model"


class LineageEdge(Model):
    """One thing that another was made of."""

    project: ProjectName
    source_kind: NodeKind
    source: str
    """Id; of a dataset ``name@digest``."""
    target_kind: NodeKind
    target: str
    relation: str
    """How the target came of the source, such as ``input`` or ``fine_tuned``."""
    began_at: Timestamp


class LineageNode(Model):
    """A thing in a lineage."""

    kind: NodeKind
    id: str
    label: str = ""
    """What people call it, such as ``digits/3``; empty if it has no name."""
    depth: Annotated[int, Field(ge=0, le=100)]
    """Steps from the one that was asked for."""
