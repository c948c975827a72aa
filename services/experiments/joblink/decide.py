"""A job's link to the runs that are its processes: it tells each of them how its process fares. Pure.

    RunCreated (with a process), RunLaunched ─► JobLinked ─► (asks jobs whether the process has ended already)
    JobStarted, JobExited, the job's end ─► LinkedProcessStarted, LinkedProcessEnded, one for each run concerned

So a process that is killed ends its run, whichever client began that. A run outside of jobs is never ended by silence.
A run whose client has not submitted the job an hour later has failed, unless there is that job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import CommandRejected, ErrorCode, Refused
from events.language.convert import to_dict
from events.language.experiments import (
    MAX_REASON,
    JobLinked,
    LinkedProcessEnded,
    LinkedProcessStarted,
    ReportProcessEnded,
    ReportProcessStarted,
    RunCreated,
    RunStatus,
)
from events.language.experiments.launching import RunLaunched, RunLaunchEnded
from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobCompleted,
    JobEnded,
    JobExited,
    JobFailed,
    JobStarted,
    TaskExit,
)
from events.language.task_ranges import tasks_in
from events.writer.decider import Decider, DecisionContext, Order, Question
from forgelog_pb.jobs.v1.queries_pb2 import GetJobRequest, ListAttemptsRequest
from forgelog_pb.jobs.v1.queries_pb2_grpc import JobQueriesStub
from services.experiments.joblink.fold import evolve
from services.experiments.joblink.state import USED, Linked, Links

_OF_JOBS = (JobStarted, JobExited, JobCompleted, JobFailed, JobCancelled)


class JobLinks(Decider[Links]):
    """The decider of links; its key is the job's id."""

    context = "experiments"
    aggregate = "joblink"
    commands = (ReportProcessStarted, ReportProcessEnded)
    events = (JobLinked, LinkedProcessStarted, LinkedProcessEnded)
    routes: ClassVar = {
        RunCreated: lambda event: (event.process.job_id,) if event.process is not None else (),
        RunLaunched: lambda event: (event.process.job_id,),
        RunLaunchEnded: lambda event: (event.job_id,) if event.job_id else (),
        **dict.fromkeys(_OF_JOBS, lambda event: (event.job_id,)),
    }
    unhurried = frozenset(_OF_JOBS)  # most jobs have no run
    dispatching = frozenset({JobLinked})
    asks = ("experiments",)
    consults = ("jobs",)

    def initial(self, key: str) -> Links:
        return Links()

    def evolve(self, state: Links, event: Event, time: datetime) -> Links:
        return evolve(state, event, time)

    def may_passivate(self, state: Links) -> bool:
        return not state.runs

    def decide(self, state: Links, command: Command, context: DecisionContext) -> Sequence[Event]:
        assert isinstance(command, ReportProcessStarted | ReportProcessEnded)
        linked = state.runs.get(command.run_id)
        if linked is None:
            return ()
        if isinstance(command, ReportProcessStarted):
            return () if linked.started else [LinkedProcessStarted.model_validate(command.model_dump())]
        return [LinkedProcessEnded.model_validate(command.model_dump())]

    def react(self, state: Links, event: Event, context: DecisionContext) -> Sequence[Event]:
        match event:
            case RunCreated() | RunLaunched():
                process = event.process
                assert process is not None
                if event.run_id in state.runs:
                    return ()
                names = {"job_id": process.job_id, "task": process.task, "attempt": process.attempt}
                # That of a run that is launched is ordered by the platform, which does not forget it.
                scheduled = isinstance(event, RunCreated) and event.status is RunStatus.SCHEDULED
                return [JobLinked(run_id=event.run_id, scheduled=scheduled, **names)]
            case RunLaunchEnded() if event.run_id in state.runs:  # its job was refused: nothing will be heard of it
                return [
                    LinkedProcessEnded(
                        job_id=event.job_id,
                        run_id=event.run_id,
                        status=RunStatus.FAILED,
                        reason="its job was refused",
                        ended_at=context.now,
                    )
                ]
            case JobStarted():
                return [
                    LinkedProcessStarted(job_id=event.job_id, run_id=run_id, node_id=event.node_id)
                    for start in event.tasks
                    for run_id, linked in _runs(state, start.task, start.attempt)
                    if not linked.started
                ]
            case JobExited():
                cancelled = frozenset(tasks_in(event.cancelled)) if event.cancelled else frozenset()
                return [
                    _ended(event, exit, run_id, exit.task in cancelled)
                    for exit in event.tasks
                    for run_id, _ in _runs(state, exit.task, exit.attempt)
                ]
            case JobEnded():  # what is left never had a process
                return [
                    LinkedProcessEnded(
                        job_id=event.job_id,
                        run_id=run_id,
                        status=RunStatus.KILLED if isinstance(event, JobCancelled) else RunStatus.FAILED,
                        reason=event.reason or "the job ended, and this process of it never was",
                        ended_at=context.now,
                    )
                    for run_id in state.runs
                ]
        return ()

    def due(self, state: Links) -> datetime | None:
        return min((each.overdue_at for each in state.runs.values() if each.overdue_at is not None), default=None)

    def wake(self, state: Links, context: DecisionContext) -> Sequence[Event]:
        """A client was perhaps ended between the two commands: then nothing would ever be heard of the job."""
        return [
            JobLinked(job_id=context.subject, run_id=id, task=each.task, attempt=each.attempt, overdue=True)
            for id, each in state.runs.items()
            if each.overdue_at is not None and each.overdue_at <= context.now
        ]

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        """Whether its process has started or ended already, since the link hears only what comes after it."""
        assert isinstance(event, JobLinked)
        attempts = ListAttemptsRequest(job_id=event.job_id, task=event.task)
        return [
            Question("jobs", JobQueriesStub, "ListAttempts", attempts, event.job_id),
            Question("jobs", JobQueriesStub, "GetJob", GetJobRequest(job_id=event.job_id), event.job_id),
        ]

    def answered(self, event: Event, question: Question, answer: Any, at: DecisionContext) -> Sequence[Order]:
        assert isinstance(event, JobLinked)
        names = {"job_id": event.job_id, "run_id": event.run_id}
        if isinstance(answer, Refused):
            if event.overdue and question.method == "GetJob" and answer.code is ErrorCode.NOT_FOUND:
                reason = "its job was never submitted"
                return [Order(ReportProcessEnded(**names, status=RunStatus.FAILED, reason=reason, ended_at=at.now))]
            return ()  # there is no such job yet: all that becomes of it will be heard
        if question.method == "ListAttempts":
            return [
                Order(_reported(names, to_dict(attempt)))
                for attempt in answer.attempts
                if attempt.attempt == event.attempt and (attempt.HasField("started_at") or attempt.HasField("ended_at"))
            ]
        if not answer.job.HasField("ended_at"):
            return ()
        reason = answer.job.reason or "the job had ended, and this process of it never was"
        ended_at = answer.job.ended_at.ToDatetime(tzinfo=UTC)
        return [Order(ReportProcessEnded(**names, status=RunStatus.FAILED, reason=reason, ended_at=ended_at))]

    def refused(self, state: Links, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        return ()


def _runs(state: Links, task: int, attempt: int) -> Iterator[tuple[str, Linked]]:
    """The runs that are this process."""
    return ((id, each) for id, each in state.runs.items() if (each.task, each.attempt) == (task, attempt))


def _ended(event: JobExited, exit: TaskExit, run_id: str, cancelled: bool) -> LinkedProcessEnded:
    return LinkedProcessEnded(
        job_id=event.job_id,
        run_id=run_id,
        status=RunStatus.KILLED if cancelled else _status(exit.reason, exit.exit_code),
        reason=_reason(exit.reason, exit.exit_code, exit.signal, exit.message),
        node_id=event.node_id,
        exit_code=exit.exit_code,
        signal=exit.signal,
        **{name: getattr(exit.usage, name) for name in USED},
        ended_at=exit.ended_at,
    )


def _reported(names: Mapping[str, str], attempt: Mapping[str, Any]) -> ReportProcessStarted | ReportProcessEnded:
    """What an attempt, as `ListAttempts` answers it, has come to."""
    if attempt.get("ended_at") is None:
        return ReportProcessStarted(**names, node_id=attempt.get("node_id", ""))
    how, exit_code, signal = ExitReason(attempt["exit_reason"]), attempt.get("exit_code"), attempt.get("signal")
    return ReportProcessEnded(
        job_id=names["job_id"],
        run_id=names["run_id"],
        status=_status(how, exit_code),
        reason=_reason(how, exit_code, signal, attempt.get("message", "")),
        node_id=attempt.get("node_id", ""),
        exit_code=exit_code,
        signal=signal,
        ended_at=attempt["ended_at"],
        **{name: attempt.get(name, 0.0) for name in USED},
    )


def _status(how: ExitReason, exit_code: int | None) -> RunStatus:
    """How a run has ended whose program did not say so."""
    if how is ExitReason.STOPPED:
        return RunStatus.KILLED
    return RunStatus.FINISHED if exit_code == 0 else RunStatus.FAILED


def _reason(how: ExitReason, exit_code: int | None, signal: int | None, message: str) -> str:
    """How a process ended, in words; empty for one that succeeded."""
    if how is ExitReason.EXITED:
        if exit_code == 0:
            return ""
        return f"signal {signal}" if signal is not None else f"exit code {exit_code}"
    words = how.value.replace("_", " ")
    return f"{words}: {message}"[:MAX_REASON] if message else words
