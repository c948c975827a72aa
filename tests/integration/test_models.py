"""Models, datasets and lineage on a real platform: by every door, with files in a real store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.language.objects import ObjectRef
from events.objects.address import blob_name
from events.objects.garbage import make_plan
from events.objects.references import References
from events.objects.store import Objects
from forgelog import AsyncClient, Refused
from forgelog.errors import InvalidInput, NotFound
from tests.integration.cluster import Cluster


def written(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


async def published(client: AsyncClient, model: str, folder: Path, **fields: Any) -> Any:
    return await client.models.create_version(model, folder=folder, **fields)


async def test_a_version_of_a_runs_files_is_verified_and_told_with_what_it_came_of(
    client: AsyncClient, tmp_path: Path
) -> None:
    run = await client.runs.create("written")
    await client.runs.log_inputs(run, [{"name": "mnist", "digest": "d1", "role": "training"}])
    await client.runs.log_artifacts(
        run, written(tmp_path / "m", model_pkl=b"\x80\x04x", config_json=b"{}"), folder="out"
    )
    await client.models.register("written", tags={"task": "vision"}, card="# Written digits")
    version = await client.models.create_version(
        "written",
        run=run,
        path="out",
        framework="pytorch",
        model_format="pickle",
        architecture="resnet",
        parameters=12,
        quantization="int8",
        optimization="fusion",
        checkpoint_id="c7",
        signature={"inputs": [{"name": "x", "type": "float32", "shape": [-1, 28]}]},
        metrics={"validation": {"accuracy": 0.9}},
        notes="first",
    )
    assert (version.name, version.number, version.status, version.files) == ("written", 1, "verified", 2)
    assert version.size_bytes == 5
    assert version.warnings == [
        "'model.pkl' is a pickle: to load it runs what its author wrote; load it only if you trust them"
    ]
    experiment = (await client.runs.get(run))["experiment_id"]
    assert (version.source_run_id, version.experiment_id, version.artifact_path) == (run, experiment, "out")

    async def found(**filters: Any) -> list[int]:
        return [row.number for row in await client.models.versions("written", **filters)]

    assert await found(metrics_at_least={"validation.accuracy": 0.9}, quantization=["int8"], run=run) == [1]
    assert await found(metrics_at_least={"validation.accuracy": 0.91}) == []
    assert await found(filter="parameters >= 12") == [1]
    assert await found(filter="parameters > 12") == []
    assert await found(experiment=experiment, architecture="resnet", checkpoint="c7", optimization="fusion") == [1]
    assert await found(filter="framework = 'pytorch' and size_bytes > 4", order_by=["number"]) == [1]
    with pytest.raises(Refused, match="filter: at character 1: there is no attribute 'colour'; there are version_id,"):
        await found(filter="colour = 'red'")
    (model,) = await client.models.list(filter="tags.task = 'vision' and name = 'written'", order_by=["name"])
    assert (model.name, model.latest) == ("written", 1)
    files = await client.models.download("written/1", into=tmp_path / "back")
    assert {file.path for file in files} == {"model.pkl", "config.json"}

    child = await published(
        client,
        "written",
        written(tmp_path / "q", model_onnx=b"q"),
        parents=[{"version_id": version.version_id, "derivation": "quantized"}],
    )
    assert [row.number for row in await client.models.versions(parent=version.version_id)] == [2]
    up = await client.models.lineage("written/2", direction="up")
    nodes = {(node.kind, node.label or node.id, node.depth) for node in up.nodes}
    assert {
        ("model_version", "written/2", 0),
        ("model_version", "written/1", 1),
        ("run", run, 2),
        ("checkpoint", "c7", 2),
        ("dataset", "mnist@d1", 3),
        ("experiment", "written", 3),
    } <= nodes
    near = await client.models.lineage("written/2", direction="up", depth=1)
    assert [(edge.source, edge.relation) for edge in near.edges] == [(version.version_id, "quantized")]
    data = await client.datasets.register("mnist", digest="d1", samples=10, splits={"train": 8, "test": 2})
    down = await client.models.lineage_of("dataset", data.version_id, direction="down")
    assert ("model_version", child.version_id) in {(node.kind, node.id) for node in down.nodes}
    assert down.nodes[0].label == "mnist/1"


async def test_which_version_was_live_when_also_after_a_rename(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    await client.models.register("router")
    for number in (1, 2):
        await published(client, "router", written(tmp_path / str(number), w=bytes([number])))
    moments = []
    for number in (1, 2, 1):
        await client.models.set_alias("router", "champion", number)
        await client.models.set_environment("router", "prod", number)
        await client.models.set_stage(f"router/{number}", "production", archive_existing=True)
        moments.append(datetime.now(UTC))
        await asyncio.sleep(0.005)  # times of the log have milliseconds
    await client.models.rename("router", "switch")
    for name in ("router", "switch"):
        for at, number in zip(moments, (1, 2, 1), strict=True):
            assert (await client.models.version(f"{name}@champion", at=at)).number == number
            assert (await client.models.version(f"{name}:prod", at=at)).number == number
    now = await client.models.version("switch@champion")
    assert (now.number, now.aliases, now.environments, now.stage) == (1, ["champion"], ["prod"], "production")
    with pytest.raises(NotFound):
        await client.models.version("router@champion")
    history = await client.models.live("switch", slot="alias:champion")
    assert [(row.number, row.ended_at is None, row.actor) for row in history] == [
        (1, True, "owner"),
        (2, False, "owner"),
        (1, False, "owner"),
    ]
    shown = await platform.command(
        tmp_path, "models", "show", "switch@champion", "--at", moments[1].isoformat(), "-o", "json"
    )
    assert orjson.loads(shown.stdout)["number"] == 2
    async with platform.http() as http:
        asked = {"alias": "champion", "as_of": moments[1].isoformat()}
        answer = (await http.get(f"/v1/models/{now.model_id}/version", params=asked)).json()
        assert (answer["version"]["number"], answer["live"]["slot"]) == (2, "alias:champion")


async def test_a_flipped_byte_refuses_the_promotion(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    await client.models.register("flip", approval_rules=[{"environment": "prod", "approvals": 1}])
    version = await published(client, "flip", written(tmp_path / "m", weights_bin=b"weights that count"))
    with pytest.raises(Refused, match="1 must agree before a version is live in prod; request a promotion"):
        await client.models.set_environment("flip", "prod", 1)
    first = await client.models.promote("flip", 1, "prod", reason="better")
    await client.models.approve(first)
    (file,) = await client.models.files("flip/1")
    blob = platform.folder / "objects" / blob_name(file.digest)
    assert (await client.models.check("flip/1")).status == "verified"
    assert (await client.models.version("flip:prod")).number == 1
    (promotion,) = await client.models.promotions(model="flip")
    assert (promotion.status, promotion.approved_by, promotion.requested_by) == ("completed", ["owner"], "owner")
    await client.models.set_environment("flip", "prod", None)

    intact = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(b"X" + intact[1:])
    with pytest.raises(Refused, match=r"version 1 is damaged: weights.bin: The object blake3:"):
        await client.models.promote("flip", 1, "prod", wait=True)
    for change in (
        client.models.set_alias("flip", "champion", 1),
        client.models.set_stage("flip/1", "production"),
        client.models.promote("flip", 1, "prod"),
    ):
        with pytest.raises(Refused, match="version flip/1 is damaged"):
            await change
    checked = await platform.command(tmp_path, "models", "check", "flip/1")
    assert checked.returncode == 1
    assert "flip/1 is damaged" in checked.stderr
    blob.write_bytes(intact)
    assert (await client.models.check("flip/1")).status == "verified"
    assert version.version_id == (await client.models.version("flip/1")).version_id


async def test_what_is_not_in_the_store_is_no_version(client: AsyncClient) -> None:
    id = await client.models.register("hollow")
    body = {"model_id": id, "spec": {"bundle": {"digest": "7" * 64, "size": 9}}}
    with pytest.raises(Refused, match="the list of its files can't be read: There is no object"):
        await client.publish(("CreateModelVersion", body), wait="conclusion")
    assert (await client.models.version("hollow/1")).status == "damaged"


async def test_a_dataset_is_kept_or_elsewhere(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    kept = await client.datasets.register(
        "iris",
        folder=written(tmp_path / "d", iris_csv=b"a,b\n1,2\n"),
        data_format="csv",
        samples=1,
        columns={"a": "int", "b": "int"},
        statistics={"a": {"mean": 1, "least": 1, "most": 1}},
    )
    assert (kept.status, kept.size_bytes, kept.files, kept.digest) == ("verified", 8, 1, kept.bundle.digest)
    assert (kept.columns["b"], kept.statistics["b"].mean) == ("int", 2.0)  # what was said, and what was measured
    with pytest.raises(Refused, match="dataset 'iris' has this content already as version 1"):
        await client.datasets.register("iris", folder=tmp_path / "d")
    made = await platform.command(
        tmp_path, "datasets", "register", "iris", "--digest", "x1", "--source", "s3://b/iris", "--parent", "iris/1",
        "--step", "resize size=28", "--step", "normalized", "--samples", "1", "--split", "train=1",
    )  # fmt: skip
    assert (made.returncode, made.stdout) == (0, "iris/2\n"), made.stderr
    assert [row.number for row in await client.datasets.list(name="iris", preprocessing="normalized")] == [2]
    for size, numbers in (("28", [2]), ("32", [])):
        resized = {"preprocessing": "resize", "preprocessing_parameters": {"size": size}}
        assert [row.number for row in await client.datasets.list(name="iris", **resized)] == numbers
    assert await client.datasets.list(preprocessing="normalized", preprocessing_parameters={"size": "28"}) == []
    assert [row.number for row in await client.datasets.list(parent=kept.version_id)] == [2]
    assert [row.number for row in await client.datasets.list(name="iris", column="b", status=["verified"])] == [1]
    up = await client.models.lineage_of("dataset", (await client.datasets.get("iris")).version_id, direction="up")
    assert [(edge.relation, up.nodes[-1].label) for edge in up.edges] == [("resize size=28, normalized", "iris/1")]
    await client.datasets.download("iris/1", into=tmp_path / "back")
    assert (tmp_path / "back/iris.csv").read_bytes() == b"a,b\n1,2\n"
    with pytest.raises(InvalidInput, match="iris/2 is external: the platform does not have its files; it is at s3://"):
        await client.datasets.download("iris/2")
    wrong = await platform.command(tmp_path, "datasets", "register", "iris", "--digest", "x2", "--split", "train=1")
    assert wrong.returncode != 0
    assert "splits sum to 1, and samples is missing; give samples too" in wrong.stderr


async def test_a_dataset_is_measured_compared_and_looked_at_by_practices(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    for version, cats in ((1, 30), (2, 10)):
        lines = [f"{number % 7},{'cat' if number < cats else 'dog'}" for number in range(60)]
        written(tmp_path / "d", train_csv="\n".join(["weight,kind", *lines]).encode())
        assert (await client.datasets.register("pets", folder=tmp_path / "d")).number == version
    first = await client.datasets.get("pets/1")
    assert (first.data_format, first.samples, first.splits) == ("csv", 60, {"train": 60})
    assert (first.columns, first.statistics["kind"].frequent) == (
        {"weight": "BIGINT", "kind": "VARCHAR"}, {"cat": 30, "dog": 30},
    )  # fmt: skip
    shown = await platform.command(tmp_path, "datasets", "show", "pets/1")
    assert "cat 50%, dog 50%" in shown.stdout
    compared = await platform.command(tmp_path, "datasets", "compare", "pets/1", "pets/2", "--check")
    assert (compared.returncode, "1 column drifted: kind" in compared.stderr) == (1, True), compared.stderr
    assert (await client.datasets.compare("pets/1", "pets", limits={"total_variation": 0.5})).drifted == []
    written(tmp_path / "d", train_csv=b"weight,kind\n1\n")
    wrong = await platform.command(tmp_path, "datasets", "register", "pets", "d")
    assert wrong.returncode != 0
    assert "train.csv: can't be read as csv: its lines do not have equally many fields" in wrong.stderr
    assert (await client.datasets.get("pets")).number == 2

    checks = [{"name": "enough", "value": "samples", "at_least": 50}]
    await client.experiments.create("pets", practices={"data_checks": checks})
    run = await client.runs.create("pets")
    await client.runs.log_inputs(run, [{"name": "pets", "digest": first.digest, "role": "training"}])
    await client.runs.end(run)
    (check,) = (await client.runs.get(run))["checks"]
    assert (check.name, check.passed, check.finding) == ("enough", True, "samples of pets/1 is 60")


async def test_by_the_command_line(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    written(tmp_path / "m", model_onnx=b"o")

    async def run(*words: str) -> str:
        done = await platform.command(tmp_path, "models", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    unknown = await platform.command(tmp_path, "models", "publish", "by hand", "m")
    assert "there is no model 'by hand'; make it first: forgelog models register 'by hand'" in unknown.stderr
    await run("register", "by hand", "--approvals", "prod=1", "--tag", "a=b")
    assert await run("publish", "by hand", "m", "--format", "onnx", "--metric", "test.f1=0.5") == "by hand/1\n"
    await run("alias", "by hand", "champion", "1")
    id = (await run("promote", "by hand", "1", "prod", "--reason", "ready")).strip()
    await run("approve", id)
    await client.models.check("by hand/1")
    (row,) = orjson.loads(await run("versions", "by hand", "--metric", "test.f1=0.5", "-o", "json"))
    assert (row["aliases"], row["environments"], row["model_format"]) == (["champion"], ["prod"], "onnx")
    assert {each["slot"] for each in orjson.loads(await run("live", "by hand", "-o", "json"))} == {
        "alias:champion",
        "environment:prod",
    }
    await run("note", "by hand@champion", "--notes", "good", "--tag", "x=y")
    await run("stage", "by hand/1", "staging")
    shown = orjson.loads(await run("show", "by hand:prod", "-o", "json"))
    assert (shown["notes"], shown["tags"], shown["stage"]) == ("good", {"x": "y"}, "staging")
    assert (await run("download", "by hand@champion", "--into", "got")) == ""
    assert (tmp_path / "got/model.onnx").read_bytes() == b"o"
    assert orjson.loads(await run("live", "by hand", "--now", "--slot", "environment:prod", "-o", "json"))
    await run("environment", "by hand", "prod")
    assert orjson.loads(await run("live", "by hand", "--now", "--slot", "environment:prod", "-o", "json")) == []
    await run("delete", "by hand")
    assert "by hand" not in await run("list")


async def test_who_finds_and_changes_what(client: AsyncClient) -> None:
    await client.models.register("secret", access="restricted", allowed=["ada"])
    await client.models.register("open", access="public")

    async def found(user: str) -> set[str]:
        return {row.name for row in await client.models.list(visible_to=user)} & {"secret", "open"}

    assert (await found("ada"), await found("eve")) == ({"secret", "open"}, {"open"})


async def test_files_of_runs_and_models_are_no_garbage(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    run = await client.runs.create("kept")
    await client.runs.log_artifacts(run, written(tmp_path / "r", only_txt=b"only in a run"))
    await client.models.register("kept")
    version = await published(client, "kept", written(tmp_path / "m", w=b"only in a model"))
    settings = platform.settings.model_copy(update={"data": platform.folder})
    references = References(settings)
    await references.caught_up()
    (artifact,) = await client.runs.artifacts(run)
    named = await references.among([artifact.digest, version.bundle.digest])
    assert {digest: each.bundle for digest, each in named.items()} == {
        artifact.digest: False,
        version.bundle.digest: True,
    }
    plan = await make_plan(Objects(settings.objects_url), references, settings.objects_url)
    (file,) = await client.models.files("kept/1")
    assert {artifact.digest, version.bundle.digest, file.digest}.isdisjoint(each.digest for each in plan.objects)
    assert ObjectRef(digest=file.digest, size=file.size)
