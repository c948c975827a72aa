"""A proposal, by an algorithm of Optuna's: a pure function of the plan, the trial's number, and what is known.

Imports Optuna, which takes 0.3 s and 40 MiB: only the engine's own process may import this module.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import optuna
from blake3 import blake3
from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState

from events.language.experiments import (
    Direction,
    TrialParameter,
    TrialStatus,
    TuningAlgorithm,
    TuningPlan,
    active,
)
from events.language.experiments.tuning_following import AdoptedTrial
from services.experiments.engine.known import Known
from services.experiments.engine.spaces import distribution
from services.experiments.tuning import grid

VERSION = f"optuna {optuna.__version__}"

STATES = {
    TrialStatus.COMPLETED: TrialState.COMPLETE,
    TrialStatus.PRUNED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAIL,
    TrialStatus.PROPOSED: TrialState.RUNNING,
    TrialStatus.RUNNING: TrialState.RUNNING,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class Proposal(NamedTuple):
    """What a trial is to try."""

    parameters: tuple[TrialParameter, ...]
    system_attributes: dict[str, str]
    """What the algorithm wants to find again: such as a generation."""


def seed_of(plan: TuningPlan, number: int) -> int:
    """The seed of a trial's randomness, 32 bits."""
    return int.from_bytes(blake3(f"{plan.seed}/{number}".encode()).digest(4), "big")


def propose(
    plan: TuningPlan,
    directions: Sequence[Direction],
    told: Iterable[Known],
    under_way: Iterable[Known],
    number: int,
    adopted: Sequence[AdoptedTrial] = (),
) -> Proposal:
    """The values that trial `number` is to try, given the trials that have ended, those that are under way, and those
    that other tunings have completed."""
    if plan.algorithm is TuningAlgorithm.GRID:
        chosen = next(islice(grid.points(plan.space), number, None))
        return Proposal(_of_point(plan, chosen), {})
    seed = seed_of(plan, number)
    evolved: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    if plan.algorithm is TuningAlgorithm.CMAES:
        from services.experiments.engine.evolving import evolve

        evolved, attributes = evolve(plan, directions[0], told, adopted, seed)
        told, under_way, adopted = (), (), ()  # the rest comes by chance
    study = optuna.create_study(
        directions=[direction.value for direction in directions], sampler=_sampler(plan.algorithm, seed)
    )
    study.add_trials([_of_another(plan, each) for each in adopted])
    study.add_trials([_frozen(each) for each in sorted((*told, *under_way), key=lambda each: each.number)])
    trial = study.ask()
    chosen = {}
    for dimension in plan.space:
        if dimension.name in evolved:
            chosen[dimension.name] = evolved[dimension.name]
        elif active(dimension, chosen):
            chosen[dimension.name] = trial._suggest(dimension.name, distribution(dimension))
    found = study._storage.get_trial(trial._trial_id)
    attributes |= {key: json.dumps(value) for key, value in found.system_attrs.items()}
    return Proposal(_parameters(chosen, {each.name: distribution(each) for each in plan.space}), attributes)


def _sampler(algorithm: TuningAlgorithm, seed: int) -> optuna.samplers.BaseSampler:
    match algorithm:
        case TuningAlgorithm.RANDOM | TuningAlgorithm.CMAES:
            return optuna.samplers.RandomSampler(seed)
        case TuningAlgorithm.TPE:
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        case TuningAlgorithm.NSGA2:
            return optuna.samplers.NSGAIISampler(seed=seed)
        case TuningAlgorithm.GP:
            return optuna.samplers.GPSampler(seed=seed)
    raise ValueError(f"there is no sampler for {algorithm}")


def _of_point(plan: TuningPlan, chosen: dict[str, Any]) -> tuple[TrialParameter, ...]:
    found = {each.name: distribution(each) for each in plan.space if each.name in chosen}
    return _parameters(chosen, found)


def _parameters(values: dict[str, Any], found: dict[str, BaseDistribution]) -> tuple[TrialParameter, ...]:
    return tuple(
        TrialParameter(
            name=name,
            value=str(float(found[name].to_internal_repr(value))),
            distribution=distribution_to_json(found[name]),
        )
        for name, value in values.items()
    )


def _of_another(plan: TuningPlan, adopted: AdoptedTrial) -> FrozenTrial:
    found = {each.name: distribution(each) for each in plan.space if each.name in adopted.parameters}
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        values=[float(value) for value in adopted.objective_values],
        params={name: each.to_external_repr(float(adopted.parameters[name])) for name, each in found.items()},
        distributions=found,
    )


def _frozen(known: Known) -> FrozenTrial:
    distributions = {each.name: json_to_distribution(each.distribution) for each in known.parameters}
    params = {each.name: distributions[each.name].to_external_repr(float(each.value)) for each in known.parameters}
    return optuna.trial.create_trial(
        state=STATES[known.status],
        values=[float(value) for value in known.values] or None,
        params=params,
        distributions=distributions,
        system_attrs={key: json.loads(value) for key, value in known.system_attributes.items()},
        intermediate_values=dict(known.reports),
    )
