"""Files that jobs keep, on a real platform: there behind the end, fetched from anywhere, and never garbage."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from events.language.jobs import JobCompleted, JobOutputsKept
from events.objects.garbage import make_plan
from events.objects.references import References
from events.objects.store import Objects
from forgelog.client.aio import AsyncClient
from forgelog.client.sync import Client
from forgelog.errors import InvalidInput, NotFound, Refused
from tests import PATIENCE
from tests.integration.cluster import GATEWAY, Cluster

SMALL = {"cpus": 0.1, "memory": "64Mi"}
WRITE = "mkdir -p results/deep; echo $FORGELOG_TASK-$FORGELOG_ATTEMPT > results/a; echo deep > results/deep/b"


@pytest_asyncio.fixture
async def client(platform: Cluster) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.gateway, token=platform.key) as made:
        yield made


async def job(client: AsyncClient, script: str = WRITE, *, keep: Any = ("results/**",), **more: Any) -> Any:
    described = {"name": "keeps", "command": ["sh", "-c", script], "resources": SMALL, "keep": keep, **more}
    return await client.submit(described)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


async def test_from_a_command_line_to_a_folder_and_back(platform: Cluster, tmp_path: Path) -> None:
    small = ("--cpus", "0.1", "--memory", "64Mi", "--no-chdir", "--name", "back", "--keep", "results/**")
    ran = await platform.command(
        tmp_path, "run", *small, "--keep", "*.txt", "--", "sh", "-c", f"{WRITE}; echo x >x.txt"
    )
    assert ran.returncode == 0, ran.stderr
    got = await platform.command(tmp_path, "fetch", "back", "--into", "here")
    assert (got.returncode, got.stderr.strip()) == (0, "3 files fetched into here, 11B"), got.stderr
    assert contents(tmp_path / "here") == {"results/a": "0-1\n", "results/deep/b": "deep\n", "x.txt": "x\n"}

    shown = await platform.command(tmp_path, "show", "back", "--output", "json")
    (row,) = orjson.loads(shown.stdout)["outputs"]
    assert (row["task"], row["attempt"], row["files"], row["total_bytes"], row["left_out"]) == (0, 1, 3, 11, 0)
    assert "FILES KEPT" in (await platform.command(tmp_path, "show", "back")).stdout
    listed = await platform.command(tmp_path, "fetch", "back", "results/deep", "--list", "--output", "json")
    assert [file["path"] for file in orjson.loads(listed.stdout)] == ["results/deep/b"]

    again = await platform.command(tmp_path, "fetch", "back", "--into", "here")
    assert "0 files fetched" in again.stderr
    assert "3 files there already" in again.stderr
    (tmp_path / "here/x.txt").write_text("of mine")
    refused = await platform.command(tmp_path, "fetch", "back", "--into", "here")
    assert refused.returncode == 2
    assert "'x.txt' is there with other content" in refused.stderr
    assert contents(tmp_path / "here")["x.txt"] == "of mine"
    forced = await platform.command(tmp_path, "fetch", "back", "--into", "here", "--force")
    assert forced.returncode == 0
    assert contents(tmp_path / "here")["x.txt"] == "x\n"


async def test_each_task_of_an_array_has_its_own(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    made = await job(client, array=2)
    await made.wait(timeout=PATIENCE)
    files = await made.fetch(tmp_path / "all")
    assert contents(tmp_path / "all") == {
        "0/results/a": "0-1\n", "0/results/deep/b": "deep\n", "1/results/a": "1-1\n", "1/results/deep/b": "deep\n",
    }  # fmt: skip
    assert {(file.task, file.attempt, file.fetched) for file in files} == {(0, 1, True), (1, 1, True)}
    got = await platform.command(tmp_path, "fetch", f"{made.id}/1", "results/a", "--into", "one")
    assert got.returncode == 0, got.stderr
    assert contents(tmp_path / "one") == {"results/a": "1-1\n"}
    with Client(platform.gateway, token=platform.key) as plain:
        rows = await asyncio.to_thread(plain.jobs.outputs, made.id)
        assert [(row.task, row.files) for row in rows] == [(0, 2), (1, 2)]


async def test_an_array_of_one_is_an_array(client: AsyncClient, tmp_path: Path) -> None:
    made = await job(client, array=1)
    await made.wait(timeout=PATIENCE)
    await made.fetch(tmp_path)
    assert contents(tmp_path) == {"0/results/a": "0-1\n", "0/results/deep/b": "deep\n"}
    with pytest.raises(NotFound, match="has no task 1; its tasks are 0 to 0"):
        await made.fetch(tmp_path, task=1)


async def test_a_failed_task_keeps_its_files_and_a_retry_has_its_own(client: AsyncClient, tmp_path: Path) -> None:
    made = await job(
        client, f"{WRITE}; exit $((2 - $FORGELOG_ATTEMPT))", restart={"mode": "on_failure", "backoff": "0s"}
    )
    assert (await made.wait(timeout=PATIENCE)).status == "completed"
    await made.fetch(tmp_path / "newest")
    assert contents(tmp_path / "newest")["results/a"] == "0-2\n"
    await client.jobs.fetch(made.id, into=tmp_path / "first", attempt=1)
    assert contents(tmp_path / "first")["results/a"] == "0-1\n"


async def test_a_cancelled_task_keeps_what_it_has_written(client: AsyncClient, tmp_path: Path) -> None:
    made = await job(client, f"{WRITE}; echo ready; sleep 600")
    async for piece in made.logs(follow=True):
        if "ready" in piece.text:
            break
    await made.cancel()
    assert (await made.wait(timeout=PATIENCE)).status == "cancelled"
    await made.fetch(tmp_path)
    assert contents(tmp_path)["results/a"] == "0-1\n"


async def test_outputs_come_when_agent_and_gateway_were_killed(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    """The job ends without the gateway, and its files wait on the node for it."""
    made = await job(client, f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; {WRITE}")
    async for row in made.watch():
        if row.status == "running":
            break
    platform.kill(GATEWAY)
    (tmp_path / "go").touch()
    await platform.event(JobCompleted, lambda event: event.job_id == made.id)
    assert not platform.all(JobOutputsKept, lambda event: event.job_id == made.id)
    platform.kill("n0")
    platform.start_agent("n0")
    platform.start(GATEWAY)
    await platform.healthy(GATEWAY)
    kept = await platform.event(JobOutputsKept, lambda event: event.job_id == made.id)
    assert kept.tasks[0].files == 2
    await made.fetch(tmp_path / "back")
    assert contents(tmp_path / "back")["results/deep/b"] == "deep\n"


async def test_as_of_an_earlier_time_there_were_none(client: AsyncClient, tmp_path: Path) -> None:
    made = await job(client)
    await made.wait(timeout=PATIENCE)
    submitted = (await made.refresh()).submitted_at
    await made.fetch(tmp_path)
    assert await made.outputs(at=submitted) == []
    assert len(await made.outputs(at=datetime.now(UTC))) == 1
    with pytest.raises(NotFound, match="has ended with files"):
        await client.jobs.fetch(made.id, into=tmp_path, at=submitted)


async def test_what_a_job_keeps_is_no_garbage(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    made = await job(client, "mkdir results; echo of one job only > results/only")
    await made.wait(timeout=PATIENCE)
    files = await made.fetch(tmp_path)
    (row,) = await made.outputs()
    url = (platform.folder / "objects").as_uri()
    for path in (platform.folder / "objects").rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))
    plan = await make_plan(Objects(url), References(platform.settings), url)
    assert not {each.digest for each in plan.objects} & {row.digest, *(file.digest for file in files)}


async def test_why_there_is_nothing_is_said(client: AsyncClient, tmp_path: Path) -> None:
    empty = await job(client, "true")
    await empty.wait(timeout=PATIENCE)
    with pytest.raises(NotFound, match=r"has kept no file: task 0, attempt 1: no file fits results/\*\*"):
        await empty.fetch(tmp_path)
    nothing = await job(client, "true", keep=())
    with pytest.raises(NotFound, match="keeps no files; submit it with --keep"):
        await nothing.fetch(tmp_path)
    kept = await job(client)
    await kept.wait(timeout=PATIENCE)
    with pytest.raises(NotFound, match="no file that is kept fits 'other/\\*'"):
        await kept.fetch(tmp_path, pattern="other/*")
    with pytest.raises(InvalidInput, match="leads out of the folder"):
        await kept.fetch(tmp_path, pattern="../*")


BAD = ["/etc/passwd", "../up", "a//b", "x" * 251, "results**"]


@pytest.mark.parametrize("pattern", BAD)
async def test_a_bad_pattern_is_refused_at_each_door(
    platform: Cluster, client: AsyncClient, tmp_path: Path, pattern: str
) -> None:
    with pytest.raises(InvalidInput, match="keep"):
        await job(client, keep=[pattern])
    spec = {"metadata": {"name": "a"}, "command": "true", "keep": [pattern]}
    with pytest.raises((InvalidInput, Refused), match=r"spec\.keep\[0\]"):
        await client.publish(("forgelog.jobs.v1.SubmitJob", {"spec": spec}))
    ran = await platform.command(tmp_path, "run", "--keep", pattern, "--", "true")
    assert ran.returncode == 2
    assert "keep" in ran.stderr
    (tmp_path / "job.yaml").write_text(f"name: a\ncommand: 'true'\nkeep: '{pattern}'\n")
    ran = await platform.command(tmp_path, "submit", "job.yaml")
    assert ran.returncode == 2
    assert "line 3" in ran.stderr
    assert "keep.0" in ran.stderr


async def test_the_options_former_meaning_is_told(platform: Cluster, tmp_path: Path) -> None:
    ran = await platform.command(tmp_path, "run", "--keep", "--", "true")
    assert ran.returncode == 2
    assert "--keep-running leaves the job running on Ctrl-C" in ran.stderr
