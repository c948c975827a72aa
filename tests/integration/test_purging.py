"""What is deleted gives up what it holds, on a real platform: after a plan, by every door, and for good."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from events.objects.references import References
from events.projections.replaying import connected
from events.projections.tables import quoted
from events.streams.rebuild import rebuild_stream
from forgelog import AsyncClient, ForgelogError, Refused
from services.experiments.points.stream import PointStream
from tests import PATIENCE
from tests.integration.cluster import Cluster


async def stored(platform: Cluster, run: str) -> int:
    """Rows of a run in the tables of points."""
    schema = quoted(f"{platform.settings.schema_}_{PointStream.schema}")
    async with connected(platform.settings) as db:
        return int(
            await db.fetchval(
                f"select (select count(*) from {schema}.series where run = $1) + "
                f"(select count(*) from {schema}.heads where run = $1) + "
                f"(select count(*) from {schema}.latest where run_id = $1)",
                run,
            )
        )


async def until_gone(platform: Cluster, run: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await stored(platform, run):
            await asyncio.sleep(0.1)


async def named(platform: Cluster, digest: str) -> bool:
    """Whether an object counts as named by an event."""
    return digest in await References(platform.settings).among([digest])


async def test_a_purged_experiment_gives_up_what_it_holds(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    experiment = await client.experiments.create("given up")
    run = await client.runs.create(experiment_id=experiment, params={"depth": "3"})
    await client.runs.log_metrics(run, {"loss": 0.5})
    await client.runs.see_all(run)
    (tmp_path / "w.bin").write_bytes(b"weights that go")
    await client.runs.log_artifact(run, tmp_path / "w.bin")
    (file,) = await client.runs.artifacts(run)
    before = datetime.now(UTC)
    assert await named(platform, file.digest)
    await client.experiments.delete(experiment)

    planned = await platform.command(tmp_path, "experiments", "purge", "plan")
    (tmp_path / "plan.json").write_text(planned.stdout)
    (entry,) = [each for each in orjson.loads(planned.stdout)["purgeable"] if each["id"] == experiment]
    told = {name: entry[name] for name in ("kind", "runs", "points", "files", "bytes")}
    assert told == {"kind": "experiment", "runs": 1, "points": 1, "files": 1, "bytes": 15}
    done = await platform.command(tmp_path, "experiments", "purge", "execute", "plan.json")
    assert done.stdout.startswith("purged "), done.stderr

    with pytest.raises(Refused, match=f"experiment {experiment} is purged: .* it can't be restored"):
        await client.experiments.restore(experiment)
    assert await client.experiments.create("given up") != experiment
    await until_gone(platform, run)
    found = await client.runs.get(run)
    assert (found.purged_at is not None, found.params, found.metrics) == (True, {"depth": "3"}, {})
    assert await client.runs.list(experiments=[experiment], deleted=None) == []
    assert not await named(platform, file.digest)
    past = await client.runs.get(run, at=before)
    assert (past.status, past.deleted_at, past.purged_at) == ("running", None, found.purged_at)
    assert [each.path for each in await client.runs.artifacts(run, at=before)] == ["w.bin"]
    gone = f"run {run} was purged at .*: what it held is gone, as of any time; its events stay"
    for question in (client.runs.points(run, "loss", at=before), client.runs.artifacts(run), client.seals.get(run)):
        with pytest.raises(ForgelogError, match=gone):
            await question
    with pytest.raises(Refused, match=f"run {run} is purged"):
        await client.runs.restore(run)
    with pytest.raises(ForgelogError, match=f"run {run} is purged"):
        await client.runs.log_metrics(run, {"loss": 0.25})

    await rebuild_stream(platform.settings, PointStream())
    await until_gone(platform, run)


async def test_a_run_is_purged_and_one_that_is_not_deleted_is_kept(client: AsyncClient, platform: Cluster) -> None:
    kept, run = [await client.runs.create("tidied") for _ in range(2)]
    await client.runs.delete(run)
    plan = await client.purges.plan()
    chosen = [each for each in plan.purgeable if each.id == run]
    outcomes = await client.purges.execute([*chosen, {"kind": "run", "id": kept}])
    assert [outcome.result == "rejected" for outcome in outcomes] == [False, True]
    assert f"run {kept} is not deleted; delete it first" in outcomes[1].rejection.message
    left = await client.runs.list(deleted=None, experiments=[(await client.runs.get(run)).experiment_id])
    assert [row.run_id for row in left] == [kept]
    async with platform.http() as http:
        found = await http.get("/api/2.0/mlflow/runs/get", params={"run_id": run})
        restored = await http.post("/api/2.0/mlflow/runs/restore", json={"run_id": run})
    assert (found.status_code, found.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert found.json()["message"].startswith(f"run {run} was purged at ")
    assert restored.status_code == 400
    assert f"run {run} is purged: its points and files are gone" in restored.json()["message"]
