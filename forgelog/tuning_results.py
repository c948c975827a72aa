"""What a tuning has found: its best trials, the trade-offs of several objectives, the hyperparameters that mattered."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from forgelog.errors import InvalidInput

LEAST_TRIALS = 10
"""Completed trials from which importances can be told."""


def best_of(trials: Sequence[Any], directions: Sequence[str]) -> list[Any]:
    """Completed trials, best first (the earliest of equals). With several objectives those of the Pareto front, by
    their first value: no other trial is as good in all objectives and better in one."""
    oriented = [(_oriented(trial, directions), trial) for trial in trials]
    oriented.sort(key=lambda each: (each[0], each[1]["number"]))
    if len(directions) == 1:
        return [trial for _, trial in oriented]
    front: list[tuple[tuple[float, ...], Any]] = []
    for values, trial in oriented:
        # Those before it are better in the first objective that differs, so it can dominate none of them.
        if not any(_dominates(other, values) for other, _ in front):
            front.append((values, trial))
    return [trial for _, trial in front]


def _oriented(trial: Any, directions: Sequence[str]) -> tuple[float, ...]:
    """Its values, the lower the better."""
    signs = (1.0 if direction == "minimize" else -1.0 for direction in directions)
    return tuple(sign * float(value) for sign, value in zip(signs, trial["objective_values"], strict=True))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def importances(trials: Sequence[Any], directions: Sequence[str], objective: int | None = None) -> dict[str, float]:
    """Hyperparameter → how much it mattered for the best tenth of the completed trials; 1 in all, greatest first.

    By PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255), which needs no model of the objective. `objective`: of
    several, which; None: for their Pareto front. Raises InvalidInput when there are too few trials. Loads Optuna, which
    takes 0.3 s.
    """
    if objective is not None and not 0 <= objective < len(directions):
        raise InvalidInput(f"objective: is {objective}, and the tuning has {len(directions)}, counted from 0")
    if len(trials) < LEAST_TRIALS:
        need = f"importances need {LEAST_TRIALS}, and are good from 50 on"
        raise InvalidInput(f"the tuning has {len(trials)} completed trials; {need}")
    import optuna
    from optuna.distributions import json_to_distribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=[optuna.study.StudyDirection[each.upper()] for each in directions])
    for trial in trials:
        drawn = {each["name"]: json_to_distribution(each["distribution"]) for each in trial["parameters"]}
        values = {each["name"]: each["value"] for each in trial["parameters"]}
        made = optuna.trial.create_trial(
            values=[float(value) for value in trial["objective_values"]],
            params={name: each.to_external_repr(float(values[name])) for name, each in drawn.items()},
            distributions=drawn,
        )
        study.add_trial(made)
    target = None
    if objective is not None and len(directions) > 1:
        sign = 1.0 if directions[objective] == "minimize" else -1.0

        def target(trial: Any) -> float:
            return sign * float(trial.values[objective])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna says of `target` is heeded here
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, target=target)
    return {name: float(value) for name, value in sorted(found.items(), key=lambda item: -item[1])}
