"""How its events change a tuning."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.language.base import Event
from events.language.experiments import (
    TRIAL_ENDS,
    TRIAL_MOVES,
    TUNING_MOVES,
    TrialAdded,
    TrialEnded,
    TrialLaunched,
    TrialParameter,
    TrialParameterSet,
    TrialProposed,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningAlgorithm,
    TuningCreated,
    TuningDeleted,
    TuningStatus,
    TuningStatusSet,
    is_better,
)
from events.language.experiments.tuning_following import TrialJobCompleted, TrialsAdopted
from events.language.moves import check_move
from services.experiments.tuning import grid
from services.experiments.tuning.state import OpenTrial, Tuning


def evolve(state: Tuning, event: Event, time: datetime) -> Tuning:
    match event:
        case TuningCreated():
            state.status, state.directions = TuningStatus.RUNNING, event.directions
            state.limits, state.early_stopping = event.limits, event.early_stopping
            state.planned, state.total = event.plan is not None, _total(event)
            state.job, state.logged = event.job, bool(event.objectives)
            state.experiment_id, state.experiment = event.experiment_id, event.experiment
            state.hyperparameters = event.hyperparameters
            state.adopting = set() if event.plan is None else set(event.plan.warm_start)
            state.pruning = event.plan is not None and event.plan.pruning is not None
            if event.limits.seconds is not None:
                state.ends_at = time + timedelta(seconds=event.limits.seconds)
        case TuningStatusSet():
            assert state.status is not None, "the decider lets nothing come before the creation"
            check_move(TUNING_MOVES, state.status, event.status, f"tuning {event.tuning_id}")
            state.status = event.status
        case TrialsAdopted():
            state.adopting.discard(event.source)
        case TuningDeleted():
            state.deleted = True
        case TrialAdded():
            state.trials = event.number + 1
            for parameter in event.parameters:
                _drawn(state, parameter)
            if event.status in TRIAL_ENDS:
                _count(state, event.status, event.objective_values)
            else:
                state.open[event.number] = OpenTrial(event.status)
        case TrialProposed():
            _move(state, event.number, TrialStatus.PROPOSED)
            if state.job is not None:
                state.open[event.number].parameters = event.parameters
        case TrialLaunched():
            trial = state.open[event.number]
            trial.job_id, trial.parameters = event.job_id, ()
            state.jobs[event.job_id] = event.number
        case TrialStarted():
            _move(state, event.number, TrialStatus.RUNNING)
            state.open[event.number].attempt = event.attempt
        case TrialJobCompleted():
            state.open[event.number].read = True
        case TrialRequeued():
            _move(state, event.number, event.status)
            state.open[event.number].attempt = event.attempt
        case TrialParameterSet():
            _drawn(state, event.parameter)
        case TrialEnded():
            _move(state, event.number, event.status)
            state.jobs.pop(state.open[event.number].job_id, None)
            del state.open[event.number]
            _count(state, event.status, event.objective_values)
    return state


def _total(event: TuningCreated) -> int | None:
    """How many trials there will be: no more than its limit, nor than its grid has points."""
    limit, plan = event.limits.trials, event.plan
    if plan is None or plan.algorithm is not TuningAlgorithm.GRID:
        return limit
    points = grid.size(plan.space)
    return points if limit is None else min(limit, points)


def _move(state: Tuning, number: int, to: TrialStatus) -> None:
    trial = state.open[number]
    check_move(TRIAL_MOVES, trial.status, to, f"trial {number}")
    trial.status = to


def _drawn(state: Tuning, parameter: TrialParameter) -> None:
    state.distributions.setdefault(parameter.name, parameter.distribution)


def _count(state: Tuning, status: TrialStatus, values: tuple[str, ...]) -> None:
    """What an ended trial means for the early stopping."""
    rule = state.early_stopping
    if rule is None or status is not TrialStatus.COMPLETED:
        return
    if is_better(values[0], state.best, state.directions[0], rule.min_delta):
        state.best, state.without_gain = values[0], 0
    else:
        state.without_gain += 1
