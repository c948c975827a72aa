"""Datasets through every door: contracts and rules of a manifest; lineage that a job outside tells, now and then."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from forgelog import AsyncClient
from forgelog.errors import NotFound, Refused
from tests.integration.cluster import Cluster

DATASET = """
kind: Dataset
name: tolled-trips
contract: {mode: widening, freshness: {within: 24h}}
rules:
  - {rule_id: priced, type: range, columns: [fare], minimum: 0, severity: critical}
"""


def reads(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "dataset_id": name} for name in names]


def edges(*texts: str) -> list[dict[str, str]]:
    """``fare<trips.amount``"""
    found = []
    for text in texts:
        column, _, origin = text.partition("<")
        dataset, _, source = origin.partition(".")
        found.append({"column": column, "dataset": dataset, "source": source})
    return found


def told(found: Any) -> set[str]:
    return {".".join(filter(None, (node.dataset_id, node.column))) for node in found.nodes}


async def test_a_manifest_says_what_versions_must_be(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "datasets.yaml").write_text(DATASET)
    done = await platform.command(tmp_path, "pipeline", "datasets", "define", "datasets.yaml")
    assert (done.returncode, done.stderr) == (0, "2 changed, 0 as they were\n")
    again = await platform.command(tmp_path, "pipeline", "datasets", "define", "datasets.yaml")
    assert again.stderr == "0 changed, 2 as they were\n"
    found = await client.pipeline_data.get("tolled-trips")
    assert (found.contract.mode, found.contract.freshness.within_seconds) == ("widening", 86_400)
    assert [(each.rule.rule_id, each.revision) for each in found.rules] == [("priced", 1)]
    shown = await platform.command(tmp_path, "pipeline", "datasets", "show", "tolled-trips")
    assert "priced: range of fare, critical" in shown.stdout
    with pytest.raises(Refused, match="does not wait to be published"):
        await client.pipeline_data.abandon("tolled-trips", 1)
    with pytest.raises(NotFound, match="version"):
        await client.pipeline_data.version("tolled-trips")
    (tmp_path / "wrong.yaml").write_text(DATASET.replace("type: range", "type: rang"))
    wrong = await platform.command(tmp_path, "pipeline", "datasets", "define", "wrong.yaml")
    assert wrong.returncode != 0
    assert "line 6, column 29: rules.0.type: 'rang' is none of completeness" in wrong.stderr


KM = {"name": "km", "type": "DOUBLE"}


async def test_lineage_is_followed_both_ways_and_as_it_was(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    data = client.pipeline_data
    columns = [{"name": name, "type": "DOUBLE"} for name in ("fare", "tip")]
    first = {"columns": edges("fare<taxi-raw.amount", "tip<taxi-raw.tip"), "tables": ["taxi-raw"]}
    await data.record_lineage(
        "taxi-clean", job="airflow/clean", inputs=reads("taxi-raw"), lineage=first, columns=columns
    )
    total = {"columns": edges("total<taxi-clean.fare", "total<taxi-clean.tip"), "tables": ["taxi-clean"]}
    await data.record_lineage(
        "taxi-revenue",
        job="dbt/revenue",
        inputs=reads("taxi-clean"),
        lineage=total,
        columns=[{"name": "total", "type": "DOUBLE"}],
    )
    await data.record_lineage("taxi-report", job="bi/report", inputs=reads("taxi-revenue"))
    up = await data.lineage("taxi-revenue", "total", direction="up")
    assert told(up) == {"taxi-revenue.total", "taxi-clean.fare", "taxi-clean.tip", "taxi-raw.amount", "taxi-raw.tip"}
    assert told(await data.lineage("taxi-revenue", "total", direction="up", depth=1)) == {
        "taxi-revenue.total",
        "taxi-clean.fare",
        "taxi-clean.tip",
    }
    assert told(await data.lineage("taxi-revenue")) == {"taxi-revenue", "taxi-clean", "taxi-raw", "taxi-report"}
    everything = {"taxi-raw", "taxi-clean", "taxi-revenue", "taxi-report"}
    assert told(await data.lineage("taxi-raw")) == everything  # it is only read
    assert told(await data.impact("taxi-raw", "Amount")) >= {"taxi-raw.amount", "taxi-clean.fare", "taxi-revenue.total"}
    assert {"taxi-raw.amount", "taxi-raw.tip"} < told(await data.impact("taxi-raw"))
    with pytest.raises(Refused, match="dataset taxi-raw has no column 'when'; it has: amount, tip"):
        await data.lineage("taxi-raw", "when")
    with pytest.raises(NotFound, match="there is no version 1 of dataset 'taxi-raw'"):
        await data.lineage("taxi-raw", version=1)
    assert told(await data.impact("taxi-clean", "tip")) == {"taxi-clean.tip", "taxi-revenue.total"}

    then = (await data.get("taxi-report")).updated_at
    fewer = {**total, "columns": total["columns"][:1]}
    changed = await data.record_lineage("taxi-revenue", job="dbt/revenue", inputs=reads("taxi-clean"), lineage=fewer)
    assert changed.result == "accepted"
    repeat = await data.record_lineage("taxi-revenue", job="dbt/revenue", inputs=reads("taxi-clean"), lineage=fewer)
    assert repeat.result == "unchanged"
    assert told(await data.impact("taxi-clean", "tip")) == {"taxi-clean.tip"}
    assert told(await data.impact("taxi-clean", "tip", at=then)) == {"taxi-clean.tip", "taxi-revenue.total"}

    shown = await platform.command(tmp_path, "pipeline", "lineage", "taxi-clean.fare", "--up", "--output", "json")
    assert {node["column"] for node in json.loads(shown.stdout)["nodes"]} == {"fare", "amount"}
    table = await platform.command(tmp_path, "pipeline", "impact", "taxi-clean.fare")
    assert "taxi-revenue.total" in table.stdout
    file = [{"name": "rows", "location": "/data.v1/taxi.csv"}]
    distance = {"columns": edges("km<rows.km"), "tables": ["rows"]}
    await data.record_lineage("taxi-distance", job="cron/distance", inputs=file, lineage=distance, columns=[KM])
    for words in (["lineage", "/data.v1/taxi.csv", "--down"], ["impact", "/data.v1/taxi.csv", "--column", "km"]):
        reached = await platform.command(tmp_path, "pipeline", *words)
        assert "taxi-distance" in reached.stdout, reached.stderr
    with pytest.raises(Refused, match="has no column 'far'; it has: fare, tip"):
        await data.lineage("taxi-clean", "far")
    with pytest.raises(NotFound, match="taxi-nowhere"):
        await data.lineage("taxi-nowhere")
    none = await platform.command(tmp_path, "pipeline", "quality", "taxi-clean")
    assert none.stderr == "no rule was evaluated\n"
    with pytest.raises(NotFound, match="there is no dataset 'taxi-nowhere'"):
        await data.checks(dataset="taxi-nowhere")


@pytest.mark.parametrize(
    ("kind", "ask"),
    [
        ("pipeline", lambda client: client.pipeline_runs.list("nowhere")),
        ("pipeline", lambda client: client.pipeline_runs.workers("nowhere")),
        ("pipeline", lambda client: client.pipeline_runs.get("nowhere", 2)),
        ("pipeline", lambda client: client.pipelines.version("nowhere", 2)),
        ("deployment", lambda client: client.lineage.trace("deployment", "nowhere", revision=2)),
        ("deployment", lambda client: client.deployments.routing("nowhere")),
        ("deployment", lambda client: client.deployments.why("nowhere")),
        ("model", lambda client: client.lineage.trace("model", "nowhere/2")),
        ("dataset", lambda client: client.lineage.trace("dataset", "nowhere/2")),
        ("dataset", lambda client: client.datasets.get("nowhere/2")),
        ("tuning", lambda client: client.tunings.trial("nowhere", 2)),
    ],
)
async def test_who_asks_for_a_part_of_what_is_not_there_is_told_that(
    client: AsyncClient, kind: str, ask: Callable[[AsyncClient], Awaitable[Any]]
) -> None:
    with pytest.raises(NotFound, match=f"there is no {kind} 'nowhere'"):
        await ask(client)


async def test_who_asks_for_a_part_that_is_not_there_is_told_of_what(client: AsyncClient) -> None:
    spec = {"stages": [{"id": "load", "inputs": {"raw": {"source": {"type": "file_system", "path": "in.csv"}}}}]}
    await client.pipelines.define("partly-there", spec)
    with pytest.raises(NotFound, match="there is no version 2 of pipeline 'partly-there'"):
        await client.pipelines.version("partly-there", 2)
    with pytest.raises(NotFound, match="there is no run of pipeline 'partly-there'"):
        await client.pipeline_runs.get("partly-there")


async def test_a_client_of_openlineage_tells_lineage(platform: Cluster, client: AsyncClient) -> None:
    output = {
        "namespace": "forgelog://local/default",
        "name": "taxi-told",
        "facets": {
            "schema": {"fields": [{"name": "fare", "type": "DOUBLE"}]},
            "columnLineage": {
                "fields": {"fare": {"inputFields": [{"namespace": "s3://b", "name": "taxi", "field": "amount"}]}}
            },
        },
    }
    event = {
        "eventType": "COMPLETE",
        "run": {"runId": "1"},
        "job": {"namespace": "spark", "name": "told"},
        "outputs": [output],
    }
    async with platform.http() as http:
        answer = await http.post("/api/v1/lineage", json=event)
        assert (answer.status_code, answer.json()) == (201, {"datasets": ["taxi-told"]})
        wrong = await http.post("/api/v1/lineage", json={"outputs": []})
        assert (wrong.status_code, "job" in wrong.text) == (400, True)
        stranger = await http.post("/api/v1/lineage", json=event, headers={"authorization": "Bearer nobody"})
        assert stranger.status_code == 401
    await client.pipeline_data.set_contract("taxi-told", {"mode": "exact"})  # what this client has written, it reads
    found = await client.pipeline_data.lineage("taxi-told", "fare", direction="up")
    assert [(edge.job, edge.source_column) for edge in found.edges] == [("spark/told", "amount")]
    assert found.nodes[1].label == "s3://b/taxi"
