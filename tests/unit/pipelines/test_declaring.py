"""Pipelines in Python: what is declared is the document of a manifest."""

# ruff: noqa: ARG001 - functions that are declared and not called
from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

import forgelog
from forgelog.errors import InvalidInput
from forgelog.pipelines.declaring.loading import pipelines_of


@forgelog.stage
def extract() -> list[int]:
    return [1, 2]


@forgelog.stage(
    inputs={"raw": forgelog.files("s3://shop/in/*.csv", secret="shop")}, sink=forgelog.dataset("clean"), retries=2
)
def clean_orders(raw: list[int], day: date, least: int = 1) -> list[int]:
    return [row for row in raw if row >= least]


@forgelog.stage(inputs={"orders": clean_orders}, after=[extract], frame="polars", timeout="5m", id="report")
def reported(orders: Any, currency: str = "CHF") -> Any:
    return orders


@forgelog.stage(inputs={"orders": clean_orders})
def by_another_name(frame: Any, day: date) -> Any:
    return frame


def test_a_stage_is_still_its_function() -> None:
    assert clean_orders([0, 5], date(2026, 5, 9)) == [5]
    assert clean_orders.function.__name__ == "clean_orders"


def test_a_function_is_a_stage_with_the_keys_of_a_manifest() -> None:
    assert clean_orders.document() == {
        "id": "clean-orders",
        "inputs": {
            "raw": {
                "source": {"type": "s3", "path": "s3://shop/in/*.csv", "connection": {"secret": {"name": "shop"}}},
            },
        },
        "sink": {"type": "dataset", "dataset": "clean"},
        "retry": {"max": 2},
        "transformations": [
            {"type": "custom", "custom": {"python": {"module": __name__, "function": "clean_orders"}}},
        ],
    }


def test_stages_are_named_by_the_functions_themselves() -> None:
    document = reported.document()
    assert (document["inputs"], document["after"]) == ({"orders": "clean-orders"}, ["extract"])
    assert document["timeout"] == "5m"
    assert document["transformations"][0]["custom"]["python"]["frame"] == "polars"


def test_a_pipeline_has_all_stages_that_its_stages_name_and_the_parameters_that_they_take() -> None:
    document = forgelog.pipeline(
        "daily", stages=[reported], schedule="30 1 * * *", timezone="Europe/Zurich", tags=["shop"]
    ).document()
    assert [stage["id"] for stage in document["stages"]] == ["clean-orders", "extract", "report"]
    assert document["parameters"] == {
        "day": {"type": "date", "required": True},
        "least": {"type": "integer", "default": 1},
        "currency": {"type": "string", "default": "CHF"},
    }
    assert document["schedule"] == {"cron": "30 1 * * *", "timezone": "Europe/Zurich"}
    assert document["tags"] == ["shop"]
    assert Path(document["upload"]) == Path(__file__).parents[__name__.count(".")]


def test_the_first_argument_reads_the_rows_if_none_is_named_after_an_input() -> None:
    assert by_another_name.parameters() == {"day": {"type": "date", "required": True}}


def test_what_is_said_of_a_parameter_goes_before_the_functions_default() -> None:
    said = {"type": "string", "choices": ["CHF", "EUR"]}
    document = forgelog.pipeline("daily", stages=[reported], parameters={"currency": said}).document()
    assert document["parameters"]["currency"] == said


def test_a_schedule_may_be_a_length_of_time() -> None:
    document = forgelog.pipeline("often", stages=[extract], schedule=timedelta(seconds=10)).document()
    assert document["schedule"] == {"every_seconds": 10}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            forgelog.files("in/*.csv", format="csv"),
            {"type": "file_system", "path": "in/*.csv", "format": {"type": "csv"}},
        ),
        (forgelog.files("gs://b/x.parquet"), {"type": "gcs", "path": "gs://b/x.parquet"}),
        (forgelog.files("https://host/x.csv"), {"type": "http", "path": "https://host/x.csv"}),
        (forgelog.dataset("orders", version=7), {"type": "dataset", "dataset": "orders", "version": 7}),
        (
            forgelog.table("postgresql://db/shop", "sales.orders", secret="db", mode="upsert", keys=["id"]),
            {
                "type": "database",
                "table": "sales.orders",
                "mode": "upsert",
                "keys": ["id"],
                "connection": {"url": "postgresql://db/shop", "secret": {"name": "db"}},
            },
        ),
        (
            forgelog.table("sqlite:///x.db", query="select 1"),
            {"type": "database", "query": "select 1", "connection": {"url": "sqlite:///x.db"}},
        ),
        (
            forgelog.topic("broker:9092", "orders"),
            {"type": "kafka", "topic": "orders", "connection": {"url": "broker:9092"}},
        ),
    ],
)
def test_a_place_has_the_keys_of_a_source_or_a_sink(place: Any, said: dict[str, Any]) -> None:
    assert place.document() == said


def other_currency(orders: Any, currency: str = "EUR") -> Any:
    return orders


def nested() -> Any:
    def inner() -> None: ...

    return inner


def typed_for_checkers(frame: pl.DataFrame, day: date, least: int = 1) -> pl.DataFrame:  # type: ignore[name-defined]  # noqa: F821
    return frame


def test_annotations_that_only_type_checkers_know_are_no_obstacle() -> None:
    declared = forgelog.stage(inputs={"frame": extract})(typed_for_checkers)
    assert {name: said["type"] for name, said in declared.parameters().items()} == {"day": "date", "least": "integer"}


def with_a_list(rows: list[int]) -> Any:
    return rows


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: forgelog.files("ftp://host/x"), "has the scheme 'ftp'; give a path, or a URL of one of abfs"),
        (lambda: forgelog.stage(nested()), "is not at the top of its module"),
        (lambda: forgelog.stage(with_a_list).parameters(), "'rows' is no input, and as a parameter its type is one of"),
        (lambda: forgelog.pipeline("p", stages=[with_a_list]), "decorate the function with @forgelog.stage"),
        (lambda: forgelog.pipeline("p", stages=[extract], timezone="UTC"), "timezone: is the zone of a schedule"),
        (
            lambda: forgelog.pipeline(
                "p", stages=[reported, forgelog.stage(inputs={"orders": reported})(other_currency)]
            ).document(),
            "say different things of the parameter 'currency'",
        ),
    ],
)
def test_what_a_worker_could_not_run_is_refused(declare: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        declare()


def test_a_file_declares_the_pipelines_at_the_top_of_its_module(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "nightly_of_a_test.py"
    file.write_text(
        "import forgelog\n\n@forgelog.stage\ndef load():\n    return [1]\n\n"
        "nightly = forgelog.pipeline('nightly', stages=[load])\n"
    )
    (found,) = pipelines_of(file)
    document = found.document()
    monkeypatch.delitem(sys.modules, "nightly_of_a_test")
    python = document["stages"][0]["transformations"][0]["custom"]["python"]
    assert (found.name, python) == ("nightly", {"module": "nightly_of_a_test", "function": "load"})
    assert document["upload"] == str(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("of-two-words.py", "", "is no name of a module"),
        ("empty_of_a_test.py", "", "declares no pipeline"),
        ("broken_of_a_test.py", "1 / 0", "can't be imported: ZeroDivisionError"),
        ("json.py", "", "has the name of another module"),
    ],
)
def test_a_file_without_pipelines_says_so(tmp_path: Path, monkeypatch: Any, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match=problem):
        pipelines_of(tmp_path / name)
    if name.startswith("empty"):
        monkeypatch.delitem(sys.modules, "empty_of_a_test")
