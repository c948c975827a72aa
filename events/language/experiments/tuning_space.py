"""What a tuning's own engine searches, and how."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.common import Identifier, shown
from events.language.experiments.models import Seed
from events.language.experiments.search_space import MAX_DIMENSIONS, Dimension, DimensionKind, numbers, problem_of
from events.language.experiments.tuning_pruning import Pruning


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


class TuningPlan(Model):
    """A search that the platform's own engine makes."""

    algorithm: TuningAlgorithm
    seed: Seed = 0
    """From which each trial's randomness follows: the same seed and the same results give the same proposals."""
    space: tuple[Dimension, ...] = Field(default=(), max_length=MAX_DIMENSIONS)
    """Empty in a command: that of the tuning's experiment."""
    pruning: Pruning | None = None
    """When trials that run are given up; left out: never."""
    warm_start: tuple[Identifier, ...] = Field(default=(), max_length=10)
    """Tunings of the project with the same directions: the search knows their completed trials from the beginning."""

    @model_validator(mode="after")
    def _check(self) -> TuningPlan:
        if problem := problem_of(self.space):
            raise ValueError(f"space: {problem}")
        if self.algorithm is TuningAlgorithm.GRID:
            for dimension in self.space:
                if dimension.kind is DimensionKind.FLOAT and dimension.step is None and dimension.low != dimension.high:
                    name = shown(dimension.name)
                    raise ValueError(f"space: {name} has no step, so its grid has no end; give step, or choices")
        searched = len(numbers(self.space))
        if self.algorithm is TuningAlgorithm.CMAES and self.space and not 0 < searched <= MAX_CMAES:
            problem = f"has {searched} numbers that always count, and cmaes searches 1 to {MAX_CMAES} of them"
            raise ValueError(f"space: {problem}; take another algorithm, such as tpe")
        if len(set(self.warm_start)) < len(self.warm_start):
            raise ValueError("warm_start: names a tuning twice; leave one out")
        if self.warm_start and self.algorithm not in LEARNING:
            able = ", ".join(LEARNING)
            raise ValueError(
                f"warm_start: {self.algorithm} learns from its own trials alone; leave it out, or take {able}"
            )
        return self
