"""What a model is asked and answers, beside what it was trained on: counts of values by the bins of the training data.

The bins come from a dataset's statistics and never change for a revision, so counts of all its replicas add up.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier, Timestamp

MAX_TRAINED = 512
"""Most columns that are compared."""

MAX_BINS = 102
"""Most counts of a column: one more than there are edges or kinds, and one of missing values."""

Count = Annotated[int, Field(ge=0, le=1 << 62)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=250)]


class TrainedColumn(Model):
    """A column of the training data, as its values fell into bins. Numbers have `edges`, texts have `kinds`."""

    name: _Text
    edges: tuple[float, ...] = Field(default=(), max_length=MAX_BINS - 2)
    """The upper bounds of all bins but the last, ascending; a value that equals one is below it."""
    kinds: tuple[_Text, ...] = Field(default=(), max_length=MAX_BINS - 2)
    """Values that have a bin of their own; the last bin is for all others."""
    counts: tuple[Count, ...] = Field(min_length=2, max_length=MAX_BINS - 1)
    """How many training values each bin has."""
    missing: Count = 0
    """How many were missing."""

    @model_validator(mode="after")
    def _whole(self) -> TrainedColumn:
        if bool(self.edges) == bool(self.kinds):
            raise ValueError("edges are of numbers and kinds of texts; give one of them")
        if len(self.counts) != len(self.edges or self.kinds) + 1:
            raise ValueError(
                f"counts has {len(self.counts)} entries for {len(self.edges or self.kinds)} bounds; give one more"
            )
        if not sum(self.counts):
            raise ValueError("counts are all 0, so there is nothing to compare with; leave the column out")
        return self


class TrainingData(Model):
    """What a version of a model was trained on, as far as requests are compared with it."""

    dataset: Annotated[str, StringConstraints(max_length=500)]
    """Name and number, such as ``pets/3``."""
    columns: Annotated[tuple[TrainedColumn, ...], Field(min_length=1, max_length=MAX_TRAINED)]


class ColumnCounts(Model):
    """How many values of requests fell into the bins of one column."""

    column: Annotated[int, Field(ge=0, lt=MAX_TRAINED)]
    """Its place among the training data's columns."""
    counts: tuple[Count, ...] = Field(min_length=2, max_length=MAX_BINS)
    """By the column's bins; with one more for missing values where requests may have such."""


class DriftVerdict(StrEnum):
    """What a population stability index says."""

    STABLE = "stable"
    """Up to 0.1."""
    MODERATE = "moderate"
    """Above 0.1."""
    DRIFTED = "drifted"
    """Above 0.2."""
    TOO_FEW = "too_few"
    """There are fewer values than an index needs: it would be high by chance."""
    NOT_COUNTED = "not_counted"
    """No input and no output of the model is known to be this column."""


class ColumnDrift(Model):
    """How far the values of requests are from those of the training data, in one column."""

    column: _Text
    index: float | None = None
    """The population stability index; None where there is no verdict on it."""
    verdict: DriftVerdict
    values: Count = 0
    """How many values of requests were counted, missing ones too."""
    missing: float | None = None
    """The share of them that was missing; None where requests can't have missing values."""
    bins: tuple[Annotated[str, StringConstraints(max_length=260)], ...] = ()
    """Such as ``up to 4.5``, ``cat``, ``others`` or ``missing``."""
    expected: tuple[float, ...] = ()
    """The share of the training values in each of `bins`."""
    observed: tuple[float, ...] = ()
    """The share of the requests' values."""


class DeploymentDrift(Model):
    """What a deployment's model was asked in a time, beside its training data."""

    deployment_id: Identifier
    revision: Annotated[int, Field(ge=0, le=1_000_000_000)]
    dataset: Annotated[str, StringConstraints(max_length=500)] = ""
    """The training data; empty where none is known, `reason` says why."""
    reason: str = ""
    window_start: Timestamp
    window_end: Timestamp
    columns: tuple[ColumnDrift, ...] = ()
    """The highest index first."""
