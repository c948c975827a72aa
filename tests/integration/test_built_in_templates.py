"""The templates that come with Forgelog, each run as its users run it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from forgelog import AsyncClient, templates
from forgelog.client.rows import ExperimentRunRow
from forgelog.manifest import load
from tests import PATIENCE
from tests.integration.cluster import Cluster


async def ran(platform: Cluster, folder: Path, *command: str) -> str:
    """What a script of a folder prints."""
    environment = {**os.environ, **platform.place, "FORGELOG_SPOOL": str(folder / ".spool")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def looked_at(client: AsyncClient, said: str) -> ExperimentRunRow:
    """The run that a script names at its end."""
    run = re.findall(r"run (\w+):", said)[0]
    await client.runs.see_all(run)
    return await client.runs.get(run)


async def test_classifier_then_fine_tuning_then_evaluation(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    begun = await client.templates.begin("classifier", tmp_path / "first", name="clusters")
    assert (begun.created, begun.template.version) == (True, 1)
    said = await ran(platform, tmp_path / "first", "train.py")
    scores = await ran(platform, tmp_path / "first", "evaluate.py")
    assert float(scores.split()[1]) > 0.8
    found = await looked_at(client, said)
    run = found.run_id
    assert (found.experiment_id, [each.passed for each in found.checks]) == (begun.experiment_id, [True] * 4)
    assert found.params["basic.learning_rate"] == "0.2"

    await client.models.register("clusters")
    await client.models.create_version("clusters", run=run, path="model")
    await client.templates.begin("fine-tuning", tmp_path / "second", name="clusters further")
    assert "clusters/2 was made of clusters/1" in await ran(platform, tmp_path / "second", "train.py", "clusters/1")
    second = await client.models.version("clusters/2")
    assert [each.derivation for each in second.parents] == ["fine_tuned"]

    compared = await client.templates.begin("evaluation", tmp_path / "third", name="clusters compared")
    said = await ran(platform, tmp_path / "third", "evaluate.py", "--alias", "champion", "clusters/1", "clusters/2")
    comparison = await looked_at(client, said)
    assert comparison.experiment_id == compared.experiment_id
    await client.models.update("clusters", description="clusters, told apart")  # what was decided before is seen now
    assert comparison.tags["best"] == f"clusters/{(await client.models.version('clusters@champion')).number}"


async def test_a_sweep_is_jobs_in_an_uploaded_folder(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    begun = await client.templates.begin("sweep", tmp_path / "sweep")
    job = tmp_path / "sweep/job.yaml"
    job.write_text(job.read_text().replace('"python3"', f'"{sys.executable}"'))
    said = await ran(platform, tmp_path / "sweep", "sweep.py", "2")
    assert "2 trials completed; the best is" in said
    ended: dict[str, str] = {}
    async with asyncio.timeout(PATIENCE), aclosing(client.runs.watch(experiment_id=begun.experiment_id)) as rows:
        async for run in rows:
            if run.status == "finished":
                ended[run.run_id] = run.job_id
            if len(ended) == 2:
                break
    assert all(ended.values())


async def test_workers_of_a_distributed_training_average_their_gradients(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    begun = await client.templates.begin("distributed", tmp_path / "spread")
    found = await looked_at(client, await ran(platform, tmp_path / "spread", "train.py"))
    assert found.experiment_id == begun.experiment_id
    assert [each.passed for each in found.checks] == [True] * 5


@pytest.mark.parametrize("name", templates.names())
async def test_each_has_a_job_that_can_be_submitted(client: AsyncClient, tmp_path: Path, name: str) -> None:
    begun = await client.templates.begin(name, tmp_path / f"job-{name}")
    (job,) = load(tmp_path / f"job-{name}/job.yaml")
    assert (job.name, job.upload) == (f"job-{name}", ".")
    script = job.base.args[0]
    compile((tmp_path / f"job-{name}" / script).read_text(), script, "exec")
    assert begun.template.description
