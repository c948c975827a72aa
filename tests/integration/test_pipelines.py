"""Pipelines on a real platform: real workers do a manifest's stages, and the command line steers their runs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.hosting import Answering, open_pool
from events.process.tasks import end_all
from events.projections.positions import live_schema
from events.projections.runner import Runner
from events.queries.queries import ReadModel
from forgelog import AsyncClient
from forgelog.errors import Refused
from services.pipelines.lineage_export import export_lineage
from services.pipelines.projections import PROJECTION
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
    assert {id: each.metrics["rows_read"] for id, each in stages.items()} == {"load": 3, "write": 2, "report": 0}
    assert (row.rows_read, row.rows_written) == (5, 4)
    assert [file.suffix for file in (tmp_path / "out").rglob("*.parquet")] == [".parquet"]

    ended = await platform.command(tmp_path, "pipeline", "cancel", "takings", "1")
    assert (ended.returncode, ended.stderr) == (0, "run 1 of takings had ended already\n")
    other = await platform.command(tmp_path, "pipeline", "logs", "takings", "lod")
    assert "no stage 'lod' of the newest run of takings has begun; those that have: load, " in other.stderr
    turned = ("--from", "2026-05-08", "--to", "2026-05-01")
    for command in (
        ("backfill", "start", "takings", "--dry-run"),
        ("backfill", "start", "takings"),
        ("run", "takings"),
    ):
        refused = await platform.command(tmp_path, "pipeline", *command, *turned)
        assert (refused.returncode, "--from: 2026-05-0" in refused.stderr) == (2, True), refused.stderr
        assert "is not before --to, 2026-0" in refused.stderr

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
    newest = orjson.loads(shown.stdout)
    rows = {each["stage_id"]: each["metrics"].get("rows_read", 0) for each in newest["stages"]}
    assert (rows["write"], newest["rows_read"]) == (2, 2)  # what a cached stage once read, this run has not

    with pytest.raises(Refused, match="'ten', which is no integer"):
        await client.pipeline_runs.start("takings", {"least": "ten"})
    await client.pipelines.retire("takings")
    await _sent_to_a_catalogue(platform, tmp_path)


async def _sent_to_a_catalogue(platform: Cluster, folder: Path) -> None:
    """All that was published comes to a catalogue that is away first, in order and with its key; then nothing again."""
    (folder / "catalogue-key").write_text("k3y")
    got: list[tuple[bytes, dict[str, Any]]] = []
    answers = ["503 Service Unavailable", "422 Unprocessable Entity"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
            )
            got.append((head, orjson.loads(await reader.readexactly(length))))
            answer = answers.pop(0) if answers else "201 Created"
            writer.write(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1/lineage"
        said = {"openlineage": url, "openlineage_secret": "catalogue-key", "alert_secrets": folder}
        settings = platform.settings.model_copy(update=said)
        pool = await open_pool(settings, live_schema(settings, "pipelines"), most=2)
        answering = Answering(ReadModel(Runner(PROJECTION, settings, pool), pool), (), settings)
        async with answering.read.view() as db:
            published = await db.fetchval("select count(*) from data_versions where status = 'published'")
        assert published >= 3
        for wanted in (published + 1, published + 1):  # the one that was tried twice
            task = asyncio.create_task(export_lineage(answering))
            async with asyncio.timeout(PATIENCE):
                while len(got) < wanted:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
            await end_all((task,))
        async with pool.acquire() as db:
            refused = await db.fetch(f'select status from "{settings.schema_}_openlineage".refused')
        await pool.close()
    assert len(got) == published + 1
    assert got[0][1] == got[1][1], "it is tried again"
    assert all(b"authorization: bearer k3y" in head for head, _ in got)
    versions = [event["outputs"][0]["facets"]["version"]["datasetVersion"] for _, event in got[1:]]
    assert len(versions) == published
    assert [row["status"] for row in refused] == [422]


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).lower()
    except asyncio.IncompleteReadError:
        return b""


async def _until(client: AsyncClient, number: int, status: str) -> Any:
    async with asyncio.timeout(PATIENCE), aclosing(client.pipeline_runs.watch("takings")) as rows:
        async for row in rows:
            if row.number == number and row.status == status:
                return row
    raise AssertionError("a watch has no end")


async def test_a_version_may_have_more_files_than_an_event_holds(client: AsyncClient, tmp_path: Path) -> None:
    days = 1_800
    (tmp_path / "days.csv").write_text("day,amount\n" + "".join(f"d{n},{n}\n" for n in range(days)))
    source = {"type": "file_system", "path": str(tmp_path / "days.csv")}
    sink = {"type": "dataset", "dataset": "by-day", "partition_by": ["day"], "max_partitions": 2_000}
    total = {"type": "custom", "custom": {"sql": "SELECT count(*) AS days, sum(amount) AS amount FROM days"}}
    stages = [
        {"id": "split", "inputs": {"raw": {"source": source}}, "sink": sink},
        {
            "id": "add",
            "after": ["split"],
            "inputs": {"days": {"source": {"type": "dataset", "dataset": "by-day"}}},
            "transformations": [total],
            "sink": {"type": "dataset", "dataset": "total"},
        },
    ]
    worker = {"cpus": 0.5, "memory_bytes": 1 << 30}
    await client.pipelines.define("by-day", {"stages": stages, "execution": {"max_workers": 1, "worker": worker}})
    await client.pipelines.activate("by-day")
    number = await client.pipeline_runs.start("by-day")
    row = await client.pipeline_runs.wait("by-day", number, timeout=PATIENCE)
    assert row.status == "completed", await client.pipeline_runs.stages("by-day", number)

    version = await client.pipeline_data.version("by-day")
    assert (version.status, version.rows) == ("published", days)
    listed = (await client.pipeline_data.files("by-day"))["manifest"]
    assert len({each["path"] for each in listed["files"]}) == days
    assert {each["partition"]["day"] for each in listed["files"]} == {f"d{n}" for n in range(days)}
    assert listed["files_object"]["digest"]  # where the event had them
    assert (await client.pipeline_data.version("total")).rows == 1
    await client.pipelines.retire("by-day")
