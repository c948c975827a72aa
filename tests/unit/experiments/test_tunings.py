"""Given a tuning, when trials are asked for, reported and told, then each has its number and ends once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from events.language.common import ErrorCode
from events.language.experiments import (
    AskTrial,
    CreateTuning,
    DeleteTuning,
    Direction,
    EarlyStopping,
    IntermediateValue,
    PauseTuning,
    ReportTrial,
    RequeueTrial,
    ResumeTuning,
    Scope,
    SetTrialAttribute,
    SetTrialParameter,
    SetTuningAttribute,
    StartTrial,
    StopTuning,
    TellTrial,
    TrialAdded,
    TrialEnded,
    TrialParameter,
    TrialRequeued,
    TrialStatus,
    TuningCreated,
    TuningLimits,
    TuningStatus,
    TuningStatusSet,
)
from events.language.experiments.tuning_models import DOUBLE_PATTERN
from services.experiments.tuning import distributions
from tests.unit.experiments.desk import NOON, PROJECT, Desk, names, refusal

S = TrialStatus
FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
WIDER = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 9.0, "log": false}}'
LOG = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": true}}'
INT = '{"name": "IntDistribution", "attributes": {"low": 1, "high": 4, "step": 1, "log": false}}'
CHOICES = '{"name": "CategoricalDistribution", "attributes": {"choices": ["a", NaN, 1]}}'
SAME_CHOICES = '{"name": "CategoricalDistribution", "attributes": {"choices": ["a", NaN, 1.0]}}'
OTHER_ORDER = '{"name": "CategoricalDistribution", "attributes": {"choices": [NaN, "a", 1]}}'


def parameter(distribution: str = FLOAT, value: float = 0.5, name: str = "x") -> TrialParameter:
    return TrialParameter(name=name, value=str(value), distribution=distribution)


def with_tuning(**fields: Any) -> Desk:
    desk = Desk()
    desk.send(CreateTuning(tuning_id="t1", name="digits", **fields))
    return desk


def ask(desk: Desk, **fields: Any) -> int:
    event = desk.send(AskTrial(tuning_id="t1", **fields))[0]
    assert isinstance(event, TrialAdded)
    return event.number


def tell(desk: Desk, number: int, *values: Any, **fields: Any) -> list[Any]:
    return desk.send(TellTrial(tuning_id="t1", number=number, objective_values=values, **fields))


# A tuning's place in its project


def test_a_tuning_gets_its_number_from_its_project_and_then_begins() -> None:
    desk = with_tuning()
    (admitted, created) = desk.send(CreateTuning(tuning_id="t2", name="", directions=["maximize", "minimize"]))
    assert names([admitted, created]) == ["TuningAdmitted", "TuningCreated"]
    assert isinstance(created, TuningCreated)
    assert (created.project, created.number, created.name) == (PROJECT, 2, "")
    assert created.directions == (Direction.MAXIMIZE, Direction.MINIMIZE)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (CreateTuning(name="digits"), ErrorCode.ALREADY_EXISTS, "there is a tuning 'digits' already"),
        (CreateTuning(tuning_id="t1", name="b"), ErrorCode.ALREADY_EXISTS, "there is a tuning 't1' already"),
        (
            CreateTuning(name="b", directions=["minimize"] * 2, early_stopping=EarlyStopping(patience=3)),
            ErrorCode.INVALID_ARGUMENT,
            "early_stopping: is for one objective, and there are 2",
        ),
        (DeleteTuning(tuning_id="t9"), ErrorCode.NOT_FOUND, "there is no tuning 't9' in this project"),
        (AskTrial(tuning_id="t9"), ErrorCode.NOT_FOUND, "there is no tuning 't9'"),
    ],
)
def test_what_can_not_be_is_refused(command: Any, code: ErrorCode, message: str) -> None:
    refused = refusal(with_tuning(), command)
    assert (refused.code, refused.message) == (code, message)


def test_a_deleted_tuning_frees_its_name_and_keeps_its_number() -> None:
    desk = with_tuning()
    assert names(desk.send(DeleteTuning(tuning_id="t1"))) == ["TuningReleased", "TuningDeleted"]
    assert desk.send(DeleteTuning(tuning_id="t1")) == []
    assert refusal(desk, AskTrial(tuning_id="t1")).code is ErrorCode.NOT_FOUND
    created = desk.send(CreateTuning(tuning_id="t2", name="digits"))[1]
    assert isinstance(created, TuningCreated)
    assert created.number == 2


# Trials


def test_a_trial_runs_is_given_values_and_ends_once() -> None:
    desk = with_tuning()
    (added,) = desk.send(AskTrial(tuning_id="t1"))
    assert isinstance(added, TrialAdded)
    assert (added.number, added.status) == (0, S.RUNNING)
    assert added.started_at is not None
    desk.send(SetTrialParameter(tuning_id="t1", number=0, parameter=parameter()))
    desk.send(ReportTrial(tuning_id="t1", number=0, step=1, value=float("nan")))  # type: ignore[arg-type]
    desk.send(SetTrialAttribute(tuning_id="t1", number=0, name="host", value='"a"'))
    (ended,) = tell(desk, 0, float("inf"))
    assert isinstance(ended, TrialEnded)
    assert (ended.status, ended.objective_values) == (S.COMPLETED, ("Infinity",))
    for command in (
        TellTrial(tuning_id="t1", number=0, objective_values=["1"]),
        StartTrial(tuning_id="t1", number=0),
        SetTrialParameter(tuning_id="t1", number=0, parameter=parameter(INT)),
        SetTrialAttribute(tuning_id="t1", number=0, scope=Scope.SYSTEM, name="a", value="1"),
        ReportTrial(tuning_id="t1", number=0, step=1, value="1"),
        RequeueTrial(tuning_id="t1", number=0),
    ):
        refused = refusal(desk, command)
        assert (refused.code, refused.message) == (
            ErrorCode.FAILED_PRECONDITION,
            "trial 0 of tuning t1 has ended; a trial ends once: ask for another one",
        )


def test_of_two_who_take_up_a_waiting_trial_the_second_changes_nothing() -> None:
    desk = with_tuning()
    number = ask(desk, status=S.REQUESTED)
    assert names(desk.send(StartTrial(tuning_id="t1", number=number))) == ["TrialStarted"]
    assert desk.send(StartTrial(tuning_id="t1", number=number)) == []


def test_a_trial_that_was_made_elsewhere_comes_as_it_ended() -> None:
    desk = with_tuning()
    then = NOON.replace(year=2022)
    (added,) = desk.send(
        AskTrial(
            tuning_id="t1",
            status=S.COMPLETED,
            objective_values=["0.5"],
            parameters=[parameter()],
            intermediate=[IntermediateValue(step=1, value="0.7")],
            started_at=then,
            ended_at=then,
        )
    )
    assert isinstance(added, TrialAdded)
    assert (added.status, added.objective_values, added.started_at, added.ended_at) == (
        S.COMPLETED,
        ("0.5",),
        then,
        then,
    )
    assert (
        refusal(desk, TellTrial(tuning_id="t1", number=0, objective_values=["1"])).code is ErrorCode.FAILED_PRECONDITION
    )


@pytest.mark.parametrize(
    ("first", "later", "problem"),
    [
        (FLOAT, WIDER, ""),
        (CHOICES, SAME_CHOICES, ""),
        (FLOAT, INT, "is a IntDistribution, but a FloatDistribution in an earlier trial"),
        (FLOAT, LOG, "is logarithmic, but not logarithmic in an earlier trial"),
        (CHOICES, OTHER_ORDER, "has other choices, or in another order, than in an earlier trial"),
        (FLOAT, "3", 'is no object with a "name" and "attributes"'),
    ],
)
def test_all_trials_draw_a_parameter_from_one_kind_of_distribution(first: str, later: str, problem: str) -> None:
    desk = with_tuning()
    ask(desk, parameters=[parameter(first, 1)])
    number = ask(desk)
    command = SetTrialParameter(tuning_id="t1", number=number, parameter=parameter(later, 1))
    if not problem:
        assert names(desk.send(command)) == ["TrialParameterSet"]
        return
    refused = refusal(desk, command)
    assert (refused.code, refused.message) == (ErrorCode.INVALID_ARGUMENT, f"parameter.distribution: {problem}")
    assert refusal(desk, AskTrial(tuning_id="t1", parameters=[parameter(later)])).errors[0].field == (
        "parameters.x.distribution"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective_values": ["1", "2"]}, "objective_values: has 2 values, and the tuning has 1 objectives"),
        ({}, "objective_values: has 0 values, and the tuning has 1 objectives"),
        ({"objective_values": ["nan"]}, "objective_values: has NaN, which is neither better nor worse than any"),
        ({"status": S.FAILED, "objective_values": ["1"]}, "objective_values: goes without a failed trial"),
        (
            {"status": S.PRUNED, "objective_values": ["1", "2"]},
            "objective_values: has 2 values, and the tuning has 1 objectives",
        ),
    ],
)
def test_an_end_has_the_values_that_go_with_it(fields: dict[str, Any], message: str) -> None:
    desk = with_tuning()
    number = ask(desk)
    assert refusal(desk, TellTrial(tuning_id="t1", number=number, **fields)).message == message
    assert refusal(desk, AskTrial(tuning_id="t1", **({"status": S.COMPLETED} | fields))).message == message


def test_a_lost_process_is_followed_by_another_attempt_and_is_heard_no_more() -> None:
    desk = with_tuning()
    number = ask(desk)
    (requeued,) = desk.send(RequeueTrial(tuning_id="t1", number=number, attempt=1, reason="node lost"))
    assert isinstance(requeued, TrialRequeued)
    assert requeued.attempt == 2
    desk.send(StartTrial(tuning_id="t1", number=number))
    for command in (
        TellTrial(tuning_id="t1", number=number, attempt=1, objective_values=["1"]),
        ReportTrial(tuning_id="t1", number=number, attempt=1, step=1, value="1"),
        RequeueTrial(tuning_id="t1", number=number, attempt=1),
    ):
        refused = refusal(desk, command)
        assert refused.code is ErrorCode.ABORTED
        assert refused.message == (
            "attempt is 1, and attempt 2 of trial 0 is the one that counts; end this process: it was taken for lost"
        )
    (ended,) = tell(desk, number, 1, attempt=2)
    assert isinstance(ended, TrialEnded)
    assert ended.attempt == 2


# How a tuning ends


def test_no_more_trials_begin_than_may_run_side_by_side() -> None:
    desk = with_tuning(limits=TuningLimits(parallel=1))
    first = ask(desk)
    waiting = ask(desk, status=S.REQUESTED)
    for command in (AskTrial(tuning_id="t1"), StartTrial(tuning_id="t1", number=waiting)):
        refused = refusal(desk, command)
        assert refused.code is ErrorCode.RESOURCE_EXHAUSTED
        assert refused.message == "tuning t1 has the 1 running trials that it may have; come again when one has ended"
    tell(desk, first, 1)
    desk.send(StartTrial(tuning_id="t1", number=waiting))


def test_it_is_complete_when_all_its_trials_have_ended() -> None:
    desk = with_tuning(limits=TuningLimits(trials=2))
    first, second = ask(desk), ask(desk)
    text = (
        "tuning t1 has the 2 trials that it may have; make another tuning, which may begin with what this one has found"
    )
    assert refusal(desk, AskTrial(tuning_id="t1")).message == text
    assert names(tell(desk, second, status=S.FAILED)) == ["TrialEnded"]
    (_, done) = tell(desk, first, 1)
    assert isinstance(done, TuningStatusSet)
    assert (done.status, done.reason) == (TuningStatus.COMPLETED, "all its 2 trials have ended")


def test_it_is_complete_when_trials_bring_nothing_better() -> None:
    desk = with_tuning(early_stopping=EarlyStopping(patience=2, min_delta=0.1))
    for value in (1.0, 0.95, 0.8):  # 0.95 is better by less than counts
        assert names(tell(desk, ask(desk), value)) == ["TrialEnded"]
    tell(desk, ask(desk), status=S.PRUNED)
    assert names(tell(desk, ask(desk), 0.79)) == ["TrialEnded"]
    (_, done) = tell(desk, ask(desk), 0.9)
    assert isinstance(done, TuningStatusSet)
    assert done.reason == "2 trials in a row brought nothing better"
    text = "tuning t1 is completed: it takes no new trial; make another tuning"
    assert refusal(desk, AskTrial(tuning_id="t1")).message == text


def test_it_is_complete_when_its_time_is_over() -> None:
    desk = with_tuning(limits=TuningLimits(seconds=60))
    decider = desk.deciders.of(AskTrial)
    state = desk.state("tuning", "t1")
    due = decider.due(state)
    assert due is not None
    assert 60 <= (due - NOON).total_seconds() <= 70
    (done,) = decider.wake(state, desk._context("t1"))
    assert (done.status, done.reason) == (TuningStatus.COMPLETED, "its 60 seconds are over")
    assert decider.due(decider.evolve(state, done, due)) is None


def test_a_paused_one_takes_no_trial_and_a_stopped_one_never_will() -> None:
    desk = with_tuning()
    number = ask(desk)
    desk.send(PauseTuning(tuning_id="t1"))
    assert desk.send(PauseTuning(tuning_id="t1")) == []
    assert refusal(desk, AskTrial(tuning_id="t1")).message == "tuning t1 is paused: it takes no new trial; resume it"
    desk.send(ResumeTuning(tuning_id="t1"))
    desk.send(StopTuning(tuning_id="t1", reason="enough"))
    assert names(tell(desk, number, 1)) == ["TrialEnded"]
    assert refusal(desk, ResumeTuning(tuning_id="t1")).message == (
        "tuning t1 can't go from stopped to running: stopped is final"
    )


NO_CHOICES = '{"name": "CategoricalDistribution", "attributes": {"choices": 3}}'


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        (parameter(NO_CHOICES), "parameter.distribution", "has choices that are no list"),
        (parameter(CHOICES, 3), "parameter.value", "is 3, which is the number of none of the 3 choices"),
        (parameter(CHOICES, 0.5), "parameter.value", "is 0.5, which is the number of none of the 3 choices"),
        (parameter(CHOICES, math.nan), "parameter.value", "is nan, which is the number of none of the 3 choices"),
        (parameter(INT, math.inf), "parameter.value", "is inf, which is no whole number"),
        (parameter(INT, 1.5), "parameter.value", "is 1.5, which is no whole number"),
        (parameter(INT, 2e300), "parameter.value", "is 2e+300, which is no whole number of 64 bits"),
    ],
)
def test_a_value_is_one_that_a_program_can_have(given: TrialParameter, field: str, problem: str) -> None:
    desk = with_tuning()
    (error,) = refusal(desk, SetTrialParameter(tuning_id="t1", number=ask(desk), parameter=given)).errors
    assert (error.field, error.problem) == (field, problem)
    assert error.hint
    (error,) = refusal(desk, AskTrial(tuning_id="t1", parameters=(given,))).errors
    assert error.field == field.replace("parameter", "parameters.x")


@pytest.mark.parametrize(
    ("name", "attributes", "problem"),
    [
        ("Foo", "", "has the name 'Foo', which is none of "),
        ("CategoricalDistribution", '"choices": []', "has no choices"),
        ("CategoricalDistribution", '"choices": [1], "low": 0', "has the attribute 'low', which it can't have"),
        ("FloatDistribution", "", "has None as its low, which is no finite number"),
        ("FloatDistribution", '"low": 0, "high": NaN', "has nan as its high, which is no finite number"),
        ("FloatDistribution", '"low": 0, "high": true', "has True as its high, which is no finite number"),
        ("FloatDistribution", f'"low": 0, "high": 1{"0" * 400}', "has 1000000000"),
        ("IntDistribution", '"low": 4, "high": 1', "goes from 4 to 1, which is less"),
        ("FloatDistribution", '"low": 0, "high": 1, "log": 7', "has 7 as log, which is neither true nor false"),
        (
            "FloatDistribution",
            '"low": 0, "high": 1, "log": true',
            "is logarithmic and begins at 0, which is not above 0",
        ),
        (
            "IntDistribution",
            '"low": 0, "high": 1, "step": "z"',
            "has 'z' as its step, which is no finite number above 0",
        ),
        (
            "DiscreteUniformDistribution",
            '"low": 0, "high": 1, "q": 0',
            "has 0 as its q, which is no finite number above 0",
        ),
        ("UniformDistribution", '"low": 0, "high": 1, "q": 1', "has the attribute 'q', which it can't have"),
        ("UniformDistribution", '"low": 0, "low": 1, "high": 1', "has the key 'low' twice in one object"),
    ],
)
def test_a_distribution_is_one_that_optuna_can_make_again(name: str, attributes: str, problem: str) -> None:
    desk = with_tuning()
    given = parameter(f'{{"name": "{name}", "attributes": {{{attributes}}}}}', 0)
    (error,) = refusal(desk, SetTrialParameter(tuning_id="t1", number=ask(desk), parameter=given)).errors
    assert (error.field, error.hint) == ("parameter.distribution", "write it as Optuna's distribution_to_json does")
    assert error.problem.startswith(problem)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda of: of.FloatDistribution(0.5, 2, step=0.5), id="steps"),
        pytest.param(lambda of: of.FloatDistribution(1e-9, 1e300, log=True), id="log"),
        pytest.param(lambda of: of.IntDistribution(-(2**70), 2**70), id="large"),
        pytest.param(lambda of: of.IntDistribution(1, 1), id="single"),
        pytest.param(lambda of: of.CategoricalDistribution((None, True, "a", 1.5)), id="choices"),
        pytest.param(lambda of: of.UniformDistribution(0, 1), id="uniform"),
        pytest.param(lambda of: of.LogUniformDistribution(1, 2), id="loguniform"),
        pytest.param(lambda of: of.DiscreteUniformDistribution(0, 1, 0.1), id="discrete"),
        pytest.param(lambda of: of.IntUniformDistribution(0, 4, 2), id="intuniform"),
        pytest.param(lambda of: of.IntLogUniformDistribution(1, 4), id="intlog"),
    ],
)
def test_what_optuna_writes_is_taken(made: Callable[[Any], Any]) -> None:
    text = optuna.distributions.distribution_to_json(made(optuna.distributions))
    assert distributions.problem(text) == ""


def test_a_whole_number_that_was_taken_before_and_has_more_than_64_bits_is_still_shown() -> None:
    assert distributions.external(2e300, INT) == 2e300


@pytest.mark.parametrize("value", [7.0, math.inf, math.nan])
def test_a_number_beyond_the_bounds_is_taken_since_optunas_programs_fix_some(value: float) -> None:
    desk = with_tuning()
    assert desk.send(SetTrialParameter(tuning_id="t1", number=ask(desk), parameter=parameter(FLOAT, value)))


def test_attributes_are_json_as_it_was_written() -> None:
    (event,) = with_tuning().send(SetTuningAttribute(tuning_id="t1", name="note", value='{"a": NaN}'))
    assert event.value == '{"a": NaN}'  # type: ignore[attr-defined]
    desk = with_tuning()
    number = ask(desk)
    for command, field in (
        (SetTuningAttribute(tuning_id="t1", name="note", value="{"), "value"),
        (SetTrialAttribute(tuning_id="t1", number=number, name="note", value=""), "value"),
        (AskTrial(tuning_id="t1", user_attributes={"note": "ada"}), "user_attributes.note"),
    ):
        assert refusal(desk, command).message == f"{field}: is no JSON"
    deep = AskTrial(tuning_id="t1", system_attributes={"a": "[" * 5_000 + "]" * 5_000})
    assert refusal(desk, deep).message == "system_attributes.a: is nested deeper than 100 levels"


def test_a_number_in_words_says_in_the_schema_what_it_looks_like() -> None:
    for field in (TellTrial, AskTrial):
        assert field.model_json_schema()["properties"]["objective_values"]["items"]["pattern"] == DOUBLE_PATTERN
