"""What may become of a tuning's trials. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from events.language.common import absent, invalid, shown
from events.language.experiments import (
    MAX_TRIALS,
    NAN,
    TRIAL_ENDS,
    AskTrial,
    AttemptCommand,
    ProposeTrial,
    ReportTrial,
    RequeueTrial,
    SetTrialAttribute,
    SetTrialParameter,
    StartTrial,
    TellTrial,
    TrialAdded,
    TrialAttributeSet,
    TrialCommand,
    TrialEnded,
    TrialEvent,
    TrialParameter,
    TrialParameterSet,
    TrialProposed,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningStatus,
    is_better,
)
from events.language.experiments.tuning_following import PruneTrial, TrialPruned
from services.experiments.refusals import exhausted, forbidden, outdated
from services.experiments.tuning import distributions
from services.experiments.tuning.state import AT_ONCE, OpenTrial, Tuning


def added(state: Tuning, command: AskTrial, now: datetime) -> TrialAdded:
    """Raises Refused."""
    id, status = command.tuning_id, command.status
    if state.status is not TuningStatus.RUNNING:
        raise forbidden("tuning_id", f"tuning {id} is {state.status}: it takes no new trial", _going_on(state))
    if state.planned:
        problem = f"tuning {id} asks for its trials itself"
        raise forbidden("tuning_id", problem, "start one whose values are proposed")
    if state.trials >= (most := state.total or MAX_TRIALS):
        problem = f"tuning {id} has the {most} trials that it may have"
        raise forbidden("tuning_id", problem, "make another tuning, which may begin with what this one has found")
    if status is TrialStatus.PROPOSED:
        raise invalid("status", "is proposed, which goes with a tuning that the platform searches", "take requested")
    if status is TrialStatus.RUNNING:
        _may_run(state, id)
    ended = status in TRIAL_ENDS
    if ended:
        _check_values(state, status, command.objective_values)
    elif command.objective_values:
        raise invalid(
            "objective_values", f"goes with an ended trial, and this one is {status}", "tell them when it has ended"
        )
    if command.ended_at is not None and not ended:
        raise invalid("ended_at", f"goes with an ended trial, and this one is {status}", "leave it out")
    for parameter in command.parameters:
        _check_parameter(state, parameter, f"parameters.{parameter.name}")
    check_attributes("user_attributes.", command.user_attributes)
    check_attributes("system_attributes.", command.system_attributes)
    began = status is not TrialStatus.REQUESTED
    return TrialAdded(
        tuning_id=id,
        number=state.trials,
        status=status,
        parameters=command.parameters,
        objective_values=command.objective_values,
        intermediate=command.intermediate,
        user_attributes=command.user_attributes,
        system_attributes=command.system_attributes,
        started_at=command.started_at or (now if began else None),
        ended_at=(command.ended_at or now) if ended else None,
    )


def decided(state: Tuning, command: TrialCommand, now: datetime) -> TrialEvent | None:
    """What a command about a trial leads to; None if nothing changes. Raises Refused."""
    id, number = command.tuning_id, command.number
    trial = _open(state, command)
    match command:
        case StartTrial():
            if trial.status is TrialStatus.RUNNING:
                return None
            _may_begin(state, trial, command)
            _may_run(state, id)
            return TrialStarted(tuning_id=id, number=number, attempt=trial.attempt, started_at=now)
        case ProposeTrial():
            return _proposed(state, trial, command)
        case RequeueTrial() if trial.job_id:
            problem = f"trial {number} of tuning {id} is run by job {trial.job_id}"
            raise forbidden("number", problem, "wait: the job is started again if its process is lost")
        case RequeueTrial():
            if trial.status is not TrialStatus.RUNNING:
                return None
            status = TrialStatus.PROPOSED if state.planned else TrialStatus.REQUESTED
            attempt = trial.attempt + 1
            return TrialRequeued(tuning_id=id, number=number, attempt=attempt, status=status, reason=command.reason)
        case SetTrialParameter() if state.planned:
            problem = f"the values of the trials of tuning {id} are proposed by the platform"
            raise forbidden("tuning_id", problem, "take them as they are, or make a tuning without plan")
        case SetTrialParameter():
            _check_parameter(state, command.parameter, "parameter")
            return TrialParameterSet(tuning_id=id, number=number, parameter=command.parameter)
        case SetTrialAttribute():
            check_attributes("", {"value": command.value})
            return TrialAttributeSet(
                tuning_id=id, number=number, scope=command.scope, name=command.name, value=command.value
            )
        case ReportTrial():
            attempt = command.attempt or trial.attempt
            return TrialReported(tuning_id=id, number=number, attempt=attempt, step=command.step, value=command.value)
        case PruneTrial():
            return _pruned(state, trial, command)
        case TellTrial():
            status = TrialStatus(command.status)
            _check_values(state, status, command.objective_values)
            return TrialEnded(
                tuning_id=id,
                number=number,
                attempt=command.attempt or trial.attempt,
                status=status,
                objective_values=command.objective_values,
                reason=command.reason,
                # A program that is done may still have something to put away.
                cancelled_job="" if status is TrialStatus.COMPLETED else trial.job_id,
                ended_at=now,
            )
    raise TypeError(f"trials take no {type(command).__name__}")


def end_of(state: Tuning, event: TrialPruned, now: datetime) -> TrialEnded:
    """The end of a trial that is given up."""
    return TrialEnded(
        tuning_id=event.tuning_id,
        number=event.number,
        attempt=event.attempt,
        status=TrialStatus.PRUNED,
        objective_values=(event.value,),
        reason=f"it did not promise well: {event.value} at step {event.step}",
        cancelled_job=state.open[event.number].job_id,
        ended_at=now,
    )


def wanted(state: Tuning, id: str) -> list[TrialAdded]:
    """The trials that the platform asks for now, where it searches: at most `AT_ONCE`, since more follow at once."""
    if not state.planned or state.adopting or state.deleted or state.status is not TuningStatus.RUNNING:
        return []
    room = (state.limits.parallel or 1) - len(state.open)
    left = (state.total or MAX_TRIALS) - state.trials
    numbers = range(state.trials, state.trials + max(min(room, left, AT_ONCE), 0))
    return [TrialAdded(tuning_id=id, number=number, status=TrialStatus.REQUESTED) for number in numbers]


def completion(state: Tuning, event: TrialEvent) -> str:
    """Why a tuning is complete with this event; empty if it is not."""
    if not (isinstance(event, TrialEnded) or (isinstance(event, TrialAdded) and event.status in TRIAL_ENDS)):
        return ""
    number = event.number
    there, open = max(state.trials, number + 1), len(state.open) - (number in state.open)
    if state.total is not None and there >= state.total and not open:
        return f"all its {there} trials have ended"
    rule = state.early_stopping
    if rule is None or event.status is not TrialStatus.COMPLETED:
        return ""
    if is_better(event.objective_values[0], state.best, state.directions[0], rule.min_delta):
        return ""
    gainless = state.without_gain + 1
    return f"{gainless} trials in a row brought nothing better" if gainless >= rule.patience else ""


def _open(state: Tuning, command: TrialCommand) -> OpenTrial:
    """The trial that a command is about. Raises Refused."""
    number = command.number
    trial = state.open.get(number)
    if trial is None:
        if number < state.trials:
            problem = f"trial {number} of tuning {command.tuning_id} has ended"
            raise forbidden("number", problem, "a trial ends once: ask for another one")
        problem = f"there is no trial {number} of tuning {command.tuning_id}"
        hint = f"it has {state.trials} trials, counted from 0"
        raise absent("number", problem, hint)
    # The process of a job's later attempt may be heard before the job's own event of its start.
    later = bool(trial.job_id) and (getattr(command, "attempt", None) or 0) > trial.attempt
    if isinstance(command, AttemptCommand) and command.attempt not in (None, trial.attempt) and not later:
        problem = f"attempt is {command.attempt}, and attempt {trial.attempt} of trial {number} is the one that counts"
        raise outdated("attempt", problem, "end this process: it was taken for lost")
    return trial


def _proposed(state: Tuning, trial: OpenTrial, command: ProposeTrial) -> TrialProposed | None:
    if not state.planned:
        problem = f"the clients of tuning {command.tuning_id} choose values themselves"
        raise forbidden("tuning_id", problem, "make a tuning with plan to have them proposed")
    if trial.status is not TrialStatus.REQUESTED:
        return None  # the first proposal counts
    for parameter in command.parameters:
        _check_parameter(state, parameter, f"parameters.{parameter.name}")
    check_attributes("system_attributes.", command.system_attributes)
    return TrialProposed(
        tuning_id=command.tuning_id,
        number=command.number,
        parameters=command.parameters,
        system_attributes=command.system_attributes,
        known_events=command.known_events,
        algorithm_version=command.algorithm_version,
    )


def _pruned(state: Tuning, trial: OpenTrial, command: PruneTrial) -> TrialPruned:
    id, number = command.tuning_id, command.number
    if not state.pruning:
        raise forbidden("tuning_id", f"the plan of tuning {id} has no pruning", "tell the trial as pruned")
    if trial.status is not TrialStatus.RUNNING:
        problem = f"trial {number} of tuning {id} is {trial.status}: it does not run"
        raise forbidden("number", problem, "prune it when it runs, or tell it as pruned")
    if trial.read:
        raise forbidden("number", f"trial {number} of tuning {id} is done", "wait: its value is being read")
    return TrialPruned(
        tuning_id=id,
        number=number,
        attempt=command.attempt or trial.attempt,
        step=command.step,
        value=command.value,
        known_events=command.known_events,
        algorithm_version=command.algorithm_version,
    )


def _may_begin(state: Tuning, trial: OpenTrial, command: TrialCommand) -> None:
    """Raises Refused for a trial that can't begin now."""
    id, number = command.tuning_id, command.number
    if state.job is not None:
        raise forbidden("number", f"trial {number} of tuning {id} is started by its job", "wait for it")
    if state.planned and trial.status is TrialStatus.REQUESTED:
        raise forbidden("number", f"trial {number} of tuning {id} waits for its values", "come again")
    if state.status is not TuningStatus.RUNNING:
        raise forbidden("tuning_id", f"tuning {id} is {state.status}: no trial begins", _going_on(state))


def _going_on(state: Tuning) -> str:
    """What to do where a tuning begins no trial."""
    return "resume it" if state.status is TuningStatus.PAUSED else "make another tuning"


def _may_run(state: Tuning, id: str) -> None:
    """Raises Refused if no further trial may run now."""
    most = state.limits.parallel
    if most is not None and state.running >= most:
        problem = f"tuning {id} has the {most} running trials that it may have"
        raise exhausted("tuning_id", problem, "come again when one has ended")


def _check_values(state: Tuning, status: TrialStatus, values: tuple[str, ...]) -> None:
    """Raises Refused for values that do not go with how a trial ended."""
    objectives = len(state.directions)
    if status is TrialStatus.FAILED:
        if values:
            raise invalid("objective_values", "goes without a failed trial", "leave them out, or tell it as pruned")
    elif len(values) != objectives and (values or status is TrialStatus.COMPLETED):
        hint = f"give {objectives}: one for each objective, in the order of the tuning's directions"
        raise invalid("objective_values", f"has {len(values)} values, and the tuning has {objectives} objectives", hint)
    if NAN in values and status is TrialStatus.COMPLETED:
        raise invalid(
            "objective_values", "has NaN, which is neither better nor worse than any", "tell the trial as failed"
        )


def _check_parameter(state: Tuning, parameter: TrialParameter, field: str) -> None:
    """Raises Refused for a parameter whose distribution is none, or another one than in earlier trials, or does not
    have its value. `field`: of the parameter."""
    if problem := distributions.problem(parameter.distribution):
        raise invalid(f"{field}.distribution", problem, "write it as Optuna's distribution_to_json does")
    first = state.distributions.get(parameter.name)
    if first is not None and (problem := distributions.conflict(first, parameter.distribution)):
        raise invalid(f"{field}.distribution", problem, f"take {shown(first, 200)}, or another name for the parameter")
    if problem := distributions.misfit(float(parameter.value), parameter.distribution):
        raise invalid(f"{field}.value", problem, "give the number, or which of the choices, from 0 on")


def check_attributes(place: str, values: Mapping[str, str]) -> None:
    """Raises Refused for a value that is no JSON. `place`: how the path to its name begins."""
    for name, value in values.items():
        if problem := distributions.no_json(value):
            raise invalid(f"{place}{name}", problem, "write a text in quotes, a number, or whatever JSON can say")
