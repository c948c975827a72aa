"""What a tuning's own engine searches: an algorithm, and a space of hyperparameters with conditions."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier, shown
from events.language.experiments.models import Seed
from events.language.experiments.tuning_pruning import Pruning

MAX_DIMENSIONS = 1_000
MAX_CHOICES = 10_000
EXACT = 1 << 53
"""Whole numbers below it are doubles without loss."""


class TuningAlgorithm(StrEnum):
    """How the next values are chosen."""

    GRID = "grid"
    """Each combination once, in order."""
    RANDOM = "random"
    TPE = "tpe"
    """Tree-structured Parzen estimator (Bergstra et al., 2011), over all parameters together (``multivariate``,
    ``group``): Bayesian optimization that takes conditions."""
    NSGA2 = "nsga2"
    """A genetic algorithm for several objectives (Deb et al., 2002)."""
    GP = "gp"
    """Bayesian optimization by a Gaussian process: for few trials that cost much. Needs the extra ``gp``."""
    CMAES = "cmaes"
    """Covariance matrix adaptation (Hansen, 2016), over the numbers that always count; what else there is comes by
    chance. Needs the extra ``cmaes``."""


LEARNING = (TuningAlgorithm.TPE, TuningAlgorithm.GP, TuningAlgorithm.CMAES)
"""Algorithms that learn from trials that they have not proposed."""

MAX_CMAES = 100
"""Most numbers that covariance matrix adaptation searches."""


class DimensionKind(StrEnum):
    """What a hyperparameter's values are."""

    FLOAT = "float"
    INT = "int"
    CATEGORICAL = "categorical"


Choice = Annotated[str, StringConstraints(max_length=1_000), Field(examples=['"adam"'])]
"""JSON of a text, a number, true, false or null."""

DimensionName = Annotated[str, StringConstraints(min_length=1, max_length=250)]


class Condition(Model):
    """When a dimension counts: as soon as another one, which stands before it, has one of these values."""

    name: DimensionName
    values: tuple[Choice, ...] = Field(min_length=1, max_length=MAX_CHOICES)

    @model_validator(mode="after")
    def _check(self) -> Condition:
        _check_scalars("values", self.values)
        return self


class Dimension(Model):
    """A hyperparameter, and what it may be."""

    name: DimensionName
    """As the program calls it; a dotted path names a field of `HyperparameterConfig`."""
    kind: DimensionKind
    low: float | None = None
    """Of a number: the least."""
    high: float | None = None
    """Of a number: the greatest."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Of a number: from one to the next, from `low` on. Whole numbers have 1 if it is left out."""
    log: bool = False
    """Whether each order of magnitude counts alike, instead of each unit."""
    choices: tuple[Choice, ...] = Field(default=(), max_length=MAX_CHOICES)
    """Of a categorical one."""
    when: Condition | None = None
    """Left out: it always counts."""

    @model_validator(mode="after")
    def _check(self) -> Dimension:
        if self.kind is DimensionKind.CATEGORICAL:
            self._check_choices()
        else:
            self._check_range()
        return self

    def _check_choices(self) -> None:
        if not self.choices:
            raise ValueError("choices: is empty; give at least one value")
        _check_scalars("choices", self.choices)
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("choices: has a value twice; leave one out")
        if self.low is not None or self.high is not None or self.step is not None or self.log:
            raise ValueError("low, high, step and log go with numbers; leave them out, or set kind to float or int")

    def _check_range(self) -> None:
        low, high = self.low, self.high
        if self.choices:
            raise ValueError("choices: goes with kind categorical; give low and high")
        if low is None or high is None:
            raise ValueError(f"{'low' if low is None else 'high'}: is missing; numbers have both bounds")
        if low > high:
            raise ValueError(f"low: is {low:g}, which is above high, {high:g}; exchange them")
        if self.log and low <= 0:
            raise ValueError(f"low: is {low:g}; a logarithmic range begins above 0")
        if self.log and self.step is not None:
            raise ValueError("step: goes without log; leave one out")
        if self.kind is DimensionKind.INT:
            for name, bound in (("low", low), ("high", high), ("step", self.step)):
                if bound is not None and (bound != math.floor(bound) or abs(bound) > EXACT):
                    raise ValueError(f"{name}: is {bound!r}; an int has whole numbers of at most 2^53")


class TuningPlan(Model):
    """A search that the platform's own engine makes."""

    algorithm: TuningAlgorithm
    seed: Seed = 0
    """From which each trial's randomness follows: the same seed and the same results give the same proposals."""
    space: tuple[Dimension, ...] = Field(max_length=MAX_DIMENSIONS)
    """At least one."""
    pruning: Pruning | None = None
    """When trials that run are given up; left out: never."""
    warm_start: tuple[Identifier, ...] = Field(default=(), max_length=10)
    """Tunings of the project with the same directions: the search knows their completed trials from the beginning."""

    @model_validator(mode="after")
    def _check(self) -> TuningPlan:
        if not self.space:
            raise ValueError("space: is empty; give at least one dimension")
        before: dict[str, Dimension] = {}
        for dimension in self.space:
            if dimension.name in before:
                raise ValueError(f"space: has {shown(dimension.name)} twice; give one another name")
            if (when := dimension.when) is not None:
                self._check_condition(dimension.name, before.get(when.name), when)
            before[dimension.name] = dimension
        if self.algorithm is TuningAlgorithm.GRID:
            for dimension in self.space:
                if dimension.kind is DimensionKind.FLOAT and dimension.step is None and dimension.low != dimension.high:
                    name = shown(dimension.name)
                    raise ValueError(f"space: {name} has no step, so its grid has no end; give step, or choices")
        if self.algorithm is TuningAlgorithm.CMAES and not 0 < (count := len(numbers(self.space))) <= MAX_CMAES:
            problem = f"has {count} numbers that always count, and cmaes searches 1 to {MAX_CMAES} of them"
            raise ValueError(f"space: {problem}; take another algorithm, such as tpe")
        if len(set(self.warm_start)) < len(self.warm_start):
            raise ValueError("warm_start: names a tuning twice; leave one out")
        if self.warm_start and self.algorithm not in LEARNING:
            able = ", ".join(LEARNING)
            raise ValueError(
                f"warm_start: {self.algorithm} learns from its own trials alone; leave it out, or take {able}"
            )
        return self

    @staticmethod
    def _check_condition(name: str, other: Dimension | None, when: Condition) -> None:
        place = f"space: {shown(name)}: when"
        if other is None:
            raise ValueError(f"{place}: there is no {shown(when.name)} before it; put that first")
        if other.kind is DimensionKind.CATEGORICAL:
            for value in when.values:
                if value not in other.choices:
                    raise ValueError(f"{place}: {value} is no choice of {shown(when.name)}; take one that is")


def numbers(space: tuple[Dimension, ...]) -> list[Dimension]:
    """The dimensions that are numbers, always count, and have more than one value."""
    return [
        each
        for each in space
        if each.kind is not DimensionKind.CATEGORICAL and each.when is None and each.low != each.high
    ]


def active(dimension: Dimension, chosen: dict[str, Any]) -> bool:
    """Whether a dimension counts, where those before it have these values (those that do not count are left out)."""
    when = dimension.when
    if when is None:
        return True
    return when.name in chosen and json.dumps(chosen[when.name]) in when.values


def _check_scalars(field: str, texts: tuple[str, ...]) -> None:
    """Raises ValueError for a text that is no JSON of a scalar, in Python's own form."""
    for text in texts:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(f"{field}: {shown(text)} is no JSON; write a text in quotes, or a number") from None
        if isinstance(found, list | dict):
            raise ValueError(f"{field}: {shown(text)} is no text, number, true, false or null")
        if json.dumps(found) != text:
            raise ValueError(f"{field}: {shown(text)} is not as it is compared; write {json.dumps(found)}")
