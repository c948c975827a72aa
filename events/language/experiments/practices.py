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
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least is {self.at_least:g} and at_most {self.at_most:g}; give at_least the smaller")
        return self


class BestPractices(Model):
    """What runs are looked at for when they have ended."""

    metrics: tuple[ParamKey, ...] = Field(default=(), max_length=100)
    """Recommended: what every run should log."""
    checks: Annotated[tuple[ValidationCheck, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _named_once(self) -> BestPractices:
        names = [check.name for check in self.checks]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"checks has {shown(twice)} twice; give each check a name of its own")
        return self


class CheckResult(Model):
    """How a run that has ended does by one of its experiment's practices."""

    name: str
    metric: ParamKey
    passed: bool
    finding: str
    """In words, with the value that was found."""
