"""Large files by MLflow's unchanged client where objects are on S3: straight to the store and from it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
import pytest_asyncio
from blake3 import blake3
from mlflow import MlflowClient
from requests import HTTPError

from tests import PATIENCE
from tests.clients.flows import flow
from tests.clients.test_mlflow_artifacts import inward
from tests.integration.calm import Calm
from tests.integration.cluster import Cluster
from tests.s3 import SECRET, Server, s3_running

GATEWAY = "gateway-on-s3"
PART = 5 << 20
DATA = os.urandom(2 * PART + 3)


@dataclass(frozen=True)
class Direct:
    """A gateway whose objects are on S3."""

    platform: Cluster
    address: str
    s3: Server
    bucket: str

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://{self.address}", headers=self.platform.credentials, timeout=PATIENCE)

    def etags(self) -> list[str]:
        """Of all large bytes in the store. How many parts they came in stands at the end."""
        found = self.s3.client.list_objects_v2(Bucket=self.bucket, Prefix="kept/large/")
        return [each["ETag"].strip('"') for each in found.get("Contents", [])]

    def unfinished(self) -> int:
        return len(self.s3.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))


@pytest_asyncio.fixture(scope="module")
async def direct(calm: Calm) -> AsyncIterator[Direct]:
    platform = await calm.platform()
    with s3_running() as s3:
        bucket = s3.bucket()
        told = {**s3.environment, "FORGELOG_OBJECTS": f"s3://{bucket}/kept", "FORGELOG_LOG_LEVEL": "DEBUG"}
        address = platform.start_gateway(GATEWAY, **told)
        await platform.healthy(GATEWAY)
        yield Direct(platform, address, s3, bucket)
        platform.end(GATEWAY)


@pytest.fixture
def client(direct: Direct, uri: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of this gateway, with what is large made small."""
    uri = uri.replace(direct.platform.gateway, direct.address)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(PART))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(PART))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(PART))
    return MlflowClient(uri)


async def test_a_large_file_goes_straight_to_the_store_and_comes_from_it(
    direct: Direct, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_bytes(DATA)
    (tmp_path / "model/MLmodel").write_text("flavors: {}")

    def steps() -> str:
        run = client.create_run(client.create_experiment("by parts")).info
        client.log_artifacts(run.run_id, str(tmp_path / "model"), "m")
        files = mlflow.artifacts.get_artifact_repository(run.artifact_uri)
        for by_links in ("false", "true"):
            monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", by_links)
            (tmp_path / by_links).mkdir()
            there = Path(files.download_artifacts("m", str(tmp_path / by_links)))
            assert (there / "weights.bin").read_bytes() == DATA
            assert (there / "MLmodel").read_text() == "flavors: {}"
        with pytest.raises(HTTPError, match="has no file 'nothing'"):
            files._get_presigned_download_url("nothing")
        return run.run_id

    run = await flow(steps)
    async with direct.http() as http:
        found = (await http.get(f"/v1/runs/{inward(run)}/artifacts", params={"path": "m"})).json()["artifacts"]
        (weights,) = [each for each in found if each["path"] == "m/weights.bin"]
        assert (weights["digest"], weights["size"]) == (blake3(DATA).hexdigest(), len(DATA))
        whole = await http.get(f"/v1/objects/{weights['digest']}")
        assert whole.content == DATA
    assert [etag.rpartition("-")[2] for etag in direct.etags()] == ["3"], "three parts of the client's, kept once"
    assert direct.unfinished() == 0
    log = direct.platform.log(GATEWAY)
    assert not any(secret in log for secret in (SECRET, "X-Amz-Signature", "Signature="))


@pytest.mark.parametrize("uri", ["/mlflow/lab/vision"], indirect=True)
async def test_an_upload_that_fails_is_given_up(
    direct: Direct, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.bin").write_bytes(DATA)
    # parts that S3 does not put together
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(PART - 1))

    def steps() -> None:
        run = client.create_run(client.create_experiment("given up")).info
        with pytest.raises(HTTPError, match="part 1 has 5242879 bytes, and all but the last one have 5242880 or more"):
            client.log_artifact(run.run_id, str(tmp_path / "large.bin"))
        assert client.list_artifacts(run.run_id) == []

    await flow(steps)
    assert direct.unfinished() == 0


@pytest.mark.parametrize("uri", ["/mlflow/lab/vision"], indirect=True)
async def test_what_can_be_wrong_with_an_upload_is_told(direct: Direct, client: MlflowClient) -> None:
    def began() -> Any:
        return client.create_run(client.create_experiment("wrong uploads")).info

    info = await flow(began)
    folder = info.artifact_uri.removeprefix("mlflow-artifacts:/")
    prefix = client.tracking_uri.removeprefix(f"http://{direct.address}")

    async with direct.http() as http:

        async def step(kind: str, at: str = folder, **body: Any) -> tuple[int, Any]:
            answer = await http.post(f"{prefix}/api/2.0/mlflow-artifacts/mpu/{kind}/{at}", json=body)
            return answer.status_code, answer.json()

        async def wrong(told: str, kind: str, at: str = folder, status: int = 400, **body: Any) -> None:
            code, answer = await step(kind, at, **body)
            assert (code, told in answer["message"]) == (status, True), answer

        file = {"path": "/home/ada/w.bin"}
        await wrong("num_parts: is missing", "create", **file)
        await wrong("num_parts: is 0; send 1 to 5000 parts", "create", **file, num_parts=0)
        await wrong("num_parts: is 5001", "create", **file, num_parts=5001)
        await wrong("path: is missing", "create", num_parts=1)
        await wrong("path: names no file", "create", path="/home/ada/", num_parts=1)
        await wrong("it has the name '..'", "create", path="/home/..", num_parts=1)
        await wrong("it has the name '..'", "create", f"{folder}/%2e%2e/x", **file, num_parts=1)
        await wrong("there is no run 'r1'", "create", "e1/r1/artifacts", 404, **file, num_parts=1)

        code, begun = await step("create", path="C:\\ada\\w.bin", num_parts=2)
        assert code == 200
        links = [each["url"] for each in begun["credentials"]]
        assert [each["part_number"] for each in begun["credentials"]] == [1, 2]
        of = {**file, "upload_id": begun["upload_id"]}
        async with httpx.AsyncClient() as store:
            first = (await store.put(links[0], content=DATA[:PART])).headers["etag"]
            parts = [{"part_number": 1, "etag": first, "url": links[0]}]
            await wrong("upload_id: 'u1' is none of an upload", "complete", **file, upload_id="u1", parts=parts)
            await wrong("parts: part 2 is missing; give all 2 parts", "complete", **of, parts=parts)
            await wrong("part 1 is given twice", "complete", **of, parts=parts * 2)
            behind = {"part_number": 3, "etag": first}
            await wrong("part 3 is none of the upload's", "complete", **of, parts=[*parts, behind])
            await wrong("parts[0].etag: is missing", "complete", **of, parts=[{"part_number": 1}])
            parts.append({"part_number": 2, "etag": first, "url": links[1]})
            await wrong("part 2 never came to the store", "complete", **of, parts=parts)
            second = (await store.put(links[1], content=b"end")).headers["etag"]
            await wrong("part 2 is not what the store has", "complete", **of, parts=parts)
        parts[1]["etag"] = second
        other = {**of, "path": "other.bin"}
        await wrong("no such upload for this file", "complete", status=404, **other, parts=parts)
        assert await step("abort", **other) == (200, {}), "it is none of that file, so nothing is dropped"
        for _ in range(2):  # the first answer may have been lost
            assert await step("complete", **of, parts=parts) == (200, {})
        assert await step("abort", **of) == (200, {}), "it stays"
        files = await flow(lambda: [(each.path, each.file_size) for each in client.list_artifacts(info.run_id)])
        assert files == [("w.bin", PART + 3)]
        _, begun = await step("create", **file, num_parts=1)
        given_up = {**file, "upload_id": begun["upload_id"]}
        assert [await step("abort", **given_up) for _ in range(2)] == [(200, {})] * 2
        await wrong("was ended or given up", "complete", status=404, **given_up, parts=parts[:1])


async def test_without_links_the_client_sends_and_gets_whole_files(
    uri: str, platform: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
    for kind in ("UPLOAD", "DOWNLOAD"):
        monkeypatch.setenv(f"MLFLOW_ENABLE_PROXY_MULTIPART_{kind}", "true")
    client = MlflowClient(uri)
    (tmp_path / "MLmodel").write_text("flavors: {}")

    def steps() -> None:
        run = client.create_run(client.create_experiment("whole files")).info
        client.log_artifact(run.run_id, str(tmp_path / "MLmodel"), "m")
        version = mlflow.register_model(f"runs:/{run.run_id}/m", f"whole{'.'.join(uri.split('/')[3:])}")
        assert mlflow.artifacts.load_text(f"models:/{version.name}/{version.version}/MLmodel") == "flavors: {}"

    await flow(steps)
    async with platform.http() as http:
        told = (await http.get("/api/3.0/mlflow/server-info")).json()
        assert (told["multipart_uploads_enabled"], told["multipart_downloads_enabled"]) == (False, False)
