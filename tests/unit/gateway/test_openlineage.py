"""Events of OpenLineage as commands: which datasets they are about, and what is known of their columns."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.pipelines.commits import place_label
from events.language.pipelines.dataset_messages import RecordLineage
from events.language.pipelines.openlineage import DatasetNaming, location_of, naming_of
from services.gateway.openlineage_body import WrongEvent, commands_of
from tests.unit.openlineage_schemas import check

PROJECT = "local/default"
PRODUCER = "https://github.com/OpenLineage/OpenLineage/tree/1.54.0/client/python"


def facet(name: str, version: str, **said: Any) -> dict[str, Any]:
    url = f"https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **said}


def event(**more: Any) -> dict[str, Any]:
    columns = {
        "total": {
            "inputFields": [
                {"namespace": "s3://b", "name": "orders", "field": "price"},
                {
                    "namespace": "s3://b",
                    "name": "orders",
                    "field": "country",
                    "transformations": [{"type": "INDIRECT", "subtype": "FILTER"}],
                },
            ]
        }
    }
    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-05-09T12:00:00Z",
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "0190f5a0-0000-7000-8000-000000000001"},
        "job": {"namespace": "airflow", "name": "daily.revenue"},
        "inputs": [{"namespace": "s3://b", "name": "orders"}],
        "outputs": [
            {
                "namespace": "postgres://host:5432",
                "name": "shop.public.revenue",
                "facets": {
                    "schema": facet(
                        "SchemaDatasetFacet", "1-2-0", fields=[{"name": "total", "type": "NUMERIC"}, {"name": "day"}]
                    ),
                    "columnLineage": facet("ColumnLineageDatasetFacet", "1-2-0", fields=columns),
                },
            }
        ],
        **more,
    }


def test_an_output_is_recorded_with_its_columns() -> None:
    check(event())
    (command,) = commands_of(event(), PROJECT)
    recorded = RecordLineage.model_validate(command)
    assert recorded.dataset_id == place_label("postgres://host/shop#public.revenue")
    assert (recorded.job, recorded.run) == ("airflow/daily.revenue", "0190f5a0-0000-7000-8000-000000000001")
    assert [(each.name, each.type) for each in recorded.columns] == [("total", "NUMERIC"), ("day", "unknown")]
    assert [(each.name, each.dataset_id, each.location) for each in recorded.inputs] == [
        ("in1", place_label("s3://b/orders"), "s3://b/orders")
    ]
    edges = [(edge.column, edge.dataset, edge.source) for edge in recorded.lineage.columns]
    assert edges == [("total", "in1", "price")], "a column that rows are only filtered by is none that values come from"


def test_without_columns_it_is_known_by_datasets_and_said_so() -> None:
    output = {"namespace": "s3://b", "name": "revenue"}
    (command,) = commands_of(event(outputs=[output]), PROJECT)
    lineage = RecordLineage.model_validate(command).lineage
    assert (lineage.tables, lineage.unresolved) == (("in1",), "the event has no facet columnLineage")


@pytest.mark.parametrize("kind", ["START", "FAIL", "ABORT"])
def test_what_is_not_there_is_not_recorded(kind: str) -> None:
    assert commands_of(event(eventType=kind), PROJECT) == []
    assert commands_of(event(outputs=[]), PROJECT) == []


def test_a_dataset_of_the_platform_is_known_by_its_name() -> None:
    output = {"namespace": f"forgelog://{PROJECT}", "name": "clean-orders"}
    other = {"namespace": "forgelog://acme/prod", "name": "clean-orders"}
    own, of_others = commands_of(event(outputs=[output, other]), PROJECT)
    assert own["dataset_id"] == "clean-orders"
    assert of_others["dataset_id"] == place_label("forgelog://acme/prod/clean-orders")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"job": {"name": "a"}}, "job.namespace"),
        ({"outputs": [{"name": "a"}]}, "outputs.0.namespace"),
        ({"inputs": "s3://b"}, "inputs"),
        ({"eventType": 7}, "eventType"),
    ],
)
def test_what_is_wrong_is_said_by_its_field(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(WrongEvent) as wrong:
        commands_of(event(**changed), PROJECT)
    assert [each.field for each in wrong.value.errors] == [field]
    with pytest.raises(WrongEvent):
        commands_of([event()], PROJECT)


@pytest.mark.parametrize(
    ("location", "namespace", "name"),
    [
        ("s3://bucket/orders/clean", "s3://bucket", "orders/clean"),
        ("postgres://host/shop#public.orders", "postgres://host:5432", "shop.public.orders"),
        ("mysql://host:3307/shop#orders", "mysql://host:3307", "shop.orders"),
        ("file:///data/orders", "file", "/data/orders"),
        ("kafka://broker:9092/orders", "kafka://broker:9092", "orders"),
    ],
)
def test_a_place_is_named_as_the_standard_does_and_found_again(location: str, namespace: str, name: str) -> None:
    assert naming_of(location) == (namespace, name)
    assert location_of(DatasetNaming(namespace, name)) == location


@pytest.mark.parametrize("given", [None, 7, "", [], {}, {"job": None}, event(outputs=None)])
def test_what_is_no_event_is_refused(given: Any) -> None:
    with pytest.raises(WrongEvent):
        commands_of(given, PROJECT)


def test_a_job_without_a_run_is_taken() -> None:
    (command,) = commands_of(event(run=None, eventType=""), PROJECT)
    assert command["run"] == ""
