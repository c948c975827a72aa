"""Files that a job keeps of its tasks: agents report them attempt by attempt, each once. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import ErrorCode, FieldError, Refused
from events.language.jobs import JobOutputsKept, ReportJobOutputs
from services.jobs.refusals import unknown_attempt
from services.jobs.state import Job


def outputs_kept(job: Job, command: ReportJobOutputs) -> Sequence[Event]:
    """An attempt's files may come when a later one runs, and when the job has ended. What was told of an attempt first
    stays: events name it."""
    spec = job.spec
    assert spec is not None
    if not spec.keep:
        problem = f"job {job.job_id} keeps no files; it was submitted without keep"
        raise Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])
    news, known = [], set(job.outputs)
    for each in command.tasks:
        if each.task >= job.size or each.attempt > job.attempts[each.task]:
            raise unknown_attempt(job, each.task, each.attempt)
        if (each.task, each.attempt) not in known:
            news.append(each)
            known.add((each.task, each.attempt))
    return [JobOutputsKept(job_id=job.job_id, node_id=command.node_id, tasks=tuple(news))] if news else ()
