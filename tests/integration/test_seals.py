"""The points of a run that has ended are sealed; what comes later is counted, and what was changed is found."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import orjson

from forgelog import AsyncClient
from services.experiments.points.stream import PointStream
from tests.integration.calm import Calm
from tests.integration.sealing import sealed


async def test_points_are_sealed_and_a_difference_is_found(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        run, empty = await client.runs.create("sealed"), await client.runs.create("sealed")
        await client.runs.log_points(run, "loss", [3.0, 2.0, 1.0])
        await client.runs.log_metrics(run, {"acc": 0.5}, dataset="test")
        digest = await client.runs.digest(run)
        await client.runs.end(run)
        await client.runs.end(empty, "failed")
        found = await sealed(client, run)
        of_seal = found.seal.sealed
        assert (of_seal.points, of_seal.series, of_seal.digest) == (4, 2, digest.digest)
        assert (found.intact, found.late_points, found.seal.end_number) == (True, 0, 1)
        told = orjson.loads(await client.captures.read(of_seal.summary))["series"]
        assert [(each["key"], each["dataset"], each["value"]) for each in told] == [
            ("acc", "test", 0.5),
            ("loss", "", 1.0),
        ]
        nothing = await sealed(client, empty)
        assert (nothing.seal.sealed.points, nothing.seal.sealed.summary, nothing.intact) == (0, None, True)

        await client.runs.log_metrics(run, {"loss": 0.5}, step=3)
        late = await client.seals.verify(run)
        assert (late.intact, late.late_points, late.found.points) == (True, 1, 4)

    db = await asyncpg.connect(platform.settings.postgres_required)
    try:
        schema = f'"{platform.settings.schema_}_{PointStream.schema}"'
        taken = [f"delete from {schema}.{table}" for table in ("heads where run = $1", "chunks where series in "
                 f"(select number from {schema}.series where run = $1)")]  # fmt: skip
        for statement in taken:
            await db.execute(statement, run)
    finally:
        await db.close()
    verified = await platform.command(tmp_path, "runs", "verify", run, empty)
    assert verified.returncode == 1
    assert f"run {run}: 4 points with digest {of_seal.digest[:12]} were sealed, and 0 with" in verified.stderr
