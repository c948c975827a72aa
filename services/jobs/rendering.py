"""Renders rows of jobs as the messages of queries. The most frequent messages are rendered when a row is written
(`events.projections.projection.Table.rendered`), so that a list of 10,000 jobs is joined without decoding them.

A rendered message is framed by its field number in the answer and its length, so an answer is the concatenation of
framed messages (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from typing import Any

from events.language.convert import to_bytes, to_message
from events.language.jobs.spec import JobSpec, JobStatus
from events.projections.projection import Row
from forgelog_pb.jobs.v1 import queries_pb2, types_pb2

COUNTED = ("pending", "queued", "scheduled", "running", "completed", "failed", "cancelled")
"""Task statuses that tasks reach in this version; each has a counter column in the job's row."""

_JOB_FIELD, _SPEC_FIELD = b"\x0a", b"\x12"
"""Field 1 of GetJobResponse, ListJobsResponse and WatchJobsResponse; field 2 of GetJobResponse. Length-delimited."""


def jobs_in(ids: str) -> list[str]:
    """The ids in a row's `waits_for`, which are separated by commas."""
    return ids.split(",") if ids else []


def job_message(row: Any) -> Any:
    """A job's row."""
    values = dict(row)
    values["waits_for"] = jobs_in(row["waits_for"])
    counts = {name: row[f"tasks_{name}"] for name in (*COUNTED, "ready")}
    values["tasks"] = {"total": row["tasks"], **counts}
    return to_message(values, queries_pb2.Job)


def render_job(row: Row) -> bytes:
    """A job as field 1 of an answer."""
    return _framed(_JOB_FIELD, job_message(row).SerializeToString())


def render_spec(spec: JobSpec) -> bytes:
    """A job's spec, defaults filled in, as field 2 of an answer."""
    return _framed(_SPEC_FIELD, to_bytes(spec, types_pb2.JobSpec))


def _framed(field: bytes, content: bytes) -> bytes:
    length, varint = len(content), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return field + bytes(varint) + content


_PROGRESS = ("running", "scheduled", "queued", "pending", "failed", "cancelled")
"""Statuses in the order in which they become the job's: the furthest one of any live task, else an ended one."""

_COMPLETED = JobStatus.COMPLETED.value
_COUNTS = tuple((f"tasks_{status}", status) for status in _PROGRESS)


def status_of(job: Row) -> str:
    """A job's status from its tasks'."""
    for column, status in _COUNTS:
        if job[column] > 0:
            return status
    return _COMPLETED
