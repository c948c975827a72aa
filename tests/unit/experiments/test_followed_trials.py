"""Given trials whose jobs log their objectives, when a job is complete, then its trial waits for what was logged; and
when a trial does not promise well, then it is given up."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.common import ErrorCode
from events.language.experiments import (
    CreateTuning,
    ProposeTrial,
    StartTrial,
    StopTuning,
    TellTrial,
    TrialEnded,
    TrialParameter,
    TrialStatus,
    TuningLimits,
    TuningPlan,
    TuningStatusSet,
)
from events.language.experiments.points import MAX_KEY
from events.language.experiments.tuning_following import PruneTrial, TrialJobCompleted, TrialPruned
from events.language.experiments.tuning_pruning import MAX_METRIC, Objective, Pruning
from events.language.jobs import CancelJob, JobCompleted, JobFailed, JobStarted, TaskCounts
from forgelog.tuning_space import dimension
from tests.unit.experiments.desk import PROJECT, Desk, names, refusal
from tests.unit.jobs import desk as jobs

S = TrialStatus
ORIGIN = "experiments/tuning/t1"
FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
LOSS = Objective(metric="loss")


def plan(**fields: Any) -> TuningPlan:
    return TuningPlan(algorithm="tpe", space=[dimension("x=0.0..1.0")], **fields)  # type: ignore[arg-type]


def following(**fields: Any) -> Desk:
    desk = Desk()
    pruning = Pruning(rule="median")  # type: ignore[arg-type]
    command = {"plan": plan(pruning=pruning), "job": jobs.spec(), "objectives": [LOSS], **fields}
    desk.send(CreateTuning(tuning_id="t1", name="", **command))
    return desk


def run(desk: Desk, number: int = 0) -> None:
    parameter = TrialParameter(name="x", value="0.5", distribution=FLOAT)
    desk.send(
        ProposeTrial(tuning_id="t1", number=number, parameters=[parameter], known_events=1, algorithm_version="optuna")
    )
    if desk.state("tuning", "t1").job is None:
        desk.send(StartTrial(tuning_id="t1", number=number))
    else:
        tasks = jobs.started(0).tasks
        desk.hear(JobStarted(job_id=f"t1.{number}", node_id="n1", tasks=tasks), ORIGIN)


def completed(job: str = "t1.0") -> JobCompleted:
    return JobCompleted(job_id=job, project=PROJECT, counts=TaskCounts(total=1, completed=1), exit_code=0)


def prune(number: int = 0, **fields: Any) -> PruneTrial:
    told: dict[str, Any] = {"step": 3, "value": "0.9", "known_events": 7, "algorithm_version": "optuna", **fields}
    return PruneTrial(tuning_id="t1", number=number, **told)


def orders(desk: Desk, event: Any) -> list[Any]:
    decider = desk.deciders.of(StopTuning)
    return [order.command for order in decider.dispatch(event, desk._context("t1"))]  # type: ignore[union-attr]


def test_a_complete_job_leaves_its_trial_to_what_it_logged() -> None:
    desk = following(limits=TuningLimits(trials=1))
    run(desk)
    (event,) = desk.hear(completed(), ORIGIN)
    assert event == TrialJobCompleted(tuning_id="t1", number=0, attempt=1)
    assert desk.hear(completed(), ORIGIN) == []
    ended, done = desk.send(TellTrial(tuning_id="t1", number=0, attempt=1, objective_values=["0.25"]))
    assert isinstance(ended, TrialEnded)
    assert (ended.status, ended.objective_values) == (S.COMPLETED, ("0.25",))
    assert isinstance(done, TuningStatusSet)


def test_a_job_that_fails_fails_its_trial_whatever_it_logged() -> None:
    desk = following()
    run(desk)
    failed = JobFailed(job_id="t1.0", project=PROJECT, counts=TaskCounts(total=1), exit_code=3, reason="exit code 3")
    ended = desk.hear(failed, ORIGIN)[0]
    assert isinstance(ended, TrialEnded)
    assert (ended.status, ended.reason) == (S.FAILED, "its job did not complete: exit code 3")


def test_a_trial_that_does_not_promise_well_is_given_up_and_its_job_is_cancelled() -> None:
    desk = following()
    run(desk)
    pruned, ended, *_ = desk.send(prune())
    assert isinstance(pruned, TrialPruned)
    assert (pruned.attempt, pruned.step, pruned.value, pruned.known_events) == (1, 3, "0.9", 7)
    assert isinstance(ended, TrialEnded)
    assert (ended.status, ended.objective_values) == (S.PRUNED, ("0.9",))
    assert ended.reason == "it did not promise well: 0.9 at step 3"
    assert orders(desk, ended) == [CancelJob(job_id="t1.0", reason="its trial is pruned")]
    assert refusal(desk, prune()).message == "trial 0 of tuning t1 has ended; a trial ends once: ask for another one"


def test_the_last_trial_that_is_given_up_completes_the_tuning() -> None:
    desk = following(limits=TuningLimits(trials=1))
    run(desk)
    assert names(desk.send(prune())) == ["TrialPruned", "TrialEnded", "TuningStatusSet"]


def test_what_a_program_runs_is_given_up_too() -> None:
    desk = following(job=None, objectives=[])
    run(desk)
    ended = desk.send(prune())[1]
    assert isinstance(ended, TrialEnded)
    assert orders(desk, ended) == []


@pytest.mark.parametrize(
    ("steps", "command", "code", "message"),
    [
        (
            "proposed",
            prune(1),
            ErrorCode.FAILED_PRECONDITION,
            "trial 1 of tuning t1 is requested: it does not run; prune it when it runs, or tell it as pruned",
        ),
        ("done", prune(), ErrorCode.FAILED_PRECONDITION, "trial 0 of tuning t1 is done; wait: its value is being read"),
        ("", prune(attempt=2), ErrorCode.FAILED_PRECONDITION, ""),
    ],
)
def test_only_what_runs_is_given_up(steps: str, command: PruneTrial, code: ErrorCode, message: str) -> None:
    desk = following(limits=TuningLimits(parallel=2))
    run(desk)
    if steps == "done":
        desk.hear(completed(), ORIGIN)
    if not message:  # the process of a later attempt may be heard before the job's own event of its start
        assert names(desk.send(command))[:2] == ["TrialPruned", "TrialEnded"]
        return
    refused = refusal(desk, command)
    assert (refused.code, refused.message) == (code, message)


def test_a_lost_process_is_not_given_up() -> None:
    desk = following()
    run(desk)
    desk.hear(JobStarted(job_id="t1.0", node_id="n2", tasks=jobs.started(0, attempt=2).tasks), ORIGIN)
    refused = refusal(desk, prune(attempt=1))
    assert (refused.code, refused.message) == (
        ErrorCode.ABORTED,
        "attempt is 1, and attempt 2 of trial 0 is the one that counts; end this process: it was taken for lost",
    )


def test_without_pruning_in_its_plan_nothing_is_given_up() -> None:
    desk = following(plan=plan())
    run(desk)
    assert refusal(desk, prune()).message == "the plan of tuning t1 has no pruning; tell the trial as pruned"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objectives": [LOSS]}, "objectives: goes with a job, whose runs log them"),
        (
            {"objectives": [LOSS], "job": jobs.spec(), "plan": plan(), "directions": ["minimize", "maximize"]},
            "objectives: has 1 metrics, and directions has 2",
        ),
        (
            {"plan": plan(pruning=Pruning(rule="median")), "directions": ["minimize"] * 2},  # type: ignore[arg-type]
            "plan.pruning: is for one objective, and there are 2",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], message: str) -> None:
    assert refusal(Desk(), CreateTuning(name="a", **fields)).message == message


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"rule": "asha", "max_steps": 9}, "max_steps: does not go with asha; leave it out, or take hyperband"),
        ({"rule": "asha", "warmup_steps": 9}, "warmup_steps: does not go with asha; leave it out, or take median"),
        ({"rule": "median", "min_steps": 9}, "min_steps: does not go with median; leave it out, or take asha or hyp"),
        ({"rule": "hyperband"}, "max_steps: is missing; hyperband needs the last step of a whole trial"),
        ({"rule": "hyperband", "min_steps": 9, "max_steps": 3}, "max_steps: is 3, below min_steps, 9; exchange them"),
    ],
)
def test_a_rule_has_the_numbers_that_go_with_it(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Pruning(**fields)


def test_a_metric_s_name_may_be_as_long_as_a_series_key() -> None:
    assert MAX_METRIC == MAX_KEY
