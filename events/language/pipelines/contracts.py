"""What the versions of a dataset must be: the contract on its schema, its freshness and its volume; how a schema
changes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.deployments.alerts import AlertChannel
from events.language.pipelines.columns import ColumnName
from events.language.pipelines.formats import Columns
from events.language.pipelines.notifications import MAX_CHANNELS, check_channels


class ContractMode(StrEnum):
    """What a new version's schema may be, compared with the contract's."""

    EXACT = "exact"
    """The same columns, with the same types, in the same order."""
    ADDITIVE = "additive"
    """New columns may come, anywhere."""
    WIDENING = "widening"
    """Besides, a type may become one that holds all the old values, and values may be missing from now on."""
    ANY = "any"
    """Anything. What changed is kept in the history all the same."""


class FreshnessPolicy(Model):
    """How old the newest published version may be."""

    within_seconds: float = Field(ge=1, le=366 * 86_400)
    """From its publication. Beyond it the dataset is stale, which is told once."""


class VolumePolicy(Model):
    """When a version's number of rows is anomalous: when it differs from the median of the versions before it by more
    than `deviations` times their median absolute deviation (MAD). A robust z-score; see Leys et al. 2013,
    doi:10.1016/j.jesp.2013.03.013. An anomaly is told; the version is committed."""

    enabled: bool = True
    """Whether rows are compared."""
    deviations: float = Field(default=5.0, ge=0.1, le=1_000)
    versions: int = Field(default=20, ge=3, le=100)
    """Newest versions that are compared with."""
    least_versions: int = Field(default=5, ge=3, le=100)
    """With fewer there is no judgement."""
    floor: float = Field(default=0.01, ge=0, le=1)
    """The deviation counts as at least this share of the median: tables that never changed have a deviation of 0."""

    @model_validator(mode="after")
    def _reachable(self) -> VolumePolicy:
        if self.least_versions > self.versions:
            raise ValueError(f"least_versions is {self.least_versions}, more than versions, {self.versions}; give less")
        return self


class DatasetContract(Model):
    """What the versions of a dataset must be."""

    mode: ContractMode = ContractMode.ADDITIVE
    columns: Columns = ()
    """The schema. Empty: that of the newest version, so the first one sets it."""
    freshness: FreshnessPolicy | None = None
    volume: VolumePolicy = VolumePolicy()
    notifications: tuple[AlertChannel, ...] = Field(default=(), max_length=MAX_CHANNELS)
    """Who is told when the dataset gets stale, and when a version has far more or fewer rows than those before it."""

    @model_validator(mode="after")
    def _channels_fit(self) -> DatasetContract:
        check_channels(self.notifications)
        return self

    def required(self, newest: Columns) -> tuple[str, ...]:
        """The columns that must have a value in each row of a version. `newest`: those of the newest version."""
        if self.mode not in (ContractMode.EXACT, ContractMode.ADDITIVE):
            return ()
        return tuple(column.name for column in self.columns or newest if not column.nullable)


class SchemaChangeKind(StrEnum):
    """How a column differs from what it was."""

    ADDED = "added"
    REMOVED = "removed"
    RETYPED = "retyped"
    """Its type is another one."""
    NULLABLE = "nullable"
    """Its values may be missing from now on."""
    REQUIRED = "required"
    """Its values are always there from now on."""
    MOVED = "moved"
    """It stands elsewhere among the columns that were there before."""


class SchemaChange(Model):
    """How one column differs from what it was."""

    kind: SchemaChangeKind
    column: ColumnName
    before: Annotated[str, Field(max_length=10_000)] = ""
    """Its type before; empty of one that was added."""
    after: Annotated[str, Field(max_length=10_000)] = ""
    """Its type after; empty of one that was removed."""
    widening: bool = False
    """Whether its new type holds all values of the old one."""
