"""What transformations accept and refuse, in which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.pipelines.transformations import Transformation, TransformationType, chain_problems, named
from events.language.problems import field_errors

SETTINGS: dict[str, dict[str, Any]] = {
    "map": {"columns": [{"name": "total", "expression": "price * quantity"}], "drop": ["note"]},
    "filter": {"where": "price > 0"},
    "join": {"right": "customers", "using": ["customer"]},
    "aggregate": {"group_by": ["day"], "columns": [{"name": "total", "expression": "sum(price)"}]},
    "window": {"partition_by": ["day"], "columns": [{"name": "n", "expression": "row_number()"}], "keep": "n = 1"},
    "sort": {"by": [{"expression": "day", "descending": True}], "limit": 10},
    "custom": {"sql": "SELECT * FROM orders"},
}


def one(kind: str, settings: dict[str, Any] | None = None, **more: Any) -> Transformation:
    return Transformation.model_validate({"type": kind, kind: settings or SETTINGS[kind], **more})


@pytest.mark.parametrize("kind", list(TransformationType))
def test_each_type_has_its_settings_and_comes_back_from_json(kind: TransformationType) -> None:
    made = one(kind)
    assert Transformation.model_validate_json(made.to_json()) == made
    assert made.settings is getattr(made, kind)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"type": "filter"}, "has no filter"),
        ({"type": "filter", "sort": SETTINGS["sort"]}, "has settings of type 'sort'"),
        ({"type": "map", "map": {}}, "changes nothing"),
        ({"type": "map", "map": {"keep": ["a"], "drop": ["b"]}}, "keep and drop both"),
        ({"type": "map", "map": {"keep": ["a", "A"]}}, "keep names 'A' twice"),
        ({"type": "join", "join": {"right": "b"}}, "using and on each say"),
        ({"type": "join", "join": {"right": "b", "using": ["x"], "on": "a.x = b.x"}}, "using and on each say"),
        ({"type": "join", "join": {"right": "b", "type": "cross", "using": ["x"]}}, "a cross join has no condition"),
        ({"type": "aggregate", "aggregate": {"having": "true"}}, "makes no column"),
        (
            {"type": "aggregate", "aggregate": {"group_by": ["x"], "columns": [{"name": "X", "expression": "1"}]}},
            "group_by and columns names 'X' twice",
        ),
        ({"type": "custom", "custom": {}}, "give one of them"),
        ({"type": "custom", "custom": {"sql": "SELECT 1", "spark": "SELECT 1"}}, "give one of them"),
        ({"type": "filter", "filter": {"where": "x"}, "parameters": {"day": [1]}}, "parameters.day is [1]"),
        ({"type": "filter", "filter": {"where": "x"}, "id": "Has Blanks"}, "is not allowed here"),
        ({"type": "filter", "filter": {"where": "x"}, "hints": {"repartition": {}}}, "says nothing"),
        (
            {
                "type": "window",
                "window": {**SETTINGS["window"], "frame": {"unit": "range", "preceding": 3}},
            },
            "a frame of unit 'range'",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(data: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Transformation.model_validate(data)
    assert problem in " ".join(
        f"{error.problem}; {error.hint}" for error in field_errors(refusal.value, Transformation)
    )


def test_transformations_without_an_id_are_named_by_their_places() -> None:
    assert named((one("filter"), one("sort", id="ordered"), one("map"))) == ("t1", "ordered", "t3")


def test_a_chain_reads_only_what_comes_before_it() -> None:
    chain = (
        one("filter"),
        one("join"),
        one("sort", input="later"),
        one("join", {"right": "later", "using": ["x"]}, id="later"),
        one("filter", id="orders"),
        one("filter", id="later", hints={"broadcast": ["nobody"]}),
    )
    assert [(error.field, error.problem) for error in chain_problems(chain, ("orders", "returns"))] == [
        ("transformations[0].input", "is not given, and the stage has 2 inputs"),
        ("transformations[1].join.right", "there is no relation 'customers' before it"),
        ("transformations[2].input", "there is no relation 'later' before it"),
        ("transformations[3].join.right", "there is no relation 'later' before it"),
        ("transformations[4].id", "there is a relation 'orders' already"),
        ("transformations[5].hints.broadcast[0]", "there is no relation 'nobody' before it"),
        ("transformations[5].id", "there is a relation 'later' already"),
    ]


def test_a_relation_is_not_joined_with_itself() -> None:
    (error,) = chain_problems((one("join"),), ("customers",))
    assert (error.field, error.problem) == ("transformations[0].join.right", "is what it reads itself")


def test_a_query_finds_its_relations_itself_so_the_first_need_not_say_what_it_reads() -> None:
    assert not chain_problems((one("custom"),), ("orders", "customers"))
