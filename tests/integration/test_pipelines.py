"""Pipelines on a real platform: real workers do a manifest's stages, and the command line steers their runs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from forgelog import AsyncClient
from forgelog.errors import Refused
from tests import PATIENCE
from tests.integration.cluster import Cluster

TEXT = """
kind: Pipeline
name: takings
parameters:
  least: {{type: integer, default: 0}}
stages:
  - id: load
    inputs:
      raw:
        source: {{type: file_system, path: {folder}/in.csv}}
    transformations:
      - {{type: filter, filter: {{where: amount > $least}}}}
    cache: content
  - id: write
    inputs: {{rows: load}}
    sink: {{type: file_system, path: {folder}/out}}
  - id: report
    after: [write]
    condition: stages.write.rows > 1
    job: {{name: report, command: echo, args: [done], resources: {{cpus: 0.1, memory: 64Mi}}}}
execution: {{worker: {{cpus: 0.2, memory: 512Mi}}, keep_warm: 60s}}
"""


def manifest(folder: Path) -> Path:
    (folder / "in.csv").write_text("day,amount\n2026-05-01,10\n2026-05-02,-3\n2026-05-03,7\n")
    file = folder / "takings.yaml"
    file.write_text(TEXT.format(folder=folder))
    return file


async def test_a_manifest_is_run_by_the_command_line(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    file = manifest(tmp_path)
    ran = await platform.command(tmp_path, "pipeline", "run", str(file))
    assert ran.returncode == 0, ran.stderr
    row = await client.pipeline_runs.get("takings", 1)
    assert (row.status, row.trigger, row.parameters) == ("completed", "manual", {"least": "0"})
    stages = {each.stage_id: each for each in await client.pipeline_runs.stages("takings", 1)}
    assert {id: each.status for id, each in stages.items()} == dict.fromkeys(("load", "write", "report"), "completed")
    assert stages["write"].output["rows"] == 2
    assert [file.suffix for file in (tmp_path / "out").rglob("*.parquet")] == [".parquet"]

    # the worker is there still; with another parameter the condition does not hold
    number = await client.pipeline_runs.start("takings", {"least": 8})
    assert (await client.pipeline_runs.wait("takings", number, timeout=PATIENCE)).status == "completed"
    again = {each.stage_id: each.status for each in await client.pipeline_runs.stages("takings", number)}
    assert again == {"load": "completed", "write": "completed", "report": "skipped"}
    assert len(await client.pipeline_runs.workers("takings")) == 1

    # without its file the run fails, and tells why; when the file is back, the retry does the rest
    lines = (tmp_path / "in.csv").read_text()
    (tmp_path / "in.csv").unlink()
    number = await client.pipeline_runs.start("takings")
    failed = await client.pipeline_runs.wait("takings", number, timeout=PATIENCE)
    assert (failed.status, failed.reason) == ("failed", "stage load failed")
    (tmp_path / "in.csv").write_text(lines)
    retried = await platform.command(tmp_path, "pipeline", "retry", "takings", str(number))
    assert retried.returncode == 0, retried.stderr
    await _until(client, number, "completed")
    # with the same inputs the result is taken that is there
    done, number = f"{row.pipeline_id}.{number}", await client.pipeline_runs.start("takings")
    assert (await client.pipeline_runs.wait("takings", number, timeout=PATIENCE)).status == "completed"
    cached = {each.stage_id: each.cached_from for each in await client.pipeline_runs.stages("takings", number)}
    assert cached == {"load": done, "write": "", "report": ""}
    shown = await platform.command(tmp_path, "pipeline", "status", "takings", "-o", "json")
    assert done in shown.stdout

    with pytest.raises(Refused, match="'ten', which is no integer"):
        await client.pipeline_runs.start("takings", {"least": "ten"})
    await client.pipelines.retire("takings")


async def _until(client: AsyncClient, number: int, status: str) -> Any:
    async with asyncio.timeout(PATIENCE), aclosing(client.pipeline_runs.watch("takings")) as rows:
        async for row in rows:
            if row.number == number and row.status == status:
                return row
    raise AssertionError("a watch has no end")
