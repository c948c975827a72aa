"""The refusals of commands on a job. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from events.language.common import ErrorCode, FieldError, Refused, absent, invalid
from events.language.task_ranges import parse_ranges
from events.log.ids import REPLICAS
from events.writer.decider import DecisionContext
from services.jobs.state import Job


def known(job: Job) -> Job:
    """The job. Raises `Refused` if it does not exist."""
    if not job.submitted:
        raise absent("job_id", f"there is no job {job.job_id!r}", "`forgelog ps -a` lists jobs")
    return job


RESERVED: Mapping[str, str] = {REPLICAS: "deployments"}
"""How ids begin that only one context may give, and which. Its aggregates look after jobs of these ids."""


def check_reserved(job_id: str, context: DecisionContext) -> None:
    """Raises `Refused` if such a job is to be made, or run again, by anybody else."""
    for prefix, owner in RESERVED.items():
        if job_id.startswith(prefix) and not context.origin.startswith(f"{owner}/"):
            problem = f"begins with {prefix!r}, as the ids of jobs do that {owner} makes"
            raise invalid("job_id", problem, "use another id, or leave job_id out to have one assigned")


def unknown_attempt(job: Job, task: int, attempt: int) -> Refused:
    current = job.attempts[task] if task < job.size else 0
    problem = f"job {job.job_id} has no attempt {attempt} of task {task}; the current one is {current}"
    return Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])


def stale_report(job: Job, what: str, reports: list[tuple[int, int]]) -> Refused:
    task, attempt = reports[0]
    problem = (
        f"attempt {attempt} of task {task} can't have {what}: task {task} of job {job.job_id} is "
        f"{job.status(task).value} at attempt {job.attempts[task]}"
    )
    return Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])


def check_range(job: Job, ranges: str | None) -> None:
    if ranges is not None and (most := parse_ranges(ranges)[-1][1]) >= job.size:
        problem = f"job {job.job_id} has no task {most}; its tasks are 0 to {job.size - 1}"
        raise Refused(ErrorCode.INVALID_ARGUMENT, problem, [FieldError(field="tasks", problem=problem)])
