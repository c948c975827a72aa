"""What runs ran, on a real platform: kept in parts, read back, and shown as of a time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from forgelog import AsyncClient
from forgelog.capture import capture, capture_command
from tests.integration.calm import Calm
from tests.integration.runs import ended
from tests.unit.capture.repositories import git, repository


async def test_what_a_run_ran(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    folder = repository(tmp_path / "digits", train__py="1\n")
    (folder / "train.py").write_text("2\n")
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        run = await client.runs.create("captured")
        await client.captures.save(run, capture_command(["python3", "train.py"], folder, {"HOME": "/root"}))
        before = datetime.now(UTC)
        here = capture(seeds={"numpy": 7})
        await client.captures.save(run, here._replace(capture=here.capture.model_copy(update={"code": None})))
        found = (await client.captures.get(run)).capture
        assert found.code.commit == git(folder, "rev-parse", "HEAD")
        assert b"\n-1\n+2\n" in await client.captures.read(found.code.changes)
        assert found.seeds["numpy"] == 7
        assert b"pydantic==" in await client.captures.read(found.packages.installed)
        earlier = (await client.captures.get(run, at=before)).capture
        assert (earlier.program.argv, earlier.machine) == (["python3", "train.py"], None)
    shown = await platform.command(tmp_path, "runs", "capture", run)
    assert f"commit:     {found.code.commit[:12]} (main)\n" in shown.stdout
    patch = await platform.command(tmp_path, "runs", "capture", run, "--changes")
    assert patch.stdout.endswith("-1\n+2\n")
    data = orjson.loads((await platform.command(tmp_path, "runs", "capture", run, "--output", "json")).stdout)
    assert data["capture"]["seeds"]["numpy"] == 7


async def test_a_job_is_a_run_of_an_experiment(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    folder = repository(tmp_path / "digits", train__sh='echo "$FORGELOG_RUN"; echo "$FORGELOG_CONFIG" >&2\n')
    told = ["--experiment", "by a job", "--param", "lr=0.1", "--param", "opt=adam"]
    done = await platform.command(folder, "run", *told, "--id", "once", "--", "sh", "train.sh")
    assert done.returncode == 0, done.stderr
    run = done.stdout.strip()
    assert f"run {run}\n" in done.stderr
    assert '{"lr": 0.1, "opt": "adam"}\n' in done.stderr
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        row = await client.runs.get(run)
        assert (await client.experiments.get(row["experiment_id"]))["name"] == "by a job"
        assert row["job_id"] in done.stderr
        captured = (await client.captures.get(run)).capture
        assert (captured.program.argv, captured.code.commit) == (["sh", "train.sh"], git(folder, "rev-parse", "HEAD"))
        (folder / "best.pt").write_bytes(b"weights")
        await client.runs.log_artifact(run, folder / "best.pt", folder="checkpoints")
        chosen = await platform.command(folder, "runs", "best-checkpoint", run, "checkpoints/best.pt")
        assert chosen.stderr == f"the best checkpoint of run {run} is checkpoints/best.pt\n"
        results = await client.results.get(run)
        assert (results.best_checkpoint, results.model_versions) == ("checkpoints/best.pt", [])
        assert (results.compute_hours > 0, results.cpu_hours > 0, results.gpu_hours) == (True, True, 0.0)
        assert results.estimated_cost == pytest.approx(results.cpu_hours * 3600)
        await client.runs.log(run, params={"found": "later"})
        again = await platform.command(folder, "run", *told, "--id", "once", "--", "sh", "train.sh")
        assert again.stdout.strip() == run, again.stderr
        assert len(await client.runs.list(experiments=[row["experiment_id"]])) == 1
    lacking = await platform.command(tmp_path, "runs", "capture", run, "--packages")
    assert lacking.stderr == (
        f"error: run {run} has no captured packages; `forgelog runs capture {run}` shows what it has\n"
    )
    array = await platform.command(folder, "submit", "--experiment", "x", "--array", "2", "--", "true")
    assert (array.returncode, "--array has many" in array.stderr) == (2, True)


async def test_a_repeat_submits_no_job_of_a_run_that_has_failed_without_it(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    words = ("submit", "--experiment", "cut", "--id", "cut", "--queue", "later", "--", "true")
    first = await platform.command(tmp_path, *words)
    assert "later" in first.stderr
    made = await platform.command(tmp_path, "queue", "create", "later")
    assert made.returncode == 0, made.stderr
    again = await platform.command(tmp_path, *words)
    assert again.returncode == 1
    assert "of this id is failed: its job was refused: " in again.stderr
    assert again.stderr.endswith("; give another --id, or leave it out\n")


async def test_a_run_has_failed_whose_job_is_refused(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    refused = await platform.command(tmp_path, "submit", "--experiment", "lost", "--queue", "none", "--", "true")
    assert (refused.returncode, "there is no queue 'none'" in refused.stderr) == (2, True)
    run = refused.stderr.splitlines()[0].split()[-1]
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        row = await ended(client, run)
        assert row["status"] == "failed"
        assert row["reason"].startswith("its job was refused: there is no queue 'none'")
