"""Deployments on a real platform: replicas are real processes that answer at their addresses."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from events.process.keys import REPLICAS, key_path, read_key
from events.process.replica_keys import HEADER, replica_key
from forgelog import AsyncClient
from forgelog.errors import Refused
from tests import PATIENCE
from tests.integration.cluster import Cluster
from tests.replica_server import WHO, answering

SERVER = answering(f"{{sys.argv[1]}} {WHO}")


def spec(word: str, **fields: Any) -> dict[str, Any]:
    resources = {"cpus": 0.1, "memory_bytes": 128 << 20}
    said = {"command": "python3", "args": ["-c", SERVER, word], "resources": resources, "drain_seconds": 0}
    return {**said, "rollout": {"progress_deadline_seconds": PATIENCE}, **fields}


async def until(client: AsyncClient, name: str, wanted: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(PATIENCE), aclosing(client.deployments.watch([name])) as rows:
        async for row in rows:
            if wanted(row):
                return row
    raise AssertionError("a watch has no end")


async def answers(client: AsyncClient, name: str) -> list[list[str]]:
    """What each replica of the routing table says: its word, its revision and its process."""
    table: Mapping[str, Any] = (await client.deployments.routing(name))["routing"]
    found = []
    for revision in table["revisions"]:
        for replica in revision["replicas"]:
            url = f"http://{replica['address']}:{replica['ports']['http']}/"
            body = await asyncio.to_thread(lambda url=url: urllib.request.urlopen(url, timeout=PATIENCE).read())
            found.append(body.decode().split())
    return found


async def test_replicas_are_rolled_undone_brought_back_and_terminated(client: AsyncClient) -> None:
    await client.deployments.create("shop", spec("one", replicas=2))
    running = await client.deployments.wait("shop", timeout=PATIENCE)
    assert (running.status, running.ready, running.revision) == ("running", 2, 1)
    first = await answers(client, "shop")
    assert [each[:2] for each in first] == [["one", "1"], ["one", "1"]]

    # a process that is killed is started anew, and is called at its new port
    os.kill(int(first[0][2]), signal.SIGKILL)
    await until(client, "shop", lambda row: row.ready == 1)
    await until(client, "shop", lambda row: row.ready == 2)
    crashed = [each for each in await client.deployments.replicas("shop") if each.crashes]
    assert [(each.attempt, each.status) for each in crashed] == [(2, "ready")]
    assert (await client.deployments.revision("shop", 1)).crashes == 1
    assert len({each[2] for each in await answers(client, "shop")}) == 2

    await client.deployments.update("shop", spec("two", replicas=2), note="another word")
    assert (await client.deployments.wait("shop", timeout=PATIENCE)).revision == 2
    assert [each[:2] for each in await answers(client, "shop")] == [["two", "2"], ["two", "2"]]

    await client.deployments.undo_rollout("shop")
    assert (await client.deployments.wait("shop", timeout=PATIENCE)).revision == 3
    assert [each[:2] for each in await answers(client, "shop")] == [["one", "3"], ["one", "3"]]
    told = [(each.revision, each.status, each.source_revision) for each in await client.deployments.revisions("shop")]
    assert told == [(3, "active", 1), (2, "retired", 0), (1, "retired", 0)]

    await client.deployments.terminate("shop")
    await until(client, "shop", lambda row: row.status == "terminated")
    assert (await client.deployments.routing("shop"))["routing"]["terminated"]
    then: Any = await client.deployments.routing("shop", at=running.updated_at)
    assert [each["weight"] for each in then["routing"]["revisions"]] == [10_000]
    with pytest.raises(Refused, match="deployment shop is terminated"):
        await client.deployments.scale("shop", 3)


async def test_a_model_that_there_is_not_is_told_with_its_name(client: AsyncClient) -> None:
    await client.deployments.create("ghost", {"model": {"name": "ghost", "alias": "champion"}})
    row = await client.deployments.wait("ghost", timeout=PATIENCE)
    assert (row.status, row.reason) == ("failed", "ghost@champion: there is no model 'ghost'")
    (revision,) = await client.deployments.revisions("ghost")
    assert revision.status == "rejected"
    await client.deployments.terminate("ghost")


async def test_a_deployment_follows_an_alias_of_its_model(client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    await client.models.register("followed-model")
    for number in (1, 2, 3):
        await client.models.create_version("followed-model", folder=tmp_path / "weights", wait=False)
        if number == 1:
            await client.models.set_alias("followed-model", "champion", 1)
    model = {"name": "followed-model", "alias": "champion", "follow": True}
    await client.deployments.create("follower", spec("one", replicas=0, model=model))
    assert (await client.deployments.wait("follower", timeout=PATIENCE)).model["number"] == 1

    await client.models.set_alias("followed-model", "champion", 2)
    await client.models.set_alias("followed-model", "champion", 3)
    await until(client, "follower", lambda row: row.model["number"] == 3 and not row.rollout_revision)
    newest = (await client.deployments.revisions("follower"))[0]
    assert newest.note == "version 3 of followed-model has the alias champion"
    await client.deployments.terminate("follower")


AGES = """
import numpy as np

class Ages:
    inputs = [{"name": "age", "type": "float32", "shape": [-1]}, {"name": "kind", "type": "string", "shape": [-1]}]
    outputs = [{"name": "old", "type": "bool", "shape": [-1]}, {"name": "near", "type": "float32", "shape": [-1]}]

    def predict(self, inputs, parameters):
        near = np.linspace(0, 999, len(inputs["age"]), dtype=np.float32)
        return {"old": inputs["age"] > 10, "near": near}

    def metrics(self):
        return {"backlog": 30}
"""


async def test_what_a_model_is_asked_and_its_own_metrics_are_told_by_its_replicas(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    rng = random.Random(7)
    lines = [f"{rng.gauss(8, 3):.3f},{rng.choice(['cat', 'dog'])},{number}" for number in range(1000)]
    (tmp_path / "train.csv").write_text("\n".join(["age,kind,row", *lines]))
    data = await client.datasets.register("aged", folder=tmp_path / "train.csv")
    run = await client.runs.create("ages")
    await client.runs.log_inputs(run, [{"name": "aged", "digest": data.digest, "role": "training"}])
    (tmp_path / "ages.py").write_text(AGES)
    await client.models.register("ages")
    await client.models.create_version("ages", folder=tmp_path / "ages.py", source_run_id=run, wait=False)
    alert = {"name": "drift", "type": "drift", "threshold": 0.2, "window_seconds": 5}
    await client.deployments.create(
        "ages",
        {
            "model": {"name": "ages"},
            "resources": {"cpus": 0.1, "memory_bytes": 512 << 20},
            "environment": {"variables": {"FORGELOG_MODEL_CACHE": str(tmp_path / "cache")}},
            "serving": {
                "runtime": {"name": "python", "class_name": "ages:Ages"},
                "monitoring": {"drift": {"outputs": {"near": "row"}}},
            },
            "alerts": {"alerts": [alert]},
            "drain_seconds": 0,
        },
    )
    running = await client.deployments.wait("ages", timeout=PATIENCE)
    assert (running.status, running.model["training"]["dataset"]) == ("running", "aged/1")
    ((replica,),) = [each["replicas"] for each in (await client.deployments.routing("ages"))["routing"]["revisions"]]
    key = replica_key(read_key(key_path(platform.folder, REPLICAS)).encode(), "ages")
    tensors = [
        {"name": "age", "datatype": "FP32", "shape": [100], "data": [rng.gauss(14, 3) for _ in range(100)]},
        {"name": "kind", "datatype": "BYTES", "shape": [100], "data": ["cat", "dog"] * 50},
    ]
    url = f"http://{replica['address']}:{replica['ports']['http']}"
    body = json.dumps({"inputs": tensors}).encode()
    for _ in range(4):
        asked = urllib.request.Request(f"{url}/v2/models/ages/infer", body, {HEADER: key})
        await asyncio.to_thread(urllib.request.urlopen, asked, timeout=PATIENCE)
    with pytest.raises(urllib.error.HTTPError, match="403"):  # a router's client is told nothing
        await asyncio.to_thread(
            urllib.request.urlopen, urllib.request.Request(f"{url}/forgelog/report", headers={HEADER: key})
        )

    async with asyncio.timeout(PATIENCE):
        while (found := await client.deployments.drift("ages"))["columns"][0]["values"] < 400:
            await asyncio.sleep(0.2)
    told = {each["column"]: each for each in found["columns"]}
    assert {name: each["verdict"] for name, each in told.items()} == {
        "age": "drifted",
        "kind": "stable",
        "row": "stable",
    }
    shown = await platform.command(tmp_path, "deployments", "drift", "ages")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[1].split()[0] == "age"
    assert "compared with aged/1" in shown.stderr
    before = await client.deployments.drift("ages", at=running.updated_at, since=running.updated_at)
    assert before["dataset"] == "aged/1"
    (window,) = [each for each in await client.deployments.metrics("ages", window=3600) if each["drift_column"]]
    assert window["drift"] == told["age"]["index"]
    async with asyncio.timeout(PATIENCE):
        while not (firing := (await client.deployments.why("ages")).firing):
            await asyncio.sleep(0.2)
    assert "a stability index of" in firing[0]["summary"]
    assert "of age, above 0.2" in firing[0]["summary"]

    target = {"metric": "custom", "custom": "backlog", "value": 20}
    await client.deployments.set_scaling("ages", {"max_replicas": 3, "targets": [target]})
    await until(client, "ages", lambda row: row.wanted == 2)
    assert (await client.deployments.why("ages")).replicas_reason.startswith(
        "1 → 2 replicas: 30 backlog need 1.5 at a tar"
    )
    await client.deployments.terminate("ages")
