"""Given a service, when its tasks run, become ready, fail and end, then ..."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from events.language.common import Refused
from events.language.jobs import (
    CancelJob,
    ExitReason,
    JobExited,
    JobQueued,
    JobTaskReady,
    JobTaskUnready,
    ReportJobExited,
    ReportJobStarted,
    RequeueJob,
    TaskExit,
    TaskStart,
)
from services.jobs.restart import Fate, backoff, describe, judge
from tests.unit.jobs.desk import START, Desk, readiness, spec, submit

SERVICE = {"ports": ["http"], "readiness": {"kind": "http"}}
WITHOUT_BOUND = {"mode": "always", "max_restarts": None}


def running(desk: Desk, at: datetime = START, attempt: int = 1, **parts: object) -> None:
    """A service whose only task runs since `at`."""
    if attempt == 1:
        desk.command(submit(service=SERVICE, restart=WITHOUT_BOUND, **parts))
    start = TaskStart(
        task=0, attempt=attempt, allocation_id="a", pid=7, started_at=at, address="10.0.0.7", ports={"http": 20_001}
    )
    desk.command(ReportJobStarted(job_id="job", node_id="n1", tasks=(start,)))


def exited(attempt: int, after: float, started: datetime = START, **how: object) -> ReportJobExited:
    exit = TaskExit(task=0, attempt=attempt, ended_at=started + timedelta(seconds=after), **{"exit_code": 1, **how})  # type: ignore[arg-type]
    return ReportJobExited(job_id="job", node_id="n1", tasks=(exit,))


def pause_of(desk: Desk, exit: ReportJobExited) -> float:
    """Seconds until its task runs again."""
    ended, queued = desk.command(exit)
    assert isinstance(ended, JobExited)
    assert isinstance(queued, JobQueued)
    assert queued.not_before is not None
    return (queued.not_before - desk.now).total_seconds()


def test_readiness_becomes_an_event_when_it_changes() -> None:
    desk = Desk()
    running(desk)
    assert desk.command(readiness(at=10)) == [
        JobTaskReady(job_id="job", node_id="n1", task=0, attempt=1, changed_at=START + timedelta(seconds=10))
    ]
    assert desk.command(readiness(at=11)) == [], "nothing has changed"
    assert desk.command(readiness(ready=False, at=12)) == [
        JobTaskUnready(
            job_id="job", node_id="n1", task=0, attempt=1, changed_at=START + timedelta(seconds=12), reason="no answer"
        )
    ]


def test_the_first_word_of_a_task_that_is_not_ready_tells_why() -> None:
    desk = Desk()
    running(desk)
    (event,) = desk.command(readiness(ready=False, at=10))
    assert isinstance(event, JobTaskUnready)


def test_a_report_that_comes_late_does_not_undo_a_newer_one() -> None:
    desk = Desk()
    running(desk)
    desk.command(readiness(at=10))
    desk.command(readiness(ready=False, at=30))
    assert desk.command(readiness(at=20)) == []


def test_reports_of_an_attempt_that_is_over_change_nothing() -> None:
    desk = Desk()
    running(desk)
    desk.command(exited(1, 1))
    assert desk.command(readiness(at=10)) == []
    running(desk, attempt=2)
    assert desk.command(readiness(at=10)) == []
    assert desk.job().readiness == {}


def test_an_exit_ends_readiness() -> None:
    desk = Desk()
    running(desk)
    desk.command(readiness(at=10))
    desk.command(exited(1, 1))
    running(desk, attempt=2)
    (event,) = desk.command(readiness(at=5, attempt=2))
    assert isinstance(event, JobTaskReady)


def test_only_a_service_has_readiness_and_only_of_attempts_there_were() -> None:
    desk = Desk()
    desk.command(submit())
    with pytest.raises(Refused, match="is no service"):
        desk.command(readiness(at=10))
    desk = Desk()
    running(desk)
    with pytest.raises(Refused, match="has no attempt 2"):
        desk.command(readiness(at=10, attempt=2))
    with pytest.raises(Refused, match="has no attempt 1 of task 5"):
        desk.command(readiness(5, at=10))


def test_what_a_service_remembers_survives_a_snapshot_and_a_replay() -> None:
    desk = Desk()
    running(desk)
    desk.command(readiness(at=10))
    for job in (desk.stored(), desk.replayed()):
        assert (job.readiness, job.up_since, job.unbounded) == (
            desk.job().readiness,
            desk.job().up_since,
            desk.job().unbounded,
        )
    assert desk.job().readiness
    assert desk.job().up_since
    assert desk.job().unbounded


def test_the_agents_cut_of_a_job_has_its_service() -> None:
    (_, queued) = Desk().command(submit(service=SERVICE))
    assert isinstance(queued, JobQueued)
    assert queued.launch.service == spec(service=SERVICE).service


def test_a_service_is_restarted_without_bound_with_growing_pauses() -> None:
    desk = Desk()
    running(desk)
    pauses = []
    for attempt in range(1, 8):
        pauses.append(pause_of(desk, exited(attempt, 1)))
        running(desk, attempt=attempt + 1)
    assert pauses == [1, 2, 4, 8, 16, 32, 64]


def test_pauses_begin_anew_after_a_minute_of_running() -> None:
    desk = Desk()
    running(desk)
    for attempt in range(1, 4):
        desk.command(exited(attempt, 1))
        running(desk, attempt=attempt + 1)
    for attempt, ran, pause in ((4, 60, 1), (5, 59, 2), (6, 61, 1)):
        assert pause_of(desk, exited(attempt, ran)) == pause
        running(desk, attempt=attempt + 1)
    assert desk.replayed().restarts == desk.job().restarts


def test_so_do_those_of_interruptions() -> None:
    desk = Desk()
    running(desk)
    for attempt, ran, pause in ((1, 1, 1), (2, 1, 2), (3, 60, 1)):
        assert pause_of(desk, exited(attempt, ran, reason=ExitReason.STOPPED, exit_code=None, signal=15)) == pause
        running(desk, attempt=attempt + 1)


def test_a_bounded_policy_counts_on_however_long_it_ran() -> None:
    desk = Desk()
    desk.command(submit(restart={"mode": "always", "max_restarts": 1}))
    for attempt in (1, 2):
        start = TaskStart(task=0, attempt=attempt, allocation_id="a", pid=7, started_at=START)
        desk.command(ReportJobStarted(job_id="job", node_id="n1", tasks=(start,)))
        desk.command(exited(attempt, 1000))
    assert desk.statuses() == ["failed"]


def test_an_unhealthy_task_has_failed() -> None:
    exit = TaskExit(
        task=0, attempt=1, reason=ExitReason.UNHEALTHY, signal=15, message="liveness probe: 503", ended_at=START
    )
    assert describe(exit) == "unhealthy: liveness probe: 503"
    never, always = spec().scheduling.restart, spec(restart=WITHOUT_BOUND).scheduling.restart
    assert judge(never, exit, 0, 0, False).fate is Fate.FAILED
    verdict = judge(always, exit, 9, 0, False)
    assert (verdict.fate, verdict.delay, verdict.counted) == (Fate.AGAIN, backoff(always, 9), True)
    assert verdict.reason == "unhealthy: liveness probe: 503; restart 10"
    assert judge(always, exit, 9, 0, True).fate is Fate.CANCELLED


def test_ids_of_replicas_are_only_for_the_context_that_makes_them() -> None:
    desk = Desk()
    for origin in ("", "jobs/job/x", "pipelines/run/deployments/y"):
        with pytest.raises(Refused, match="as the ids of jobs do that deployments makes") as caught:
            desk.command(submit("dep.digits.abc.1.0"), origin=origin)
        assert [error.field for error in caught.value.errors] == ["job_id"]
    assert desk.command(submit("dep.digits.abc.1.0"), origin="deployments/deployment/digits.abc")


def test_anybody_may_end_a_replica_but_not_run_it_again() -> None:
    desk = Desk()
    id = "dep.digits.abc.1.0"
    desk.command(submit(id), origin="deployments/deployment/digits.abc")
    assert desk.command(CancelJob(job_id=id))
    desk.job(id).ended = desk.job(id).status(0)
    with pytest.raises(Refused, match="as the ids of jobs do that deployments makes"):
        desk.command(RequeueJob(job_id=id))
