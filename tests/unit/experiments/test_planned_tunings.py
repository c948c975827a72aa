"""Given a plan, when the platform searches, then it asks for as many trials as may run, each with values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from events.language.common import ErrorCode, Refused
from events.language.experiments import (
    AskTrial,
    CreateExperiment,
    CreateTuning,
    DeleteExperiment,
    EarlyStopping,
    ExperimentStatus,
    HyperparameterConfig,
    ProposeTrial,
    RequeueTrial,
    SetExperimentStatus,
    SetTrialParameter,
    StartTrial,
    StopTuning,
    TellTrial,
    TrialAdded,
    TrialParameter,
    TrialProposed,
    TrialRequeued,
    TrialStatus,
    TuningAdmitted,
    TuningCreated,
    TuningLimits,
    TuningPlan,
    TuningStatus,
    TuningStatusSet,
    UpdateExperiment,
)
from events.language.experiments.search_space import SearchSpace
from events.language.jobs.spec import JobSpec
from forgelog.tuning_space import dimension
from tests.unit.experiments.desk import Desk, names, refusal

S = TrialStatus
FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'


def planned(algorithm: str = "tpe", *params: str, **fields: Any) -> Desk:
    desk = Desk()
    space = [dimension(each) for each in params or ("x=0.0..1.0",)]
    plan = TuningPlan(algorithm=algorithm, space=space)  # type: ignore[arg-type]
    desk.send(CreateTuning(tuning_id="t1", name="", plan=plan, **fields))
    return desk


def requested(desk: Desk) -> list[int]:
    return [event.number for event in desk.events if isinstance(event, TrialAdded)]


def propose(desk: Desk, number: int, value: float = 0.5) -> list[Any]:
    parameter = TrialParameter(name="x", value=str(value), distribution=FLOAT)
    command = ProposeTrial(
        tuning_id="t1", number=number, parameters=[parameter], known_events=2, algorithm_version="optuna 5.0.0"
    )
    return desk.send(command)


def run(desk: Desk, number: int, value: float) -> list[Any]:
    propose(desk, number)
    desk.send(StartTrial(tuning_id="t1", number=number))
    return desk.send(TellTrial(tuning_id="t1", number=number, objective_values=[str(value)]))


def test_it_asks_for_as_many_trials_as_may_run_and_for_no_more_than_all() -> None:
    desk = planned(limits=TuningLimits(trials=3, parallel=2))
    assert requested(desk) == [0, 1]
    ended = run(desk, 1, 0.5)
    assert names(ended) == ["TrialEnded", "TrialAdded"]
    assert requested(desk) == [0, 1, 2]
    assert names(run(desk, 2, 0.5)) == ["TrialEnded"]
    (_, done) = run(desk, 0, 0.5)
    assert isinstance(done, TuningStatusSet)
    assert done.reason == "all its 3 trials have ended"


def of_experiment(*space: str, algorithm: str = "tpe", **fields: Any) -> CreateTuning:
    """In `space`, or else in that of its experiment."""
    plan = TuningPlan(algorithm=algorithm, space=[dimension(each) for each in space])  # type: ignore[arg-type]
    return CreateTuning(plan=plan, **{"tuning_id": "t1", "name": "tuned", "experiment": "digits", **fields})


def with_experiment(*space: str) -> Desk:
    desk = Desk()
    searched = SearchSpace(dimensions=[dimension(each) for each in space])  # type: ignore[arg-type]
    default = HyperparameterConfig.model_validate({"basic": {"epochs": 3}, "custom": {"x": "7", "custom": "yes"}})
    desk.send(CreateExperiment(experiment_id="e1", name="digits", search_space=searched, hyperparameters=default))
    return desk


def test_a_tuning_of_an_experiment_searches_its_space_if_it_says_none() -> None:
    desk = with_experiment("x=0.0..1.0", "y=1..4 when x=0.5")
    job = JobSpec.model_validate({"metadata": {"name": "trial"}, "command": "train"})
    (admitted, created, _) = desk.send(of_experiment(job=job))
    assert isinstance(admitted, TuningAdmitted)
    assert isinstance(created, TuningCreated)
    for event in (admitted, created):
        assert (event.experiment_id, event.experiment) == ("e1", "digits")
        assert event.plan is not None
        assert [each.name for each in event.plan.space] == ["x", "y"]
    (_, launched) = propose(desk, 0)
    variables = launched.spec.environment.variables
    assert (variables["FORGELOG_EXPERIMENT_ID"], variables["FORGELOG_EXPERIMENT"]) == ("e1", "digits")
    assert json.loads(variables["FORGELOG_CONFIG"]) == {"basic.epochs": 3.0, "custom": "yes", "x": 0.5}
    desk.send(UpdateExperiment(experiment_id="e1", name="numerals"))
    again = of_experiment("z=1..2", tuning_id="t2", name="again", experiment="", experiment_id="e1")
    (other, *_) = desk.send(again)
    assert isinstance(other, TuningAdmitted)
    assert other.plan is not None
    assert ([each.name for each in other.plan.space], other.experiment) == (["z"], "numerals")


@pytest.mark.parametrize(
    ("space", "command", "problem"),
    [
        ((), of_experiment(experiment=""), "plan.space: is empty"),
        ((), of_experiment(), "plan.space: is empty, and experiment 'digits' has none"),
        (("x=0.0..1.0",), of_experiment(experiment="letters"), "experiment: there is no experiment 'letters' in this"),
        (("x=0.0..1.0",), of_experiment(experiment_id="e9"), "experiment_id: there is no experiment 'e9' in this"),
        (
            ("x=0.0..1.0",),
            of_experiment(algorithm="grid"),
            "plan.space: that of experiment 'digits' 'x' has no step, so its grid has no end; give step, or choices",
        ),
    ],
)
def test_a_tuning_without_a_space_to_search_is_refused(space: tuple[str, ...], command: Any, problem: str) -> None:
    assert problem in refusal(with_experiment(*space), command).message


def test_an_experiment_that_takes_no_runs_takes_no_tunings() -> None:
    desk = with_experiment("x=0.0..1.0")
    desk.send(SetExperimentStatus(experiment_id="e1", status=ExperimentStatus.RUNNING))
    desk.send(SetExperimentStatus(experiment_id="e1", status=ExperimentStatus.PAUSED))
    assert refusal(desk, of_experiment()).message == (
        "experiment 'digits' is paused; set it to running, and it takes tunings again"
    )
    desk.send(DeleteExperiment(experiment_id="e1"))
    assert refusal(desk, of_experiment()).message == "experiment 'digits' is deleted; restore it first"


def test_the_first_proposal_counts_and_only_then_a_trial_begins() -> None:
    desk = planned()
    assert refusal(desk, StartTrial(tuning_id="t1", number=0)).message == (
        "trial 0 of tuning t1 waits for its values; come again"
    )
    (proposed,) = propose(desk, 0, 0.25)
    assert isinstance(proposed, TrialProposed)
    assert proposed.parameters[0].value == "0.25"
    assert propose(desk, 0, 0.75) == []
    assert names(desk.send(StartTrial(tuning_id="t1", number=0))) == ["TrialStarted"]
    assert desk.send(StartTrial(tuning_id="t1", number=0)) == []
    assert propose(desk, 0, 0.75) == []


def test_clients_neither_add_trials_nor_change_values() -> None:
    desk = planned()
    propose(desk, 0)
    parameter = TrialParameter(name="x", value="0.1", distribution=FLOAT)
    for command, text in (
        (AskTrial(tuning_id="t1"), "tuning t1 asks for its trials itself; start one whose values are proposed"),
        (
            SetTrialParameter(tuning_id="t1", number=0, parameter=parameter),
            "the values of the trials of tuning t1 are proposed by the platform; "
            "take them as they are, or make a tuning without plan",
        ),
    ):
        refused = refusal(desk, command)
        assert (refused.code, refused.message) == (ErrorCode.FAILED_PRECONDITION, text)
    desk.send(CreateTuning(tuning_id="t2", name="free"))
    desk.send(AskTrial(tuning_id="t2", status=S.REQUESTED))
    command = ProposeTrial(tuning_id="t2", number=0, known_events=1, algorithm_version="x")
    text = "the clients of tuning t2 choose values themselves; make a tuning with plan to have them proposed"
    assert refusal(desk, command).message == text
    assert refusal(desk, AskTrial(tuning_id="t2", status=S.PROPOSED)).errors[0].field == "status"


def test_a_lost_process_leaves_the_values() -> None:
    desk = planned()
    propose(desk, 0)
    desk.send(StartTrial(tuning_id="t1", number=0))
    (requeued,) = desk.send(RequeueTrial(tuning_id="t1", number=0, attempt=1))
    assert isinstance(requeued, TrialRequeued)
    assert (requeued.attempt, requeued.status) == (2, S.PROPOSED)
    assert names(desk.send(StartTrial(tuning_id="t1", number=0))) == ["TrialStarted"]


def test_a_grid_ends_with_its_last_point() -> None:
    desk = planned("grid", "x=0.0..1.0 step 0.5", "y=a,b when x=1.0", limits=TuningLimits(parallel=9))
    assert requested(desk) == [0, 1, 2, 3]
    for number in range(3):
        run(desk, number, 1.0)
    (_, done) = run(desk, 3, 1.0)
    assert isinstance(done, TuningStatusSet)
    assert done.reason == "all its 4 trials have ended"


def test_no_trial_begins_once_it_has_ended() -> None:
    desk = planned(limits=TuningLimits(parallel=2), early_stopping=EarlyStopping(patience=1))
    propose(desk, 1)
    run(desk, 0, 0.5)
    assert requested(desk) == [0, 1, 2]
    desk.send(StopTuning(tuning_id="t1"))
    text = "tuning t1 is stopped: no trial begins; make another tuning"
    assert refusal(desk, StartTrial(tuning_id="t1", number=1)).message == text
    state = desk.state("tuning", "t1")
    assert state.status is TuningStatus.STOPPED
    assert desk.deciders.of(AskTrial).may_passivate(state)


def test_a_grid_that_is_too_large_is_refused() -> None:
    with pytest.raises(Refused, match=r"plan.space: has a grid of more than 100,000 points"):
        planned("grid", "x=1..1000", "y=1..1000")
