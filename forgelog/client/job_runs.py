"""Runs for jobs: begun and captured before a job is submitted, which then is the run's process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forgelog.command_ids import new_id
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

RUN = "FORGELOG_RUN"
"""The variable by which a job's program knows its run."""


class JobRun(NamedTuple):
    """A run that waits for its job."""

    id: str
    job: Mapping[str, Any]
    """The job's description, with its id and the run in its environment."""
    command_id: str
    """Of the job's submission."""


async def begin(
    client: AsyncClient,
    job: Mapping[str, Any],
    experiment: str,
    *,
    folder: Path,
    id: str = "",
    fields: Mapping[str, Any] | None = None,
) -> JobRun:
    """Begin a run of an experiment for a job, and capture the job's code and command.

    `job`: in a manifest's keys. `folder`: where its code is. `id`: that of the command which will submit the job; with
    the same one, it is the same run. `fields`: those of `CreateRun`. Raises `Refused`, `InvalidInput`, `Unavailable`.
    """
    from events.language.common import DEFAULT_PROJECT
    from events.language.experiments import CreateRun
    from events.language.jobs import SubmitJob
    from events.log.ids import derived_id, id_ending
    from forgelog.capture import capture_command

    if job.get("array") is not None:
        raise InvalidInput("--experiment: a run is one process, and --array has many; `forgelog tune` runs many runs")
    command_id = id or new_id()
    project = client.project or DEFAULT_PROJECT
    job_id = job.get("job_id") or derived_id(SubmitJob.id_prefix, command_id, project)
    if not job_id.endswith(id_ending(project)):
        job_id += id_ending(project)
    run_id = derived_id(CreateRun.id_prefix, f"{command_id}.run", project)
    body = {
        "run_id": run_id,
        "experiment": experiment,
        "name": job.get("name", ""),
        "process": {"job_id": job_id},
        "scheduled": True,
        **(fields or {}),
    }
    await client.publish(("forgelog.experiments.v1.CreateRun", body), id=f"{command_id}.run", wait="conclusion")
    variables = {**job.get("env", {}), RUN: run_id}
    captured = await asyncio.to_thread(capture_command, job["command"], folder, variables)
    await client.captures.save(run_id, captured)
    return JobRun(run_id, {**job, "job_id": job_id, "env": variables}, command_id)
