"""Where the value of a trial's objective comes from, and when a trial that does not promise well is given up."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from events.language.base import Model

MAX_STEP = (1 << 63) - 1
MAX_METRIC = 250
"""Characters of a metric's name: as `events.language.experiments.points.MAX_KEY`, which a language can't import."""

Count = Annotated[int, Field(ge=0, le=1_000_000)]
StepCount = Annotated[int, Field(ge=1, le=MAX_STEP)]
"""Steps, at least one."""


class Take(StrEnum):
    """Which of a metric's points is a trial's value."""

    LAST = "last"
    """The last one, by step."""
    BEST = "best"
    """The best one, by the objective's direction."""
    MIN = "min"
    MAX = "max"


class Objective(Model):
    """The metric whose points are a trial's value. The run that the trial's job makes logs it."""

    metric: Annotated[str, Field(min_length=1, max_length=MAX_METRIC)]
    take: Take = Take.LAST
    """Which of its points counts once the job is complete."""
    every: StepCount = 1
    """Steps from one intermediate value to the next. Of the metric's points the first in each such interval becomes
    one; beyond 1,000 intervals they grow tenfold with each order of magnitude."""


class PruningRule(StrEnum):
    """How it is found that a trial does not promise well."""

    MEDIAN = "median"
    """Its best value so far is worse than the median of the completed trials' values at the same step."""
    ASHA = "asha"
    """Successive halving without waiting (Li et al., 2018): at steps that grow by a factor, a trial goes on if it is
    among the best of those that got there."""
    HYPERBAND = "hyperband"
    """Several of these with different first steps, side by side (Li et al., 2017)."""


_FIELDS = {
    PruningRule.MEDIAN: {"startup_trials", "warmup_steps"},
    PruningRule.ASHA: {"min_steps", "reduction_factor"},
    PruningRule.HYPERBAND: {"min_steps", "max_steps", "reduction_factor"},
}
"""The fields that go with a rule."""


class Pruning(Model):
    """When the platform gives up trials that run. Of one objective alone."""

    rule: PruningRule
    startup_trials: Count | None = None
    """Of median: completed trials that there must be first; 5 if it is left out."""
    warmup_steps: Count | None = None
    """Of median: steps that a trial has in any case; 0 if it is left out."""
    min_steps: StepCount | None = None
    """Of asha and hyperband: the first step at which trials are compared; 1 if it is left out."""
    max_steps: StepCount | None = None
    """Of hyperband: the last step of a trial that is not given up."""
    reduction_factor: Annotated[int, Field(ge=2, le=1_000)] | None = None
    """Of asha and hyperband: one of so many goes on, and has so many times the steps. If it is left out, 4 for asha and
    3 for hyperband, as in Optuna."""

    @model_validator(mode="after")
    def _check(self) -> Pruning:
        goes = _FIELDS[self.rule]
        for name in ("startup_trials", "warmup_steps", "min_steps", "max_steps", "reduction_factor"):
            if name not in goes and getattr(self, name) is not None:
                raise ValueError(f"{name}: does not go with {self.rule}; leave it out, or take {_rules_with(name)}")
        if self.rule is PruningRule.HYPERBAND:
            if self.max_steps is None:
                raise ValueError("max_steps: is missing; hyperband needs the last step of a whole trial")
            if self.max_steps < (self.min_steps or 1):
                raise ValueError(f"max_steps: is {self.max_steps}, below min_steps, {self.min_steps}; exchange them")
        return self


def _rules_with(name: str) -> str:
    return " or ".join(rule.value for rule, fields in _FIELDS.items() if name in fields)
