"""MLflow's unchanged client inside jobs: it finds platform, project and run, and the end of its process is told."""

from __future__ import annotations

import sys

from events.language.experiments import RunCreated, RunEnded, RunProcessEnded, RunStatus
from events.language.jobs import JobCompleted
from tests.integration.cluster import Cluster

PROGRAM = """
import os, signal, mlflow
mlflow.set_experiment("inside jobs")
with mlflow.start_run(run_name="outer"):
    with mlflow.start_run(run_name="inner", nested=True):
        mlflow.log_param("a", 1)
        os.kill(os.getpid(), signal.SIGKILL)
"""
TAKEN_OVER = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_param("taken", "over")
"""


async def test_a_killed_process_ends_the_runs_that_its_client_began(platform: Cluster) -> None:
    job = await submit(platform, "lab/vision", "killed", PROGRAM)
    for name in ("outer", "inner"):
        run = await platform.event(RunCreated, lambda e, name=name: e.name == name and e.process is not None)
        assert (run.process.job_id, run.process.attempt, run.project) == (job, 1, "lab/vision")
        assert run.tags["forgelog.job"] == job
        ended = await platform.event(RunEnded, lambda e, run=run: e.run_id == run.run_id)
        assert (ended.status, ended.reason) == (RunStatus.FAILED, "signal 9")
        gone = await platform.event(RunProcessEnded, lambda e, run=run: e.run_id == run.run_id)
        assert gone.signal == 9


async def test_a_run_that_waits_for_its_job_is_taken_over(platform: Cluster) -> None:
    async with platform.http() as http:
        body = {"type": "forgelog.experiments.v1.CreateRun", "data": {"run_id": "rtaken", "name": "waits"}}
        assert (await http.post("/v1/commands", json=body)).status_code == 200
    job = await submit(platform, "local/default", "takes over", TAKEN_OVER, FORGELOG_RUN="rtaken")
    await platform.event(JobCompleted, lambda e: e.job_id == job)
    ended = await platform.event(RunEnded, lambda e: e.run_id == "rtaken")
    assert ended.status is RunStatus.FINISHED


async def submit(platform: Cluster, project: str, name: str, program: str, **variables: str) -> str:
    """A job that runs a program; its id."""
    spec = {
        "metadata": {"name": name},
        "command": sys.executable,
        "args": ["-c", program],
        "environment": {"variables": {"MLFLOW_DISABLE_TELEMETRY": "true", **variables}},
    }
    async with platform.http() as http:
        body = {"type": "forgelog.jobs.v1.SubmitJob", "project": project, "data": {"spec": spec}}
        answer = await http.post("/v1/commands", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["subject"])
