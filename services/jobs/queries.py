"""The queries of jobs, tasks and attempts, from the projection's tables. Knows no Kafka and no decisions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

import grpc

from events.language.convert import to_message
from events.language.jobs.spec import JobStatus
from events.projections.tables import Db
from events.queries.listing import INT4, Listing
from events.queries.queries import PointReads, QueryError, ReadModel, not_found, read_options
from events.queries.row_watch import RowWatch
from forgelog_pb.jobs.v1 import queries_pb2, queries_pb2_grpc
from services.jobs.output.follow import Follower
from services.jobs.rendering import job_message, render_job
from services.jobs.rows import JOBS

ENDED = tuple(status.value for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED))

_ANSWER = "jobs.view || specs.view as view from jobs join specs using (job_id)"

_SHORT = ", ".join(JOBS.columns)

_JOBS = Listing(
    queries_pb2.ListJobsRequest,
    "jobs",
    order={"submitted_at": datetime, "job_id": str},
    descending=True,
    filters={
        "project": "project",
        "queue": "queue",
        "owner": "owner",
        "statuses": "status",
        "labels": "labels",
        "name": "strpos(lower(name), lower({value})) > 0",
        "submitted_after": "submitted_at >= {value}",
        "submitted_before": "submitted_at < {value}",
        "called": "(starts_with(job_id, {value}) or name = {value})",
    },
)

_TASKS = Listing(
    queries_pb2.ListTasksRequest,
    # A task without events of its own has no row; its status is the job's default.
    "(select n.task as number, coalesce(t.status, $2) as shown, t.* from generate_series($3::int, $4::int) as n(task) "
    "left join tasks t on t.job_id = $1 and t.task = n.task) each",
    order={"number": INT4},
    filters={"statuses": "shown"},
    own=("job_id",),
)


def _by_attempt(request: Any, table: str) -> Listing:
    """The list of a job's rows in a table with one row for each attempt."""
    return Listing(
        request,
        table,
        where="job_id = $1",
        order={"task": INT4, "attempt": INT4},
        filters={"task": "task"},
        own=("job_id",),
    )


_ATTEMPTS = _by_attempt(queries_pb2.ListAttemptsRequest, "attempts")

_OUTPUTS = _by_attempt(queries_pb2.ListOutputsRequest, "outputs")

_WATCH = RowWatch(
    queries_pb2.WatchJobsRequest,
    "jobs",
    JOBS,
    kind="job",
    changed="updated_at",
    ids="job_ids",
    own=("until_ended",),
    filters={"project": "project", "queue": "queue", "owner": "owner"},
)


class JobQueriesServicer(queries_pb2_grpc.JobQueriesServicer):
    def __init__(self, read: ReadModel, follower: Follower) -> None:
        self._read = read
        self._follower = follower
        self._answers = PointReads(read, f"select job_id, {_ANSWER} where job_id = any($1::text[])")

    async def GetJob(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        if options["as_of"] is None:
            await self._read.wait_for(options["at_least"])
            if (answer := await self._answers.get(request.job_id)) is None:
                raise not_found("job", request.job_id)
            return answer
        async with self._read.view(**options) as db:
            job = await _row(db, request.job_id, options["as_of"])
            spec: bytes = await db.fetchval("select view from specs where job_id = $1", request.job_id)
        return render_job(dict(job)) + spec

    async def ListJobs(self, request: Any, context: Any) -> Any:
        query, options = _JOBS.query(request), read_options(request.options)
        async with self._read.view(**options) as db:
            if options["as_of"] is not None:  # the past has no rendered answers
                page = await query.fetch(db, _SHORT)
                return b"".join(render_job(dict(row)) for row in page.rows) + _more(page.next_cursor)
            found = await db.fetchrow(
                "with found as (select view, submitted_at, job_id, row_number() over () as number from ("
                f"select view, submitted_at, job_id {query.clauses}) page) "
                f"select string_agg(view, ''::bytea order by number) filter (where number < {query.most}) as jobs, "
                f"count(*) as count, max(submitted_at) filter (where number = {query.most} - 1) as submitted_at, "
                f"max(job_id) filter (where number = {query.most} - 1) as job_id from found",
                *query.arguments,
            )
        assert found is not None  # an aggregate has a row
        return (found["jobs"] or b"") + _more(query.behind(found) if found["count"] > query.limit else "")

    async def ListTasks(self, request: Any, context: Any) -> Any:
        after, options = _TASKS.start(request), read_options(request.options)
        async with self._read.view(**options) as db:
            job = await _row(db, request.job_id, options["as_of"])
            first = after["number"] + 1 if after else 0
            query = _TASKS.query(request, request.job_id, job["default_status"], first, job["tasks"] - 1)
            page = await query.fetch(db)
        return queries_pb2.ListTasksResponse(tasks=[_task(job, row) for row in page.rows], next_cursor=page.next_cursor)

    async def ListAttempts(self, request: Any, context: Any) -> Any:
        query, options = _ATTEMPTS.query(request, request.job_id), read_options(request.options)
        async with self._read.view(**options) as db:
            await _row(db, request.job_id, options["as_of"])
            page = await query.fetch(db)
        missing = await self._follower.missing(request.job_id, {row["task"] for row in page.rows})
        attempts = [
            to_message(
                {**row, "output_missing_bytes": missing.get((row["task"], row["attempt"]), 0)}, queries_pb2.TaskAttempt
            )
            for row in page.rows
        ]
        return queries_pb2.ListAttemptsResponse(attempts=attempts, next_cursor=page.next_cursor)

    async def ListOutputs(self, request: Any, context: Any) -> Any:
        query, options = _OUTPUTS.query(request, request.job_id), read_options(request.options)
        async with self._read.view(**options) as db:
            await _row(db, request.job_id, options["as_of"])
            page = await query.fetch(db)
        outputs = [to_message(dict(row), queries_pb2.AttemptOutputs) for row in page.rows]
        return queries_pb2.ListOutputsResponse(outputs=outputs, next_cursor=page.next_cursor)

    async def FollowLogs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for answer in self._follower.follow(request, context):
            yield answer

    async def WatchJobs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Each job as it is now, then after each batch of events that changes it. States in between may be skipped."""
        if request.until_ended and not request.job_ids:
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, "until_ended: name the jobs in job_ids")
        live = set(request.job_ids)
        async with aclosing(_WATCH.batches(self._read, request)) as batches:
            async for rows in batches:
                for row in rows:
                    yield queries_pb2.WatchJobsResponse(job=job_message(row))
                live -= {row["job_id"] for row in rows if row["status"] in ENDED}
                if request.job_ids:
                    live |= {row["job_id"] for row in rows if row["status"] not in ENDED}
                if request.until_ended and not live:
                    return


def _more(next_cursor: str) -> bytes:
    """The rest of a page of jobs: its cursor."""
    return queries_pb2.ListJobsResponse(next_cursor=next_cursor).SerializeToString()


async def _row(db: Db, job_id: str, at: datetime | None) -> Any:
    row = await db.fetchrow("select * from jobs where job_id = $1", job_id)
    if row is None:
        raise not_found("job", job_id, at)
    return row


def _task(job: Any, row: Any) -> Any:
    if row["status"] is None:
        values = {
            "task": row["number"],
            "status": job["default_status"],
            "attempt": job["default_attempt"],
            "queued_at": job["queued_at"],
        }
    else:
        values = {**dict(row), "task": row["number"]}
    return to_message(values, queries_pb2.Task)
