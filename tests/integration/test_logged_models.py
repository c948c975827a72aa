"""Models that runs log, on a real platform: by the client and by the command line."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from forgelog import AsyncClient
from forgelog.client.artifacts import put_files
from forgelog.errors import NotFound
from tests.integration.cluster import Cluster


async def logged(client: AsyncClient, folder: Path, experiment: str) -> str:
    """A model with files and a metric, of a run."""
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_bytes(b"flavors: {}\n")
    (folder / "data/weights.bin").write_bytes(bytes(1000))
    run = await client.runs.create(experiment)
    made = await client.publish(
        (
            "CreateLoggedModel",
            {"experiment": experiment, "name": "net", "source_run_id": run, "params": {"depth": "3"}},
        ),
        wait="conclusion",
    )
    files = await put_files(client._core, folder, "")
    await client.publish(("LogLoggedModelFiles", {"model_id": made.subject, "artifacts": files}))
    await client.publish(("FinalizeLoggedModel", {"model_id": made.subject}))
    await client.publish(("LogRunModels", {"run_id": run, "outputs": [{"model_id": made.subject}]}))
    return str(made.subject)


async def test_a_logged_model_is_found_shown_and_fetched(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    id = await logged(client, tmp_path / "net", "logs a model")
    found = await client.logged_models.get(id)
    assert (found.name, found.status, found.params, found.metrics) == ("net", "ready", {"depth": "3"}, [])
    rows = await client.logged_models.search("name = 'net' and params.depth = '3'", experiments=[found.experiment_id])
    assert [row.model_id for row in rows] == [id]
    assert [(row.path, row.is_folder, row.size) for row in await client.logged_models.files(id)] == [
        ("MLmodel", False, 12),
        ("data", True, 1000),
    ]
    (file,) = await client.logged_models.download(id, "data", into=tmp_path / "back")
    assert (tmp_path / "back" / file.path).read_bytes() == bytes(1000)
    with pytest.raises(NotFound, match=f"logged model {id} has no none; `forgelog logged-models files` shows"):
        await client.logged_models.download(id, "none", into=tmp_path)
    with pytest.raises(NotFound, match="there is no logged model 'm-none'"):
        await client.logged_models.get("m-none")

    shown = await platform.command(tmp_path, "logged-models", "show", id)
    assert shown.returncode == 0, shown.stderr
    assert all(text in shown.stdout for text in ("net", "ready", "depth"))
    listed = await platform.command(tmp_path, "logged-models", "list", "-e", "logs a model", "--output", "json")
    assert [row["model_id"] for row in orjson.loads(listed.stdout)] == [id]
    files = await platform.command(tmp_path, "logged-models", "files", id, "-r")
    assert "data/weights.bin" in files.stdout

    await client.logged_models.delete(id)
    assert await client.logged_models.search(experiments=[found.experiment_id]) == []
    assert [row.model_id for row in await client.logged_models.search(experiments=[found.experiment_id], deleted=True)]
    await client.logged_models.restore(id)
    assert (await client.logged_models.get(id)).deleted_at is None
