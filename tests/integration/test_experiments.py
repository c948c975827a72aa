"""Experiments and their runs on a real platform: by every door, with the jobs that runs are part of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from forgelog import AsyncClient, NotFound, Refused
from tests.integration.calm import NODE
from tests.integration.cluster import Cluster
from tests.integration.runs import ended, once


async def test_an_experiment_and_its_runs(client: AsyncClient) -> None:
    id = await client.experiments.create(
        "handwriting",
        framework="pytorch",
        hyperparameters={"basic": {"learning_rate": 0.1, "epochs": 3}},
        tags={"lang": "nl"},
        labels=["vision"],
    )
    run = await client.runs.create("handwriting", name="first", params={"basic.epochs": "5"}, tags={"host": "a"})
    await client.runs.log(run, params={"depth": 3}, tags={"host": None, "note": "x"})
    before = datetime.now(UTC)
    await client.runs.end(run)
    found = await client.runs.get(run)
    assert (found["experiment_id"], found["number"], found["status"]) == (id, 1, "finished")
    assert found["params"] == {"basic.epochs": "5", "basic.learning_rate": "0.1", "depth": "3"}
    assert found["tags"] == {"note": "x"}
    assert (await client.runs.get(run, at=before))["status"] == "running"
    assert [row["run_id"] for row in await client.runs.list(experiments=[id], params={"depth": "3"})] == [run]
    assert await client.runs.list(experiments=[id], params={"depth": "4"}) == []
    experiment = await client.experiments.get(name="handwriting")
    assert (experiment["status"], experiment["runs"]) == ("running", {"finished": 1})
    assert [row["name"] for row in await client.experiments.list(labels=["vision"], tags={"lang": "nl"})] == [
        "handwriting"
    ]


async def test_lists_of_what_something_has_say_that_there_is_no_such_thing(client: AsyncClient) -> None:
    for kind, listed in (
        ("tuning", client.tunings.trials),
        ("template", client.templates.ratings),
        ("model", client.models.live),
    ):
        with pytest.raises(NotFound, match=f"there is no {kind} 'nowhere'"):
            await listed("nowhere")
    assert await client.tunings.trials(await client.tunings.create("without-trials")) == []


async def test_who_finds_what(client: AsyncClient) -> None:
    await client.experiments.create("mine", visibility="private", collaborators=["ada"])
    await client.experiments.create("ours", visibility="project")

    async def found(user: str) -> set[str]:
        return {row["name"] for row in await client.experiments.list(visible_to=user)} & {"mine", "ours"}

    assert (await found("ada"), await found("bob"), await found("owner")) == (
        {"mine", "ours"},
        {"ours"},
        {"mine", "ours"},
    )
    runs = {await client.runs.create(name) for name in ("mine", "ours")}
    seen = {user: {row.run_id for row in await client.runs.list(visible_to=user)} & runs for user in ("ada", "bob")}
    assert seen["ada"] == runs
    assert len(seen["bob"]) == 1
    named = "name in ('mine', 'ours')"
    searched = {user: await client.experiments.search(named, visible_to=user) for user in ("ada", "bob")}
    assert [len(searched[user]) for user in ("ada", "bob")] == [2, 1]
    ids = [row.experiment_id for row in searched["ada"]]
    for name in ("mine", "ours"):
        await client.publish(("CreateLoggedModel", {"experiment": name, "name": name}), wait="conclusion")
    models = {user: await client.logged_models.search(experiments=ids, visible_to=user) for user in ("ada", "bob")}
    assert [[model.name for model in models[user]] for user in ("ada", "bob")] == [["ours", "mine"], ["ours"]]
    for user in ("ada", "bob"):
        found_runs = {row.run_id for row in await client.runs.search(experiments=ids, visible_to=user)}
        assert found_runs == seen[user]


async def test_an_experiment_tells_what_came_of_it_and_what_its_runs_begin_with(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(b"weights of before")
    await client.models.register("before", access="restricted", allowed=["ada"])
    base = await client.models.create_version("before", folder=tmp_path / "w.bin")
    assert await client.models.versions("before", visible_to="bob") == []
    assert len(await client.models.versions("before", visible_to="ada")) == 1
    await client.datasets.register("letters", digest="d1")
    made = await platform.command(
        tmp_path,
        "experiments",
        "create",
        "further",
        "--type",
        "fine-tuning",
        "--input",
        "letters",
        "--base",
        "before/1",
    )
    id = made.stdout.strip()
    job = await client.submit(name="further", command=["sleep", "60"], resources={"cpus": 0.1, "memory": "16Mi"})
    run = await client.runs.create("further", process={"job_id": job.id, "attempt": 1})
    (tmp_path / "after.bin").write_bytes(b"weights of after")
    await client.runs.log_artifacts(run, tmp_path / "after.bin")
    version = await client.models.create_version("before", run=run, path="after.bin")
    found = await client.experiments.get(id)
    assert (found.job_ids, found.model_versions, found.runs) == ([job.id], 1, {"running": 1})
    other = await client.runs.create("further")
    await client.runs.log_metrics(run, {"loss": 0.5})
    await client.runs.log_metrics(other, {"loss": 0.25})
    for each in (run, other):
        await client.runs.see_all(each)
    results = await client.results.of_experiment(id, "loss", minimize=True)
    assert (results.best_run_id, results.best_value) == (other, 0.25)
    assert (results.best_model_version, results.best_model_value) == (version.version_id, 0.5)
    used_alone = await client.results.of_experiment(id)
    assert (used_alone.best_run_id, used_alone.compute_hours) == ("", results.compute_hours)
    shown = await platform.command(
        tmp_path, "experiments", "results", id, "loss", "--at", datetime.now(UTC).isoformat()
    )
    assert f"{run} (loss=0.5)" in shown.stdout
    lineage = await client.models.lineage(f"before/{version.number}", direction="up")
    nodes = {(node.kind, node.label, node.depth) for node in lineage.nodes}
    assert {("model_version", "before/1", 2), ("dataset", "letters/1", 2), ("experiment", "further", 2)} <= nodes
    assert base.version_id in {edge.source for edge in lineage.edges if edge.relation == "base"}
    await job.cancel()
    ended_run = await ended(client, run)
    assert ended_run["status"] == "killed"
    await client.runs.see_all(run)
    assert (await client.runs.get(run)).cpu_seconds > 0
    assert (await client.experiments.get(id)).job_ids == []


async def test_what_is_deleted_is_out_of_the_lists_and_comes_back(client: AsyncClient) -> None:
    id = await client.experiments.create("old")
    run = await client.runs.create(experiment_id=id)
    await client.runs.delete(run)
    assert await client.runs.list(experiments=[id]) == []
    assert [row["run_id"] for row in await client.runs.list(experiments=[id], deleted=True)] == [run]
    await client.runs.restore(run)
    assert [row["run_id"] for row in await client.runs.list(experiments=[id])] == [run]
    await client.experiments.delete(id)
    with pytest.raises(Refused, match=f"experiment {id} is deleted; restore it first"):
        await client.runs.create(experiment_id=id)
    assert "old" not in {row["name"] for row in await client.experiments.list()}


async def test_a_cancelled_process_ends_its_run_whichever_client_began_it(client: AsyncClient) -> None:
    job = await client.jobs.submit(name="long", command=["sleep", "600"])
    run = await client.runs.create("handwriting", process={"job_id": job.id}, scheduled=True)
    await once(client, run, lambda row: row["status"] == "running")
    await client.jobs.cancel(job.id)
    row = await ended(client, run)
    assert (row["status"], row["job_id"], row["node_id"]) == ("killed", job.id, NODE)


async def test_a_process_that_ended_before_it_was_linked_ends_its_run_too(client: AsyncClient) -> None:
    job = await client.jobs.submit(name="three", command=["sh", "-c", "exit 3"])
    await client.jobs.wait([job.id])
    row = await ended(client, await client.runs.create("handwriting", process={"job_id": job.id}))
    assert (row["status"], row["reason"], row["exit_code"]) == ("failed", "exit code 3", 3)
    assert (row["wall_seconds"] > 0, row["gpu_seconds"]) == (True, 0.0)


async def test_the_same_by_http_and_by_the_command_line(platform: Cluster, tmp_path: Path) -> None:
    made = await platform.command(tmp_path, "experiments", "create", "by hand", "--framework", "jax", "--tag", "a=b")
    assert made.returncode == 0, made.stderr
    id = made.stdout.strip()
    run = (await platform.command(tmp_path, "runs", "create", "by hand", "--param", "lr=0.1")).stdout.strip()
    paused = await platform.command(tmp_path, "experiments", "pause", id, "--reason", "holiday")
    assert paused.stderr == f"experiment {id} is paused\n"
    async with platform.http() as http:
        experiment = (await http.get(f"/v1/experiments/{id}")).json()["experiment"]
        assert (experiment["status"], experiment["reason"], experiment["framework"]) == ("paused", "holiday", "jax")
        assert (await http.get(f"/v1/runs/{run}")).json()["params"] == {"lr": "0.1"}
        taken = await http.post(
            "/v1/commands",
            json={"type": "forgelog.experiments.v1.CreateExperiment", "data": {"name": "by hand"}},
            params={"wait": "true"},
        )
        assert taken.status_code == 409, taken.text
    shown = await platform.command(tmp_path, "runs", "list", "--output", "json")
    assert run in {row["run_id"] for row in orjson.loads(shown.stdout)}
    refused = await platform.command(tmp_path, "runs", "create", "by hand")
    assert refused.returncode != 0
    assert "is paused; set it to running, and it takes runs again" in refused.stderr


async def test_runs_are_searched(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    long = "x" * 5_999
    runs = {
        name: await client.runs.create("searched", name=name, params=params, tags=tags)
        for name, params, tags in (
            ("a", {"depth": "3", "long": long + "1"}, {"git branch": "main"}),
            ("b", {"depth": "5", "long": long + "2"}, {"git branch": "mending"}),
            ("c", {"rate": "0.1"}, {"mlflow.user": "ada"}),
        )
    }
    await client.runs.end(runs["b"], "failed")
    (experiment,) = await client.experiments.search("name = 'searched' and status = 'running'")
    of = [experiment["experiment_id"]]

    async def found(filter: str, *order_by: str) -> str:
        return "".join(row["name"] for row in await client.runs.search(filter, experiments=of, order_by=order_by))

    assert await found("") == "cba"
    assert await found("params.depth = '3' or params.rate = '0.1'") == "ca"
    assert await found("params.depth != '3'") == "b"
    assert await found("params.depth is null") == "c"
    assert await found(f"params.long = '{long}2'") == "b"
    assert await found("params.long ilike 'X%1'") == "a"
    assert await found("tags.\"git branch\" like 'm%' and (status = 'FAILED' or attributes.user_id = 'ada')") == "b"
    assert await found("user_id in ('ada')") == "c"
    assert await found("start_time > 0 and created < 32503680000000 and end_time > '2026-01-01T00:00:00Z'") == "b"
    assert await found("number > 1", "params.depth desc", "name") == "bc"
    for name, type in (("a", "s3"), ("b", "local")):
        said = {"digest": "d1", "role": "training", "source_type": type, "profile": f'{{"rows": {len(type)}}}'}
        await client.runs.log_inputs(runs[name], [{"name": "letters", **said}])
    assert await found("dataset.name = 'letters' and datasets.context = 'training'") == "ba"
    assert await found("dataset.source_type = 's3' and dataset.profile like '%\"rows\": 2%'") == "a"
    assert await found("dataset.name is null") == "c"
    assert (await client.runs.search("name = 'a'"))[0]["inputs"][0].source_type == "s3"
    with pytest.raises(Refused, match=r"there is no dataset.size; there are name, digest, role, source_type"):
        await found("dataset.size = '3'")
    with pytest.raises(Refused, match=r"there may be several datasets; order by something else"):
        await found("", "dataset.name")
    assert await found(f"artifact_uri = 'mlflow-artifacts:/{of[0]}/{runs['a']}/artifacts'") == "a"
    assert (await client.runs.search("params.rate = '0.1'"))[0]["tags"] == {"mlflow.user": "ada"}

    # page by page
    async with platform.http() as http:
        for order, names in (("params.depth asc", "abc"), ("name desc", "cba"), ("run_id asc", "")):
            pages, cursor = [], ""
            while not pages or cursor:
                asked = {"experiment_ids": of[0], "order_by": order, "limit": "1", "cursor": cursor}
                answer = (await http.get("/v1/search/runs", params=asked)).json()
                pages += [each["run"]["name"] for each in answer["runs"]]
                cursor = answer.get("next_cursor", "")
            assert "".join(pages) == (names or "".join(sorted(runs, key=lambda name: runs[name])))

    # the same filter in a list, beside its other conditions
    listed = await platform.command(tmp_path, "runs", "list", "--filter", "params.depth > '3'")
    assert "filter: at character 14: params.depth: it is a text: compare it with" in listed.stderr
    listed = await platform.command(
        tmp_path,
        "runs",
        "list",
        "-e",
        of[0],
        "--status",
        "failed",
        "--filter",
        "params.depth is not null",
        "-o",
        "json",
    )
    assert [row["name"] for row in orjson.loads(listed.stdout)] == ["b"]
    with pytest.raises(Refused, match=r"order_by\[0\]: at character 1: there is no attribute 'loss'"):
        await found("", "loss desc")


async def test_files_of_a_run(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "out"
    (source / "model" / "deep").mkdir(parents=True)
    (source / "model" / "weights.bin").write_bytes(b"w" * 5)
    (source / "model" / "deep" / "more.bin").write_bytes(b"m" * 7)
    (source / "loss.json").write_text("{}")
    run = await client.runs.create("files")
    assert await client.runs.log_artifacts(run, source) == 3
    before = datetime.now(UTC)
    assert await client.runs.log_artifact(run, source / "loss.json", folder="again") == 1
    assert await client.runs.log_artifact(run, source / "model", folder="again") == 2

    def told(rows: Any) -> list[tuple[str, bool, int]]:
        return [(row["path"], row["is_folder"], row["size"]) for row in rows]

    assert told(await client.runs.artifacts(run)) == [("again", True, 14), ("loss.json", False, 2), ("model", True, 12)]
    assert told(await client.runs.artifacts(run, "model")) == [
        ("model/deep", True, 7),
        ("model/weights.bin", False, 5),
    ]
    assert told(await client.runs.artifacts(run, at=before)) == [("loss.json", False, 2), ("model", True, 12)]
    assert told([await client.runs.artifact(run, "again/model/deep")]) == [("again/model/deep", True, 7)]
    fetched = await client.runs.download_artifacts(run, "model", into=tmp_path / "back")
    assert {each.path: each.fetched for each in fetched} == {"model/deep/more.bin": True, "model/weights.bin": True}
    assert (tmp_path / "back/model/weights.bin").read_bytes() == b"w" * 5
    await client.runs.remove_artifacts(run, ["again"])
    shown = await platform.command(tmp_path, "runs", "artifacts", run, "--recursive", "-o", "json")
    assert [row["path"] for row in orjson.loads(shown.stdout)] == [
        "loss.json",
        "model/deep/more.bin",
        "model/weights.bin",
    ]
    assert (await platform.command(tmp_path, "runs", "log-artifact", run, str(source / "loss.json"))).returncode == 0
    back = await platform.command(tmp_path, "runs", "download", run, "loss.json", "--into", "cli")
    assert (back.returncode, (tmp_path / "cli/loss.json").read_text()) == (0, "{}")
    with pytest.raises(Refused, match="is no path in a folder"):
        await client.publish(
            ("LogArtifacts", {"run_id": run, "artifacts": [{"path": "../x", "file": {"digest": "1" * 64, "size": 1}}]})
        )
    lost = {"path": "lost.bin", "file": {"digest": "1" * 64, "size": 1}}
    with pytest.raises(
        Refused, match=r"artifacts\.0\.file: the store has no object 1+ of 1 bytes; put its bytes first"
    ):
        await client.publish(("LogArtifacts", {"run_id": run, "artifacts": [lost]}))
    async with platform.http() as http:
        listed = (await http.get(f"/v1/runs/{run}/artifacts", params={"path": "model/deep"})).json()["artifacts"]
        assert [row["path"] for row in listed] == ["model/deep/more.bin"]
        assert (await http.get(f"/v1/objects/{listed[0]['digest']}")).content == b"m" * 7
        assert (await http.get("/v1/runs/r9/artifacts")).status_code == 404
