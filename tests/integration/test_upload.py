"""Uploaded code, on a real platform whose nodes see none of the submitter's folders as theirs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from events.language.jobs import JobCompleted, JobStarted
from events.objects.bundle import find_files, make_bundle
from events.objects.garbage import make_plan
from events.objects.references import References
from events.objects.store import Objects
from forgelog.client.aio import AsyncClient
from forgelog.errors import InvalidInput, Refused
from tests import PATIENCE
from tests.certificates import signed
from tests.conftest import Servers, own_settings
from tests.integration.cluster import Cluster, cluster
from tests.tls_proxy import tls_proxy

SMALL = {"cpus": 0.1, "memory": "64Mi"}
SECRET = "p1anted-s3cret-of-an-env-file"


@pytest_asyncio.fixture(scope="module")
async def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("platform")
    async with own_settings(servers, folder) as settings, cluster(settings, folder, nodes=0, gateway=True) as made:
        made.start_agent("n0", FORGELOG_NODE_LABELS="site=near")
        made.start_agent("n1", FORGELOG_NODE_LABELS="site=far")
        yield made


@pytest_asyncio.fixture
async def client(platform: Cluster) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.gateway, token=platform.key) as made:
        yield made


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "src").mkdir(parents=True)
    (folder / "src/model.txt").write_text("a model\n")
    (folder / "run.sh").write_text("#!/bin/sh\ncat src/model.txt\n")
    (folder / "run.sh").chmod(0o755)
    (folder / ".env").write_text(f"KEY={SECRET}\n")
    (folder / ".gitignore").write_text(".env\n")
    return folder


async def output_of(client: AsyncClient, **job: Any) -> str:
    """What a job prints that has to succeed."""
    made = await client.submit({"name": "uploaded", "resources": SMALL, **job})
    ended = await made.wait(timeout=PATIENCE)
    assert ended.status == "completed", ended
    return "".join([piece.text async for piece in made.logs(follow=True)])


def kept(platform: Cluster) -> set[Path]:
    return {path for path in (platform.folder / "objects").rglob("*") if path.is_file()}


@pytest.mark.parametrize("site", ["near", "far"])
async def test_a_command_runs_in_a_copy_of_the_folder_on_any_node(platform: Cluster, code: Path, site: str) -> None:
    small = ("--cpus", "0.1", "--memory", "64Mi", "--node-label", f"site={site}")
    ran = await platform.command(code, "run", "--upload", *small, "--", "sh", "-c", "./run.sh; pwd; ls -A")
    assert ran.returncode == 0, ran.stderr
    model, place, *names = ran.stdout.splitlines()
    assert model == "a model"
    node = "n0" if site == "near" else "n1"
    assert place.startswith(str(platform.folder / node / "code"))
    assert names == [".gitignore", "run.sh", "src"]


async def test_past_a_proxy_with_tls(platform: Cluster, code: Path, tmp_path: Path) -> None:
    """By it go the folder, the command and its output, and what the task itself asks for."""
    certificate, key = signed(tmp_path / "tls")
    async with tls_proxy(platform.gateway, (certificate, key)) as port:
        names = {"FORGELOG_GATEWAY": f"https://localhost:{port}", "FORGELOG_GATEWAY_CA": str(certificate)}
        platform.start_agent("n2", FORGELOG_NODE_LABELS="site=remote", **names)
        asks = '"$FORGELOG_PYTHON" -c "from forgelog import Client; print(Client().jobs.list()[0].labels)"'
        shown = 'echo "$MLFLOW_TRACKING_URI $MLFLOW_TRACKING_SERVER_CERT_PATH"'
        small = ("--cpus", "0.1", "--memory", "512Mi", "--node-label", "site=remote")
        words = ("run", "--upload", *small, "--label", "by=tls", "--", "sh", "-c", f"./run.sh; {shown}; {asks}")
        ran = await platform.command(code, *words, more=names)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines() == ["a model", f"https://localhost:{port} {certificate}", "{'by': 'tls'}"]


async def test_the_folder_may_be_another_one_and_what_is_kept_out_is_not_in_the_store(
    platform: Cluster, code: Path, tmp_path: Path
) -> None:
    os.symlink("/etc/passwd", code / "link")
    ran = await platform.command(tmp_path, "run", "--upload", "--chdir", "code", "--memory", "64Mi", "--", "./run.sh")
    assert (ran.returncode, ran.stdout) == (0, "a model\n")
    assert "not uploaded: link" in ran.stderr
    assert not [path for path in kept(platform) if SECRET.encode() in path.read_bytes()]


async def test_only_a_file_that_changed_is_sent_again(platform: Cluster, client: AsyncClient, code: Path) -> None:
    (code / "other.txt").write_text("stays\n")
    await client.upload(code)
    before = kept(platform)
    (code / "src/model.txt").write_text("a better model\n")
    sent: list[tuple[str, int, int]] = []
    bundle = await client.upload(code, progress=lambda *told: sent.append(told))
    assert len(kept(platform) - before) == 2, "the file, and the manifest"
    size = len("a better model\n")
    assert sent[-1] == ("sending", size, size)
    assert await output_of(client, command="./run.sh", bundle=bundle.model_dump()) == "a better model\n"


async def test_a_manifest_names_the_folder_beside_it(client: AsyncClient, code: Path) -> None:
    (code / "job.yaml").write_text("name: uploaded\ncommand: ./run.sh\nresources: {memory: 64Mi}\nupload: .\n")
    (job,) = await client.jobs.submit_many(code / "job.yaml")
    assert (await job.wait(timeout=PATIENCE)).status == "completed"
    spec = (await client.jobs.get(job.id)).spec
    assert spec.environment.bundle.digest == make_bundle(find_files(code)).ref.digest


async def test_what_one_task_changes_no_other_sees(client: AsyncClient, code: Path) -> None:
    """Both are at work at a time, each in its own folder, which is gone when they have ended well."""
    change = "echo $FORGELOG_TASK >> src/model.txt; cat src/model.txt; rm -r src"
    job = await client.submit(
        {"name": "two", "command": ["sh", "-c", change], "array": 2, "resources": SMALL, "upload": str(code)}
    )
    assert (await job.wait(timeout=PATIENCE)).status == "completed"
    pieces = [piece async for piece in job.logs(follow=True)]
    for task in (0, 1):
        assert "".join(piece.text for piece in pieces if piece.task == task) == f"a model\n{task}\n"


async def test_a_task_goes_on_in_its_folder_when_its_agent_is_killed(
    platform: Cluster, client: AsyncClient, code: Path
) -> None:
    wait = "until [ -e go ]; do sleep 0.05; done; cat src/model.txt"
    job = await client.submit(
        {"name": "long", "command": ["sh", "-c", wait], "resources": SMALL, "upload": str(code),
         "node_selector": {"site": "far"}}
    )  # fmt: skip
    started = await platform.event(JobStarted, lambda event: event.job_id == job.id)
    platform.kill("n1")
    platform.start_agent("n1", FORGELOG_NODE_LABELS="site=far")
    (folder,) = (platform.folder / "n1" / "code").glob(f"*{started.tasks[0].allocation_id}*")
    (folder / "go").touch()
    await platform.event(JobCompleted, lambda event: event.job_id == job.id)
    assert "".join([piece.text async for piece in job.logs(follow=True)]) == "a model\n"
    async with asyncio.timeout(PATIENCE):
        while folder.exists():
            await asyncio.sleep(0.05)


async def test_a_bundle_that_is_not_there_ends_the_task_with_the_reason(client: AsyncClient) -> None:
    missing = {"digest": "00" * 32, "size": 3}
    job = await client.submit({"name": "lost", "command": "true", "bundle": missing, "resources": SMALL})
    ended = await job.wait(timeout=PATIENCE)
    assert ended.status == "failed"
    assert "its uploaded code can't be had: there is no object 0000" in ended.reason


async def test_a_bundle_goes_with_no_working_directory(client: AsyncClient, code: Path) -> None:
    with pytest.raises(InvalidInput, match="working_directory"):
        await client.submit({"name": "a", "command": "true", "upload": str(code), "working_directory": "/tmp"})
    bundle = {"digest": "00" * 32, "size": 3}
    with pytest.raises(Refused, match="goes with no working_directory"):
        await client.submit({"name": "a", "command": "true", "bundle": bundle, "working_directory": "/tmp"})
    with pytest.raises(InvalidInput, match="there is no folder"):
        await client.submit({"name": "a", "command": "true", "upload": str(code / "nothing")})


async def test_what_a_job_names_is_no_garbage(platform: Cluster, client: AsyncClient, code: Path) -> None:
    (code / "only.txt").write_text("of one job only\n")
    assert await output_of(client, command=["cat", "only.txt"], upload=str(code)) == "of one job only\n"
    bundle = make_bundle(find_files(code))
    references = References(platform.settings)
    await references.caught_up()
    assert (await references.among([bundle.ref.digest]))[bundle.ref.digest].bundle
    (code / "never.txt").write_text("of no job\n")
    unnamed = await client.upload(code)
    url = (platform.folder / "objects").as_uri()
    for path in kept(platform):
        os.utime(path, (0, 0))
    plan = await make_plan(Objects(url), references, url)
    named = {bundle.ref.digest, *(file.digest for file in bundle.manifest.files)}
    planned = {each.digest for each in plan.objects}
    assert not planned & named
    assert unnamed.digest in planned
