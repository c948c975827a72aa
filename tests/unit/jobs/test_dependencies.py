"""Given jobs that wait for others, when those end (or never were), then they run or are cancelled, and say why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from events.language.common import DEFAULT_PROJECT, ErrorCode
from events.language.jobs import DependencyRequested, DependencyResolved, ExitReason, JobCancelled, JobQueued
from events.language.jobs.spec import DependencyKind, JobArray
from events.log.wire import value_of
from events.writer.decider import DecisionContext
from services.jobs.queueing import queued
from tests.unit.jobs.desk import Desk, after, cancel, dequeued, exited, refusal, requeue, said, started, submit

Ending = Callable[[Desk], object]


def completes(desk: Desk) -> None:
    desk.command(exited(id="first"))


def fails(desk: Desk) -> None:
    desk.command(exited(id="first", code=1))


def is_cancelled(desk: Desk) -> None:
    desk.command(cancel("first"))
    desk.command(exited(id="first", reason=ExitReason.STOPPED, signal=15))


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.command(submit("first"))
    desk.command(started(id="first"))
    return desk


@pytest.mark.parametrize("late", [False, True], ids=["before it ends", "after it ended"])
@pytest.mark.parametrize(
    ("kind", "ending", "runs"),
    [
        ("after_ok", completes, True),
        ("after_ok", fails, False),
        ("after_ok", is_cancelled, False),
        ("after_any", completes, True),
        ("after_any", fails, True),
        ("after_any", is_cancelled, True),
        ("after_not_ok", completes, False),
        ("after_not_ok", fails, True),
        ("after_not_ok", is_cancelled, True),
    ],
)
def test_what_holds_after_which_end(desk: Desk, kind: str, ending: Ending, runs: bool, late: bool) -> None:
    dependent = submit("second", depends_on=(after("first", kind),))
    if late:
        ending(desk)
        desk.command(dependent)
    else:
        desk.command(dependent)
        assert desk.statuses("second") == ["pending"]
        ending(desk)
    assert desk.statuses("second") == (["queued"] if runs else ["cancelled"])
    if not runs:
        (reason,) = [event.reason for event, _ in desk.history["second"] if isinstance(event, JobCancelled)]
        assert reason.startswith(f"depends on job first {kind}, which has ")


def test_all_must_hold(desk: Desk) -> None:
    desk.command(submit("other"))
    desk.command(submit("second", depends_on=(after("first"), after("other", "after_any"))))
    completes(desk)
    assert desk.statuses("second") == ["pending"]
    desk.command(started(id="other"))
    events = desk.command(exited(id="other", code=9))
    assert said(events) == ["JobExited", "JobFailed", "DependencyResolved", "DependencyMet", "JobQueued"]


def test_the_first_that_can_not_hold_ends_the_wait(desk: Desk) -> None:
    desk.command(submit("other"))
    desk.command(submit("second", depends_on=(after("first"), after("other"))))
    fails(desk)
    assert desk.statuses("second") == ["cancelled"]
    desk.command(started(id="other"))
    assert said(desk.command(exited(id="other"))) == ["JobExited", "JobCompleted", "DependencyResolved"]


def test_cancelling_one_cancels_the_whole_chain_behind_it(desk: Desk) -> None:
    for number in range(2, 6):
        before = "first" if number == 2 else f"job-{number - 1}"
        desk.command(submit(f"job-{number}", depends_on=(after(before),)))
    is_cancelled(desk)
    assert [desk.statuses(f"job-{number}") for number in range(2, 6)] == [["cancelled"]] * 4


def test_a_job_nobody_knows_can_not_be_waited_for(desk: Desk) -> None:
    events = desk.command(submit("second", depends_on=(after("nobody"),)))
    cancelled = next(event for event in events if isinstance(event, JobCancelled))
    assert cancelled.reason == "depends on job nobody, which does not exist; submit it first"
    assert desk.job("nobody").spec is None


def test_a_job_can_not_wait_for_itself_or_twice_for_one(desk: Desk) -> None:
    refused = refusal(desk, submit("me", depends_on=(after("me"),)))
    assert (refused.code, refused.errors[0].field) == (ErrorCode.INVALID_ARGUMENT, "spec.depends_on.0.job_id")
    refused = refusal(desk, submit("me", depends_on=(after("first"), after("first", "after_any"))))
    assert refused.errors[0].field == "spec.depends_on.1.job_id"


def test_a_requeued_job_does_not_start_its_dependents_twice(desk: Desk) -> None:
    desk.command(submit("second", depends_on=(after("first", "after_any"),)))
    fails(desk)
    desk.command(requeue("first"))
    desk.command(started(id="first", attempt=2))
    events = desk.command(exited(id="first", attempt=2))
    assert said(events) == ["JobExited", "JobCompleted"]
    assert len([event for event, _ in desk.history["second"] if isinstance(event, JobQueued)]) == 1


def test_a_waiting_job_that_was_cancelled_stays_so(desk: Desk) -> None:
    desk.command(submit("second", depends_on=(after("first"),)))
    desk.command(cancel("second"))
    completes(desk)
    assert desk.statuses("second") == ["cancelled"]
    assert desk.event(dequeued(id="second")) == []


def test_a_requeued_job_waits_for_what_it_depends_on(desk: Desk) -> None:
    desk.command(submit("second", depends_on=(after("first"),)))
    desk.command(cancel("second"))
    events = desk.command(requeue("second"))
    assert said(events) == ["JobRequeued", "DependencyRequested"]
    assert desk.statuses("second") == ["pending"]
    completes(desk)
    assert desk.statuses("second") == ["queued"]


def test_a_requeued_job_is_cancelled_when_its_dependency_fails(desk: Desk) -> None:
    desk.command(submit("second", depends_on=(after("first"),)))
    desk.command(cancel("second"))
    desk.command(requeue("second"))
    fails(desk)
    assert desk.statuses("second") == ["cancelled"]
    events = desk.command(requeue("second"))
    assert said(events)[-2:] == ["JobTasksCancelled", "JobCancelled"], "it is told at once that the other has failed"


def test_tasks_of_an_array_are_requeued_behind_its_dependency(desk: Desk) -> None:
    desk.command(submit("second", depends_on=(after("first"),), array=JobArray(size=4)))
    desk.command(cancel("second"))
    desk.command(requeue("second", tasks="1-2"))
    assert desk.statuses("second") == ["cancelled", "pending", "pending", "cancelled"]
    completes(desk)
    assert desk.statuses("second") == ["cancelled", "queued", "queued", "cancelled"]


def test_a_requeued_job_that_waits_again_forgets_how_it_failed(desk: Desk) -> None:
    """It can have failed beside an unmet dependency in the log of an earlier version."""
    desk.command(submit("second", depends_on=(after("first"),)))
    desk.command(cancel("second"))
    second = desk.job("second")
    assert second.spec is not None
    desk.jobs["second"] = desk.decider.evolve(second, queued(second, second.spec, [0], 1), desk.now)
    desk.command(started(id="second"))
    desk.command(exited(id="second", code=3))
    assert desk.job("second").failure == "exit code 3"
    assert said(desk.command(requeue("second")))[0] == "JobRequeued"
    assert (desk.job("second").failure, desk.job("second").exit_code) == ("", 0)


def test_a_job_that_runs_against_its_dependency_is_left_alone_by_the_answer(desk: Desk) -> None:
    """As the log of an earlier version may have it."""
    desk.command(submit("second", depends_on=(after("first"),)))
    desk.command(cancel("second"))
    second = desk.job("second")
    assert second.spec is not None
    again = queued(second, second.spec, [0], 1)
    desk.jobs["second"] = desk.decider.evolve(second, again, desk.now)
    fails(desk)
    assert desk.statuses("second") == ["queued"]


@pytest.mark.parametrize(("ending", "status"), [(completes, "queued"), (fails, "cancelled")])
def test_more_dependents_than_one_append_answers_are_answered_one_after_the_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ending: Ending, status: str
) -> None:
    monkeypatch.setattr("services.jobs.ending.MOST_ANSWERS", 2)
    others = [f"other-{number}" for number in range(7)]
    for id in others:
        desk.command(submit(id, depends_on=(after("first"),)))
    ending(desk)
    assert [desk.statuses(id) for id in others] == [[status]] * 7
    answers = [event.dependent for event, _ in desk.history["first"] if isinstance(event, DependencyResolved)]
    assert answers == others
    assert not desk.job("first").dependents


def test_answers_that_are_left_when_a_job_is_requeued_wait_for_its_next_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.jobs.ending.MOST_ANSWERS", 0)
    desk.command(submit("second", depends_on=(after("first"),)))
    fails(desk)
    assert desk.statuses("second") == ["pending"]
    desk.command(requeue("first"))
    desk.command(started(id="first", attempt=2))
    monkeypatch.undo()
    desk.command(exited(id="first", attempt=2))
    assert desk.statuses("second") == ["queued"]


def test_the_answers_to_twelve_thousand_dependents_are_no_append_of_megabytes(desk: Desk) -> None:
    for number in range(12_000):
        desk.event(DependencyRequested(job_id=f"other-{number}", dependency="first", kind=DependencyKind.AFTER_ANY))
    context = DecisionContext(desk.now, "end", "owner", DEFAULT_PROJECT, "first")
    decided = desk.decider.decide(desk.job("first"), exited(id="first"), context)
    assert sum(len(value_of(event)) for event in decided) < 1 << 20
    assert desk.stored("first") == desk.job("first")
