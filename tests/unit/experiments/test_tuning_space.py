"""What a space of hyperparameters may say, how people type it, and the points of its grid."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.experiments import Dimension, TuningPlan
from forgelog.errors import InvalidInput
from forgelog.tuning_space import dimension, dimension_text
from services.experiments.tuning.grid import MAX_POINTS, points, size


def plan(*texts: str, algorithm: str = "tpe") -> TuningPlan:
    return TuningPlan(algorithm=algorithm, space=[dimension(text) for text in texts])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("lr=1e-5..0.1 log", {"kind": "float", "low": 1e-5, "high": 0.1, "log": True}),
        ("layers=1..4", {"kind": "int", "low": 1.0, "high": 4.0}),
        ("width=32..256 step 32", {"kind": "int", "low": 32.0, "high": 256.0, "step": 32.0}),
        ("x=-1..1 step 0.5", {"kind": "float", "low": -1.0, "high": 1.0, "step": 0.5}),
        ("optimizer=adam, sgd", {"kind": "categorical", "choices": ['"adam"', '"sgd"']}),
        ("depth=1,2,null", {"kind": "categorical", "choices": ["1", "2", "null"]}),
        (
            "momentum=0.0..0.9 when optimizer=sgd",
            {"kind": "float", "low": 0.0, "high": 0.9, "when": {"name": "optimizer", "values": ['"sgd"']}},
        ),
    ],
)
def test_a_dimension_is_typed_in_a_line(text: str, made: dict[str, Any]) -> None:
    found = dimension(text)
    assert found == {"name": text.partition("=")[0], **made}
    Dimension.model_validate(found)
    assert dimension(dimension_text(found)) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lr", "has no name and values"),
        ("lr=1..", "'1..' is no range"),
        ("lr=a,,b", "has an empty value"),
        ("lr=0..1 when x", "the condition 'x' is no OTHER=VALUE"),
    ],
)
def test_what_can_not_be_read_is_told(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        dimension(text)


@pytest.mark.parametrize(
    ("texts", "algorithm", "problem"),
    [
        (["x=2..1"], "tpe", "low: is 2, which is above high, 1"),
        (["x=0.0..1.0 log"], "tpe", "low: is 0; a logarithmic range begins above 0"),
        (["x=0.1..1.0 log step 0.1"], "tpe", "step: goes without log"),
        (["x=a,a"], "tpe", "choices: has a value twice"),
        (["x=a,b", "x=1..2"], "tpe", "space: has 'x' twice"),
        (["y=1..2 when x=a", "x=a,b"], "tpe", "space: 'y': when: there is no 'x' before it; put that first"),
        (["x=a,b", "y=1..2 when x=c"], "tpe", "space: 'y': when: \"c\" is no choice of 'x'"),
        (["x=0.0..1.0"], "grid", "space: 'x' has no step, so its grid has no end; give step, or choices"),
    ],
)
def test_a_space_that_can_not_be_searched_is_refused(texts: list[str], algorithm: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        plan(*texts, algorithm=algorithm)
    assert problem in str(caught.value)


def test_a_grid_has_each_combination_once_and_the_last_moves_fastest() -> None:
    space = plan("a=x,y", "b=1..5 step 2", "c=0.0..0.3 step 0.1 when a=y", algorithm="grid").space
    found = list(points(space))
    assert found[:4] == [{"a": "x", "b": 1}, {"a": "x", "b": 3}, {"a": "x", "b": 5}, {"a": "y", "b": 1, "c": 0.0}]
    assert [round(each["c"], 9) for each in found[3:7]] == [0.0, 0.1, 0.2, 0.3]
    assert len(found) == size(space) == 3 + 3 * 4


def test_a_grid_without_an_end_in_sight_is_counted_no_further() -> None:
    assert size(plan("x=0.0..1.0 step 1e-12", algorithm="grid").space) == MAX_POINTS + 1
    assert size(plan("x=1..1000", "y=1..1000", algorithm="grid").space) == MAX_POINTS + 1
    assert size(plan("a=1,2", "x=1..1000 when a=1", "y=1..1000", algorithm="grid").space) == MAX_POINTS + 1


def test_a_condition_counts_only_where_its_own_dimension_does() -> None:
    space = plan("a=1,2", "b=1,2 when a=2", "c=1,2 when b=2", algorithm="grid").space
    assert list(points(space)) == [
        {"a": 1},
        {"a": 2, "b": 1},
        {"a": 2, "b": 2, "c": 1},
        {"a": 2, "b": 2, "c": 2},
    ]
