"""Searches by the engine's own functions, against chance: three public functions, and a classifier of digits.

Each figure is the median of at least ten seeds. Searches of one seed have the same budget: trials, or epochs where a
pruner gives trials up. Nothing of this needs a platform.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np

from bench.digits import EPOCHS, SPACE, curve
from bench.report import Figure
from events.language.experiments import Direction, TrialParameter, TrialStatus, TuningPlan
from events.language.experiments.tuning_pruning import Pruning, PruningRule
from events.process.settings import Settings
from forgelog.client.tunings import external
from forgelog.tuning_space import dimension
from services.experiments.engine.judging import promises
from services.experiments.engine.known import Known, Search
from services.experiments.engine.sampling import propose

SEEDS = 10
TRIALS = 60
"""Of a function."""
TRAININGS = 30
"""Of the classifier."""
SHARE = 1 / 3
"""Of the epochs that chance takes, those in which successive halving is to be as good."""

Params = dict[str, Any]


def branin(p: Params) -> float:
    """Minimum 0.397887."""
    x, y = p["x"], p["y"]
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann(p: Params) -> float:
    """In six dimensions; minimum -3.32237."""
    x = np.array([p[f"x{each}"] for each in range(6)])
    return float(-_WEIGHTS @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


def styblinski(p: Params) -> float:
    """In five dimensions; minimum -195.83."""
    x = np.array([p[f"x{each}"] for each in range(5)])
    return float(0.5 * (x**4 - 16 * x**2 + 5 * x).sum())


FUNCTIONS: dict[str, tuple[Callable[[Params], float], float, tuple[str, ...]]] = {
    "Branin": (branin, 0.397887, ("x=-5.0..10.0", "y=0.0..15.0")),
    "Hartmann, 6 dimensions": (hartmann, -3.32237, tuple(f"x{each}=0.0..1.0" for each in range(6))),
    "Styblinski-Tang, 5 dimensions": (styblinski, -195.83083, tuple(f"x{each}=-5.0..5.0" for each in range(5))),
}
"""Name → function, its minimum, what is searched."""


async def figures(_: Settings, runs: int) -> list[Figure]:
    return await asyncio.to_thread(lambda: list(_figures(range(max(SEEDS, runs)))))


def _figures(seeds: range) -> Iterator[Figure]:
    for name, (function, least, space) in FUNCTIONS.items():

        def regrets(algorithm: str, of: Any = function, least: float = least, space: Any = space) -> list[float]:
            return [min(searched(plan(algorithm, space, seed), of, TRIALS)) - least for seed in seeds]

        yield _beside_chance(f"TPE: {name}, {TRIALS} trials", "above the minimum", regrets("tpe"), regrets("random"))

    def losses(algorithm: str) -> list[float]:
        return [min(searched(plan(algorithm, SPACE, seed), trained, TRAININGS)) for seed in seeds]

    random = losses("random")
    yield _beside_chance(f"TPE: digits, {TRAININGS} trials", "log loss", losses("tpe"), random)
    shares = [reached(seed, best) / (TRAININGS * EPOCHS) for seed, best in zip(seeds, random, strict=True)]
    yield Figure(
        "ASHA: digits, epochs until as good as chance",
        f"of {TRAININGS * EPOCHS}",
        runs=shares,
        target=SHARE,
        higher_is_better=False,
    )


def _beside_chance(name: str, unit: str, found: list[float], random: list[float]) -> Figure:
    return Figure(
        name, unit, runs=found, limits=random, limit_name="random", target=median(random), higher_is_better=False
    )


def plan(algorithm: str, space: tuple[str, ...], seed: int, pruning: Pruning | None = None) -> TuningPlan:
    found = [dimension(each) for each in space]
    return TuningPlan.model_validate({"algorithm": algorithm, "seed": seed, "space": found, "pruning": pruning})


def searched(plan: TuningPlan, objective: Callable[[Params], float], trials: int) -> list[float]:
    """The values of a search's trials, one after the other."""
    told: list[Known] = []
    for number in range(trials):
        found = propose(plan, [Direction.MINIMIZE], told, (), number)
        value = objective(_params(found.parameters))
        told.append(
            Known(
                number,
                TrialStatus.COMPLETED,
                found.parameters,
                (str(value),),
                system_attributes=found.system_attributes,
                ended=number,
            )
        )
    return [float(each.values[0]) for each in told]


def reached(seed: int, best: float) -> int:
    """The epochs that successive halving of random trials trains until one is as good as `best`; at most all that
    chance had, if none ever is."""
    pruning = Pruning(rule=PruningRule.ASHA)
    # Of other trials than those that it is compared with.
    search = Search("t1", "local/default", "", plan("random", SPACE, 1_000 + seed, pruning), (Direction.MINIMIZE,))
    epochs = 0
    for number in range(TRAININGS * EPOCHS):
        found = propose(search.plan, search.directions, (), (), number)
        trial = search.trials[number] = Known(number, TrialStatus.RUNNING, found.parameters)
        for step, value in enumerate(curve(_params(found.parameters)), 1):
            epochs += 1
            if value <= best or epochs == TRAININGS * EPOCHS:
                return epochs
            trial.report(step, value)
            if not promises(pruning, search, number):
                trial.status = TrialStatus.PRUNED
                break
        else:
            trial.status = TrialStatus.COMPLETED
    raise AssertionError("each trial trains at least one epoch")


def trained(p: Params) -> float:
    """The best log loss of a whole training."""
    return _best_of(tuple(sorted(p.items())))


@lru_cache(maxsize=4096)
def _best_of(p: tuple[tuple[str, Any], ...]) -> float:
    return min(curve(dict(p)))


def _params(parameters: tuple[TrialParameter, ...]) -> Params:
    return {each.name: external(float(each.value), each.distribution) for each in parameters}
