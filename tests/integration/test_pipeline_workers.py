"""Workers of pipelines on a real platform: whatever ends them, and wherever, each output is there once and whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.language.pipelines.dataset_messages import VersionPublished
from events.language.pipelines.run_events import RunCompleted, RunEnded, StageDispatched
from events.process import faults
from forgelog import AsyncClient
from forgelog.errors import Refused
from forgelog_pb.pipelines.v1 import work_pb2, work_pb2_grpc
from tests.integration.cluster import Cluster

ROWS = 1_000


def _csv(folder: Path) -> Path:
    path = folder / "orders.csv"
    lines = (f"{number},{number % 7 - 1}" for number in range(ROWS))
    path.write_text("id,price\n" + "\n".join(lines) + "\n")
    return path


def spec(folder: Path, dataset: str) -> dict[str, Any]:
    """CSV → filter → a dataset. The worker's named points are in `folder`."""
    return {
        "stages": [
            {
                "id": "load",
                "inputs": {"raw": {"source": {"type": "file_system", "path": str(_csv(folder))}}},
                "transformations": [{"type": "filter", "filter": {"where": "price > 0"}}],
                "retry": {"max": 5, "backoff_seconds": 0},
            },
            {
                "id": "write",
                "inputs": {"orders": {"stage": "load"}},
                "sink": {"type": "dataset", "dataset": dataset},
                "retry": {"max": 5, "backoff_seconds": 0},
            },
        ],
        "execution": {
            "variables": {"FORGELOG_FAULTS": str(folder), "FORGELOG_INSTANCE": "worker"},
            "keep_warm_seconds": 1,
            "worker": {"cpus": 0.1},
        },
    }


def newest(place: Path, columns: str) -> list[tuple[Any, ...]]:
    """What the newest version of a dataset has, by its own description, in the order of its ids."""
    version = max(place.glob("_forgelog/*.json"), key=lambda path: int(path.stem))
    files = [str(place / each["path"]) for each in json.loads(version.read_text())["files"]]
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet(?) ORDER BY id", [files]).fetchall()


async def _run(client: AsyncClient, pipeline_id: str) -> str:
    """Begin a run; its id."""
    outcome: Any = await client.publish(("forgelog.pipelines.v1.RunPipeline", {"pipeline_id": pipeline_id}))
    return str(outcome.subject)


async def test_a_run_whose_worker_is_killed_at_each_point_makes_its_output_once_and_whole(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    """The worker itself is killed at two of the points, its executor at the others, and each point once."""
    await client.pipelines.define("killed-workers", spec(tmp_path, "killed-workers-rows"))
    for point in faults.OF_WORKERS:
        (tmp_path / f"worker@{point}").write_text("SIGKILL")
    run = await _run(client, "killed-workers")
    ended = await platform.event(RunEnded, lambda event: event.run_id == run)

    assert isinstance(ended, RunCompleted), ended
    assert [point for point in faults.OF_WORKERS if (tmp_path / f"worker@{point}").exists()] == [], "not reached"
    published = platform.all(VersionPublished, lambda event: event.dataset_id == "killed-workers-rows")
    assert [event.dataset_version for event in published] == [1]
    assert newest(Path(published[0].location), "id, price") == [
        (number, number % 7 - 1) for number in range(ROWS) if number % 7 - 1 > 0
    ]
    await client.pipelines.retire("killed-workers")


async def test_a_worker_that_comes_back_is_told_what_it_has_missed(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    await client.pipelines.define("followed-work", spec(tmp_path, "followed-work-rows"))
    run = await _run(client, "followed-work")
    await platform.event(RunEnded, lambda event: event.run_id == run)
    orders = platform.all(StageDispatched, lambda event: event.run_id == run)
    begins = next(record.position for record in platform.seen if record.data is orders[0])

    whole = await _followed(client, orders[0].worker, f"{begins.partition}@0", len(orders))
    rest = await _followed(client, orders[0].worker, whole[0].cursor, len(orders) - 1)

    assert [json.loads(answer.data)["stage_id"] for answer in whole] == ["load", "write", "write"]
    assert [answer.cursor for answer in rest] == [answer.cursor for answer in whole[1:]]
    with pytest.raises(Refused, match="cursor: no stream of this pipeline gave it"):
        await _followed(client, orders[0].worker, "x", 1)
    await client.pipelines.retire("followed-work")


async def _followed(client: AsyncClient, worker: str, cursor: str, count: int) -> list[Any]:
    """The first so many events of a stream of orders."""
    core = client._core
    request = work_pb2.FollowWorkRequest(pipeline_id="followed-work", worker=worker, cursor=cursor)
    stub = work_pb2_grpc.WorkQueriesStub(core.channel)
    found: list[Any] = []
    async for answer in core.connection.stream(stub.FollowWork, request):
        found += [answer] if answer.type else []
        if len(found) == count:
            break
    return found
