"""Trials that are run by jobs: what is ordered, and what a job's events mean for its trial. Pure.

TrialProposed ─► TrialLaunched ─► (order) SubmitJob
JobStarted ─► TrialStarted; of a later attempt, since the process before was lost: TrialRequeued, TrialStarted
JobCompleted, where the job logs its objectives ─► TrialJobCompleted ─► (services.experiments.following) TellTrial
the job's end otherwise, or its refusal ─► TrialEnded (failed), unless its program has told before
TrialEnded (pruned, failed), the tuning's end ─► (order) CancelJob
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from events.language.base import Event
from events.language.experiments import (
    TUNING_ENDS,
    TrialEnded,
    TrialEvent,
    TrialLaunched,
    TrialParameter,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningStatus,
)
from events.language.experiments.hyperparameters import configuration
from events.language.experiments.tuning_following import TrialJobCompleted
from events.language.jobs import JobCompleted, JobEnded, JobStarted
from events.language.jobs.spec import JobSpec
from events.log.ids import child_id
from events.writer.slices import within_append
from services.experiments.tuning.distributions import external
from services.experiments.tuning.state import AT_ONCE, Tuning

MAX_REASON = 500


def launched(state: Tuning, id: str, project: str) -> list[TrialLaunched]:
    """The trials whose jobs are to be ordered now: as many as one append takes, since more follow at once."""
    if state.job is None or state.deleted or state.status is not TuningStatus.RUNNING:
        return []
    every = (
        TrialLaunched(
            tuning_id=id,
            number=number,
            job_id=child_id(id, str(number), project),
            spec=_spec(state, state.job, id, number, trial.parameters),
        )
        for number, trial in state.open.items()
        if trial.status is TrialStatus.PROPOSED and not trial.job_id
    )
    return list(islice(within_append(every), AT_ONCE))


def left(state: Tuning, id: str, now: datetime) -> list[TrialEnded]:
    """The ends of the trials that are open when their tuning is over: at most `AT_ONCE`, since more follow at once."""
    if state.job is None or not (state.deleted or state.status in TUNING_ENDS):
        return []
    reason = "the tuning was deleted" if state.deleted else f"the tuning is {state.status}"
    return [_failed(state, id, number, reason, now, cancel=True) for number in islice(state.open, AT_ONCE)]


def heard(state: Tuning, id: str, event: Event, now: datetime) -> Iterator[TrialEvent]:
    """What an event of a job means for the trial that it runs."""
    number = state.jobs.get(event.subject())
    if number is None:
        return  # it is none of this tuning's, or its trial has ended
    if isinstance(event, JobStarted):
        for start in event.tasks:
            yield from _started(state, id, number, start.attempt, now)
    elif isinstance(event, JobCompleted) and state.logged:
        trial = state.open[number]
        if not trial.read:
            yield TrialJobCompleted(tuning_id=id, number=number, attempt=trial.attempt)
    elif isinstance(event, JobEnded):
        reason = f": {event.reason}" if event.reason else ""
        problem = "its job did not complete" if state.logged else "its job ended, and had told no value"
        yield _failed(state, id, number, f"{problem}{reason}", now)


def refused(state: Tuning, id: str, job_id: str, message: str, now: datetime) -> Sequence[TrialEnded]:
    """A job was not taken."""
    number = state.jobs.get(job_id)
    if number is None:
        return ()
    return [_failed(state, id, number, f"its job was refused: {message}", now)]


def _started(state: Tuning, id: str, number: int, attempt: int, now: datetime) -> Iterator[TrialEvent]:
    trial = state.open[number]
    if trial.status is TrialStatus.RUNNING:
        if attempt <= trial.attempt:
            return
        reason = "its process was lost; its job goes on with another"
        yield TrialRequeued(tuning_id=id, number=number, attempt=attempt, status=TrialStatus.PROPOSED, reason=reason)
    yield TrialStarted(tuning_id=id, number=number, attempt=attempt, started_at=now)


def _failed(state: Tuning, id: str, number: int, reason: str, now: datetime, *, cancel: bool = False) -> TrialEnded:
    trial = state.open[number]
    return TrialEnded(
        tuning_id=id,
        number=number,
        attempt=trial.attempt,
        status=TrialStatus.FAILED,
        reason=reason[:MAX_REASON],
        cancelled_job=trial.job_id if cancel else "",
        ended_at=now,
    )


def _spec(state: Tuning, spec: JobSpec, id: str, number: int, parameters: Sequence[TrialParameter]) -> JobSpec:
    """The job of a trial: its values are in its environment, each by its name and all as JSON."""
    values = {each.name: external(float(each.value), each.distribution) for each in parameters}
    told = {
        **{f"FORGELOG_PARAM_{_variable(name)}": variable_text(value) for name, value in values.items()},
        "FORGELOG_PARAMS": json.dumps(values),
        "FORGELOG_TUNING": id,
        "FORGELOG_TRIAL": str(number),
    }
    own = configuration(state.hyperparameters.params(), values)
    said = spec.environment.variables
    if state.experiment_id and not {"FORGELOG_EXPERIMENT_ID", "FORGELOG_EXPERIMENT"} & said.keys():
        # The name is for people: the experiment may have another one by now.
        own |= {"FORGELOG_EXPERIMENT_ID": state.experiment_id, "FORGELOG_EXPERIMENT": state.experiment}
    environment = spec.environment.model_copy(update={"variables": {**own, **said, **told}})
    return spec.model_copy(update={"environment": environment})


def _variable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)[:240]


def variable_text(value: object) -> str:
    """A value as the variable of a job: a text as it is if a message can hold it, all else as JSON. A choice is JSON,
    which may escape a NUL character or half a surrogate pair."""
    if isinstance(value, str) and not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        return value
    return json.dumps(value)
