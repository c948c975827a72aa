"""An experiment launches runs: their jobs run on the platform, so many at a time, and a refusal is their end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from events.language.jobs import JobCancelled
from forgelog import AsyncClient
from forgelog.errors import Refused
from tests.integration.cluster import Cluster
from tests.integration.runs import ended, once

SMALL = {"cpus": 0.1, "memory_bytes": 16 << 20}


def job(*command: str) -> dict[str, Any]:
    return {"name": "launched", "command": ["sh", "-c", *command], "resources": SMALL}


async def test_runs_are_launched_so_many_at_a_time(client: AsyncClient, tmp_path: Path) -> None:
    told = f'echo "$FORGELOG_CONFIG" > {tmp_path}/"$FORGELOG_RUN"; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done'
    config = {"custom": {"depth": "3"}}
    await client.experiments.create("launching", job=job(told), parallel=1, hyperparameters=config)
    first = await client.experiments.launch("launching", params={"lr": "0.1"}, name="first")
    second = await client.experiments.launch("launching")
    row = await once(client, first, lambda row: row.status == "running")
    assert (row.name, row.job_id, row.number) == ("first", f"{first}.1", 1)
    waiting = await client.runs.get(second)
    assert (waiting.status, waiting.job_id) == ("scheduled", "")
    (tmp_path / "go").touch()
    for run in (first, second):
        row = await ended(client, run)
        assert (row.status, row.job_id, row.exit_code) == ("finished", f"{run}.1", 0)
    assert json.loads((tmp_path / first).read_text()) == {"lr": 0.1, "depth": 3}
    assert json.loads((tmp_path / second).read_text()) == {"depth": 3}


async def test_a_launched_run_is_stopped_by_its_job(platform: Cluster, client: AsyncClient) -> None:
    run = await client.experiments.launch("stopping", job=job("sleep 600"))
    await once(client, run, lambda row: row.status == "running")
    await client.runs.stop(run, reason="enough seen")
    assert (await ended(client, run)).status == "killed"
    await platform.event(JobCancelled, lambda event: event.job_id == f"{run}.1")


async def test_a_job_that_is_refused_is_the_end_of_its_run_and_makes_room(client: AsyncClient) -> None:
    await client.experiments.create("refusing", job=job("true"), parallel=1)
    spec = {"metadata": {"name": "a"}, "command": "true", "environment": {"working_directory": "here"}}
    refused = (await client.publish(("LaunchRun", {"experiment": "refusing", "job": spec}))).subject
    row = await ended(client, refused)
    assert row.status == "failed"
    assert row.reason.startswith("its job was refused: spec.environment.working_directory: 'here' is not an absolute")
    assert (await ended(client, await client.experiments.launch("refusing"))).status == "finished"


async def test_launching_by_the_command_line(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(job('[ "$FORGELOG_CONFIG" = \'{"lr": 0.5}\' ]')))
    made = await platform.command(tmp_path, "experiments", "create", "launched by hand", "--parallel", "2")
    assert made.returncode == 0, made.stderr
    with pytest.raises(Refused, match="does not say what its runs run; give the run a job"):
        await client.experiments.launch("launched by hand")
    changed = await platform.command(tmp_path, "experiments", "update", "launched by hand", "--job", "job.yaml")
    assert changed.returncode == 0, changed.stderr
    assert (await client.experiments.get(name="launched by hand")).launch.parallel == 2, "what is not said stays"
    launched = await platform.command(
        tmp_path, "experiments", "launch", "launched by hand", "--param", "lr=0.5", "--tag", "a=b"
    )
    run = launched.stdout.strip()
    assert (await ended(client, run)).status == "finished", launched.stderr
    assert (await client.runs.get(run)).tags == {"a": "b"}
    for words in (
        ("pause", "launched by hand"),
        ("show", "launched by hand"),
        ("resume", "launched by hand"),
        ("results", "launched by hand"),
    ):
        done = await platform.command(tmp_path, "experiments", *words)
        assert done.returncode == 0, done.stderr
    for words in (("delete", "launched by hand"), ("restore", "launched by hand"), ("complete", "launched by hand")):
        done = await platform.command(tmp_path, "experiments", *words)
        assert done.returncode == 0, done.stderr
    assert (await client.experiments.get(name="launched by hand")).status == "completed"
