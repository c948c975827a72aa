"""A version of a dataset as an event of OpenLineage: the schemas of the standard admit it, and its own client takes it;
it says what is known.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from openlineage.client import OpenLineageClient, event_v2, facet_v2
from openlineage.client.serde import Serde
from openlineage.client.transport import Transport

from events.log.ids import id_ending
from events.queries.openlineage import event_of
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


class Sent(Transport):
    """Where a client's events go."""

    kind = "sent"

    def __init__(self) -> None:
        self.events: list[Any] = []

    def emit(self, event: Any) -> None:
        self.events.append(event)


def by_its_classes(event: dict[str, Any]) -> event_v2.RunEvent:
    """An event as OpenLineage's client holds it, which looks at ids, times, addresses and the fields of facets. Raises
    ValueError or TypeError for one that it does not take."""
    columns = facet_v2.column_lineage_dataset
    inner = {
        "ColumnLineageDatasetFacet": lambda fields: {
            "fields": {
                name: columns.Fields([columns.InputField(**each) for each in field["inputFields"]])
                for name, field in fields["fields"].items()
            }
        },
        "ParentRunFacet": lambda fields: {
            "run": facet_v2.parent_run.Run(**fields["run"]),
            "job": facet_v2.parent_run.Job(**fields["job"]),
        },
        "SchemaDatasetFacet": lambda fields: {
            "fields": [facet_v2.schema_dataset.SchemaDatasetFacetFields(**each) for each in fields["fields"]]
        },
        "SymlinksDatasetFacet": lambda fields: {
            "identifiers": [facet_v2.symlinks_dataset.Identifier(**each) for each in fields["identifiers"]]
        },
    }
    classes = {
        name: kind
        for module in vars(facet_v2).values()
        for name, kind in getattr(module, "__dict__", {}).items()
        if name.endswith("Facet")
    }

    def facets(given: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for key, each in given.items():
            name = each["_schemaURL"].rpartition("/")[2]
            fields = {field: value for field, value in each.items() if not field.startswith("_")}
            made[key] = classes[name](**inner.get(name, dict)(fields), producer=each["_producer"])
            assert made[key]._schemaURL == each["_schemaURL"], "the version of a facet that the client knows"
        return made

    def datasets(kind: Any, given: list[dict[str, Any]]) -> list[Any]:
        return [
            kind(**{**each, **{key: facets(each[key]) for key in each if key.lower().endswith("facets")}})
            for each in given
        ]

    return event_v2.RunEvent(
        eventType=event_v2.RunState(event["eventType"]),
        eventTime=event["eventTime"],
        producer=event["producer"],
        run=event_v2.Run(**{**event["run"], "facets": facets(event["run"]["facets"])}),
        job=event_v2.Job(**{**event["job"], "facets": facets(event["job"]["facets"])}),
        inputs=datasets(event_v2.InputDataset, event["inputs"]),
        outputs=datasets(event_v2.OutputDataset, event["outputs"]),
    )


def without_nothing(value: Any) -> Any:
    """Without the empty lists and mappings, which the client writes for what it was not given."""
    if isinstance(value, dict):
        return {key: kept for key, each in value.items() if (kept := without_nothing(each)) not in ({}, [])}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("more", [{}, {"location": "", "lineage": {"columns": [], "tables": [], "unresolved": "why"}}])
def test_the_public_client_takes_each_event_and_sends_the_same(more: dict[str, Any]) -> None:
    event = event_of(version(**more))
    transport = Sent()
    OpenLineageClient(transport=transport).emit(by_its_classes(event))
    sent = without_nothing(Serde.to_dict(transport.events[0]))
    check(sent)
    sent["run"]["facets"].pop("tags")  # the client's own, about itself
    assert sent == without_nothing(event)


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
