"""Jobs under test: inputs go in as the runtime would bring them, the events they lead to come out and reach the jobs
they concern, as the runtime lets them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from events.language.base import Command, Event
from events.language.common import DEFAULT_PROJECT, Refused, utc
from events.language.jobs import (
    CancelJob,
    ExitReason,
    ReportJobExited,
    ReportJobStarted,
    ReportTaskReadiness,
    RequeueJob,
    SubmitJob,
    TaskExit,
    TaskReadiness,
    TaskStart,
)
from events.language.jobs.spec import JobEnvironment, JobLaunch, JobMetadata, JobResources, JobSpec, RestartPolicy
from events.language.resources import AllocationBound, AllocationReleased, ReleaseReason
from events.language.scheduling import JobDequeued
from events.writer.decider import DecisionContext
from services.jobs.decide import Jobs
from services.jobs.state import Job

START = utc(1_760_000_000)


class Desk:
    """Every job of a test, their histories and the clock."""

    def __init__(self) -> None:
        self.decider = Jobs()
        self.jobs: dict[str, Job] = {}
        self.history: dict[str, list[tuple[Event, datetime]]] = {}
        self.now = START
        self._inputs = 0

    def job(self, id: str = "job") -> Job:
        return self.jobs.get(id) or self.decider.initial(id)

    def statuses(self, id: str = "job") -> list[str]:
        """Of a job's tasks, in words."""
        return [self.job(id).status(task).value for task in range(self.job(id).size)]

    def command(self, command: Command, actor: str = "owner", origin: str = "") -> list[Event]:
        """What a command leads to, in every job it reaches. `origin`: see `DecisionContext`."""
        self.now += timedelta(seconds=1)
        state = self.job(command.subject())
        return self._fold(self.decider.decide(state, command, self._context(command.subject(), actor, origin)))

    def event(self, event: Event) -> list[Event]:
        """What another context's event leads to."""
        self.now += timedelta(seconds=1)
        return self._react(event)

    def replayed(self, id: str = "job") -> Job:
        """The job that its history alone gives."""
        state = self.decider.initial(id)
        for event, time in self.history.get(id, []):
            state = self.decider.evolve(state, event, time)
        return state

    def stored(self, id: str = "job") -> Job:
        """The job as a snapshot gives it back."""
        return self.decider.load(id, self.decider.dump(self.job(id)))

    def _context(self, id: str, actor: str = "owner", origin: str = "") -> DecisionContext:
        self._inputs += 1
        return DecisionContext(self.now, f"input-{self._inputs}", actor, DEFAULT_PROJECT, id, origin=origin)

    def _react(self, event: Event) -> list[Event]:
        events: list[Event] = []
        route = self.decider.routes.get(type(event))
        for key in route(event) if route else ():
            events += self._fold(self.decider.react(self.job(key), event, self._context(key)))
        return events

    def _fold(self, decided: Sequence[Event]) -> list[Event]:
        events: list[Event] = []
        for event in decided:
            key = event.key()
            self.jobs[key] = self.decider.evolve(self.job(key), event, self.now)
            self.history.setdefault(key, []).append((event, self.now))
            events.append(event)
        for event in decided:
            events += self._react(event)
        return events


def spec(**parts: Any) -> JobSpec:
    """A job of one task that is not restarted, unless said otherwise; ``restart=RestartPolicy(...)`` is a shorthand."""
    restart = parts.pop("restart", None)
    if restart is not None:
        parts["scheduling"] = {"restart": RestartPolicy(**restart) if isinstance(restart, dict) else restart}
    return JobSpec(metadata=JobMetadata(name="job"), command="true", **parts)


def submit(id: str = "job", **parts: Any) -> SubmitJob:
    return SubmitJob(job_id=id, spec=spec(**parts))


def after(other: str, kind: str = "after_ok") -> dict[str, str]:
    return {"job_id": other, "kind": kind}


def bound(tasks: str = "0", attempt: int = 1, id: str = "job", node: str = "n1") -> AllocationBound:
    return AllocationBound(
        pool="default",
        project=DEFAULT_PROJECT,
        allocation_id=f"{id}.{attempt}",
        job_id=id,
        node_id=node,
        tasks=tasks,
        attempt=attempt,
        resources=JobResources(),
        launch=JobLaunch(name=id, command="true", environment=JobEnvironment(), array_size=1, grace_seconds=1.0),
    )


def started(*tasks: int, attempt: int = 1, id: str = "job", service: bool = False) -> ReportJobStarted:
    where: dict[str, Any] = {"address": "10.0.0.7", "ports": {"http": 20_000}} if service else {}
    found = tuple(
        TaskStart(task=task, attempt=attempt, allocation_id="a", pid=4711, started_at=START, **where)
        for task in tasks or (0,)
    )
    return ReportJobStarted(job_id=id, node_id="n1", tasks=found)


def readiness(*tasks: int, ready: bool = True, at: float = 0, attempt: int = 1, id: str = "job") -> ReportTaskReadiness:
    """Reported `at` seconds after `START`, with a reason if it is not ready."""
    changed_at, reason = START + timedelta(seconds=at), "" if ready else "no answer"
    found = tuple(
        TaskReadiness(task=task, attempt=attempt, ready=ready, changed_at=changed_at, reason=reason)
        for task in tasks or (0,)
    )
    return ReportTaskReadiness(job_id=id, node_id="n1", tasks=found)


def exited(
    *tasks: int,
    code: int | None = None,
    signal: int | None = None,
    reason: ExitReason = ExitReason.EXITED,
    attempt: int = 1,
    id: str = "job",
    message: str = "",
) -> ReportJobExited:
    if reason is ExitReason.EXITED and signal is None and code is None:
        code = 0
    found = tuple(
        TaskExit(
            task=task,
            attempt=attempt,
            reason=reason,
            exit_code=code,
            signal=signal,
            message=message,
            ended_at=START,
        )
        for task in tasks or (0,)
    )
    return ReportJobExited(job_id=id, node_id="n1", tasks=found)


def node_lost(tasks: str = "0", attempt: int = 1, id: str = "job") -> AllocationReleased:
    return AllocationReleased(
        pool="default",
        project=DEFAULT_PROJECT,
        allocation_id="a",
        job_id=id,
        node_id="n1",
        tasks=tasks,
        attempt=attempt,
        reason=ReleaseReason.NODE_LOST,
    )


def dequeued(tasks: str = "0", attempt: int = 1, id: str = "job") -> JobDequeued:
    return JobDequeued(queue="default", job_id=id, tasks=tasks, attempt=attempt, reason="cancelled by owner")


def cancel(id: str = "job", tasks: str | None = None) -> CancelJob:
    return CancelJob(job_id=id, tasks=tasks)


def requeue(id: str = "job", tasks: str | None = None) -> RequeueJob:
    return RequeueJob(job_id=id, tasks=tasks)


def said(events: Sequence[Event]) -> list[str]:
    """The events by name, in order."""
    return [type(event).__name__ for event in events]


def refusal(desk: Desk, command: Command) -> Refused:
    """What a command is refused with."""
    try:
        events = desk.command(command)
    except Refused as refused:
        return refused
    raise AssertionError(f"not refused, but led to {said(events)}")
