"""Given an experiment that says what its runs run, when one is launched, then its job is ordered once there is room."""

from __future__ import annotations

import json
from typing import Any

from events.language.common import CommandRejected, ErrorCode
from events.language.experiments import (
    CreateExperiment,
    CreateRun,
    DeleteExperiment,
    DeleteRun,
    EndRun,
    HyperparameterConfig,
    RunEnded,
    RunNotAdmitted,
    SetExperimentStatus,
    UpdateExperiment,
)
from events.language.experiments.launch_spec import LaunchSpec
from events.language.experiments.launching import (
    LaunchGranted,
    LaunchRun,
    RunLaunched,
    RunLaunchEnded,
    RunStopRequested,
    StopRun,
)
from events.language.experiments.purging import PurgeExperiment
from events.language.jobs import CancelJob, ExitReason, JobCancelled, JobExited, SubmitJob, TaskCounts, TaskExit
from events.language.jobs.spec import JobSpec
from events.writer.decider import DecisionContext, Order
from tests.unit.experiments.desk import NOON, PROJECT, Desk, names, refusal

JOB = JobSpec.model_validate({"metadata": {"name": "train"}, "command": "train.sh"})
OTHER = JobSpec.model_validate({"metadata": {"name": "other"}, "command": "other.sh"})


def with_experiment(parallel: int = 0, **fields: Any) -> Desk:
    desk = Desk()
    launch = LaunchSpec(job=JOB, parallel=parallel)
    desk.send(CreateExperiment(**{"experiment_id": "e1", "name": "digits", "launch": launch, **fields}))
    return desk


def launch(desk: Desk, run: str, **fields: Any) -> list[Any]:
    return desk.send(LaunchRun(run_id=run, experiment_id="e1", **fields))


def launched(events: list[Any]) -> list[str]:
    """The runs whose jobs are ordered."""
    return [event.run_id for event in events if isinstance(event, RunLaunched)]


def orders(desk: Desk, event: Any) -> list[Any]:
    """The commands for other contexts that an event leads to."""
    at = DecisionContext(NOON, "c", "owner", PROJECT, event.subject())
    return [order.command for order in desk.deciders.of(type(event)).dispatch(event, at) if isinstance(order, Order)]


def exited(desk: Desk, run: str, code: int = 0) -> list[Any]:
    exit = TaskExit(task=0, attempt=1, reason=ExitReason.EXITED, exit_code=code, ended_at=NOON)
    job = f"{run}.1"
    return desk.hear(JobExited(job_id=job, node_id="n1", tasks=(exit,)))


def test_a_run_is_launched_with_its_experiments_job_and_told_its_parameters() -> None:
    config = HyperparameterConfig.model_validate({"custom": {"depth": "3"}})
    desk = with_experiment(hyperparameters=config)
    events = launch(desk, "r1", params={"lr": "0.1"}, name="first")
    assert names(events) == [
        "RunCreated",
        "ExperimentStatusSet",
        "RunEnrolled",
        "RunAdmitted",
        "LaunchGranted",
        "RunLaunched",
        "JobLinked",
    ]
    assert not events[-1].scheduled, "the platform submits its job, and does not forget it"
    (order,) = orders(desk, events[-2])
    assert isinstance(order, SubmitJob)
    assert (order.job_id, order.spec.command) == ("r1.1", JOB.command)
    variables = order.spec.environment.variables
    assert (variables["FORGELOG_RUN"], variables["FORGELOG_EXPERIMENT_ID"]) == ("r1", "e1")
    assert json.loads(variables["FORGELOG_CONFIG"]) == {"lr": 0.1, "depth": 3}


def test_a_run_may_bring_a_job_of_its_own() -> None:
    events = launch(with_experiment(), "r1", job=OTHER)
    assert events[-2].spec.command == OTHER.command
    desk = Desk()
    assert launched(desk.send(LaunchRun(run_id="r1", job=OTHER))) == ["r1"], "the experiment is made by its name"


def test_variables_that_the_job_sets_itself_stay_but_for_the_run() -> None:
    given = {"FORGELOG_CONFIG": "{}", "FORGELOG_RUN": "r0", "A": "1"}
    job = JOB.model_copy(update={"environment": JOB.environment.model_copy(update={"variables": given})})
    events = launch(with_experiment(), "r1", job=job, params={"lr": "1"})
    variables = events[-2].spec.environment.variables
    assert (variables["FORGELOG_CONFIG"], variables["FORGELOG_RUN"], variables["A"]) == ("{}", "r1", "1")


def test_an_experiment_that_says_no_job_refuses_a_run_that_brings_none() -> None:
    desk = with_experiment(launch=LaunchSpec())
    events = launch(desk, "r1")
    assert isinstance(events[-1], RunNotAdmitted)
    assert events[-1].reason == (
        "experiment e1 does not say what its runs run; give the run a job, or update the experiment with one"
    )


def test_a_job_of_many_processes_is_no_run() -> None:
    array = JobSpec.model_validate({"metadata": {"name": "a"}, "command": "x", "array": {"size": 3}})
    desk = with_experiment()
    for field, command in (
        ("job.array", LaunchRun(run_id="r1", experiment_id="e1", job=array)),
        ("launch.job.array", CreateExperiment(name="other", launch=LaunchSpec(job=array))),
        ("launch.job.array", UpdateExperiment(experiment_id="e1", launch=LaunchSpec(job=array))),
    ):
        refused = refusal(desk, command)
        assert (refused.errors[0].field, refused.errors[0].problem) == (field, "is given, and a run is one process")


def test_so_many_run_at_a_time_and_the_others_wait_in_their_order() -> None:
    desk = with_experiment(parallel=2)
    assert [launched(launch(desk, f"r{number}")) for number in range(1, 6)] == [["r1"], ["r2"], [], [], []]
    events = exited(desk, "r2")
    assert names(events) == [
        "LinkedProcessEnded",
        "RunProcessEnded",
        "RunEnded",
        "RunLaunchEnded",
        "LaunchReleased",
        "LaunchGranted",
        "RunLaunched",
        "JobLinked",
    ]
    assert launched(events) == ["r3"]
    assert launched(exited(desk, "r1", code=1)) == ["r4"]


def test_a_run_has_room_until_its_process_is_gone() -> None:
    desk = with_experiment(parallel=1)
    launch(desk, "r1")
    launch(desk, "r2")
    assert launched(desk.send(EndRun(run_id="r1"))) == [], "its program said how it ended, and is still there"
    assert launched(exited(desk, "r1")) == ["r2"]


def test_another_limit_counts_at_once() -> None:
    desk = with_experiment(parallel=1)
    for run in ("r1", "r2", "r3", "r4"):
        launch(desk, run)
    more = UpdateExperiment(experiment_id="e1", launch=LaunchSpec(job=JOB, parallel=3))
    assert launched(desk.send(more)) == ["r2", "r3"]
    assert launched(desk.send(UpdateExperiment(experiment_id="e1", launch=LaunchSpec(job=OTHER)))) == ["r4"]
    assert desk.events[-2].spec.command == OTHER.command, "what it runs is what its experiment says by then"


def test_an_experiment_that_takes_no_runs_launches_none_until_it_does() -> None:
    desk = with_experiment(parallel=1)
    launch(desk, "r1")
    launch(desk, "r2")
    desk.send(SetExperimentStatus(experiment_id="e1", status="paused"))
    assert launched(exited(desk, "r1")) == []
    assert launched(desk.send(SetExperimentStatus(experiment_id="e1", status="running"))) == ["r2"]


def test_a_job_that_is_refused_ends_its_run_with_the_reason_and_gives_its_room_back() -> None:
    desk = with_experiment(parallel=1)
    launch(desk, "r1")
    launch(desk, "r2")
    rejected = CommandRejected(
        command_id="c1",
        command_type=SubmitJob.type_name(),
        subject_id="r1.1",
        code=ErrorCode.INVALID_ARGUMENT,
        message="resources.gpus: no node has 9",
    )
    runs = next(each for each in desk.deciders if each.aggregate == "run")
    at = DecisionContext(NOON, "c", "owner", PROJECT, "r1")
    events = desk._take(runs.refused(desk.state("run", "r1"), rejected, at))
    assert isinstance(events[0], RunEnded)
    assert (events[0].status, events[0].reason) == ("failed", "its job was refused: resources.gpus: no node has 9")
    assert launched(events) == ["r2"]
    assert desk.state("joblink", "r1.1").runs == {}, "nothing is waited for"
    assert runs.refused(desk.state("run", "r1"), rejected, at) == (), "it has ended"


def test_a_run_that_waits_is_stopped_at_once_and_never_launched() -> None:
    desk = with_experiment(parallel=1)
    for run in ("r1", "r2", "r3"):
        launch(desk, run)
    (ended,) = desk.send(StopRun(run_id="r2"))
    assert (ended.status, ended.reason) == ("killed", "stopped before it was launched")
    events = exited(desk, "r1")
    assert [event.run_id for event in events if isinstance(event, LaunchGranted)] == ["r2", "r3"]
    assert [event.run_id for event in events if isinstance(event, RunLaunchEnded)] == ["r1", "r2"]
    assert launched(events) == ["r3"]


def test_a_run_that_waits_and_is_deleted_is_never_launched() -> None:
    desk = with_experiment(parallel=1)
    launch(desk, "r1")
    launch(desk, "r2")
    desk.send(DeleteRun(run_id="r2"))
    assert launched(exited(desk, "r1")) == []


def test_a_run_is_stopped_by_its_job() -> None:
    desk = with_experiment()
    launch(desk, "r1")
    (asked,) = desk.send(StopRun(run_id="r1", reason="enough"))
    assert isinstance(asked, RunStopRequested)
    assert orders(desk, asked) == [CancelJob(job_id="r1.1", reason="enough")]
    events = desk.hear(
        JobCancelled(
            job_id="r1.1", project=PROJECT, reason="enough", exit_code=143, counts=TaskCounts(total=1, cancelled=1)
        )
    )
    ended = next(event for event in events if isinstance(event, RunEnded))
    assert ended.status == "killed"
    assert desk.send(StopRun(run_id="r1")) == [], "it is over"


def test_a_run_that_is_no_process_is_not_stopped() -> None:
    desk = with_experiment()
    desk.send(CreateRun(run_id="r1", experiment_id="e1"))
    refused = refusal(desk, StopRun(run_id="r1"))
    assert refused.code is ErrorCode.FAILED_PRECONDITION
    assert "say how it ended: forgelog runs end" in refused.message


def test_an_experiment_that_is_purged_forgets_the_runs_that_waited() -> None:
    desk = with_experiment(parallel=1)
    launch(desk, "r1")
    launch(desk, "r2")
    desk.send(DeleteExperiment(experiment_id="e1"))
    desk.send(PurgeExperiment(project=PROJECT, experiment_id="e1", deleted_before=NOON.replace(year=2027)))
    assert names(exited(desk, "r1"))[-1] == "RunLaunchEnded"
    assert (desk.state("catalogue", PROJECT).waiting, desk.state("catalogue", PROJECT).launching) == ({}, {})
