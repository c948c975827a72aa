"""Schemathesis holds the running gateway to its OpenAPI document: it takes what that says, and refuses the rest."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from events.language.deployments.events import DeploymentCreated
from events.language.experiments import RunAdmitted
from events.language.jobs import JobCompleted
from events.log.ids import derived_id
from tests import PATIENCE
from tests.conftest import Servers, own_settings
from tests.integration.cluster import Cluster, cluster

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).with_name("schemathesis.toml")
JOB = {"metadata": {"name": "judged"}, "command": "echo", "args": ["judged"]}
JOB_ID = derived_id("j", "judged")
ROOT = CONFIG.parents[2]


@pytest_asyncio.fixture(scope="module")
async def alone(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A platform with a job's history, whose only node has no agent any more: it runs nothing of what it is sent."""
    folder: Path = tmp_path_factory.mktemp("alone")
    async with (
        own_settings(servers, folder) as settings,
        cluster(settings, folder, lost_seconds=3600.0, gateway=True) as platform,
    ):
        await platform.publish("jobs", "SubmitJob", {"spec": JOB}, id="judged")
        await platform.event(JobCompleted, lambda event: event.job_id == JOB_ID)
        run = {"experiment": "judged", "process": {"job_id": JOB_ID}}
        await platform.publish("experiments", "CreateRun", run, id="judged")
        await platform.event(RunAdmitted)
        served = {"name": "judged", "spec": {"command": "sleep", "args": ["600"]}}
        await platform.publish("deployments", "CreateDeployment", served, id="judged")
        await platform.event(DeploymentCreated)
        platform.kill("n0")
        yield platform


@pytest.mark.timeout(8 * PATIENCE)
async def test_the_gateway_keeps_to_its_document(alone: Cluster, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    (run,), (served,) = alone.all(RunAdmitted), alone.all(DeploymentCreated)
    known = {"DEPLOYMENT": served.deployment_id, "JOB": JOB_ID, "RUN": run.run_id, "EXPERIMENT": run.experiment_id}
    async with alone.http() as client:
        document.write_bytes((await client.get("/openapi.json")).content)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(document)]
        + ["--url", f"http://{alone.gateway}", "--no-color"],
        cwd=tmp_path,  # it keeps a cache there
        env={**os.environ, "KEY": alone.key, **known, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=7 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
