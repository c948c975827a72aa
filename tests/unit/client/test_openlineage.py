"""A version of a dataset as an event of OpenLineage: the schemas of the standard admit it; it says what is known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from events.log.ids import id_ending
from forgelog.openlineage import event_of
from services.gateway.openlineage_body import commands_of
from tests.unit.openlineage_schemas import check

OTHER = "acme/prod"


def version(project: str = "local/default", **more: Any) -> dict[str, Any]:
    return {
        "dataset_id": f"revenue{id_ending(project)}",
        "version": 3,
        "project": project,
        "pipeline_id": "daily",
        "run_id": "daily.7",
        "stage_id": "total",
        "attempt": 2,
        "rows": 5,
        "bytes": 100,
        "columns": [{"name": "total", "type": "DECIMAL(18,2)", "nullable": True}],
        "location": "s3://b/revenue",
        "inputs": [
            {"name": "clean", "dataset_id": f"clean{id_ending(project)}", "version": 4, "location": "s3://b/clean"},
            {"name": "rates", "dataset_id": "", "version": 0, "location": "postgres://host/shop#public.rates"},
        ],
        "lineage": {
            "columns": [
                {"column": "total", "dataset": "clean", "source": "price"},
                {"column": "total", "dataset": "rates", "source": "rate"},
            ],
            "tables": ["clean", "rates"],
            "unresolved": "",
        },
        "published_at": datetime(2026, 5, 9, 12, tzinfo=UTC),
        **more,
    }


@pytest.mark.parametrize("project", ["local/default", OTHER])
def test_a_version_is_an_event_that_the_schemas_admit(project: str) -> None:
    event = event_of(version(project))
    check(event)
    (output,) = event["outputs"]
    assert (output["namespace"], output["name"]) == (f"forgelog://{project}", "revenue")
    assert output["facets"]["version"]["datasetVersion"] == "3"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 5
    assert output["facets"]["columnLineage"]["fields"]["total"]["inputFields"] == [
        {"namespace": f"forgelog://{project}", "name": "clean", "field": "price"},
        {"namespace": "postgres://host:5432", "name": "shop.public.rates", "field": "rate"},
    ]


def test_columns_that_are_not_known_are_left_out() -> None:
    lineage = {"columns": [], "tables": ["clean"], "unresolved": "it has a PIVOT"}
    event = event_of(version(lineage=lineage, location=""))
    check(event)
    assert "columnLineage" not in event["outputs"][0]["facets"]
    assert [each["name"] for each in event["inputs"]] == ["clean", "shop.public.rates"]


def test_the_same_version_is_the_same_run_each_time_and_another_attempt_another() -> None:
    assert event_of(version())["run"] == event_of(version())["run"]
    assert event_of(version())["run"]["runId"] != event_of(version(attempt=3))["run"]["runId"]


def test_what_is_told_is_understood_by_the_gateway() -> None:
    """Two platforms of the same project, one of which tells the other."""
    (command,) = commands_of(event_of(version()), "local/default")
    assert (command["dataset_id"], command["job"]) == ("revenue", "forgelog://local/default/daily.total")
    assert {each["dataset_id"] for each in command["inputs"]} >= {"clean"}
    assert len(command["lineage"]["columns"]) == 2
