"""The jobs that workers are, and stages with a job or a worker of their own. Pure."""

from __future__ import annotations

from typing import Any

from events.language.jobs.spec import (
    JobEnvironment,
    JobMetadata,
    JobResources,
    JobScheduling,
    JobSpec,
    RestartMode,
    RestartPolicy,
)
from events.language.pipelines.enums import StageExecution
from events.language.pipelines.pipeline import PIPELINE_LABEL, PipelineSpec, secrets_of
from events.language.pipelines.run_events import WorkerRequested
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.work import WorkerSpec
from events.log.ids import child_id
from services.pipelines.pipeline.failures import FREE_LOSSES
from services.pipelines.pipeline.state import Pipeline, Run, Stage

RUN_LABEL = "forgelog/run"

_PROGRAM = 'exec "$FORGELOG_PYTHON" -m forgelog.worker'
"""The interpreter of the node's agent has Forgelog. A pipeline may name another one among its variables."""

WATCHER_CPUS, WATCHER_BYTES = 0.1, 256 << 20
"""What a watcher has."""

_ONCE = RestartPolicy(mode=RestartMode.NEVER, restart_lost=False)
"""Pipelines alone try again."""


def has_own(spec: PipelineSpec, stage: StageSpec, found: Stage | None) -> bool:
    """Whether a stage is done by a worker of its own: it says so, needs more than the others have, or has cost two."""
    worker, wanted = spec.execution.worker, stage.resources
    return (
        stage.execution is StageExecution.OWN
        or wanted.gpus > 0
        or (wanted.cpus or 0) > worker.cpus
        or (wanted.memory_bytes or 0) > worker.memory_bytes
        or (found is not None and found.tasks is None and found.losses >= FREE_LOSSES)
    )


def environment(spec: PipelineSpec) -> tuple[Any, ...]:
    """What a worker is made of: it can work on versions that have the same."""
    execution = spec.execution
    return (
        spec.code,
        execution.worker,
        execution.variables,
        execution.node_selector,
        execution.tolerations,
        execution.queue,
        execution.priority,
        tuple(secrets_of(spec)),
    )


def shared_worker(state: Pipeline, id: str, project: str, version: int, number: int, datasets: str) -> WorkerRequested:
    """A worker for any stage."""
    spec = state.specs[version]
    job_id = _job_id(child_id(id, f"w{number}", project))
    asked = spec.execution.worker
    resources = JobResources(cpus=asked.cpus, memory_bytes=asked.memory_bytes, storage_bytes=asked.storage_bytes)
    told = _told(id, job_id, version, spec, resources, datasets, once=False)
    job = _job(spec, f"{state.name}/w{number}", resources, told, {PIPELINE_LABEL: id})
    return WorkerRequested(pipeline_id=id, worker=job_id, number=number, pipeline_version=version, job=job)


def watcher(state: Pipeline, id: str, project: str, datasets: str) -> WorkerRequested:
    """A watcher of the triggers of the newest version. It reads lists, and needs little."""
    spec, version, number = state.specs[state.version], state.version, state.last_worker + 1
    job_id = _job_id(child_id(id, f"w{number}", project))
    resources = JobResources(cpus=WATCHER_CPUS, memory_bytes=WATCHER_BYTES)
    told = _told(id, job_id, version, spec, resources, datasets, once=False, watches=True)
    job = _job(spec, f"{state.name}/w{number} watcher", resources, told, {PIPELINE_LABEL: id})
    return WorkerRequested(
        pipeline_id=id, worker=job_id, number=number, pipeline_version=version, job=job, watches=True
    )


def own_worker(
    state: Pipeline, id: str, project: str, run_id: str, run: Run, stage_id: str, number: int, datasets: str
) -> WorkerRequested:
    """A worker for the next attempt of one stage."""
    spec = state.specs[run.version]
    stage = state.graph(run.version).stages[stage_id]
    attempt = run.stages[stage_id].attempt + 1
    job_id = own_job_id(run_id, stage_id, attempt, number, project)
    shared, wanted = spec.execution.worker, stage.resources
    resources = JobResources(
        cpus=wanted.cpus or shared.cpus,
        memory_bytes=wanted.memory_bytes or shared.memory_bytes,
        storage_bytes=shared.storage_bytes,
        gpus=wanted.gpus,
    )
    told = _told(id, job_id, run.version, spec, resources, datasets, once=True)
    labels = {PIPELINE_LABEL: id, RUN_LABEL: str(run.number)}
    job = _job(spec, f"{state.name}/{run.number} {stage_id}", resources, told, labels)
    return WorkerRequested(
        pipeline_id=id,
        worker=job_id,
        number=number,
        pipeline_version=run.version,
        job=job,
        run_id=run_id,
        stage_id=stage_id,
        attempt=attempt,
    )


def own_job_id(run_id: str, stage_id: str, attempt: int, number: int, project: str) -> str:
    """Of an attempt. `number`: of the worker, since one may be asked for twice; 0 for a stage that is a job."""
    part = f"{stage_id}.{attempt}" if not number else f"{stage_id}.{attempt}.w{number}"
    return _job_id(child_id(run_id, part.replace("_", "-"), project))


def stage_job(id: str, run: Run, stage: StageSpec) -> JobSpec:
    """The job that a stage is."""
    assert stage.job is not None
    labels = {**stage.job.metadata.labels, PIPELINE_LABEL: id, RUN_LABEL: str(run.number)}
    variables = {
        **stage.job.environment.variables,
        "FORGELOG_PIPELINE": id,
        "FORGELOG_PIPELINE_RUN": str(run.number),
        "FORGELOG_STAGE": stage.id,
        **{f"FORGELOG_PARAMETER_{name.upper()}": value for name, value in run.parameters.items()},
    }
    if run.debug:
        variables["FORGELOG_DEBUG"] = "1"
    if run.interval_start is not None and run.interval_end is not None:
        variables["FORGELOG_INTERVAL_START"] = run.interval_start.isoformat()
        variables["FORGELOG_INTERVAL_END"] = run.interval_end.isoformat()
    return stage.job.model_copy(
        update={
            "metadata": stage.job.metadata.model_copy(update={"labels": labels}),
            "environment": stage.job.environment.model_copy(update={"variables": variables}),
            "scheduling": stage.job.scheduling.model_copy(update={"restart": _ONCE}),
        }
    )


def _job_id(child: str) -> str:
    return f"pipe.{child}"


def _told(
    id: str,
    job_id: str,
    version: int,
    spec: PipelineSpec,
    resources: JobResources,
    datasets: str,
    *,
    once: bool,
    watches: bool = False,
) -> dict[str, str]:
    told = WorkerSpec(
        pipeline_id=id,
        worker=job_id,
        pipeline_version=version,
        once=once,
        watches=watches,
        cpus=resources.cpus,
        memory_bytes=resources.memory_bytes,
        datasets_url=datasets,
        engine=spec.engine,
        spark=spec.spark,
        secret_variables=tuple(ref.env for ref in secrets_of(spec) if ref.env is not None),
    )
    return {"FORGELOG_WORKER": told.to_json().decode()}


def _job(
    spec: PipelineSpec, name: str, resources: JobResources, told: dict[str, str], labels: dict[str, str]
) -> JobSpec:
    execution = spec.execution
    return JobSpec(
        metadata=JobMetadata(name=name, labels=labels),
        command="sh",
        args=("-c", _PROGRAM),
        queue=execution.queue,
        priority=execution.priority,
        resources=resources,
        environment=JobEnvironment(
            variables={**execution.variables, **told}, secrets=tuple(secrets_of(spec)), bundle=spec.code
        ),
        scheduling=JobScheduling(
            node_selector=execution.node_selector, tolerations=execution.tolerations, restart=_ONCE
        ),
    )
