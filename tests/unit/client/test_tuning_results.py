"""What a tuning has found: the best trials, the Pareto front, and the hyperparameters that mattered."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgelog.errors import InvalidInput
from forgelog.tuning_results import best_of, importances

FLOAT = json.dumps({"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 1.0, "log": False}})
CHOICES = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": ["near", "far"]}})


def trial(number: int, *values: float, **parameters: float) -> Any:
    drawn = [
        {"name": name, "value": str(value), "distribution": CHOICES if name == "kind" else FLOAT}
        for name, value in parameters.items()
    ]
    return {"number": number, "objective_values": [str(value) for value in values], "parameters": drawn}


def numbers(trials: Any) -> list[int]:
    return [each["number"] for each in trials]


def test_the_best_come_first_and_the_earliest_of_equals() -> None:
    trials = [trial(0, 2.0), trial(1, 1.0), trial(2, float("inf")), trial(3, 1.0), trial(4, float("-inf"))]
    assert numbers(best_of(trials, ["minimize"])) == [4, 1, 3, 0, 2]
    assert numbers(best_of(trials, ["maximize"])) == [2, 0, 1, 3, 4]


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=30), st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_the_front_is_what_nothing_dominates(given_values: list[tuple[int, ...]], signs: tuple[int, ...]) -> None:
    trials = [trial(number, *values) for number, values in enumerate(given_values)]
    found = best_of(trials, ["minimize" if sign == 1 else "maximize" for sign in signs])

    def dominates(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        pairs = [(sign * a, sign * b) for sign, a, b in zip(signs, one, other, strict=True)]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    wanted = [
        number
        for number, values in enumerate(given_values)
        if not any(dominates(other, values) for other in given_values)
    ]
    assert sorted(numbers(found)) == wanted


def searched(count: int, chance: random.Random, objectives: int = 1) -> list[Any]:
    trials = []
    for number in range(count):
        x, y, kind = chance.random(), chance.random(), float(chance.random() < 0.5)
        conditional = {"depth": chance.random()} if kind else {}
        values = [(x - 0.3) ** 2 + 0.001 * y, (y - 0.7) ** 2][:objectives]
        trials.append(trial(number, *values, x=x, y=y, kind=kind, **conditional))
    return trials


def test_what_mattered_comes_first() -> None:
    found = importances(searched(120, random.Random(1)), ["minimize"])
    assert set(found) == {"x", "y", "kind", "depth"}
    assert next(iter(found)) == "x"
    assert found["x"] > 0.7
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_of_several_objectives_one_is_told_or_their_front() -> None:
    trials = searched(120, random.Random(1), objectives=2)
    both = ["minimize", "minimize"]
    assert next(iter(importances(trials, both, 0))) == "x"
    assert next(iter(importances(trials, both, 1))) == "y"
    assert set(list(importances(trials, both))[:2]) == {"x", "y"}
    turned = [
        {**each, "objective_values": [each["objective_values"][0], "-" + each["objective_values"][1]]}
        for each in trials
    ]
    assert importances(turned, ["minimize", "maximize"], 1) == importances(trials, both, 1)
    with pytest.raises(InvalidInput, match="objective: is 2, and the tuning has 2, counted from 0"):
        importances(trials, both, 2)


def test_few_trials_tell_nothing() -> None:
    with pytest.raises(InvalidInput, match="the tuning has 9 completed trials; importances need 10"):
        importances(searched(9, random.Random(1)), ["minimize"])
