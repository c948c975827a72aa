"""Decisions about the files that a job keeps of its tasks. Agents report them once for each attempt. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import ErrorCode, FieldError, Refused
from events.language.jobs import JobOutputsKept, ReportJobOutputs
from services.jobs.refusals import unknown_attempt
from services.jobs.state import Job


def outputs_kept(job: Job, command: ReportJobOutputs) -> Sequence[Event]:
    """The report of an attempt's files. It may come while a later attempt runs, or after the job's end. Only the first
    report of an attempt counts, since events name its files."""
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
