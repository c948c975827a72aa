"""Given a plan that names other tunings, when it begins, then it waits for their completed trials that fit."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.common import ErrorCode, Refused
from events.language.experiments import (
    CreateTuning,
    DeleteTuning,
    Direction,
    TrialAdded,
    TuningAlgorithm,
    TuningCreated,
    TuningLimits,
    TuningPlan,
)
from events.language.experiments.tuning_following import (
    MAX_ADOPTED,
    AdoptedTrial,
    AdoptTrials,
    TrialsAdopted,
)
from events.writer.decider import Question
from forgelog.tuning_space import dimension
from forgelog_pb.experiments.v1 import tunings_pb2 as pb
from services.experiments.catalogue.decide import Catalogues
from services.experiments.engine.extras import PACKAGES, missing_algorithms
from services.experiments.tuning import adopting
from tests.unit.experiments.desk import Desk, names, refusal

FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 9.0, "log": false}}'
INT = '{"name": "IntDistribution", "attributes": {"low": 1, "high": 9, "step": 1, "log": false}}'
CHOICES = '{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", 3]}}'


def plan(*sources: str, algorithm: str = "tpe", space: tuple[str, ...] = ("x=0.0..1.0", "k=adam,sgd", "n=1..4")) -> Any:
    found = [dimension(each) for each in space]
    return TuningPlan(algorithm=algorithm, space=found, warm_start=sources)  # type: ignore[arg-type]


def desk(**fields: Any) -> Desk:
    made = Desk()
    made.send(CreateTuning(tuning_id="t1", name="first", **fields))
    made.send(CreateTuning(tuning_id="t2", name="second", **fields))
    return made


def trial(number: int, *parameters: tuple[str, float, str], value: str = "0.5") -> Any:
    told = [{"name": name, "value": str(each), "distribution": drawn} for name, each, drawn in parameters]
    return {"number": number, "parameters": told, "objective_values": [value]}


def adopted(*trials: Any, **fields: Any) -> AdoptTrials:
    (_, created, *_) = desk().send(CreateTuning(tuning_id="t3", name="third", plan=plan("t1", **fields)))
    assert isinstance(created, TuningCreated)
    return adopting.adoption(created, "t1", pb.ListTrialsResponse(trials=list(trials)))


def test_it_asks_for_no_trial_before_it_knows_what_others_have_found() -> None:
    made = desk()
    events = made.send(CreateTuning(tuning_id="t3", name="third", plan=plan("t1", "t2"), limits=TuningLimits(trials=9)))
    assert names(events) == ["TuningAdmitted", "TuningCreated"]
    known = AdoptedTrial(number=4, parameters={"x": "0.5"}, objective_values=["1.0"])
    (event,) = made.send(AdoptTrials(tuning_id="t3", source="t1", trials=[known]))
    assert event == TrialsAdopted(tuning_id="t3", source="t1", trials=[known])
    again = made.send(AdoptTrials(tuning_id="t3", source="t1", trials=[known]))
    assert again == []
    _, added = made.send(AdoptTrials(tuning_id="t3", source="t2"))
    assert isinstance(added, TrialAdded)


def test_it_asks_each_tuning_that_is_named_for_its_completed_trials() -> None:
    made = desk()
    created = made.send(CreateTuning(tuning_id="t3", name="third", plan=plan("t1", "t2")))[1]
    decider = made.deciders.of(AdoptTrials)
    asked = decider.dispatch(created, made._context("t3"))
    assert all(isinstance(each, Question) and each.method == "ListTrials" for each in asked)
    assert [each.request.tuning_id for each in asked] == ["t1", "t2"]  # type: ignore[union-attr]
    completed = pb.ListTrialsRequest(statuses=["TRIAL_STATUS_COMPLETED"]).statuses
    assert all(each.request.statuses == completed for each in asked)  # type: ignore[union-attr]
    (order,) = decider.answered(created, asked[1], pb.ListTrialsResponse(), made._context("t3"))  # type: ignore[arg-type]
    assert order.command == AdoptTrials(tuning_id="t3", source="t2")
    gone = Refused(ErrorCode.NOT_FOUND, "there is no tuning 't2'")
    assert decider.answered(created, asked[1], gone, made._context("t3")) == [order]  # type: ignore[arg-type]


def test_a_trial_counts_with_what_is_searched_if_that_is_within_the_space() -> None:
    command = adopted(
        trial(0, ("x", 0.5, FLOAT), ("k", 1, CHOICES), ("n", 4, INT), ("other", 3.0, FLOAT)),
        trial(1, ("x", 1.5, FLOAT)),  # above the space
        trial(2, ("k", 2, CHOICES)),  # a choice that is none here
        trial(3, ("n", 1.5, FLOAT)),  # no whole number
        trial(4, ("n", 2.0, FLOAT)),
        trial(5, ("other", 3.0, FLOAT)),  # nothing that is searched
        trial(6, ("x", 1, CHOICES)),  # no number
    )
    assert [each.number for each in command.trials] == [0, 4]
    assert command.trials[0].parameters == {"x": "0.5", "k": "0.0", "n": "4.0"}
    assert command.trials[0].objective_values == ("0.5",)


def test_the_newest_trials_count_and_no_more_than_an_event_holds() -> None:
    command = adopted(*(trial(number, ("x", 0.5, FLOAT)) for number in range(MAX_ADOPTED + 5)))
    assert (len(command.trials), command.trials[0].number) == (MAX_ADOPTED, 5)
    wide = tuple(f"x{each}=0.0..1.0" for each in range(100))
    command = adopted(*(trial(number, ("x0", 0.5, FLOAT)) for number in range(500)), space=wide)
    assert len(command.trials) == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"plan": plan("t9")}, "plan.warm_start: there is no tuning 't9' in this project"),
        ({"plan": plan("t2")}, "plan.warm_start: there is no tuning 't2' in this project"),
        ({"plan": plan("t1"), "directions": ["maximize"]}, "plan.warm_start: tuning t1 has other directions: minimize"),
        (
            {"plan": plan(algorithm="cmaes"), "directions": ["minimize"] * 2},
            "plan.algorithm: is cmaes, which has one objective, and there are 2",
        ),
    ],
)
def test_what_it_can_not_learn_from_is_refused(fields: dict[str, Any], message: str) -> None:
    made = desk()
    made.send(DeleteTuning(tuning_id="t2"))
    assert refusal(made, CreateTuning(name="third", **fields)).message == message


@pytest.mark.parametrize(
    ("sources", "algorithm", "problem"),
    [
        (("t1", "t1"), "tpe", "warm_start: names a tuning twice; leave one out"),
        (
            ("t1",),
            "random",
            "warm_start: random learns from its own trials alone; leave it out",
        ),
    ],
)
def test_a_plan_names_others_once_and_where_it_learns(sources: tuple[str, ...], algorithm: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        plan(*sources, algorithm=algorithm)


def test_an_algorithm_that_is_not_installed_is_refused_with_what_to_do() -> None:
    made = Desk()
    decider = Catalogues({TuningAlgorithm.GP: "pip install it"})
    command = CreateTuning(tuning_id="t1", name="", project="local/default", plan=plan(algorithm="gp"))
    with pytest.raises(Refused) as caught:
        decider.decide(decider.initial("local/default"), command, made._context("t1"))
    (error,) = caught.value.errors
    assert (error.field, error.problem, error.hint) == (
        "plan.algorithm",
        "is gp, which is not installed",
        "pip install it",
    )


def test_what_is_missing_is_told_by_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.experiments.engine.extras.find_spec", lambda name: None if name == "torch" else name)
    assert missing_algorithms() == {
        TuningAlgorithm.GP: "where the platform runs: pip install 'forgelog[gp]' (it lacks torch), and start it again; "
        "or take tpe"
    }
    assert set(PACKAGES) == {TuningAlgorithm.GP, TuningAlgorithm.CMAES}


def test_directions_are_told_by_the_catalogue() -> None:
    made = desk(directions=["maximize", "minimize"])
    place = made.state("catalogue", "local/default").tunings["t1"]
    assert place.directions == (Direction.MAXIMIZE, Direction.MINIMIZE)
