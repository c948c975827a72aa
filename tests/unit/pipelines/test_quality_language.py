"""What a rule, a contract and edges of lineage may be, and what a wrong one is told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from events.language.pipelines.columns import Column
from events.language.pipelines.commits import DatasetLabel, applied, place_label
from events.language.pipelines.contracts import ContractMode, DatasetContract, VolumePolicy
from events.language.pipelines.lineage import ColumnEdge, LineageEdges, LineageInput
from events.language.pipelines.quality import DataQualityRule, QualityRuleType, QualitySeverity, RuleOutcome
from events.language.pipelines.transformations import Transformation


def rule(**given: Any) -> DataQualityRule:
    return DataQualityRule.model_validate({"rule_id": "r", **given})


@pytest.mark.parametrize(
    "given",
    [
        {"type": "completeness", "columns": ["a", "b"]},
        {"type": "uniqueness", "columns": ["id"], "keep_first_by": "updated_at DESC"},
        {"type": "range", "columns": ["price"], "minimum": 0, "maximum": 99.5},
        {"type": "pattern", "columns": ["code"], "pattern": "[A-Z]{3}"},
        {"type": "custom", "expression": "discount <= price"},
        {"type": "custom", "expression": "count(*) > 10", "level": "table"},
    ],
)
def test_a_rule_of_each_type_is_read_as_users_write_it(given: dict[str, Any]) -> None:
    made = rule(**given)
    assert DataQualityRule.model_validate_json(made.to_json()) == made


def test_a_bound_is_text_so_that_decimals_and_dates_stay_exact() -> None:
    made = rule(type="range", columns=["price"], minimum=0, maximum="12345678901234567.01")
    assert (made.minimum, made.maximum) == ("0", "12345678901234567.01")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": "completeness"}, "columns is empty"),
        ({"type": "completeness", "columns": ["a", "a"]}, "columns names 'a' twice"),
        ({"type": "completeness", "columns": ["a"], "expression": "a > 0"}, "expression is for rules of type custom"),
        ({"type": "custom", "columns": ["a"], "expression": "a > 0"}, "columns must be left out of a custom rule"),
        ({"type": "custom"}, "expression is empty"),
        ({"type": "custom", "expression": "  "}, "expression is empty"),
        ({"type": "pattern", "columns": ["a"]}, "pattern is empty"),
        ({"type": "range", "columns": ["a"]}, "minimum and maximum are empty"),
        ({"type": "uniqueness", "columns": ["a"], "minimum": 1}, "for rules of type range only"),
        ({"type": "range", "columns": ["a"], "minimum": 1, "keep_first_by": "b"}, "keep_first_by is for rules of type"),
        ({"type": "range", "columns": ["a"], "minimum": 1, "level": "table"}, "level 'table' is for rules of type cus"),
        ({"type": "custom", "expression": "true", "level": "table", "quarantine": True}, "names no rows"),
        ({"type": "completeness", "columns": ["a"], "threshold": 1.01}, "less than or equal to 1"),
        ({"type": "completeness", "columns": ["a\n"]}, "is no column's name"),
        ({"type": "range", "columns": ["a"], "minimum": True}, "should be a valid string"),
    ],
)
def test_a_rule_that_can_not_be_is_refused_with_its_field(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rule(**given)


@pytest.mark.parametrize(
    ("severity", "sets_aside", "stops"),
    [("info", False, False), ("warning", False, False), ("error", True, False), ("critical", True, True)],
)
def test_the_severity_says_what_becomes_of_rows_and_run(severity: str, sets_aside: bool, stops: bool) -> None:
    made = rule(type="completeness", columns=["a"], severity=severity)
    assert (made.sets_aside, made.stops) == (sets_aside, stops)


def test_what_a_user_says_of_rows_and_run_goes_before_the_severity() -> None:
    kept = rule(type="completeness", columns=["a"], severity="critical", quarantine=False)
    assert not kept.sets_aside
    assert rule(type="completeness", columns=["a"], severity="info", fail_pipeline=True).stops
    assert not rule(type="custom", expression="true", level="table").sets_aside


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": 3, "passed": 1, "failed": 1}, "sum to 2, and rows is 3"),
        ({"rows": 3, "passed": 2, "failed": 1, "quarantined": 2}, "no more can be set aside"),
        ({"rows": 3, "passed": 2, "failed": 1, "stops": True}, "only a breach fails"),
    ],
)
def test_the_counts_of_an_outcome_add_up(given: dict[str, Any], said: str) -> None:
    of = {"rule_id": "r", "type": QualityRuleType.RANGE, "severity": QualitySeverity.ERROR, "pass_rate": 0.5}
    with pytest.raises(ValidationError, match=said):
        RuleOutcome.model_validate({**of, **given})


def test_a_contract_names_each_column_once() -> None:
    column, same = Column(name="a", type="BIGINT"), Column(name="A", type="BIGINT")
    with pytest.raises(ValidationError, match="columns has 'a' twice, case apart"):
        DatasetContract(mode=ContractMode.EXACT, columns=(column, same))


def test_a_judgement_of_volume_can_be_reached() -> None:
    with pytest.raises(ValidationError, match="least_versions is 5, more than versions, 4"):
        VolumePolicy(versions=4)


def edge(column: str, dataset: str, source: str) -> ColumnEdge:
    return ColumnEdge(column=column, dataset=dataset, source=source)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"columns": (edge("a", "x", "b"),)}, "names the input 'x', which tables has not"),
        ({"columns": (edge("a", "x", "b"),), "tables": ("x",), "unresolved": "PIVOT"}, "leave out one of the two"),
    ],
)
def test_edges_say_one_thing(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LineageEdges(**given)


def test_edges_go_through_a_stage_without_a_sink() -> None:
    inner = LineageEdges(columns=(edge("net", "raw", "price"), edge("net", "raw", "discount")), tables=("raw",))
    outer = LineageEdges(
        columns=(edge("total", "clean", "net"), edge("rate", "rates", "rate"), edge("one", "clean", "constant")),
        tables=("clean", "rates"),
    )
    assert outer.through({"clean": inner}) == LineageEdges(
        columns=(edge("total", "raw", "price"), edge("total", "raw", "discount"), edge("rate", "rates", "rate")),
        tables=("raw", "rates"),
    )


def test_edges_through_an_unresolved_stage_are_unresolved_and_keep_the_tables() -> None:
    outer = LineageEdges(columns=(edge("total", "clean", "net"),), tables=("clean", "rates"))
    inner = LineageEdges(tables=("raw",), unresolved="it has a PIVOT")
    assert outer.through({"clean": inner}) == LineageEdges(tables=("raw", "rates"), unresolved="clean: it has a PIVOT")


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, "dataset_id and location are empty"), ({"location": "s3://b/a", "version": 1}, "version is given without")],
)
def test_an_input_of_lineage_is_a_dataset_or_a_place(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LineageInput(name="raw", **given)


@pytest.mark.parametrize(
    ("location", "same_as"),
    [
        ("s3://b/orders/*.parquet", "s3://b/orders"),
        ("s3://b/orders/day=[0-9]/x.csv", "s3://b/orders/"),
        ("postgres://host/shop#public.orders", "postgres://host/shop#public.orders"),
    ],
)
def test_a_place_that_is_written_and_read_by_a_pattern_is_one_dataset(location: str, same_as: str) -> None:
    assert place_label(location) == place_label(same_as)
    assert TypeAdapter(DatasetLabel).validate_python(place_label(location)) == place_label(location)


def test_places_that_look_alike_are_different_datasets() -> None:
    places = ["s3://b/orders", "s3://c/orders", "s3://b/Orders", "/", "*", "", "x" * 2_000, "s3://b/örders", "/a/---"]
    labels = [TypeAdapter(DatasetLabel).validate_python(place_label(place)) for place in places]
    assert len(set(labels)) == len(places)
    assert labels[0].startswith("orders-")


def test_a_transformation_is_applied_in_short() -> None:
    short, long = "price > 0", " OR ".join(f"price > {n}" for n in range(500))
    steps = ({"type": "filter", "filter": {"where": short}}, {"id": "f", "type": "filter", "filter": {"where": long}})
    first, second = applied(TypeAdapter(tuple[Transformation, ...]).validate_python(steps))
    assert (first.name, first.type, first.logic) == ("t1", "filter", '{"filter":{"where":"price > 0"}}')
    assert second.name == "f"
    assert second.logic.endswith("…")
