"""Given a job, when it is submitted, placed, reported on, cancelled or requeued, then this is what happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from events.language.common import ErrorCode
from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobExited,
    JobFailed,
    JobQueued,
    JobSubmitted,
    JobTasksCancelled,
    RequeueJob,
)
from events.language.jobs.spec import JobArray, JobStatus, RestartPolicy
from services.jobs.restart import backoff
from tests.unit.jobs.desk import (
    Desk,
    bound,
    cancel,
    dequeued,
    exited,
    node_lost,
    refusal,
    requeue,
    said,
    spec,
    started,
    submit,
)

RETRY = {"mode": "on_failure", "max_restarts": 2, "backoff_seconds": 4.0, "max_backoff_seconds": 6.0}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def running(desk: Desk, size: int = 1, **parts: Any) -> None:
    """A job all of whose tasks run."""
    desk.command(submit(array=JobArray(size=size) if size > 1 else None, **parts))
    desk.event(bound(f"0-{size - 1}" if size > 1 else "0"))
    desk.command(started(*range(size)))


# Submitting


def test_a_job_without_dependencies_is_queued_at_once(desk: Desk) -> None:
    submitted, queued = desk.command(submit())
    assert isinstance(submitted, JobSubmitted)
    assert submitted.spec == spec()
    assert isinstance(queued, JobQueued)
    assert (queued.tasks, queued.attempt, queued.not_before) == ("0", 1, None)
    assert queued.request.submitted_at == desk.now
    assert (queued.launch.command, queued.launch.array_size) == ("true", 1)


def test_an_array_of_ten_thousand_costs_two_events(desk: Desk) -> None:
    events = desk.command(submit(array=JobArray(size=10_000, max_parallel=7)))
    assert said(events) == ["JobSubmitted", "JobQueued"]
    assert isinstance(events[1], JobQueued)
    assert (events[1].tasks, events[1].request.max_parallel, events[1].launch.array_size) == ("0-9999", 7, 10_000)


def test_a_job_id_is_taken_once(desk: Desk) -> None:
    desk.command(submit())
    refused = refusal(desk, submit())
    assert (refused.code, refused.errors[0].field) == (ErrorCode.ALREADY_EXISTS, "job_id")


def test_a_relative_working_directory_is_refused(desk: Desk) -> None:
    refused = refusal(desk, submit(environment={"working_directory": "."}))
    assert (refused.code, refused.errors[0].field) == (
        ErrorCode.INVALID_ARGUMENT,
        "spec.environment.working_directory",
    )


@pytest.mark.parametrize("command", [cancel(), requeue(), started(), exited()], ids=lambda c: type(c).__name__)
def test_a_job_that_is_not_there_is_named(desk: Desk, command: Any) -> None:
    refused = refusal(desk, command)
    assert (refused.code, refused.errors[0].field) == (ErrorCode.NOT_FOUND, "job_id")


# Placement and reports


def test_from_the_queue_to_its_end(desk: Desk) -> None:
    desk.command(submit())
    assert said(desk.event(bound())) == ["JobAssigned"]
    assert desk.statuses() == ["scheduled"]
    assert said(desk.command(started())) == ["JobStarted"]
    assert desk.statuses() == ["running"]
    ended = desk.command(exited())
    assert said(ended) == ["JobExited", "JobCompleted"]
    assert desk.statuses() == ["completed"]
    assert isinstance(ended[1], JobCompleted)
    assert (ended[1].exit_code, ended[1].counts.completed) == (0, 1)


def test_reports_may_overtake_the_news_of_the_allocation(desk: Desk) -> None:
    desk.command(submit())
    assert said(desk.command(started())) == ["JobStarted"]
    assert said(desk.command(exited())) == ["JobExited", "JobCompleted"]
    assert desk.event(bound()) == []


def test_a_repeated_report_changes_nothing(desk: Desk) -> None:
    running(desk)
    assert desk.command(started()) == []
    assert desk.event(bound()) == []
    desk.command(exited())
    assert desk.command(exited()) == []


def test_a_task_that_a_report_names_twice_starts_and_ends_once(desk: Desk) -> None:
    """Its events would not fold, here and in other contexts."""
    desk.command(submit(array=JobArray(size=2)))
    desk.event(bound("0-1"))
    assert [event.tasks for event in desk.command(started(1, 1))] == [started(1).tasks]
    ended = desk.command(exited(1, 1))[0]
    assert (ended.tasks, ended.completed) == (exited(1).tasks, "1")


def test_a_report_of_an_attempt_that_never_was_is_refused(desk: Desk) -> None:
    running(desk)
    for command in (started(attempt=2), exited(attempt=2), exited(7)):
        refused = refusal(desk, command)
        assert refused.code is ErrorCode.FAILED_PRECONDITION
        assert refused.errors[0].field == "tasks"


def test_a_start_of_an_ended_attempt_is_refused_and_its_end_is_a_repeat(desk: Desk) -> None:
    running(desk, restart=RETRY)
    desk.command(exited(code=1))
    assert refusal(desk, started(attempt=1)).code is ErrorCode.FAILED_PRECONDITION
    assert desk.command(exited(attempt=1, code=1)) == []


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"code": 0}, 0),
        ({"code": 3}, 3),
        ({"code": 255}, 255),
        ({"signal": 9}, 137),
        ({"signal": 11}, 139),
        ({"reason": ExitReason.TIMEOUT, "signal": 15}, 143),
        ({"reason": ExitReason.OUT_OF_MEMORY, "signal": 9}, 137),
        ({"reason": ExitReason.SPAWN_FAILED}, 1),
    ],
)
def test_the_exit_code_is_what_a_shell_would_say(desk: Desk, end: dict[str, Any], code: int) -> None:
    running(desk)
    (*_, last) = desk.command(exited(**end))
    assert isinstance(last, JobCompleted | JobFailed)
    assert last.exit_code == code
    assert desk.job().ended is (JobStatus.FAILED if code else JobStatus.COMPLETED)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"code": 3}, "exit code 3"),
        ({"signal": 11}, "signal 11 (SIGSEGV)"),
        ({"reason": ExitReason.TIMEOUT, "signal": 15}, "runtime limit reached"),
        (
            {"reason": ExitReason.TIMEOUT, "signal": 15, "message": "still ran after 2 s"},
            "runtime limit reached: still ran after 2 s",
        ),
        (
            {"reason": ExitReason.OUT_OF_MEMORY, "signal": 9, "message": "used 70Mi of 64Mi"},
            "memory limit reached: used 70Mi of 64Mi",
        ),
        ({"reason": ExitReason.SPAWN_FAILED, "message": "no such file"}, "could not be started: no such file"),
    ],
)
def test_a_failed_job_s_last_event_says_why(desk: Desk, end: dict[str, Any], reason: str) -> None:
    running(desk)
    (*_, last) = desk.command(exited(**end))
    assert isinstance(last, JobFailed)
    assert last.reason == reason


def test_a_failed_array_says_how_many_failed_and_why_the_first(desk: Desk) -> None:
    running(desk, 3)
    desk.command(exited(1, code=7))
    desk.command(exited(2, code=9))
    assert desk.stored().failure == desk.job().failure == "task 1: exit code 7"
    (*_, last) = desk.command(exited(0))
    assert isinstance(last, JobFailed)
    assert last.reason == "2 of 3 tasks failed; task 1: exit code 7"


def test_an_array_fails_with_the_first_failed_task_s_code_once_all_have_ended(desk: Desk) -> None:
    running(desk, 3)
    assert said(desk.command(exited(1, code=4))) == ["JobExited"]
    assert said(desk.command(exited(0))) == ["JobExited"]
    events = desk.command(exited(2, code=5))
    assert said(events) == ["JobExited", "JobFailed"]
    last = events[-1]
    assert isinstance(last, JobFailed)
    assert (last.exit_code, last.counts.completed, last.counts.failed) == (4, 1, 2)


def test_one_report_may_tell_of_many_tasks(desk: Desk) -> None:
    running(desk, 100)
    events = desk.command(exited(*range(100)))
    assert said(events) == ["JobExited", "JobCompleted"]
    assert isinstance(events[0], JobExited)
    assert events[0].completed == "0-99"


# Restarts


def test_a_failed_task_runs_again_after_a_growing_pause_so_often(desk: Desk) -> None:
    running(desk, restart=RETRY)
    pauses = []
    for attempt in (1, 2):
        events = desk.command(exited(code=1, attempt=attempt))
        assert said(events) == ["JobExited", "JobQueued"]
        queued = events[1]
        assert isinstance(queued, JobQueued)
        assert (queued.attempt, queued.counted) == (attempt + 1, True)
        assert queued.reason == f"exit code 1; restart {attempt} of 2"
        assert queued.not_before is not None
        pauses.append(queued.not_before - desk.now)
        desk.command(started(attempt=attempt + 1))
    assert pauses == [timedelta(seconds=4), timedelta(seconds=6)]
    assert said(desk.command(exited(code=1, attempt=3))) == ["JobExited", "JobFailed"]


def test_success_ends_retries_unless_it_is_to_run_always(desk: Desk) -> None:
    running(desk, restart=RETRY)
    assert said(desk.command(exited())) == ["JobExited", "JobCompleted"]
    other = Desk()
    running(other, restart={"mode": "always", "max_restarts": 1})
    assert said(other.command(exited())) == ["JobExited", "JobQueued"]
    other.command(started(attempt=2))
    assert said(other.command(exited(attempt=2))) == ["JobExited", "JobCompleted"]


def test_back_off_doubles_up_to_its_most() -> None:
    policy = RestartPolicy(backoff_seconds=1.5, max_backoff_seconds=40)
    assert [backoff(policy, number) for number in range(6)] == [1.5, 3.0, 6.0, 12.0, 24.0, 40.0]
    assert backoff(policy, 10_000) == 40


def test_tasks_retry_each_for_itself(desk: Desk) -> None:
    running(desk, 3, restart=RETRY)
    desk.command(exited(1, code=1))
    assert desk.statuses() == ["running", "queued", "running"]
    assert list(desk.job().attempts) == [1, 2, 1]
    assert list(desk.job().restarts) == [0, 1, 0]


# Lost nodes and drains


def test_a_lost_node_s_tasks_run_again_and_it_does_not_count(desk: Desk) -> None:
    running(desk, 2)
    events = desk.event(node_lost("0-1"))
    assert said(events) == ["JobExited", "JobQueued"]
    queued = events[1]
    assert isinstance(queued, JobQueued)
    assert (queued.tasks, queued.attempt, queued.counted) == ("0-1", 2, False)
    assert desk.event(node_lost("0-1")) == []


@pytest.mark.parametrize("reason", [ExitReason.LOST, ExitReason.STOPPED])
def test_each_interruption_of_a_task_waits_longer_than_the_one_before(desk: Desk, reason: ExitReason) -> None:
    running(desk, restart={"mode": "never", "backoff_seconds": 0.0})
    waits = []
    for attempt in range(1, 13):
        queued = desk.command(exited(reason=reason, attempt=attempt))[1]
        assert isinstance(queued, JobQueued)
        assert queued.not_before is not None
        waits.append((queued.not_before - desk.now).total_seconds())
        desk.event(bound(attempt=attempt + 1))
        desk.command(started(attempt=attempt + 1))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert desk.job().interruptions == {0: 12}
    assert desk.stored() == desk.job() == desk.replayed()


def test_a_requeue_forgets_interruptions(desk: Desk) -> None:
    running(desk)
    desk.event(node_lost())
    desk.event(bound(attempt=2))
    desk.command(exited(code=1, attempt=2))
    desk.command(requeue())
    assert desk.job().interruptions == {}


def test_an_end_that_nobody_saw_is_a_failure(desk: Desk) -> None:
    running(desk)
    events = desk.command(exited(reason=ExitReason.UNTRACKED))
    assert said(events) == ["JobExited", "JobFailed"]


def test_an_end_that_nobody_saw_is_run_again_as_the_policy_says(desk: Desk) -> None:
    running(desk, restart=RETRY)
    queued = desk.command(exited(reason=ExitReason.UNTRACKED))[1]
    assert isinstance(queued, JobQueued)
    assert (queued.counted, queued.attempt) == (True, 2)


def test_a_job_that_must_not_run_twice_fails_with_its_node(desk: Desk) -> None:
    running(desk, restart={"restart_lost": False})
    assert said(desk.event(node_lost())) == ["JobExited", "JobFailed"]


def test_a_drained_task_runs_again(desk: Desk) -> None:
    running(desk)
    events = desk.command(exited(reason=ExitReason.STOPPED, signal=15))
    assert said(events) == ["JobExited", "JobQueued"]
    assert isinstance(events[1], JobQueued)
    assert events[1].reason == "its node was drained"


# Cancelling


def test_a_running_task_is_asked_to_stop_and_the_job_ends_when_it_has(desk: Desk) -> None:
    running(desk)
    (asked,) = desk.command(cancel())
    assert isinstance(asked, JobCancelRequested)
    assert (asked.tasks, asked.reason) == ("0", "cancelled by owner")
    assert desk.command(cancel()) == []
    events = desk.command(exited(reason=ExitReason.STOPPED, signal=15))
    assert said(events) == ["JobExited", "JobCancelled"]
    assert isinstance(events[1], JobCancelled)
    assert events[1].exit_code == 143


def test_a_task_that_ended_well_before_it_could_be_stopped_is_completed(desk: Desk) -> None:
    running(desk)
    desk.command(cancel())
    assert said(desk.command(exited())) == ["JobExited", "JobCompleted"]


def test_a_cancelled_task_is_not_run_again_by_its_policy(desk: Desk) -> None:
    running(desk, restart=RETRY)
    desk.command(cancel())
    assert said(desk.command(exited(code=1))) == ["JobExited", "JobCancelled"]


def test_queued_tasks_are_cancelled_once_scheduling_has_let_go_of_them(desk: Desk) -> None:
    desk.command(submit())
    assert said(desk.command(cancel())) == ["JobCancelRequested"]
    assert desk.statuses() == ["queued"]
    events = desk.event(dequeued())
    assert said(events) == ["JobTasksCancelled", "JobCancelled"]
    assert desk.event(dequeued()) == []


def test_some_tasks_of_an_array_can_be_cancelled(desk: Desk) -> None:
    running(desk, 4)
    desk.command(cancel(tasks="1-2"))
    assert said(desk.command(exited(0, 3))) == ["JobExited"]
    events = desk.command(exited(1, 2, reason=ExitReason.STOPPED, signal=15))
    last = events[-1]
    assert isinstance(last, JobCancelled)
    assert (last.counts.completed, last.counts.cancelled) == (2, 2)


def test_a_task_beyond_the_array_is_named(desk: Desk) -> None:
    running(desk, 4)
    refused = refusal(desk, cancel(tasks="2-4"))
    assert (refused.code, refused.errors[0].field) == (ErrorCode.INVALID_ARGUMENT, "tasks")
    assert "has no task 4; its tasks are 0 to 3" in refused.message


def test_cancelling_an_ended_job_changes_nothing(desk: Desk) -> None:
    running(desk)
    desk.command(exited())
    assert desk.command(cancel()) == []


# Requeueing


def test_what_failed_or_was_cancelled_can_be_run_again(desk: Desk) -> None:
    running(desk, 3, restart=RETRY)
    desk.command(cancel(tasks="2"))
    desk.command(exited(0))
    desk.command(exited(1, code=1))
    desk.command(started(1, attempt=2))
    for attempt in (2, 3):
        desk.command(exited(1, code=1, attempt=attempt))
        if attempt == 2:
            desk.command(started(1, attempt=3))
    desk.command(exited(2, reason=ExitReason.STOPPED, signal=15))
    assert desk.job().ended is JobStatus.FAILED
    events = desk.command(requeue())
    assert [(e.tasks, e.attempt) for e in events if isinstance(e, JobQueued)] == [("2", 2), ("1", 4)]
    assert (desk.job().ended, desk.statuses()) == (None, ["completed", "queued", "queued"])
    assert list(desk.job().restarts) == [0, 0, 0]
    for task, attempt in ((1, 4), (2, 2)):
        desk.command(started(task, attempt=attempt))
    assert said(desk.command(exited(2, attempt=2))) == ["JobExited"]
    assert said(desk.command(exited(1, attempt=4))) == ["JobExited", "JobCompleted"]


@pytest.mark.parametrize("reason", ["", "the disk was full", "x" * 500])
def test_a_requeue_says_who_wanted_it_and_why(desk: Desk, reason: str) -> None:
    running(desk, 1)
    desk.command(exited(0, code=1))
    (again,) = desk.command(RequeueJob(job_id="job", reason=reason))
    assert isinstance(again, JobQueued)
    said_why = f": {reason}" if reason else ""
    assert again.reason == f"requeued by owner{said_why}"


def test_only_an_ended_job_with_something_to_repeat_is_requeued(desk: Desk) -> None:
    running(desk)
    assert refusal(desk, requeue()).code is ErrorCode.FAILED_PRECONDITION
    desk.command(exited())
    refused = refusal(desk, requeue())
    assert (refused.code, refused.errors[0].field) == (ErrorCode.FAILED_PRECONDITION, "tasks")


def test_pending_tasks_are_cancelled_at_once(desk: Desk) -> None:
    desk.command(submit("other"))
    desk.command(submit(depends_on=({"job_id": "other"},)))
    events = desk.command(cancel())
    assert said(events) == ["JobTasksCancelled", "JobCancelled"]
    assert isinstance(events[0], JobTasksCancelled)
    assert desk.job().outcome().value == "cancelled"
