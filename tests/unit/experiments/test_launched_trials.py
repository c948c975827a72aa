"""Given a job that runs each trial, when its process starts, is lost or ends, then the trial does so with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from events.language.base import Event
from events.language.common import CommandRejected, ErrorCode
from events.language.experiments import (
    CreateTuning,
    EarlyStopping,
    PauseTuning,
    ProposeTrial,
    RequeueTrial,
    ResumeTuning,
    StartTrial,
    StopTuning,
    TellTrial,
    TrialEnded,
    TrialLaunched,
    TrialParameter,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningLimits,
    TuningPlan,
)
from events.language.jobs import CancelJob, JobFailed, JobStarted, SubmitJob, TaskCounts
from forgelog.tuning_space import dimension
from services.experiments.tuning import launching, trials
from services.experiments.tuning.launching import variable_text
from tests.unit.experiments.desk import PROJECT, Desk, names, refusal
from tests.unit.jobs import desk as jobs

S = TrialStatus
ORIGIN = "experiments/tuning/t1"
FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
CHOICES = '{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", 3]}}'


def with_jobs(**fields: Any) -> Desk:
    desk = Desk()
    plan = TuningPlan(algorithm="tpe", space=[dimension("x=0.0..1.0"), dimension("my.opt=adam,3")])  # type: ignore[arg-type]
    desk.send(CreateTuning(**{"tuning_id": "t1", "name": "", "plan": plan, "job": jobs.spec(), **fields}))
    return desk


def propose(desk: Desk, number: int = 0) -> list[Any]:
    parameters = [
        TrialParameter(name="x", value="0.5", distribution=FLOAT),
        TrialParameter(name="my.opt", value="0", distribution=CHOICES),
    ]
    return desk.send(
        ProposeTrial(tuning_id="t1", number=number, parameters=parameters, known_events=1, algorithm_version="optuna")
    )


def started(job: str = "t1.0", attempt: int = 1) -> JobStarted:
    return JobStarted(job_id=job, node_id="n1", tasks=jobs.started(0, attempt=attempt).tasks)


def failed(job: str = "t1.0", reason: str = "exit code 3") -> JobFailed:
    return JobFailed(job_id=job, project=PROJECT, counts=TaskCounts(total=1), exit_code=3, reason=reason)


def orders(desk: Desk, event: Event) -> list[Any]:
    decider = desk.deciders.of(StopTuning)
    return [order.command for order in decider.dispatch(event, desk._context("t1"))]  # type: ignore[union-attr]


def test_a_proposed_trial_is_a_job_that_has_its_values() -> None:
    desk = with_jobs()
    (_, launched) = propose(desk)
    assert isinstance(launched, TrialLaunched)
    assert launched.job_id == "t1.0"
    variables = launched.spec.environment.variables
    for all_of_them in ("FORGELOG_PARAMS", "FORGELOG_CONFIG"):
        assert json.loads(variables.pop(all_of_them)) == {"x": 0.5, "my.opt": "adam"}
    assert variables == {
        "FORGELOG_TUNING": "t1",
        "FORGELOG_TRIAL": "0",
        "FORGELOG_PARAM_x": "0.5",
        "FORGELOG_PARAM_my_opt": "adam",
    }
    assert orders(desk, launched) == [SubmitJob(job_id="t1.0", spec=launched.spec)]
    text = "trial 0 of tuning t1 is started by its job; wait for it"
    assert refusal(desk, StartTrial(tuning_id="t1", number=0)).message == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("adam", "adam"), ("a\nb", "a\nb"), (3, "3"), (None, "null"), ("\ud800", '"\\ud800"'), ("a\0", '"a\\u0000"')],
)
def test_a_value_is_a_variable_that_a_message_can_hold(value: object, text: str) -> None:
    assert variable_text(value) == text


def test_its_trial_starts_with_it_and_again_after_a_loss() -> None:
    desk = with_jobs()
    propose(desk)
    assert names(desk.hear(started(), ORIGIN)) == ["TrialStarted"]
    assert desk.hear(started(), ORIGIN) == []
    (requeued, again) = desk.hear(started(attempt=2), ORIGIN)
    assert isinstance(requeued, TrialRequeued)
    assert isinstance(again, TrialStarted)
    assert (requeued.attempt, again.attempt) == (2, 2)
    old = TellTrial(tuning_id="t1", number=0, attempt=1, objective_values=["1"])
    assert refusal(desk, old).code is ErrorCode.ABORTED
    text = "trial 0 of tuning t1 is run by job t1.0; wait: the job is started again if its process is lost"
    assert refusal(desk, RequeueTrial(tuning_id="t1", number=0)).message == text


def test_a_later_attempt_may_tell_before_its_start_is_heard() -> None:
    desk = with_jobs()
    propose(desk)
    desk.hear(started(), ORIGIN)
    ended = desk.send(TellTrial(tuning_id="t1", number=0, attempt=2, objective_values=["1"]))[0]
    assert isinstance(ended, TrialEnded)
    assert (ended.attempt, ended.cancelled_job) == (2, "")
    assert desk.hear(started(attempt=2), ORIGIN) == []


def test_a_job_that_ends_and_told_nothing_has_failed_its_trial() -> None:
    desk = with_jobs()
    propose(desk)
    desk.hear(started(), ORIGIN)
    ended = desk.hear(failed(), ORIGIN)[0]
    assert isinstance(ended, TrialEnded)
    assert (ended.status, ended.reason) == (S.FAILED, "its job ended, and had told no value: exit code 3")
    assert orders(desk, ended) == []
    assert desk.hear(failed(), ORIGIN) == []


def test_a_job_that_was_told_keeps_its_trial_as_it_is() -> None:
    desk = with_jobs()
    propose(desk)
    desk.hear(started(), ORIGIN)
    desk.send(TellTrial(tuning_id="t1", number=0, objective_values=["1"]))
    assert desk.hear(failed(), ORIGIN) == []


def test_the_job_of_a_pruned_trial_is_cancelled() -> None:
    desk = with_jobs()
    propose(desk)
    desk.hear(started(), ORIGIN)
    pruned = desk.send(TellTrial(tuning_id="t1", number=0, status=S.PRUNED))[0]  # type: ignore[arg-type]
    assert orders(desk, pruned) == [CancelJob(job_id="t1.0", reason="its trial is pruned")]


def test_a_job_that_is_refused_fails_its_trial_and_a_forged_origin_none() -> None:
    desk = with_jobs()
    propose(desk)
    assert desk.hear(failed("other"), ORIGIN) == []
    decider, state = desk.deciders.of(StopTuning), desk.state("tuning", "t1")
    rejection = CommandRejected(
        subject_id="t1.0",
        command_id="c",
        command_type=SubmitJob.type_name(),
        code=ErrorCode.INVALID_ARGUMENT,
        message="there is no such queue",
    )
    (ended,) = decider.refused(state, rejection, desk._context("t1"))
    assert isinstance(ended, TrialEnded)
    assert ended.reason == "its job was refused: there is no such queue"
    too_late = rejection.model_copy(update={"command_type": CancelJob.type_name()})
    assert decider.refused(state, too_late, desk._context("t1")) == ()


def test_a_pause_holds_launches_and_the_end_ends_what_runs() -> None:
    desk = with_jobs(limits=TuningLimits(parallel=2))
    propose(desk, 0)
    desk.hear(started(), ORIGIN)
    desk.send(PauseTuning(tuning_id="t1"))
    assert names(propose(desk, 1)) == ["TrialProposed"]
    assert names(desk.send(ResumeTuning(tuning_id="t1"))) == ["TuningStatusSet", "TrialLaunched"]
    (_, first, second) = desk.send(StopTuning(tuning_id="t1"))
    assert isinstance(first, TrialEnded)
    assert isinstance(second, TrialEnded)
    assert {first.cancelled_job, second.cancelled_job} == {"t1.0", "t1.1"}
    assert first.reason == "the tuning is stopped"
    assert desk.deciders.of(StopTuning).may_passivate(desk.state("tuning", "t1"))


def test_an_early_end_ends_the_others_too() -> None:
    desk = with_jobs(limits=TuningLimits(parallel=2), early_stopping=EarlyStopping(patience=1))
    propose(desk, 0)
    propose(desk, 1)
    desk.send(TellTrial(tuning_id="t1", number=0, objective_values=["1"]))
    propose(desk, 2)
    events = desk.send(TellTrial(tuning_id="t1", number=2, objective_values=["2"]))
    assert names(events) == ["TrialEnded", "TuningStatusSet", "TrialEnded"]


def test_the_end_of_its_time_ends_what_runs() -> None:
    desk = with_jobs(limits=TuningLimits(seconds=60, parallel=2))
    propose(desk, 0)
    desk.hear(started(), ORIGIN)
    decider, state = desk.deciders.of(StopTuning), desk.state("tuning", "t1")
    (over, first, second) = desk._take(decider.wake(state, desk._context("t1")))
    assert names([over]) == ["TuningStatusSet"]
    assert isinstance(first, TrialEnded)
    assert isinstance(second, TrialEnded)
    assert (first.status, first.reason, first.cancelled_job) == (S.FAILED, "the tuning is completed", "t1.0")
    assert second.cancelled_job == ""  # it had no job yet


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"job": jobs.spec()}, "job: goes with a plan, whose trials it runs"),
        (
            {
                "job": jobs.spec(array={"size": 2}),
                "plan": TuningPlan(algorithm="tpe", space=[dimension("x=1..2")]),  # type: ignore[arg-type]
            },
            "job.array: is given, and a trial is one process",
        ),
    ],
)
def test_a_job_that_can_run_no_trial_is_refused(fields: dict[str, Any], message: str) -> None:
    assert refusal(Desk(), CreateTuning(name="a", **fields)).message == message


# Many trials: one append takes 4 MiB


def test_trials_that_are_too_many_for_one_append_follow_in_others() -> None:
    desk = with_jobs(limits=TuningLimits(trials=2_500, parallel=100_000))
    state = desk.state("tuning", "t1")
    assert (state.trials, len(state.open)) == (2_500, 2_500)
    state.trials, state.open = 0, {}
    assert len(trials.wanted(state, "t1")) == 1_000


def test_jobs_that_are_too_much_for_one_append_follow_in_others() -> None:
    desk = with_jobs(limits=TuningLimits(parallel=8), job=jobs.spec(args=("x" * 100_000,) * 3))
    for number in range(8):
        propose(desk, number)
    state = desk.state("tuning", "t1")
    assert all(trial.job_id for trial in state.open.values())
    for trial in state.open.values():
        trial.job_id = ""
    assert len(launching.launched(state, "t1", PROJECT)) == 4


def test_ends_that_are_too_many_for_one_append_follow_in_others() -> None:
    desk = with_jobs(limits=TuningLimits(trials=1_500, parallel=100_000))
    ended = desk.send(StopTuning(tuning_id="t1"))
    assert names(ended).count("TrialEnded") == 1_500
