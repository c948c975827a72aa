"""A run that the platform launches: what is ordered, and what becomes of its room in the experiment. Pure.

LaunchRun ─► RunCreated ─► (catalogue) RunEnrolled ─► RunAdmitted
                                └─► LaunchGranted, when there is room ─► RunLaunched ─► (order) SubmitJob
its process's end, a refusal of its job, an end before it was launched ─► RunLaunchEnded ─► (catalogue) LaunchReleased
StopRun ─► RunStopRequested ─► (order) CancelJob
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from events.language.base import Event
from events.language.experiments import ENDED, MAX_REASON, Process, RunCreated, RunEnded, RunStatus
from events.language.experiments.hyperparameters import configuration
from events.language.experiments.launching import (
    LaunchGranted,
    LaunchRun,
    RunLaunched,
    RunLaunchEnded,
    RunStopRequested,
    StopRun,
)
from events.language.jobs.spec import JobSpec
from events.log.ids import child_id
from events.writer.decider import DecisionContext
from services.experiments.refusals import forbidden
from services.experiments.run.state import Run
from services.experiments.single_jobs import check_single

RUN = "FORGELOG_RUN"
EXPERIMENT = "FORGELOG_EXPERIMENT_ID"


def created(command: LaunchRun, context: DecisionContext) -> RunCreated:
    """Raises Refused."""
    check_single(command.job, "job")
    return RunCreated(
        run_id=command.run_id,
        project=context.project,
        experiment_id=command.experiment_id,
        experiment=command.experiment,
        name=command.name,
        parent_run_id=command.parent_run_id,
        status=RunStatus.SCHEDULED,
        params=command.params,
        tags=command.tags,
        started_at=context.now,
        launches=True,
        job=command.job,
    )


def granted(state: Run, event: LaunchGranted, now: datetime) -> Sequence[Event]:
    """There is room for it."""
    if state.launched:
        return ()
    if state.status in ENDED or state.deleted or state.purged:
        return [ended(state, event.run_id)]
    job = state.job or event.job
    if job is None:
        return [_failed(event.run_id, "nothing says what it runs", now), ended(state, event.run_id)]
    job_id = child_id(event.run_id, "1", state.project)
    return [RunLaunched(run_id=event.run_id, process=Process(job_id=job_id), spec=_spec(state, event.run_id, job))]


def stopped(state: Run, command: StopRun, context: DecisionContext) -> Sequence[Event]:
    """Raises Refused."""
    id = command.run_id
    if state.process is not None:
        if state.process_ended:
            return ()
        return [RunStopRequested(run_id=id, job_id=state.process.job_id, reason=command.reason)]
    if not state.launches:
        raise forbidden("run_id", f"run {id} is no process of the platform", "say how it ended: forgelog runs end")
    if state.status in ENDED:
        return ()
    reason = command.reason or "stopped before it was launched"
    return [RunEnded(run_id=id, status=RunStatus.KILLED, reason=reason, ended_at=context.now)]


def refused(state: Run, id: str, job_id: str, message: str, context: DecisionContext) -> Sequence[Event]:
    """Its job was not taken."""
    if not state.launched or state.process is None or state.process.job_id != job_id:
        return ()
    gone = ended(state, id, job_id)
    return [gone] if state.status in ENDED else [_failed(id, f"its job was refused: {message}", context.now), gone]


def ended(state: Run, id: str, job_id: str = "") -> RunLaunchEnded:
    """It needs its room no more. `job_id`: of a job that was refused."""
    return RunLaunchEnded(run_id=id, project=state.project, experiment_id=state.experiment_id, job_id=job_id)


def _failed(id: str, reason: str, now: datetime) -> RunEnded:
    return RunEnded(run_id=id, status=RunStatus.FAILED, reason=reason[:MAX_REASON], ended_at=now)


def _spec(state: Run, id: str, job: JobSpec) -> JobSpec:
    """The job with its run and the run's parameters in its environment. What it says itself stays, but for the run."""
    told = {EXPERIMENT: state.experiment_id, **configuration(state.params)}
    variables = {**told, **job.environment.variables, RUN: id}
    return job.model_copy(update={"environment": job.environment.model_copy(update={"variables": variables})})
