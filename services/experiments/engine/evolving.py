"""Covariance matrix adaptation (CMA-ES; Hansen, 2016, arXiv:1604.00772) by the package ``cmaes``.

Optuna's sampler keeps the optimizer, pickled, in attributes of trials: a person who may write these could have the
engine run code. Here the optimizer is made anew for each proposal, from the trials in the order in which they ended. A
generation is complete with the first trials of it that completed, as many as its size says. That is a function of what
is known.

Imports ``cmaes``, which is an extra, and Optuna.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from cmaes import CMA, get_warm_start_mgd
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution

from events.language.experiments import Direction, TrialStatus, TuningPlan
from events.language.experiments.search_space import numbers
from events.language.experiments.tuning_following import AdoptedTrial
from services.experiments.engine.known import Known
from services.experiments.engine.spaces import distribution

GENERATION = "cmaes:generation"
"""The attribute of a trial that says to which generation it belongs."""

_BEST = 0.1
"""Of the trials of other tunings, the share from whose distribution the search begins."""
_NEAR = 0.1
"""How far around them (Nomura et al., 2021, arXiv:2012.06932)."""


def evolve(
    plan: TuningPlan, direction: Direction, told: Iterable[Known], adopted: Sequence[AdoptedTrial], seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of the numbers that always count, by name, and the attributes to keep with them."""
    space = {each.name: distribution(each) for each in numbers(plan.space)}
    transform = _SearchSpaceTransform(space, transform_0_1=True)
    sign = 1.0 if direction is Direction.MINIMIZE else -1.0

    def solution(parameters: Mapping[str, str], value: str) -> tuple[Any, float]:
        return transform.transform(_external(space, parameters)), sign * float(value)

    optimizer = _begun(
        len(space),
        transform.bounds,
        [
            solution(each.parameters, each.objective_values[0])
            for each in adopted
            if space.keys() <= each.parameters.keys()
        ],
    )
    solutions: dict[int, list[tuple[Any, float]]] = defaultdict(list)
    for trial in sorted(told, key=lambda each: each.ended):
        if trial.status is not TrialStatus.COMPLETED:
            continue
        generation = json.loads(trial.system_attributes[GENERATION])
        solutions[generation].append(solution({each.name: each.value for each in trial.parameters}, trial.values[0]))
        if generation == optimizer.generation and len(solutions[generation]) == optimizer.population_size:
            optimizer.tell(solutions[generation])
    optimizer.reseed_rng(seed)
    chosen = transform.untransform(optimizer.ask())
    return chosen, {GENERATION: json.dumps(optimizer.generation)}


def _begun(dimensions: int, bounds: Any, source: Sequence[tuple[Any, float]]) -> CMA:
    """The optimizer before any trial: in the middle, or where other tunings found their best."""
    mean, sigma, covariance = np.full(dimensions, 0.5), 1 / 6, None
    if source:
        share = min(1.0, max(_BEST, (1 + 1e-9) / len(source)))
        mean, sigma, covariance = get_warm_start_mgd(list(source), share, _NEAR)
    return CMA(mean=mean, sigma=sigma, bounds=bounds, cov=covariance, n_max_resampling=10 * dimensions, seed=0)


def _external(space: Mapping[str, BaseDistribution], parameters: Mapping[str, str]) -> dict[str, Any]:
    return {name: each.to_external_repr(float(parameters[name])) for name, each in space.items()}
