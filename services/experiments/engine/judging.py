"""Whether a trial that has reported promises well, by a pruner of Optuna's: a pure function of what is known.

Optuna notes in a trial which rungs of successive halving it has reached, and with which value. Here that follows from
what the trial reported: its value at a rung is that of its first report from the rung's step on. So a judgement needs
no memory beside the events, and is the same after a restart.

Imports Optuna: only the engine's own process may import this module.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from events.language.experiments import (
    Direction,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningEvent,
)
from events.language.experiments.tuning_following import PruneTrial
from events.language.experiments.tuning_pruning import Pruning, PruningRule
from services.experiments.engine.known import Known, Search, Searches
from services.experiments.engine.sampling import STATES, VERSION

STARTUP_TRIALS = 5
ASHA_FACTOR, HYPERBAND_FACTOR = 4, 3


class _Trial:
    """A trial as a pruner sees it. `rung_steps`: those of successive halving. `judged`: the rung of its last report is
    to be judged, and is not reached yet."""

    __slots__ = ("_known", "_rungs", "intermediate_values", "last_step", "number", "state")

    _trial_id = 0

    def __init__(self, known: Known, rungs: _Rungs | None = None, *, judged: bool = False) -> None:
        self._known = known
        self.number = known.number
        self.state = STATES[known.status]
        self.intermediate_values = known.reports
        self.last_step = known.steps[-1] if known.steps else None
        self._rungs: dict[str, float] = {} if rungs is None else rungs.of(known, self.last_step if judged else None)

    @property
    def system_attrs(self) -> dict[str, float]:
        return self._rungs


class _Rungs:
    """The steps at which trials are compared: the first, and its multiples by powers of a factor."""

    def __init__(self, first: int, factor: int) -> None:
        self._first, self._factor = first, factor

    def of(self, known: Known, before: int | None) -> dict[str, float]:
        """The rungs that a trial has reached before a step (None: all), as Optuna notes them."""
        found: dict[str, float] = {}
        step = self._first
        while (value := known.value_from(step, before)) is not None and not math.isnan(value):
            found[f"completed_rung_{len(found)}"] = value
            step *= self._factor
        return found


class _Storage:
    """Where a pruner notes a rung: nowhere, since it follows from the reports."""

    def set_trial_system_attr(self, *_: object) -> None:
        return


class _Study:
    """A study as a pruner sees it."""

    _storage = _Storage()

    def __init__(self, name: str, direction: Direction, trials: Iterable[_Trial] = ()) -> None:
        self.study_name = name
        self.direction = StudyDirection.MINIMIZE if direction is Direction.MINIMIZE else StudyDirection.MAXIMIZE
        self._trials = trials

    def get_trials(self, deepcopy: bool = False, states: Collection[TrialState] | None = None) -> Sequence[_Trial]:
        return [each for each in self._trials if states is None or each.state in states]


def promises(pruning: Pruning, search: Search, number: int) -> bool:
    """Whether a trial that has reported is to go on, as far as the search's events tell."""
    known, name, direction = search.trials[number], search.tuning_id, search.directions[0]
    others = [
        each for each in search.trials.values() if each.number != number and each.status is not TrialStatus.REQUESTED
    ]
    first = pruning.min_steps or 1
    if pruning.rule is PruningRule.MEDIAN:
        startup = STARTUP_TRIALS if pruning.startup_trials is None else pruning.startup_trials
        median = optuna.pruners.MedianPruner(startup, pruning.warmup_steps or 0)
        study = _Study(name, direction, map(_Trial, others))
        return not median.prune(study, _Trial(known))  # type: ignore[arg-type]
    if pruning.rule is PruningRule.ASHA:
        factor = pruning.reduction_factor or ASHA_FACTOR
        halving: Any = optuna.pruners.SuccessiveHalvingPruner(first, factor)
        return _goes_on(halving, _Rungs(first, factor), name, direction, known, others)
    factor = pruning.reduction_factor or HYPERBAND_FACTOR
    assert pruning.max_steps is not None
    hyperband: Any = optuna.pruners.HyperbandPruner(first, pruning.max_steps, factor)
    bare: Any = _Study(name, direction)
    hyperband._try_initialization(bare)
    bracket = hyperband._get_bracket_id(bare, _Trial(known))
    others = [each for each in others if hyperband._get_bracket_id(bare, _Trial(each)) == bracket]
    rungs = _Rungs(first * factor**bracket, factor)
    return _goes_on(hyperband._pruners[bracket], rungs, name, direction, known, others)


def _goes_on(
    pruner: Any, rungs: _Rungs, name: str, direction: Direction, known: Known, others: Iterable[Known]
) -> bool:
    study = _Study(name, direction, (_Trial(each, rungs) for each in others))
    return not pruner.prune(study, _Trial(known, rungs, judged=True))


def judged(search: Search, event: TrialReported) -> PruneTrial | None:
    """What a report, just folded, leads to: the end of a trial that does not promise well."""
    pruning, trial = search.plan.pruning, search.trials[event.number]
    # A report of a step that came before tells nothing new.
    if pruning is None or event.step != trial.steps[-1] or promises(pruning, search, event.number):
        return None
    return PruneTrial(
        tuning_id=search.tuning_id,
        number=event.number,
        attempt=trial.attempt,
        step=event.step,
        value=event.value,
        known_events=search.events,
        algorithm_version=VERSION,
    )


def outstanding(events: Iterable[TuningEvent], running: Collection[int]) -> list[PruneTrial]:
    """Of the running trials, those that should have been given up, at the first report that led to it."""
    searches = Searches()
    found: dict[int, PruneTrial] = {}
    for event in events:
        searches.fold(event)
        if isinstance(event, TrialRequeued | TrialStarted):  # another attempt
            found.pop(event.number, None)
        elif isinstance(event, TrialReported) and event.number in running and event.number not in found:
            command = judged(searches.by_id[event.tuning_id], event)
            if command is not None:
                found[event.number] = command
    return list(found.values())
