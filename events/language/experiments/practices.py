"""What a good run of an experiment has: metrics that it logs, and bounds that they keep."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.common import DisplayName, shown
from events.language.experiments.hyperparameters import ParamKey


class CheckedValue(StrEnum):
    """Which value of a metric is compared."""

    LAST = "last"
    LEAST = "least"
    MOST = "most"


class ValidationCheck(Model):
    """What must hold of a metric when a run has ended. A metric that was not logged fails it."""

    name: DisplayName
    """What it shows, such as ``better than guessing``."""
    metric: ParamKey
    value: CheckedValue = CheckedValue.LAST
    at_least: float | None = None
    at_most: float | None = None
    finite: bool = False
    """Whether a point that is NaN, or a value that is infinite, fails it too."""

    @model_validator(mode="after")
    def _says_something(self) -> ValidationCheck:
        if self.at_least is None and self.at_most is None and not self.finite:
            raise ValueError("says nothing of its metric; give at_least, at_most or finite")
        _check_bounds(self)
        return self


class DataValue(StrEnum):
    """What of a dataset, or of one of its columns, is compared."""

    SAMPLES = "samples"
    """Of the dataset."""
    MISSING = "missing"
    """The share of a column's values that are missing: null, or NaN."""
    DISTINCT = "distinct"
    MEAN = "mean"
    DEVIATION = "deviation"
    LEAST = "least"
    MOST = "most"


class DataCheck(Model):
    """What must hold of the datasets that a run reads. One that is not registered, or of which it is not known, fails
    it; so does a run that reads none."""

    name: DisplayName
    """What it shows, such as ``ages are known``."""
    role: Annotated[str, Field(max_length=250)] = ""
    """Only of datasets that are used for this, such as ``training``; empty: of each."""
    column: Annotated[str, Field(max_length=250)] = ""
    """Empty for `samples`."""
    value: DataValue
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> DataCheck:
        if (self.value is DataValue.SAMPLES) == bool(self.column):
            problem = "samples are of the whole dataset; leave column out" if self.column else "name the column"
            raise ValueError(f"column: {problem}")
        if self.at_least is None and self.at_most is None:
            raise ValueError("says nothing of its value; give at_least or at_most")
        _check_bounds(self)
        return self


def _check_bounds(check: ValidationCheck | DataCheck) -> None:
    """Raises ValueError for bounds that leave no value."""
    if check.at_least is not None and check.at_most is not None and check.at_least > check.at_most:
        raise ValueError(f"at_least is {check.at_least:g} and at_most {check.at_most:g}; give at_least the smaller")


class BestPractices(Model):
    """What runs are looked at for when they have ended."""

    metrics: tuple[ParamKey, ...] = Field(default=(), max_length=100)
    """Recommended: what every run should log."""
    checks: Annotated[tuple[ValidationCheck, ...], Field(max_length=100)] = ()
    data_checks: Annotated[tuple[DataCheck, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _named_once(self) -> BestPractices:
        for field, checks in (("checks", self.checks), ("data_checks", self.data_checks)):
            names = [str(check.name) for check in checks]
            if twice := next((name for name in names if names.count(name) > 1), ""):
                raise ValueError(f"{field} has {shown(twice)} twice; give each check a name of its own")
        return self


class CheckResult(Model):
    """How a run that has ended does by one of its experiment's practices."""

    name: str
    metric: Annotated[str, Field(max_length=250)] = ""
    """Empty for a check of data."""
    passed: bool
    finding: str
    """In words, with the value that was found."""
    column: Annotated[str, Field(max_length=250)] = ""
    """Of a check of data; empty for the whole dataset."""
