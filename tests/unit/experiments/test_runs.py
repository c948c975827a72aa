"""Given a run, when its program or its process says something, then it is so once, and a parameter keeps its value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from events.language.common import ErrorCode, Refused
from events.language.experiments import (
    BasicHyperparameters,
    CreateExperiment,
    CreateRun,
    DataHyperparameters,
    DeleteRun,
    EndRun,
    HyperparameterConfig,
    JobLinked,
    LinkedProcessEnded,
    LinkedProcessStarted,
    LogRunData,
    Process,
    RenameRun,
    RestoreRun,
    ResumeRun,
    RunAdmitted,
    RunCreated,
    RunDataLogged,
    RunEnded,
    RunProcessEnded,
    RunRenamed,
    RunStarted,
    RunStatus,
    TrainingHyperparameters,
)
from events.language.jobs import ExitReason, JobCancelled, JobExited, JobStarted, TaskCounts, TaskExit, TaskStart
from events.writer.decider import DecisionContext, Question
from forgelog_pb.jobs.v1 import queries_pb2 as pb
from services.experiments.joblink.decide import JobLinks
from tests.unit.experiments.desk import NOON, PROJECT, Desk

LATER = datetime(2026, 5, 9, 13, tzinfo=UTC)


def running(**more: Any) -> Desk:
    desk = Desk()
    desk.send(CreateExperiment(experiment_id="e1", name="digits"))
    desk.send(CreateRun(run_id="r1", experiment_id="e1", **more))
    return desk


def test_hyperparameters_become_parameters_and_the_experiment_fills_what_is_left_out() -> None:
    desk = Desk()
    theirs = HyperparameterConfig(basic=BasicHyperparameters(learning_rate=0.1, epochs=10), custom={"loss": "focal"})
    desk.send(CreateExperiment(experiment_id="e1", name="digits", hyperparameters=theirs, random_seed=7))
    mine = HyperparameterConfig(basic=BasicHyperparameters(learning_rate=0.01))
    events = desk.send(CreateRun(run_id="r1", experiment_id="e1", hyperparameters=mine, params={"depth": "3"}))
    created, admitted = events[0], events[-1]
    assert isinstance(created, RunCreated)
    assert isinstance(admitted, RunAdmitted)
    assert created.params == {"basic.learning_rate": "0.01", "depth": "3"}
    assert admitted.params == {"basic.epochs": "10.0", "loss": "focal", "random_seed": "7"}


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: DataHyperparameters(train_split=0.8), "give all three"),
        (lambda: DataHyperparameters(train_split=0.8, validation_split=0.1, test_split=0.2), "sum to 1.1; make it 1"),
        (
            lambda: HyperparameterConfig(
                basic=BasicHyperparameters(epochs=3), training=TrainingHyperparameters(warmup_epochs=3)
            ),
            "warm up for fewer epochs",
        ),
    ],
)
def test_hyperparameters_that_can_not_be_are_refused(made: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        made()


def test_a_parameter_keeps_its_first_value_and_a_repeat_is_nothing_new() -> None:
    desk = running(params={"lr": "0.1"})
    assert desk.send(LogRunData(run_id="r1", params={"lr": "0.1"})) == []
    assert desk.send(LogRunData(run_id="r1", params={"lr": "0.1", "depth": "3"})) == [
        RunDataLogged(run_id="r1", params={"depth": "3"})
    ]
    with pytest.raises(Refused) as caught:
        desk.send(LogRunData(run_id="r1", params={"lr": "0.2", "depth": "4", "new": "1"}))
    assert [error.field for error in caught.value.errors] == ["params.lr", "params.depth"]
    assert caught.value.message == "params.lr: is '0.2', but the run has it as '0.1' already"


def test_parameters_have_a_bound_over_all_commands() -> None:
    desk = running()
    for part in range(10):
        desk.send(LogRunData(run_id="r1", params={f"{part}.{n}": "" for n in range(1_000)}))
    with pytest.raises(Refused) as caught:
        desk.send(LogRunData(run_id="r1", params={"one more": ""}))
    assert caught.value.code is ErrorCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("key", ["a/b", "val loss", "größe", "#1", "x" * 250])
def test_odd_names_are_fine(key: str) -> None:
    assert running().send(LogRunData(run_id="r1", params={key: "1"}, tags={key: "2"}))


@pytest.mark.parametrize("key", ["", " ", "x" * 251, "a\nb"])
def test_names_that_nobody_can_read_are_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        LogRunData(run_id="r1", params={key: "1"})


def test_a_run_ends_is_corrected_and_goes_on() -> None:
    desk = running()
    (ended,) = desk.send(EndRun(run_id="r1", ended_at=LATER))
    assert ended == RunEnded(run_id="r1", status=RunStatus.FINISHED, ended_at=LATER)
    assert desk.send(EndRun(run_id="r1")) == []
    (corrected,) = desk.send(EndRun(run_id="r1", status=RunStatus.FAILED, reason="diverged"))
    assert isinstance(corrected, RunEnded)
    assert corrected.reason == "diverged"
    assert desk.send(ResumeRun(run_id="r1")) == [RunStarted(run_id="r1")]
    assert desk.send(ResumeRun(run_id="r1")) == []
    assert desk.send(EndRun(run_id="r1"))


def test_a_run_that_no_experiment_takes_can_not_be_resumed() -> None:
    desk = Desk()
    desk.send(CreateRun(run_id="r1", experiment_id="e9"))
    with pytest.raises(Refused, match="run r1 was not admitted to an experiment; create another one"):
        desk.send(ResumeRun(run_id="r1"))


def test_a_deleted_run_takes_nothing_until_it_is_restored() -> None:
    desk = running()
    desk.send(DeleteRun(run_id="r1"))
    with pytest.raises(Refused, match="run r1 is deleted; restore it first"):
        desk.send(LogRunData(run_id="r1", params={"lr": "1"}))
    desk.send(RestoreRun(run_id="r1"))
    assert desk.send(RenameRun(run_id="r1", name="b")) == [RunRenamed(run_id="r1", name="b")]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (CreateRun(run_id="r1"), "there is a run 'r1' already"),
        (LogRunData(run_id="r9"), "there is no run 'r9'"),
        (CreateRun(run_id="r2", experiment_id="e1", experiment="digits"), "experiment: goes without experiment_id"),
        (CreateRun(run_id="r2", scheduled=True), "scheduled: goes with a process"),
        (
            CreateRun(
                run_id="r2",
                params={"basic.epochs": "2"},
                hyperparameters=HyperparameterConfig(basic=BasicHyperparameters(epochs=3)),
            ),
            "params.basic.epochs: is '2', but '3.0' in hyperparameters",
        ),
    ],
)
def test_what_can_not_be_is_refused(command: Any, problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        running().send(command)


def test_a_job_of_another_project_is_no_process_of_a_run() -> None:
    with pytest.raises(Refused, match="is no job of project lab/a"):
        Desk("lab/a").send(CreateRun(run_id="r1.xxxxx", process=Process(job_id="j1")))


# Processes


def exit(attempt: int = 1, **more: Any) -> TaskExit:
    return TaskExit(task=0, attempt=attempt, ended_at=LATER, **more)


def in_job(**more: Any) -> Desk:
    return running(process=Process(job_id="j1"), **more)


def start(attempt: int = 1) -> JobStarted:
    task = TaskStart(task=0, attempt=attempt, allocation_id="j1.1.1", pid=1, started_at=NOON)
    return JobStarted(job_id="j1", node_id="n1", tasks=(task,))


def test_a_run_in_a_job_waits_for_its_process_and_is_told_of_its_start() -> None:
    desk = in_job(scheduled=True)
    assert JobLinked(job_id="j1", run_id="r1", scheduled=True) in desk.events
    assert desk.hear(start(attempt=2)) == []
    assert desk.hear(start()) == [
        LinkedProcessStarted(job_id="j1", run_id="r1", node_id="n1"),
        RunStarted(run_id="r1", node_id="n1"),
    ]
    assert desk.hear(start()) == []


@pytest.mark.parametrize(
    ("how", "cancelled", "status", "reason"),
    [
        ({"exit_code": 0}, None, RunStatus.FINISHED, ""),
        ({"exit_code": 3}, None, RunStatus.FAILED, "exit code 3"),
        ({"signal": 9}, None, RunStatus.FAILED, "signal 9"),
        ({"signal": 15}, "0", RunStatus.KILLED, "signal 15"),
        ({"signal": 15, "reason": ExitReason.STOPPED}, None, RunStatus.KILLED, "stopped"),
        ({"reason": ExitReason.LOST, "message": "node n1 was lost"}, None, RunStatus.FAILED, "lost: node n1 was lost"),
    ],
)
def test_a_process_that_leaves_its_run_unfinished_ends_it(
    how: Any, cancelled: str | None, status: RunStatus, reason: str
) -> None:
    desk = in_job()
    told, gone, ended = desk.hear(JobExited(job_id="j1", node_id="n1", tasks=(exit(**how),), cancelled=cancelled))
    assert isinstance(told, LinkedProcessEnded)
    assert isinstance(gone, RunProcessEnded)
    assert ended == RunEnded(run_id="r1", status=status, reason=reason, ended_at=LATER)
    assert desk.hear(JobExited(job_id="j1", node_id="n1", tasks=(exit(**how),), cancelled=cancelled)) == []


def test_a_run_that_its_program_ended_stays_as_the_program_said() -> None:
    desk = in_job()
    desk.send(EndRun(run_id="r1"))
    events = desk.hear(JobExited(job_id="j1", node_id="n1", tasks=(exit(exit_code=1),)))
    assert [type(event) for event in events] == [LinkedProcessEnded, RunProcessEnded]


def test_a_process_that_never_was_ends_its_run_too() -> None:
    desk = in_job(scheduled=True)
    counts = TaskCounts(total=1, completed=0, failed=0, cancelled=1)
    events = desk.hear(JobCancelled(job_id="j1", project=PROJECT, counts=counts, exit_code=143, reason="not needed"))
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.reason) == (RunStatus.KILLED, "not needed")


@pytest.mark.parametrize(
    ("attempt", "status"),
    [
        ({"started_at": NOON}, "running"),
        ({"started_at": NOON, "ended_at": LATER, "exit_reason": "exited", "exit_code": 0}, "finished"),
        ({"ended_at": LATER, "exit_reason": "spawn_failed", "message": "no such program"}, "failed"),
    ],
)
def test_what_a_process_has_come_to_before_its_run_began_counts(attempt: dict[str, Any], status: str) -> None:
    desk = running(process=Process(job_id="j1"), scheduled=True)
    (linked,) = (event for event in desk.events if isinstance(event, JobLinked))
    links = JobLinks()
    context = DecisionContext(LATER, "i", "owner", PROJECT, "j1")
    questions = [each for each in links.dispatch(linked, context) if isinstance(each, Question)]
    assert {each.subject for each in questions} == {"j1"}, "what the link was too late to hear is in the answers"
    question = questions[0]
    answer = pb.ListAttemptsResponse(attempts=[to_message({"task": 0, "attempt": 1, "node_id": "n1", **attempt})])
    (order,) = links.answered(linked, question, answer, context)
    desk.send(order.command)
    assert desk.state("run", "r1").status == status
    desk.send(order.command)
    assert desk.state("run", "r1").status == status


def overdue(desk: Desk) -> JobLinked:
    """What the link of job j1 says an hour after its run began."""
    links, state = JobLinks(), desk.state("joblink", "j1")
    at = links.due(state)
    assert at is not None
    assert timedelta(hours=1) <= at - NOON < timedelta(hours=1, minutes=1)
    (linked,) = desk._take(links.wake(state, DecisionContext(at, "i", "owner", PROJECT, "j1")))
    assert isinstance(linked, JobLinked)
    assert links.due(desk.state("joblink", "j1")) is None
    return linked


def test_a_run_has_failed_whose_client_was_ended_before_it_submitted_the_job() -> None:
    desk = in_job(scheduled=True)
    first = next(event for event in desk.events if isinstance(event, JobLinked))
    linked, links = overdue(desk), JobLinks()
    context = DecisionContext(LATER, "i", "owner", PROJECT, "j1")
    none = Refused(ErrorCode.NOT_FOUND, "there is no job 'j1'")
    there = pb.GetJobResponse(job={"job_id": "j1"})
    attempts, job = (each for each in links.dispatch(linked, context) if isinstance(each, Question))
    for event, question, answer in ((first, job, none), (linked, attempts, none), (linked, job, there)):
        assert links.answered(event, question, answer, context) == ()
    (order,) = links.answered(linked, job, none, context)
    desk.send(order.command)
    run = desk.state("run", "r1")
    assert run.status == "failed"
    assert next(e.reason for e in desk.events if isinstance(e, RunEnded)) == "its job was never submitted"


def test_a_job_that_has_begun_is_not_asked_for_again() -> None:
    desk = in_job(scheduled=True)
    desk.hear(start())
    assert JobLinks().due(desk.state("joblink", "j1")) is None
    assert JobLinks().due(in_job().state("joblink", "j1")) is None


def to_message(attempt: dict[str, Any]) -> Any:
    made = pb.TaskAttempt(**{key: value for key, value in attempt.items() if key != "exit_reason"})
    if reason := attempt.get("exit_reason"):
        made.exit_reason = f"EXIT_REASON_{reason.upper()}"
    return made
