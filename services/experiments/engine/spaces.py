"""A plan's dimensions as Optuna has them. Imports Optuna."""

from __future__ import annotations

import json

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from events.language.experiments import Dimension, DimensionKind


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna has it."""
    if dimension.kind is DimensionKind.CATEGORICAL:
        return CategoricalDistribution([json.loads(choice) for choice in dimension.choices])
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.kind is DimensionKind.INT:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)
