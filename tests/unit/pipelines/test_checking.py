"""What is found in the SQL of a pipeline before it runs."""

from __future__ import annotations

from typing import Any

from events.language.pipelines.checks import spec_errors
from events.language.pipelines.pipeline import PipelineSpec
from forgelog.pipelines.checking import remarks, sql_errors

RAW: dict[str, Any] = {
    "source": {
        "type": "file_system",
        "path": "/data/raw/*.csv",
        "columns": [{"name": "day", "type": "DATE"}, {"name": "price", "type": "DECIMAL(9,2)"}],
        "partitions": [{"name": "shop", "type": "VARCHAR"}],
    }
}
UNKNOWN: dict[str, Any] = {"source": {"type": "file_system", "path": "/data/raw/*.parquet"}}


def pipeline(*stages: dict[str, Any], **more: Any) -> PipelineSpec:
    spec = PipelineSpec.model_validate({"stages": stages, **more})
    assert not spec_errors(spec)
    return spec


def found(*stages: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    return [(error.field, error.problem) for error in sql_errors(pipeline(*stages, **more))]


def where(text: str) -> dict[str, Any]:
    return {"type": "filter", "filter": {"where": text}}


def total(expression: str) -> dict[str, Any]:
    computed = {"group_by": ["shop"], "columns": [{"name": "total", "expression": expression}]}
    return {"type": "aggregate", "aggregate": computed}


def test_columns_are_known_from_declared_sources_through_stages_in_any_order() -> None:
    problems = found(
        {"id": "report", "inputs": {"sums": {"stage": "sum"}}, "transformations": [where("totl > 0")]},
        {"id": "sum", "inputs": {"raw": RAW}, "transformations": [where("day > $day"), total("sum(price)")]},
        parameters={"day": {"type": "date"}},
    )
    assert [field for field, _ in problems] == ["spec.stages[0].transformations[0].filter"]
    assert '"totl" not found' in problems[0][1]


def test_the_first_error_of_each_stage_is_told() -> None:
    problems = found(
        {"id": "a", "inputs": {"raw": RAW}, "transformations": [where("pric > 0"), where("pric > 1")]},
        {"id": "b", "inputs": {"raw": RAW}, "transformations": [where("shop ~"), total("sum(price)")]},
    )
    assert [field for field, _ in problems] == [
        "spec.stages[0].transformations[0].filter",
        "spec.stages[1].transformations[0].filter.where",
    ]


def test_of_unknown_columns_the_sql_is_read_only() -> None:
    stage = {"id": "a", "inputs": {"raw": UNKNOWN}}
    assert found({**stage, "transformations": [where("anything > 0"), total("sum(x)")]}) == []
    bad = found({**stage, "transformations": [where("anything >")]})
    assert bad[0][0] == "spec.stages[0].transformations[0].filter.where"
    assert found({**stage, "transformations": [{"type": "custom", "custom": {"sql": "FROM elsewhere"}}]})[0][1] == (
        "reads 'elsewhere', which is no relation before it"
    )


def test_parameters_that_there_are_none_of_are_found() -> None:
    stage = {"id": "a", "inputs": {"raw": UNKNOWN}, "transformations": [where("day = $dya")]}
    assert "there is no parameter 'dya'" in found(stage, parameters={"day": {}})[0][1]


def test_the_interval_and_the_item_of_a_task_are_parameters() -> None:
    stage = {
        "id": "a",
        "inputs": {"raw": RAW},
        "transformations": [where("day >= $interval_start AND day < $interval_end AND shop = $item")],
        "for_each": {"items": ["bern", "basel"]},
    }
    assert found(stage) == []


def test_hints_without_effect_are_explained() -> None:
    hinted = {
        **where("price > 0"),
        "hints": {"broadcast": ["raw"], "repartition": {"partitions": 4}},
    }
    sort = {"type": "sort", "sort": {"by": [{"expression": "day"}]}}
    spec = pipeline({"id": "a", "inputs": {"raw": RAW}, "transformations": [sort, hinted, sort]})
    assert [(remark.field, remark.problem) for remark in remarks(spec)] == [
        ("spec.stages[0].transformations[0].sort", "does nothing: what follows need not keep the order"),
        ("spec.stages[0].transformations[1].hints.broadcast", "does nothing on duckdb, which joins on one node"),
        (
            "spec.stages[0].transformations[1].hints.repartition",
            "does nothing on duckdb, which spreads rows over its threads itself",
        ),
    ]
