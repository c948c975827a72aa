"""Files of runs by MLflow's unchanged client: to and from the platform's store, through the gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from blake3 import blake3
from mlflow import MlflowClient
from requests import HTTPError

from tests.clients.flows import flow, refused
from tests.integration.cluster import Cluster
from tests.unit.gateway.door import Door

LARGE = b"".join(bytes([number]) * (1 << 20) for number in range(9))
"""More than one part of the store."""


def listed(client: MlflowClient, run: str, path: str | None = None) -> list[tuple[str, bool, int | None]]:
    return [(each.path, each.is_dir, each.file_size) for each in client.list_artifacts(run, path)]


async def test_files_come_back_as_they_were_logged(uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    tree = {"a.txt": b"a", "empty": b"", "deep/er/großes wort.bin": LARGE, "deep/b.json": b"{}"}
    (tmp_path / "there").mkdir()
    for path, data in tree.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_bytes(data)

    def steps() -> None:
        mlflow.set_experiment("files")
        with mlflow.start_run() as run:
            mlflow.log_artifacts(str(tmp_path / "tree"), artifact_path="tree")
            mlflow.log_artifact(str(tmp_path / "tree/a.txt"))
            mlflow.log_text("first", "notes/n.txt")
            mlflow.log_text("second", "notes/n.txt")
            mlflow.log_dict({"lr": 0.1}, "config.json")
        id = run.info.run_id
        assert listed(client, id) == [
            ("a.txt", False, 1),
            ("config.json", False, 15),
            ("notes", True, None),
            ("tree", True, None),
        ]
        files = mlflow.artifacts.get_artifact_repository(run.info.artifact_uri)
        deep = [(each.path, each.is_dir, each.file_size) for each in files.list_artifacts("tree/deep")]
        assert deep == [("tree/deep/b.json", False, 2), ("tree/deep/er", True, None)]
        assert files.list_artifacts("tree/a.txt") == files.list_artifacts("nothing") == []
        assert Path(files.download_artifacts("notes/n.txt", str(tmp_path))).read_text() == "second"
        there = Path(files.download_artifacts("tree", str(tmp_path / "there")))
        found = {file.relative_to(there).as_posix(): file.read_bytes() for file in there.rglob("*") if file.is_file()}
        assert found == tree

    await flow(steps)


async def test_files_are_deleted_one_by_one_and_by_folder(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        run = client.create_run(client.create_experiment("deleted files"))
        id = run.info.run_id
        for path in ("a.txt", "d/b.txt", "d/e/c.txt"):
            client.log_text(id, path, path)
        repository = mlflow.artifacts.get_artifact_repository(run.info.artifact_uri)
        repository.delete_artifacts("a.txt")
        repository.delete_artifacts("a.txt")  # it is gone already
        assert listed(client, id) == [("d", True, None)]
        repository.delete_artifacts("d")
        assert listed(client, id) == []
        client.log_text(id, "again", "d")
        repository.delete_artifacts()
        assert listed(client, id) == []

    await flow(steps)


async def test_bytes_that_are_there_are_not_stored_again(platform: Cluster, uri: str, tmp_path: Path) -> None:
    client, data = MlflowClient(uri), f"twice {uri}".encode() + LARGE
    (tmp_path / "twice.bin").write_bytes(data)

    def steps() -> list[str]:
        of = client.create_experiment("stored once")
        runs = [client.create_run(of).info.run_id for _ in range(2)]
        for run in runs:
            client.log_artifact(run, str(tmp_path / "twice.bin"))
            assert listed(client, run) == [("twice.bin", False, len(data))]
        return runs

    runs = await flow(steps)
    digest = blake3(data).hexdigest()
    async with platform.http() as http:
        for run in runs:
            found = (await http.get(f"/v1/runs/{inward(run)}/artifacts")).json()["artifacts"]
            assert [(each["path"], each["digest"], each["size"]) for each in found] == [
                ("twice.bin", digest, len(data))
            ]
    stored = [each for each in (platform.folder / "objects/large").iterdir() if each.stat().st_size == len(data)]
    assert len(stored) == 1


def inward(run: str) -> str:
    """A run as the platform calls it."""
    return run.replace("-", ".")


async def test_a_part_of_a_file_is_read(platform: Cluster, uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> Any:
        run = client.create_run(client.create_experiment("parts"))
        client.log_text(run.info.run_id, "0123456789", "digits.txt")
        return run.info

    info, prefix = await flow(steps), uri.removeprefix(f"http://{platform.gateway}")
    path = info.artifact_uri.removeprefix("mlflow-artifacts:/")
    async with platform.http() as http:
        file = f"{prefix}/api/2.0/mlflow-artifacts/artifacts/{path}/digits.txt"
        part = await http.get(file, headers={"Range": "bytes=2-4"})
        assert (part.status_code, part.text, part.headers["content-range"]) == (206, "234", "bytes 2-4/10")
        head = await http.head(file)
        assert (head.status_code, head.headers["content-length"]) == (200, "10")
        old = await http.get(f"{prefix}/get-artifact", params={"run_uuid": info.run_id, "path": "digits.txt"})
        assert (old.status_code, old.text) == (200, "0123456789")
        behind = await http.get(file, headers={"Range": "bytes=10-"})
        assert (behind.status_code, behind.json()["error_code"]) == (416, "INVALID_PARAMETER_VALUE")
        # the run's own list, which newer clients don't ask for
        asked = {"run_id": info.run_id}
        found = (await http.get(f"{prefix}/api/2.0/mlflow/artifacts/list", params=asked)).json()
        assert found == {
            "root_uri": info.artifact_uri,
            "files": [{"path": "digits.txt", "is_dir": False, "file_size": 10}],
        }
        # whole files only: this store makes no links
        for method, kind in (("POST", "mpu/create"), ("GET", "presigned")):
            answer = await http.request(method, f"{prefix}/api/2.0/mlflow-artifacts/{kind}/{path}", json={})
            assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
            assert "is not supported for the current artifact repository" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("{run}/a/../../b", 400, "it has the name '..'"),
        ("{run}/%2e%2e/b", 400, "it has the name '..'"),
        ("{run}//etc/passwd", 400, "is an absolute path"),
        ("{run}/", 400, "names no file"),
        ("{run}/folder", 400, "is a folder of the run"),
        ("{run}/folder/file/below", 400, "which is a file of the run"),
        ("{run}/" + "x" * 256, 400, "has a name of more than 255 bytes"),
        ("../../etc/passwd", 400, "is nothing that has files"),
        ("e1/r1/artifacts/a", 404, "there is no run 'r1' in project"),
        ("e1/{id}/artifacts/a", 404, "is not in experiment 'e1'"),
    ],
)
async def test_a_path_that_is_wrong_is_refused(
    platform: Cluster, uri: str, path: str, status: int, told: str, request: pytest.FixtureRequest
) -> None:
    client = MlflowClient(uri)

    def steps() -> Any:
        run = client.create_run(client.create_experiment(request.node.name[-150:]))
        client.log_text(run.info.run_id, "x", "folder/file")
        return run.info

    info, prefix = await flow(steps), uri.removeprefix(f"http://{platform.gateway}")
    path = path.format(run=info.artifact_uri.removeprefix("mlflow-artifacts:/"), id=info.run_id)
    url = f"http://{platform.gateway}{prefix}/api/2.0/mlflow-artifacts/artifacts/{path}"
    answer, body = await raw_put(platform, url.removeprefix(f"http://{platform.gateway}"))
    assert (answer, body["error_code"]) == (
        status,
        {400: "INVALID_PARAMETER_VALUE", 404: "RESOURCE_DOES_NOT_EXIST"}[status],
    )
    assert told in body["message"]


async def raw_put(platform: Cluster, path: str) -> tuple[int, Any]:
    """Of a path as it is: clients make others of those with ``..``."""
    answer = await Door(platform.gateway, platform.key).ask(
        path, "PUT", ("Authorization", f"Bearer {platform.key}"), body=b"x"
    )
    return answer.status, json.loads(answer.body)


async def test_files_of_another_project_are_not_found(platform: Cluster, uri: str) -> None:

    def steps() -> None:
        theirs = MlflowClient(f"http://{platform.gateway}/mlflow/lab/other")
        run = theirs.create_run(theirs.create_experiment(f"their files {uri[-3:]}"))
        theirs.log_text(run.info.run_id, "secret", "s.txt")
        mine = mlflow.artifacts.get_artifact_repository(run.info.artifact_uri, tracking_uri=uri)
        with pytest.raises(HTTPError, match="404"):
            mine.download_artifacts("s.txt")
        with pytest.raises(HTTPError, match="404"):
            mine.log_artifact(__file__)
        assert refused(lambda: MlflowClient(uri).list_artifacts(run.info.run_id))[0] == "RESOURCE_DOES_NOT_EXIST"

    await flow(steps)


async def test_a_deleted_run_shows_its_files_and_takes_none(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        run = client.create_run(client.create_experiment("files of the deleted")).info.run_id
        client.log_text(run, "kept", "k.txt")
        client.delete_run(run)
        assert listed(client, run) == [("k.txt", False, 4)]
        with pytest.raises(HTTPError, match="is deleted; restore it first"):
            client.log_text(run, "more", "m.txt")

    await flow(steps)
