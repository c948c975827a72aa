"""Runs for jobs: begun and captured before a job is submitted, which then is the run's process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forgelog.command_ids import new_id
from forgelog.errors import InvalidInput, NotFound, Refused

if TYPE_CHECKING:
    from events.language.jobs.spec import JobSpec
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
    """Begin a run of an experiment for a job, capture the job's code and command, and tell the job what the run is
    configured with: its parameters, with the experiment's.

    `job`: in a manifest's keys. `folder`: where its code is. `id`: that of the command which will submit the job; with
    the same one, it is the same run. `fields`: those of `CreateRun`. Raises `Refused`, `InvalidInput`, `Unavailable`.
    """
    from events.language.experiments.hyperparameters import configuration
    from forgelog.capture import capture_command

    if job.get("array") is not None:
        raise InvalidInput("--experiment: a run is one process, and --array has many; `forgelog tune` runs many runs")
    names = _names(client, id or new_id(), str(job.get("job_id") or ""))
    await _created(client, names, {"experiment": experiment, "name": job.get("name", ""), **(fields or {})})
    await _refuse_ended(client, names)
    told = configuration(await _begun_with(client, names.run_id))
    variables = {**told, **job.get("env", {}), RUN: names.run_id}
    captured = await asyncio.to_thread(capture_command, job["command"], folder, variables)
    await client.captures.save(names.run_id, captured)
    return JobRun(names.run_id, {**job, "job_id": names.job_id, "env": variables}, names.command_id)


async def submit_spec(client: AsyncClient, spec: JobSpec, fields: Mapping[str, Any]) -> tuple[str, str]:
    """Submit a job as a run with these fields of `CreateRun`; the ids of both. Raises `Refused`, `Unavailable`."""
    from events.language.jobs import SubmitJob

    names = _names(client, new_id(), "")
    await _created(client, names, fields)
    variables = {**spec.environment.variables, RUN: names.run_id}
    spec = spec.model_copy(update={"environment": spec.environment.model_copy(update={"variables": variables})})
    try:
        await client.publish(SubmitJob(job_id=names.job_id, spec=spec), id=names.command_id)
    except Refused as error:
        await client.runs.end(names.run_id, "failed", reason=f"its job was refused: {error}"[:500])
        raise
    return names.run_id, names.job_id


class _Names(NamedTuple):
    """Ids that follow from that of the command which submits the job."""

    command_id: str
    run_id: str
    job_id: str


def _names(client: AsyncClient, command_id: str, job_id: str) -> _Names:
    """`job_id`: what is asked for; empty: none is."""
    from events.language.common import DEFAULT_PROJECT
    from events.language.experiments import CreateRun
    from events.language.jobs import SubmitJob
    from events.log.ids import derived_id, id_ending

    project = client.project or DEFAULT_PROJECT
    if not job_id:
        job_id = derived_id(SubmitJob.id_prefix, command_id, project)
    elif not job_id.endswith(id_ending(project)):
        job_id += id_ending(project)
    return _Names(command_id, derived_id(CreateRun.id_prefix, f"{command_id}.run", project), job_id)


async def _begun_with(client: AsyncClient, run_id: str) -> dict[str, str]:
    """The parameters that a run was begun with: its own, and those of its experiment. What was logged to it since is
    none of them: a repeat submits the same job."""
    events = await client.log.history("experiments", run_id, aggregate="run", types=["RunCreated", "RunAdmitted"])
    return {name: text for event in events for name, text in event.data.get("params", {}).items()}


async def _refuse_ended(client: AsyncClient, names: _Names) -> None:
    """That a repeat submits the job of a run that has ended without it, as it does when its job has not come for an
    hour: what the job logs would be a failed run's. Raises `Refused`."""
    run = await client.runs.get(names.run_id)
    if run.status not in ("finished", "failed", "killed"):
        return
    try:
        await client.jobs.get(names.job_id)
    except NotFound:
        why = f": {run.reason}" if run.reason else ""
        raise Refused(
            "failed_precondition",
            f"run {names.run_id} of this id is {run.status}{why}; give another --id, or leave it out",
        ) from None


async def _created(client: AsyncClient, names: _Names, fields: Mapping[str, Any]) -> None:
    body = {"run_id": names.run_id, "process": {"job_id": names.job_id}, "scheduled": True, **fields}
    command = ("forgelog.experiments.v1.CreateRun", body)
    await client.publish(command, id=f"{names.command_id}.run", wait="conclusion")
