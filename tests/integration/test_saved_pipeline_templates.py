"""A template of pipelines on a real platform: saved by a manifest, used, rated, deleted; and a pipeline of it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from forgelog import AsyncClient, Refused
from forgelog.errors import NotFound
from tests import PATIENCE
from tests.integration.cluster import Cluster

TEMPLATE = """
kind: PipelineTemplate
name: csv-in
category: ingestion
description: Rows of CSV files, without those that cost nothing
sources:
  raw:
    type: file_system
    format: csv
    columns: [{name: amount, type: BIGINT, nullable: false}, {name: day, type: DATE}]
    feeds: [{stage: load, input: raw}]
sinks:
  out: {type: file_system, stage: load}
practices:
  parallelism: {max_workers: 2}
  worker: {cpus: 0.2, memory: 512Mi}
  notes: Give each folder a pipeline of its own.
definition:
  parameters:
    least: {type: integer, default: 1}
  stages:
    - id: load
      transformations:
        - {type: filter, filter: {where: amount >= $least}}
"""


async def test_a_pipeline_is_made_of_a_template_and_runs(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "csv-in.yaml").write_text(TEMPLATE)
    (tmp_path / "in.csv").write_text("day,amount\n2026-05-01,10\n2026-05-02,3\n")
    saved = await platform.command(tmp_path, "pipeline", "template", "save", "csv-in.yaml")
    assert (saved.returncode, saved.stderr) == (0, "csv-in: revision 1\n")
    before = datetime.now(UTC)

    wrong = await platform.command(tmp_path, "pipeline", "template", "use", "csv-in", "till", "-p", "least=few")
    assert wrong.returncode != 0
    for said in ("sources.raw", "sinks.out", "parameters.least", "is 'few', which is no integer"):
        assert said in wrong.stderr
    used = await platform.command(
        tmp_path,
        *("pipeline", "template", "use", "csv-in", "till", "-p", "least=5"),
        *("--source", f"raw={{type: file_system, path: {tmp_path}/in.csv}}"),
        *("--sink", f"out={{type: file_system, path: {tmp_path}/out}}"),
    )
    assert (used.returncode, used.stderr) == (0, "till: version 1, made of template csv-in\n")
    sources = {"raw": {"type": "file_system", "path": f"{tmp_path}/in.csv"}}
    sinks = {"out": {"type": "file_system", "path": f"{tmp_path}/out"}}
    again = await client.pipeline_templates.use(
        "csv-in", "till", sources=sources, sinks=sinks, parameters={"least": 5}, revision=1
    )
    assert again.version == 1
    pipeline = await client.pipelines.get("till")
    assert pipeline.template == {"template_id": "csv-in", "revision": 1}
    assert (pipeline.spec["execution"]["max_workers"], pipeline.spec["execution"]["worker"]["cpus"]) == (2, 0.2)
    assert [row.name for row in await client.pipelines.list(template="csv-in")] == ["till"]
    with pytest.raises(Refused, match="revision 7 of template csv-in is not its newest, which is 1"):
        await client.pipeline_templates.use("csv-in", "till", sources=sources, sinks=sinks, revision=7)

    number = await client.pipeline_runs.start("till")
    assert (await client.pipeline_runs.wait("till", number, timeout=PATIENCE)).status == "completed"
    (stage,) = await client.pipeline_runs.stages("till", number)
    assert stage.output["rows"] == 1
    assert {each.rule_id for each in stage.outcomes} == {"template-columns", "template-values"}
    (tmp_path / "in.csv").write_text("amount\n10\n")
    number = await client.pipeline_runs.start("till")
    assert (await client.pipeline_runs.wait("till", number, timeout=PATIENCE)).status == "failed"
    (stage,) = await client.pipeline_runs.stages("till", number)
    assert "day" in stage.failure["problem"]

    await client.pipeline_templates.rate("csv-in", 4, comment="quick")
    (rating,) = await client.pipeline_templates.ratings("csv-in")
    assert (rating.rater, rating.stars, rating.comment, rating.revision) == ("owner", 4, "quick", 1)
    (row,) = await client.pipeline_templates.list(text="COST", category="ingestion", order="rating")
    assert (row.uses, row.ratings, row.rating, row.owner) == (1, 1, 4.0, "owner")
    assert (await client.pipeline_templates.get("csv-in", at=before)).uses == 0
    listed = await platform.command(tmp_path, "pipeline", "template", "ls")
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:3]] == ["csv-in", "batch-inference"]
    shown = await platform.command(tmp_path, "pipeline", "template", "show", "csv-in")
    for said in (
        "raw: file_system, csv, with amount BIGINT not null",
        "2 max workers, 0.2 cpus, ",
        "Give each folder",
        "quick",
    ):
        assert said in shown.stdout
    history = await platform.command(tmp_path, "history", "csv-in")
    assert "PipelineTemplateDefined" in history.stdout
    removed = await platform.command(tmp_path, "pipeline", "template", "rm", "csv-in")
    assert removed.returncode == 0, removed.stderr
    assert await client.pipeline_templates.list(text="csv-in") == []
    (gone,) = await client.pipeline_templates.list(text="csv-in", deleted=True)
    assert gone.deleted_at is not None
    with pytest.raises(Refused, match="template csv-in is deleted"):
        await client.pipeline_templates.use("csv-in", "till", sources=sources, sinks=sinks)
    with pytest.raises(NotFound):
        await client.pipeline_templates.get("no-such")
