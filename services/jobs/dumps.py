"""A job as JSON-ready data, for snapshots, and back.

A change here, or in how events fold, needs a higher `Jobs.dump_version`.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from typing import Any

from events.language.jobs.spec import DependencyKind, JobStatus
from events.language.task_ranges import format_ranges, tasks_in
from services.jobs.state import ITEM_BYTES, Job, Readiness


def dump(job: Job) -> dict[str, Any]:
    """The job as JSON-ready data, without values that a new job has too: the writer waits while its jobs are dumped."""
    data: dict[str, Any] = {
        "project": job.project,
        "owner": job.owner,
        "spec": job.spec_json.decode(),
        "submitted_at": job.submitted_at.isoformat() if job.submitted_at else None,
        "statuses": job.statuses.hex(),
        "attempts": _short(job.attempts),
    }
    if any(job.restarts):
        data["restarts"] = job.restarts.tolist()
    if job.interruptions:
        data["interruptions"] = {str(task): count for task, count in job.interruptions.items()}
    if job.cancelling:
        data["cancelling"] = format_ranges(job.cancelling)
    if job.waiting:
        data["waiting"] = {dependency: kind.value for dependency, kind in job.waiting.items()}
    if job.dependents:
        data["dependents"] = sorted(job.dependents)
    if job.unbounded:
        data["unbounded"] = True
    if job.up_since:
        data["up_since"] = {str(task): since.isoformat() for task, since in job.up_since.items()}
    if job.readiness:
        data["readiness"] = {
            str(task): [told.ready, told.changed_at.isoformat()] for task, told in job.readiness.items()
        }
    if job.outputs:
        attempts = {attempt for _, attempt in job.outputs}
        data["outputs"] = {
            str(attempt): format_ranges(task for task, other in job.outputs if other == attempt)
            for attempt in sorted(attempts)
        }
    if job.exit_code:
        data["exit_code"] = job.exit_code
    if job.failure:
        data["failure"] = job.failure
    if job.ended is not None:
        data["ended"] = job.ended.value
    return data


def _short(numbers: array[int]) -> list[int]:
    """All numbers, or a single one if all are equal."""
    if len(numbers) > 1 and len(set(numbers)) > 1:
        return numbers.tolist()
    return numbers[:1].tolist()


def load(job_id: str, data: dict[str, Any]) -> Job:
    """The job that `dump` returned."""
    get = data.get
    statuses = bytearray.fromhex(data["statuses"])
    size, attempts, restarts = len(statuses), data["attempts"], get("restarts")
    job = Job(
        job_id=job_id,
        project=data["project"],
        owner=data["owner"],
        spec_json=data["spec"].encode(),
        submitted_at=datetime.fromisoformat(data["submitted_at"]) if data["submitted_at"] else None,
        statuses=statuses,
        attempts=array("L", attempts if len(attempts) == size else attempts * size),
        restarts=array("L", restarts or bytes(size * ITEM_BYTES)),
        exit_code=get("exit_code", 0),
        failure=get("failure", ""),
        unbounded=get("unbounded", False),
    )
    if interruptions := get("interruptions"):
        job.interruptions = {int(task): count for task, count in interruptions.items()}
    if cancelling := get("cancelling"):
        job.cancelling = frozenset(tasks_in(cancelling))
    if waiting := get("waiting"):
        job.waiting = {dependency: DependencyKind(kind) for dependency, kind in waiting.items()}
    if dependents := get("dependents"):
        job.dependents = frozenset(dependents)
    if up_since := get("up_since"):
        job.up_since = {int(task): datetime.fromisoformat(since) for task, since in up_since.items()}
    if readiness := get("readiness"):
        job.readiness = {
            int(task): Readiness(ready, datetime.fromisoformat(since)) for task, (ready, since) in readiness.items()
        }
    if outputs := get("outputs"):
        job.outputs = {(task, int(attempt)) for attempt, tasks in outputs.items() for task in tasks_in(tasks)}
    if ended := get("ended"):
        job.ended = JobStatus(ended)
    return job
