"""Workers of pipelines on a real platform: whatever ends them, and wherever, each output is there once and whole."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.language.pipelines.dataset_messages import VersionPublished
from events.language.pipelines.run_events import (
    RunCompleted,
    RunEnded,
    RunFailed,
    StageDispatched,
    StageFailed,
    WorkerReleased,
)
from events.process import faults
from forgelog import AsyncClient
from forgelog.errors import InvalidInput, NotFound, Refused
from forgelog_pb.pipelines.v1 import work_pb2, work_pb2_grpc
from tests.integration.cluster import PATIENCE, Cluster

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


async def test_rows_that_are_set_aside_are_a_dataset_and_required_columns_have_values(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("id,price\n1,3\n2,-1\n3,\n")
    source = {"type": "file_system", "path": str(tmp_path / "orders.csv")}
    rule = {"rule_id": "priced", "type": "range", "columns": ["price"], "minimum": 0}
    clean = {
        "id": "clean",
        "inputs": {"raw": {"source": source}},
        "rules": [rule],
        "sink": {"type": "dataset", "dataset": "aside-rows"},
    }
    look = {
        "id": "look",
        "inputs": {"bad": {"source": {"type": "dataset", "dataset": "aside-rows.quarantine"}}},
        "transformations": [{"type": "map", "map": {"columns": [{"name": "why", "expression": "_reasons[1]"}]}}],
        "sink": {"type": "dataset", "dataset": "aside-looked"},
    }
    execution = {"keep_warm_seconds": 5, "worker": {"cpus": 0.1}}
    await client.pipelines.define("aside", {"stages": [clean], "execution": execution})
    await client.pipelines.define("aside-look", {"stages": [look], "execution": execution})

    async def run(pipeline: str = "aside") -> Any:
        id = await _run(client, pipeline)
        return await platform.event(RunEnded, lambda event: event.run_id == id)

    async def known(dataset: str, version: int) -> Any:
        """The version, once tables have it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(NotFound):
                    if (found := await client.pipeline_data.version(dataset)).version == version:
                        return found
                await asyncio.sleep(0.1)

    assert isinstance(await run(), RunCompleted)
    await known("aside-rows", 1)
    assert isinstance(await run("aside-look"), RunCompleted)
    await known("aside-looked", 1)
    looked = platform.all(VersionPublished, lambda event: event.dataset_id == "aside-looked")
    ((id, price, why),) = newest(Path(looked[-1].location), "id, price, why")
    assert (id, price, "0" in why) == (2, -1, True)
    found = await client.pipeline_data.lineage("aside-looked", "price", direction="up")
    assert [(edge.source, edge.source_column, edge.source_version) for edge in found.edges] == [
        ("aside-rows", "price", 1),
        (found.edges[1].source, "price", 0),
    ]

    (tmp_path / "orders.csv").write_text("id,price\n1,3\n3,\n")
    assert isinstance(await run(), RunCompleted)
    await known("aside-rows", 2)
    assert isinstance(await run("aside-look"), RunCompleted)
    looked = platform.all(VersionPublished, lambda event: event.dataset_id == "aside-looked")
    assert newest(Path(looked[-1].location), "id") == [], "from the second version nothing was set aside"

    columns = [{"name": name, "type": "BIGINT", "nullable": name == "id"} for name in ("id", "price")]
    await client.pipeline_data.set_contract("aside-rows", {"mode": "exact", "columns": columns})
    failed = await run()
    assert isinstance(failed, RunFailed)
    (failure,) = [event.failure for event in platform.all(StageFailed, lambda event: event.run_id == failed.run_id)]
    assert failure.field == "contract.columns.price"
    assert failure.problem == "1 of 2 rows have no value, and the dataset's contract says nullable: false"
    (tmp_path / "orders.csv").write_text("id,price\n1,3\n3,4\n")
    assert isinstance(await run(), RunCompleted)
    assert [column.nullable for column in (await known("aside-rows", 3)).columns] == [True, False]
    await client.pipelines.retire("aside")
    await client.pipelines.retire("aside-look")


async def test_an_idle_worker_gives_way_to_one_of_another_pipeline_that_finds_no_place(
    platform: Cluster, client: AsyncClient
) -> None:
    """It would stay for an hour else, and the node has no room for both."""
    (node,) = await client.nodes.list()
    execution = {"keep_warm_seconds": 3_600, "worker": {"cpus": node["capacity"]["cpus"] * 0.6}}
    for name in ("warm-first", "warm-second"):
        await client.pipelines.define(name, {"stages": [{"id": "nothing"}], "execution": execution})
        run = await _run(client, name)
        assert isinstance(await platform.event(RunEnded, lambda event, run=run: event.run_id == run), RunCompleted)
    released = platform.all(WorkerReleased, lambda event: event.pipeline_id == "warm-first")
    assert [each.reason for each in released] == ["pipe.warm-second.w1 waits for its place"]
    for name in ("warm-first", "warm-second"):
        await client.pipelines.retire(name)


async def test_lineage_goes_from_a_model_through_its_run_and_its_data_to_the_file(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    await client.pipelines.define("traced", {**spec(tmp_path, "traced-rows"), "execution": {"worker": {"cpus": 0.1}}})
    id = await _run(client, "traced")
    assert isinstance(await platform.event(RunEnded, lambda event: event.run_id == id), RunCompleted)
    run = await client.runs.create("traced-training")
    await client.runs.log_inputs(run, [{"name": "traced-rows", "digest": "1", "role": "training"}])
    model = tmp_path / "weights.bin"
    model.write_bytes(b"w")
    await client.runs.log_artifacts(run, model, folder="model")
    await client.models.register("traced")
    await client.models.create_version("traced", run=run, path="model")

    found = await client.lineage.trace("model", "traced/1")
    way = ["model_version", "run", "dataset", "data_version", "stage_run", "data"]
    by_kind = {each.kind: each for each in found.nodes}
    assert [by_kind[kind].depth for kind in way] == [0, 1, 2, 3, 4, 5]
    assert by_kind["data_version"].id == "traced-rows/1"
    assert by_kind["data_version"].detail.startswith("714 rows in 1 file: ")
    assert (by_kind["stage_run"].id, by_kind["data"].label) == (f"{id}/write", str(tmp_path / "orders.csv"))
    assert {(each.source_kind, each.relation, each.target_kind) for each in found.edges} >= {
        ("run", "output", "model_version"),
        ("dataset", "training", "run"),
        ("data_version", "is", "dataset"),
        ("stage_run", "written by", "data_version"),
        ("data", "reads", "stage_run"),
    }
    near = await client.lineage.trace("model", "traced/1", depth=1)
    assert (near.cut, {each.depth for each in near.nodes}) == (True, {0, 1})
    shown = await platform.command(tmp_path, "lineage", "model", "traced/1")
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:7]] == [str(step) for step in range(6)]
    told = await platform.command(tmp_path, "lineage", "dataset", "traced-rows", "--output", "json")
    assert [each["kind"] for each in json.loads(told.stdout)["nodes"]] == ["data_version", "stage_run", "data"]
    with pytest.raises(NotFound, match="version"):
        await client.lineage.trace("model", "traced/7")
    with pytest.raises(InvalidInput, match="'traced-rows/x' is no version"):
        await client.lineage.trace("dataset", "traced-rows/x")
    await client.pipelines.retire("traced")
